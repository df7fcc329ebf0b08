//! What each rule looks at, in Turkish; in English the rule says it itself.

use super::Language;

/// What a rule looks at; what came with it where it is not known here.
pub(in crate::cli::explain) fn rule<'a>(language: Language, name: &str, description: &'a str) -> &'a str {
    match language {
        Language::En => description,
        Language::Tr => turkish(name).unwrap_or(description),
    }
}

pub(super) fn turkish(name: &str) -> Option<&'static str> {
    Some(match name {
        "ledger" => "deftere güvenilebiliyor ve sonuna kadar okunmuş",
        "catalogue" => "bir katalog yayımlanmış ve işleme amacını içeriyor",
        "channel" => "katalog kanalı tanıyor ve işleme amacı onu kullanıyor",
        "jurisdiction" => "ilgili kişinin bulunduğu veya bulunmuş olduğu yerde amaç yasak değil",
        "freshness" => "görünüm, amacın ve sorunun aradığı kadar güncel",
        "store" => "yerel depo okunabiliyor",
        "unreadable" => "ilgili kişi hakkındaki her kayıt okunabilmiş",
        "erasure" => "ilgili kişinin verileri silinmemiş ya da sonra yeniden onay vermiş",
        "restriction" => "ilgili kişinin verilerinin işlenmesi kısıtlanmamış",
        "signals" => "soruyla gelen hiçbir sinyal buna engel değil",
        "refusal" => "bu amaç veya üst amaçlar için onay kadar yeni bir ret yok",
        "subject" => "defterde ilgili kişiyle bir onay ya da ondan bir istek kayıtlı",
        "age" => "ilgili kişi yeterli yaşta ya da veli veya vasisi onay verebilir",
        "consent" => "bu amaç, kanal ve alıcı için kayıtlı bir rıza var",
        "legal_basis" => "kayıt, işleme amacının aradığı hukuki sebebe dayanıyor",
        "effective" => "rızanın tarihi gelecekte değil",
        "expiry" => "rızanın süresi dolmamış",
        "max_age" => "rıza, kataloğun izin verdiğinden eski değil",
        "collection" => "rıza özgür iradeyle ve etkin bir davranışla verilmiş, amacın aradığı gibi ispatlanmış",
        "guardian" => "rızayı verecek yaşta biri ya da veli veya vasi vermiş",
        "notice" => "ilgili kişiye hâlâ geçerli bir aydınlatma metni gösterilmiş",
        "requires" => "bunun için gereken her işleme amacına da izin var",
        "quiet_hours" => "ilgili kişiye bu saatte ulaşılabilir",
        "allow" => "engel yok: amacın hukuki sebebi işlemeye izin veriyor",
        _ => return None,
    })
}
