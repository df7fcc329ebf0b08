//! What one can do about an answer, in Turkish.

use crate::domain::Reason;

/// What one can do about it, in a sentence or two.
pub(super) const fn turkish(reason: Reason) -> &'static str {
    match reason {
        Reason::Consent | Reason::ExplicitConsent => {
            "Belirtilen zamana kadar bu yanıta dayanabilirsiniz; sonra yeniden sorun. Rızanın geri alınması, verilmesi \
             kadar kolay olmalıdır."
        }
        Reason::LegitimateInterest => {
            "Belirtilen zamana kadar bu yanıta dayanabilirsiniz. İtiraz gelirse hemen kaydedin: itiraz bunu sona erdirir."
        }
        Reason::Contract | Reason::LegalObligation | Reason::VitalInterest | Reason::PublicTask => {
            "Rıza gerekmez. Yalnızca bu hukuki sebebin kapsadığını yapın; ötesi ayrı bir işleme amacıdır."
        }
        Reason::NoCatalogue => "Bir katalog yayımlayın: `consentd ledger catalogue DOSYA`.",
        Reason::UnknownPurpose | Reason::UnknownChannel | Reason::ChannelNotUsed => {
            "Sorudaki yazımı denetleyin ya da bunu öngören bir katalog yayımlayın."
        }
        Reason::Prohibited => "Bundan vazgeçin. Kataloğun yasakladığı yerde rıza da yeterli olmaz.",
        Reason::Stale | Reason::ReplicaBuilding => {
            "Birazdan yeniden sorun. Sürerse yardımcı servisin /readyz sayfasına bakın: deftere yetişemiyor."
        }
        Reason::ForeignToken => "Belirteci bırakın ya da bu defterin bir yanıtından alın.",
        Reason::LedgerBroken | Reason::StoreUnavailable | Reason::EvidenceUnavailable => {
            "Bu giderilene kadar hiçbir işleme izin verilemez: /readyz sayfasına ve işletim kılavuzuna bakın."
        }
        Reason::Erased => "Verileri işlemeyin. Yalnızca ilgili kişi kendiliğinden yeniden onay verirse bu değişebilir.",
        Reason::UnreadableRecord => {
            "Kaydı `consentd ledger tail` ile bulun ve onun yerine geçen okunabilir bir kayıt yazın."
        }
        Reason::UnknownSubject => {
            "Tanımlayıcıyı denetleyin. Kişiye hiç sorulmadıysa rızasını isteyin ya da başka yerde alınmış kayıtları aktarın."
        }
        Reason::Restricted => "Kısıtlama kaldırılıp ilgili kişiye bildirilene kadar verileri yalnızca saklayın.",
        Reason::Minor => "Verileri işlemeyin: kim onay verirse versin katalog bu yaşta buna izin vermiyor.",
        Reason::AgeUnknown => "İlgili kişinin doğum tarihini bilindiği kadarıyla kaydedin (`consentd ledger born`).",
        Reason::SignalGpc | Reason::SignalTcf | Reason::SignalGpp => {
            "Tarayıcının veya rıza aracının ilettiği tercihe uyun. İlgili kişiden bundan dönmesini istemeyin."
        }
        Reason::SignalUnreadable => "Dizeyi tam ve üretildiği haliyle gönderin ya da onu üreten aracı düzeltin.",
        Reason::Refused | Reason::Withdrawn | Reason::Objected => {
            "Durun. Bunu yalnızca ilgili kişi, yeniden onay vererek değiştirebilir; ona baskı yapmayın."
        }
        Reason::Revoked | Reason::Invalidated => {
            "Durun. Yeni bir rıza istemeden önce rızanın neden ortadan kalktığını öğrenin."
        }
        Reason::NoConsent => {
            "Tam olarak bu amaç, kanal ve alıcı için rıza isteyin. Başka bir konudaki rıza bunu kapsamaz."
        }
        Reason::NotYetEffective => "Tarihi gelene kadar bekleyin ya da kaydın tarihi yanlışsa düzeltin.",
        Reason::Expired | Reason::TooOld => "İlgili kişiden rızasını yenilemesini isteyin. O zamana kadar durun.",
        Reason::LegalBasisMismatch => {
            "Alınan kayda bakın: başka bir hukuki sebebe dayanan kayıt rıza değildir. Rıza isteyin ya da kataloğu düzeltin."
        }
        Reason::NotExplicit => "Özel nitelikli veriyi açıkça belirten bir metinle açık rıza isteyin.",
        Reason::PreTicked
        | Reason::Passive
        | Reason::Bundled
        | Reason::DarkPattern
        | Reason::Penalised
        | Reason::NotSpecific
        | Reason::Coerced
        | Reason::NotInformed
        | Reason::WithdrawalUntold => {
            "Böyle bir rıza geçersizdir. Önce rızanın alınma biçimini düzeltin, sonra yeniden isteyin; eskisine dayanmayın."
        }
        Reason::NoticeMissing | Reason::NoticeOutdated => {
            "Yukarıda belirtilen aydınlatma metnini ilgili kişinin dilinde gösterin ve yeniden rıza isteyin."
        }
        Reason::GuardianMissing => "Veli veya vasiden rıza isteyin ve rızanın ondan geldiğini kaydedin.",
        Reason::MethodNotAccepted => "Kataloğun bu amaç için kabul ettiği bir yöntemle yeniden rıza isteyin.",
        Reason::ProofMissing => {
            "İspatın nerede olduğunu kaydedin ya da rızayı yeniden isteyip bu kez ispatını saklayın."
        }
        Reason::RequiredPurposeDenied => "Önce gereken işleme amacını çözün: onun için ayrıca açıklama isteyin.",
        Reason::QuietHours => "Yukarıda belirtilen zamana kadar bekleyin.",
        Reason::TimeZoneUnknown => {
            "Soruyla birlikte ilgili kişinin saat dilimini gönderin ya da katalogda bölge için bir saat dilimi belirtin."
        }
    }
}
