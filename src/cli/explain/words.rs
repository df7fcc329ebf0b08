//! What an explanation says, in English and in Turkish. The Turkish words are those of KVKK (Law 6698) and of the rules on
//! commercial electronic messages: açık rıza, aydınlatma metni, ilgili kişi, veri sorumlusu, geri alma, ret, İYS onayı.
//!
//! Every match here is exhaustive: a reason without words in both languages does not compile.

mod advice;
mod labels;
mod reasons;
mod rules;

use clap::ValueEnum;

pub(super) use labels::Labels;
pub(super) use rules::rule;

use crate::domain::{LegalBasis, Reason, Status};
use crate::proto::v1::{DifferenceCause, ReplayRemarkKind};

/// The languages that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Language {
    /// English.
    En,
    /// Turkish.
    Tr,
}

impl Language {
    /// The one that the environment asks for, by the variables that POSIX names, in its order; else English.
    pub(super) fn of_environment() -> Self {
        let variables = ["LC_ALL", "LC_MESSAGES", "LANG"];
        let set = variables.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        Self::of_locale(&set.unwrap_or_default())
    }

    fn of_locale(locale: &str) -> Self {
        let language = locale.split(['_', '.', '@', '-']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("tr") { Self::Tr } else { Self::En }
    }

    /// The one of two texts.
    pub(super) const fn of<T: Copy>(self, english: T, turkish: T) -> T {
        match self {
            Self::En => english,
            Self::Tr => turkish,
        }
    }
}

/// Why, as a sentence without its end.
pub(super) const fn reason(language: Language, reason: Reason) -> &'static str {
    match language {
        Language::En => reason.sentence(),
        Language::Tr => reasons::turkish(reason),
    }
}

/// What one can do about it, in a sentence or two.
pub(super) const fn advice(language: Language, reason: Reason) -> &'static str {
    match language {
        Language::En => reason.advice(),
        Language::Tr => advice::turkish(reason),
    }
}

/// A status, as what the subject did.
pub(super) const fn status(language: Language, status: Status) -> &'static str {
    match status {
        Status::Requested => language.of("asked, not answered", "soruldu, yanıtlanmadı"),
        Status::Given => language.of("given", "rıza verildi"),
        Status::Renewed => language.of("renewed", "rıza yenilendi"),
        Status::Refused => language.of("refused", "reddedildi"),
        Status::Withdrawn => language.of("withdrawn", "rıza geri alındı"),
        Status::Revoked => language.of("revoked", "rıza iptal edildi"),
        Status::Expired => language.of("expired", "rızanın süresi doldu"),
        Status::Invalidated => language.of("found to be invalid", "rıza geçersiz sayıldı"),
    }
}

/// A ground of processing.
pub(super) const fn legal_basis(language: Language, basis: LegalBasis) -> &'static str {
    match basis {
        LegalBasis::Consent => language.of("consent", "rıza"),
        LegalBasis::ExplicitConsent => language.of("explicit consent", "açık rıza"),
        LegalBasis::LegitimateInterest => language.of("legitimate interest", "meşru menfaat"),
        LegalBasis::Contract => language.of("contract", "sözleşmenin ifası"),
        LegalBasis::LegalObligation => language.of("legal obligation", "hukuki yükümlülük"),
        LegalBasis::VitalInterest => language.of("vital interest", "hayati menfaat"),
        LegalBasis::PublicTask => language.of("public task", "kamu görevi"),
    }
}

/// Why today's answer is another.
pub(super) const fn cause(language: Language, cause: DifferenceCause) -> &'static str {
    match cause {
        DifferenceCause::Time => language.of(
            "time has passed: something began, ended or grew too old",
            "zaman geçti: bir kayıt yürürlüğe girdi, sona erdi veya fazla eskidi",
        ),
        DifferenceCause::Records => language.of(
            "the ledger has said something about the subject since",
            "o tarihten sonra ilgili kişi hakkında yeni kayıt girildi",
        ),
        DifferenceCause::Catalogue => {
            language.of("another version of the catalogue is in force", "kataloğun başka bir sürümü yürürlükte")
        }
        DifferenceCause::View => language.of(
            "the sidecar's own view is in another condition: its age, its ledger or its store",
            "yardımcı servisin kendi görünümü farklı durumda: yaşı, defteri veya deposu",
        ),
        DifferenceCause::Unspecified => {
            language.of("a cause that this version does not know", "bu sürümün bilmediği bir neden")
        }
    }
}

/// What is to be said of a replay. The sentence that came with it has the figures.
pub(super) const fn remark(language: Language, kind: ReplayRemarkKind) -> &'static str {
    match kind {
        ReplayRemarkKind::OtherLedger => language.of(
            "the ledger here is not the one that the evidence names, or ends before it",
            "buradaki defter, kanıtta adı geçen defter değil veya ondan önce bitiyor",
        ),
        ReplayRemarkKind::LedgerUnread => language.of("the ledger could not be read", "defter okunamadı"),
        ReplayRemarkKind::TooLate => language.of(
            "reading the ledger took longer than allowed; give it more time with --timeout-ms",
            "defterin okunması izin verilen süreyi aştı; --timeout-ms ile daha uzun süre verin",
        ),
        ReplayRemarkKind::TooMuch => language.of(
            "the ledger has more about the subject than is read for one question",
            "defterde ilgili kişi hakkında tek bir soru için okunandan fazla kayıt var",
        ),
        ReplayRemarkKind::SignalsMissing => language.of(
            "the question had a string of signals, of which evidence keeps only the fingerprint; give it again with --tcf \
             or --gpp",
            "soruyla birlikte bir sinyal dizesi gelmişti; kanıt yalnızca onun parmak izini saklar; dizeyi --tcf veya \
             --gpp ile yeniden verin",
        ),
        ReplayRemarkKind::SignalsDiffer => language.of(
            "the string of signals that was given is not the one that came with the question",
            "verilen sinyal dizesi, soruyla birlikte gelen dize değil",
        ),
        ReplayRemarkKind::UnknownWords => language.of(
            "the evidence has words that this version does not know",
            "kanıtta bu sürümün bilmediği ifadeler var",
        ),
        ReplayRemarkKind::ReasonDiffers => language
            .of("what was known then gives another answer", "o tarihte bilinenlerden başka bir yanıt çıkıyor"),
        ReplayRemarkKind::ValidUntilDiffers => language.of(
            "what was known then gives another end of its validity",
            "o tarihte bilinenlerden yanıtın geçerliliği için başka bir bitiş çıkıyor",
        ),
        ReplayRemarkKind::RecordDiffers => language
            .of("what was known then gives another deciding record", "o tarihte bilinenlere göre belirleyici kayıt başka"),
        ReplayRemarkKind::CatalogueDiffers => language.of(
            "the catalogue that decided is not in the ledger, or was not in force",
            "kararı veren katalog defterde yok veya yürürlükte değildi",
        ),
        ReplayRemarkKind::StandingTaken => language.of(
            "what the sidecar itself was like then is not in the ledger: it is taken from the evidence",
            "yardımcı servisin o andaki durumu defterde yer almaz: kanıttan alınmıştır",
        ),
        ReplayRemarkKind::Ahead => language.of(
            "the answer rests on an event that was just being applied",
            "yanıt, o sırada işlenmekte olan bir kayda dayanıyor",
        ),
        ReplayRemarkKind::SubjectUnproved => language.of(
            "the key of the month is not here, so that nobody can tell whether the evidence is about the subject; give the \
             sidecar's evidence folder with --keys, or the secret that sidecars share with --key-file",
            "ayın anahtarı burada olmadığından kanıtın bu ilgili kişiye ait olup olmadığı söylenemez; yardımcı servisin \
             kanıt klasörünü --keys ile ya da servislerin ortak sırrını --key-file ile verin",
        ),
        ReplayRemarkKind::Unspecified => {
            language.of("a remark that this version does not know", "bu sürümün bilmediği bir not")
        }
    }
}

#[cfg(test)]
mod tests;
