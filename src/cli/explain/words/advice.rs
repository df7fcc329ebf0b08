//! What one can do about an answer.

use super::Language;
use crate::domain::Reason;

/// What one can do about it, in a sentence or two.
pub(in crate::cli::explain) const fn advice(language: Language, reason: Reason) -> &'static str {
    let (english, turkish) = both(reason);
    language.of(english, turkish)
}

#[expect(clippy::too_many_lines, reason = "it is a table")]
const fn both(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::Consent | Reason::ExplicitConsent => (
            "Rely on it until the time given, and ask again after it. Make withdrawing as easy as agreeing was.",
            "Belirtilen zamana kadar bu yanıta dayanabilirsiniz; sonra yeniden sorun. Rızanın geri alınması, verilmesi \
             kadar kolay olmalıdır.",
        ),
        Reason::LegitimateInterest => (
            "Rely on it until the time given. Record an objection as soon as it comes: it ends this.",
            "Belirtilen zamana kadar bu yanıta dayanabilirsiniz. İtiraz gelirse hemen kaydedin: itiraz bunu sona erdirir.",
        ),
        Reason::Contract | Reason::LegalObligation | Reason::VitalInterest | Reason::PublicTask => (
            "No consent is needed. Do only what this ground covers; anything else is a purpose of its own.",
            "Rıza gerekmez. Yalnızca bu hukuki sebebin kapsadığını yapın; ötesi ayrı bir işleme amacıdır.",
        ),
        Reason::NoCatalogue => (
            "Publish a catalogue: `consentd ledger catalogue FILE`.",
            "Bir katalog yayımlayın: `consentd ledger catalogue DOSYA`.",
        ),
        Reason::UnknownPurpose | Reason::UnknownChannel | Reason::ChannelNotUsed => (
            "Check the spelling in the question, or publish a catalogue that allows for it.",
            "Sorudaki yazımı denetleyin ya da bunu öngören bir katalog yayımlayın.",
        ),
        Reason::Prohibited => (
            "Leave it. No consent helps where the catalogue forbids the purpose.",
            "Bundan vazgeçin. Kataloğun yasakladığı yerde rıza da yeterli olmaz.",
        ),
        Reason::Stale | Reason::ReplicaBuilding => (
            "Ask again in a moment. If it stays, look at the sidecar's /readyz: it does not keep up with the ledger.",
            "Birazdan yeniden sorun. Sürerse yardımcı servisin /readyz sayfasına bakın: deftere yetişemiyor.",
        ),
        Reason::ForeignToken => (
            "Drop the token, or take one from an answer of this ledger.",
            "Belirteci bırakın ya da bu defterin bir yanıtından alın.",
        ),
        Reason::LedgerBroken | Reason::StoreUnavailable | Reason::EvidenceUnavailable => (
            "Nobody can be allowed anything until this is mended: see /readyz and the operator's handbook.",
            "Bu giderilene kadar hiçbir işleme izin verilemez: /readyz sayfasına ve işletim kılavuzuna bakın.",
        ),
        Reason::Erased => (
            "Do not process. Only if the subject agrees anew, of its own accord, may this change.",
            "Verileri işlemeyin. Yalnızca ilgili kişi kendiliğinden yeniden onay verirse bu değişebilir.",
        ),
        Reason::UnreadableRecord => (
            "Find the event with `consentd ledger tail`, and write a readable one that supersedes it.",
            "Kaydı `consentd ledger tail` ile bulun ve onun yerine geçen okunabilir bir kayıt yazın.",
        ),
        Reason::UnknownSubject => (
            "Check the identifier. If nobody was ever asked, ask for consent, or import what was collected elsewhere.",
            "Tanımlayıcıyı denetleyin. Kişiye hiç sorulmadıysa rızasını isteyin ya da başka yerde alınmış kayıtları aktarın.",
        ),
        Reason::Restricted => (
            "Store the data and leave it alone until the restriction is lifted and the subject was told so.",
            "Kısıtlama kaldırılıp ilgili kişiye bildirilene kadar verileri yalnızca saklayın.",
        ),
        Reason::Minor => (
            "Do not process: the catalogue does not allow it at this age, whoever agrees.",
            "Verileri işlemeyin: kim onay verirse versin katalog bu yaşta buna izin vermiyor.",
        ),
        Reason::AgeUnknown => (
            "Record when the subject was born (`consentd ledger born`), as exactly as it is known.",
            "İlgili kişinin doğum tarihini bilindiği kadarıyla kaydedin (`consentd ledger born`).",
        ),
        Reason::SignalGpc | Reason::SignalTcf | Reason::SignalGpp => (
            "Respect the choice that the browser or the consent tool sends. Do not ask the subject to take it back.",
            "Tarayıcının veya rıza aracının ilettiği tercihe uyun. İlgili kişiden bundan dönmesini istemeyin.",
        ),
        Reason::SignalUnreadable => (
            "Send the string whole and as it was issued, or mend what issues it.",
            "Dizeyi tam ve üretildiği haliyle gönderin ya da onu üreten aracı düzeltin.",
        ),
        Reason::Refused | Reason::Withdrawn | Reason::Objected => (
            "Stop. Only the subject can change this, by agreeing anew; do not press it to.",
            "Durun. Bunu yalnızca ilgili kişi, yeniden onay vererek değiştirebilir; ona baskı yapmayın.",
        ),
        Reason::Revoked | Reason::Invalidated => (
            "Stop. Find out why it was taken away before anybody is asked for a new consent.",
            "Durun. Yeni bir rıza istemeden önce rızanın neden ortadan kalktığını öğrenin.",
        ),
        Reason::NoConsent => (
            "Ask for consent to this very purpose, channel and recipient. A consent to something else does not cover it.",
            "Tam olarak bu amaç, kanal ve alıcı için rıza isteyin. Başka bir konudaki rıza bunu kapsamaz.",
        ),
        Reason::NotYetEffective => (
            "Wait until its time, or correct the event's time where it is wrong.",
            "Tarihi gelene kadar bekleyin ya da kaydın tarihi yanlışsa düzeltin.",
        ),
        Reason::Expired | Reason::TooOld => (
            "Ask the subject to renew its consent. Until then, stop.",
            "İlgili kişiden rızasını yenilemesini isteyin. O zamana kadar durun.",
        ),
        Reason::LegalBasisMismatch => (
            "Look at what was collected: a record of another ground is no consent. Ask for one, or mend the catalogue.",
            "Alınan kayda bakın: başka bir hukuki sebebe dayanan kayıt rıza değildir. Rıza isteyin ya da kataloğu düzeltin.",
        ),
        Reason::NotExplicit => (
            "Ask for an explicit consent, in words that name the special category of data.",
            "Özel nitelikli veriyi açıkça belirten bir metinle açık rıza isteyin.",
        ),
        Reason::PreTicked
        | Reason::Passive
        | Reason::Bundled
        | Reason::DarkPattern
        | Reason::Penalised
        | Reason::NotSpecific
        | Reason::Coerced
        | Reason::NotInformed
        | Reason::WithdrawalUntold => (
            "Such a consent is void. Mend how it is collected, then ask anew; do not rely on the old one.",
            "Böyle bir rıza geçersizdir. Önce rızanın alınma biçimini düzeltin, sonra yeniden isteyin; eskisine dayanmayın.",
        ),
        Reason::NoticeMissing | Reason::NoticeOutdated => (
            "Show the notice named above, in the subject's language, and ask anew.",
            "Yukarıda belirtilen aydınlatma metnini ilgili kişinin dilinde gösterin ve yeniden rıza isteyin.",
        ),
        Reason::GuardianMissing => (
            "Ask the holder of parental responsibility, and record that the consent came from there.",
            "Veli veya vasiden rıza isteyin ve rızanın ondan geldiğini kaydedin.",
        ),
        Reason::MethodNotAccepted => (
            "Ask anew by a method that the catalogue accepts for this purpose.",
            "Kataloğun bu amaç için kabul ettiği bir yöntemle yeniden rıza isteyin.",
        ),
        Reason::ProofMissing => (
            "Record where the proof of the collection lies, or ask anew and keep it this time.",
            "İspatın nerede olduğunu kaydedin ya da rızayı yeniden isteyip bu kez ispatını saklayın.",
        ),
        Reason::RequiredPurposeDenied => (
            "Resolve the required purpose first: explain it by its own name.",
            "Önce gereken işleme amacını çözün: onun için ayrıca açıklama isteyin.",
        ),
        Reason::QuietHours => ("Wait until the time given above.", "Yukarıda belirtilen zamana kadar bekleyin."),
        Reason::TimeZoneUnknown => (
            "Send the subject's time zone with the question, or give the catalogue one for the region.",
            "Soruyla birlikte ilgili kişinin saat dilimini gönderin ya da katalogda bölge için bir saat dilimi belirtin.",
        ),
    }
}
