//! The catalogue of a golden case: a file of `tests/catalogues`, with what the case changes in it, or one of
//! `examples/catalogues` as users get it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use consentd::domain::catalogue::{
    Acceptance, GppRule, MinorRule, MinorTreatment, NoticeVersion, QuietHours, Recipient, Region, Regional, TcfRule,
    UnknownAge,
};
use consentd::domain::{Catalogue, CatalogueParts, EventBody, LegalBasis, NoticeRule, Purpose, Terms, Time, Zone};
use consentd::proto::v1;
use serde::Deserialize;
use toml::value::Datetime;

/// A file of `tests/catalogues`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueFile {
    title: String,
    version: u64,
    channels: Vec<String>,
    purpose: Vec<PurposeLines>,
    #[serde(default)]
    notice: Vec<NoticeLines>,
    #[serde(default)]
    region: Vec<RegionLines>,
    #[serde(default)]
    recipient: Vec<RecipientLines>,
}

/// What a case changes in its catalogue: of the same key, it takes the place of what was.
#[derive(Debug, Default)]
pub(crate) struct Changes<'a> {
    pub(crate) purposes: &'a [PurposeLines],
    pub(crate) notices: &'a [NoticeLines],
    pub(crate) regions: &'a [RegionLines],
    pub(crate) recipients: &'a [RecipientLines],
}

impl Changes<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.purposes.is_empty() && self.notices.is_empty() && self.regions.is_empty() && self.recipients.is_empty()
    }
}

/// Declares the lines of a purpose and those of a region's rule, which share all terms. A key that is absent keeps what
/// was: for a purpose the catalogue's, for a region the purpose's own.
macro_rules! terms_lines {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$field_meta])* $field: $type,)+
            prohibited: Option<bool>,
            legal_basis: Option<String>,
            channels: Option<Vec<String>>,
            max_age: Option<String>,
            max_staleness: Option<String>,
            covered_by_parent: Option<bool>,
            special_category: Option<bool>,
            notice: Option<NoticeRuleLines>,
            requires: Option<Vec<String>>,
            honours_gpc: Option<bool>,
            accepts: Option<AcceptanceLines>,
            minors: Option<MinorLines>,
            despite_restriction: Option<bool>,
            quiet_hours: Option<Vec<QuietLines>>,
            tcf: Option<TcfLines>,
            gpp: Option<GppLines>,
        }

        impl $name {
            /// The terms with these lines on top. `requires` and `quiet_hours` replace what was.
            fn onto(&self, have: Terms, notices: &Notices) -> Result<Terms, String> {
                let basis = self.legal_basis.as_deref().map(|name| named(name, LegalBasis::from_name)).transpose()?;
                let quiet_hours = self.quiet_hours.as_ref().map(|all| all.iter().map(QuietLines::read).collect());
                Ok(Terms {
                    prohibited: self.prohibited.unwrap_or(have.prohibited),
                    legal_basis: basis.unwrap_or(have.legal_basis),
                    channels: self.channels.as_ref().map_or(have.channels, |all| boxed(all)),
                    max_age: self.max_age.as_deref().map(span).transpose()?.or(have.max_age),
                    max_staleness: self.max_staleness.as_deref().map_or(Ok(have.max_staleness), span)?,
                    covered_by_parent: self.covered_by_parent.unwrap_or(have.covered_by_parent),
                    special_category: self.special_category.unwrap_or(have.special_category),
                    notice: self.notice.as_ref().map(|rule| rule.read(notices)).or(have.notice),
                    requires: self.requires.as_ref().map_or(have.requires, |all| boxed(all)),
                    honours_gpc: self.honours_gpc.unwrap_or(have.honours_gpc),
                    accepts: self.accepts.as_ref().map_or(have.accepts, AcceptanceLines::read),
                    minors: self.minors.as_ref().map(MinorLines::read).transpose()?.or(have.minors),
                    despite_restriction: self.despite_restriction.unwrap_or(have.despite_restriction),
                    quiet_hours: quiet_hours.transpose()?.unwrap_or(have.quiet_hours),
                    tcf: self.tcf.as_ref().map(TcfLines::read).or(have.tcf),
                    gpp: self.gpp.as_ref().map(GppLines::read).or(have.gpp),
                })
            }
        }
    };
}

terms_lines! {
    /// A purpose, or what differs in one.
    PurposeLines {
        key: String,
        title: Option<String>,
        /// Where it is present it takes the place of all regional rules that were.
        regional: Option<Vec<RegionalLines>>,
    }
}

terms_lines! {
    /// What differs in some regions. `requires` and `quiet_hours` come on top of the purpose's own.
    RegionalLines {
        regions: Vec<String>,
        source: String,
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoticeRuleLines {
    id: String,
    /// Where it is absent, what the catalogue says of the notice decides.
    #[serde(default)]
    material_since: u32,
}

/// A notice in all its versions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoticeLines {
    id: String,
    versions: Vec<NoticeVersionLines>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoticeVersionLines {
    version: u32,
    #[serde(default)]
    material: bool,
    effective_at: Option<Datetime>,
}

/// A group of regions, or the clock of one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegionLines {
    key: String,
    #[serde(default)]
    members: Vec<String>,
    time_zone: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecipientLines {
    key: String,
    tcf_vendor: Option<u16>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptanceLines {
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    proof_required: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct MinorLines {
    under: u8,
    /// `deny` or `guardian`.
    treatment: String,
    /// `deny` or `adult`.
    unknown_age: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuietLines {
    #[serde(default)]
    channels: Vec<String>,
    /// `21:00`.
    from: String,
    until: String,
    /// `mon` to `sun`; every day where it is absent.
    days: Option<Vec<String>>,
    time_zone: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TcfLines {
    #[serde(default)]
    purposes: Vec<u16>,
    #[serde(default)]
    special_features: Vec<u16>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is an opt-out of its own, as the standard has it")]
struct GppLines {
    #[serde(default)]
    sale: bool,
    #[serde(default)]
    sharing: bool,
    #[serde(default)]
    targeted_advertising: bool,
    #[serde(default)]
    sensitive_data: Vec<String>,
    #[serde(default)]
    gpc: bool,
}

/// The catalogue's notices, by id.
type Notices = BTreeMap<String, Vec<NoticeVersion>>;

/// The path of a folder under `tests`.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Reads a catalogue and changes it.
pub(crate) fn read_catalogue(name: &str, changes: &Changes<'_>) -> Result<Catalogue, String> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/catalogues").join(name).with_extension("json");
    if shipped.exists() {
        return if changes.is_empty() { read_shipped(&shipped) } else { Err(format!("`{name}` is shipped as it is")) };
    }
    let path = folder("catalogues").join(name).with_extension("toml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("catalogue `{name}`: {error}"))?;
    let file: CatalogueFile = toml::from_str(&text).map_err(|error| format!("catalogue `{name}`: {error}"))?;
    let mut notices = Notices::new();
    for lines in file.notice.iter().chain(changes.notices) {
        notices.insert(lines.id.clone(), lines.read()?);
    }
    let mut purposes: Vec<(Purpose, Vec<RegionalLines>)> = Vec::new();
    for lines in file.purpose.iter().chain(changes.purposes) {
        let at = purposes.iter().position(|(purpose, _)| *purpose.key == *lines.key).unwrap_or(purposes.len());
        if at == purposes.len() {
            // That it lacks a channel is found by the catalogue's own check.
            purposes.push((Purpose::new(&lines.key, Terms::default()), Vec::new()));
        }
        let (purpose, regional) = &mut purposes[at];
        purpose.terms = lines.onto(purpose.terms.clone(), &notices)?;
        if let Some(title) = &lines.title {
            purpose.title = title.as_str().into();
        }
        if let Some(rules) = &lines.regional {
            regional.clone_from(rules);
        }
    }
    // A region builds on the purpose as the case has it.
    let with_regions = |(purpose, rules): (Purpose, Vec<RegionalLines>)| {
        let regional = rules.iter().map(|rule| rule.on_top_of(&purpose.terms, &notices)).collect::<Result<_, _>>()?;
        Ok(Purpose { regional, ..purpose })
    };
    let mut regions: BTreeMap<&str, Region> = BTreeMap::new();
    for lines in file.region.iter().chain(changes.regions) {
        regions.insert(&lines.key, lines.read()?);
    }
    let mut recipients: BTreeMap<&str, Recipient> = BTreeMap::new();
    for lines in file.recipient.iter().chain(changes.recipients) {
        let key = lines.key.as_str().into();
        recipients.insert(&lines.key, Recipient { key, title: "".into(), tcf_vendor: lines.tcf_vendor });
    }
    Catalogue::new(CatalogueParts {
        version: file.version,
        title: file.title.into(),
        channels: file.channels.iter().map(|key| (key.as_str().into(), "".into())).collect(),
        purposes: purposes.into_iter().map(with_regions).collect::<Result<_, String>>()?,
        regions: regions.into_values().collect(),
        recipients: recipients.into_values().collect(),
    })
    .map_err(|problems| format!("catalogue `{name}`: {problems}"))
}

/// Reads a catalogue as a ledger does.
fn read_shipped(path: &Path) -> Result<Catalogue, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
    let wire = serde_json::from_str(&text).map_err(|error| named(&error))?;
    let event = v1::LedgerEvent {
        event_id: "catalogue".to_owned(),
        event_time: Some(pbjson_types::Timestamp { seconds: 1, nanos: 0 }),
        event: Some(v1::ledger_event::Event::Catalogue(wire)),
        ..v1::LedgerEvent::default()
    };
    match consentd::ledger::validate(event).map_err(|error| named(&error))?.body {
        EventBody::Catalogue(catalogue) => Ok(*catalogue),
        other => Err(named(&format!("{other:?}"))),
    }
}

impl RegionalLines {
    fn on_top_of(&self, base: &Terms, notices: &Notices) -> Result<Regional, String> {
        let own = self.onto(Terms { requires: Vec::new(), quiet_hours: Vec::new(), ..base.clone() }, notices)?;
        let requires = base.requires.iter().chain(&own.requires).cloned().collect();
        let quiet_hours = base.quiet_hours.iter().chain(&own.quiet_hours).cloned().collect();
        let terms = Terms { requires, quiet_hours, ..own };
        Ok(Regional { regions: boxed(&self.regions), source: self.source.as_str().into(), terms })
    }
}

impl NoticeRuleLines {
    fn read(&self, notices: &Notices) -> NoticeRule {
        NoticeRule {
            id: self.id.as_str().into(),
            material_since: self.material_since,
            versions: notices.get(&self.id).cloned().unwrap_or_default(),
        }
    }
}

impl NoticeLines {
    fn read(&self) -> Result<Vec<NoticeVersion>, String> {
        let read = |lines: &NoticeVersionLines| {
            let effective_at = lines.effective_at.as_ref().map(time).transpose()?;
            Ok(NoticeVersion { version: lines.version, material: lines.material, effective_at })
        };
        self.versions.iter().map(read).collect()
    }
}

impl RegionLines {
    fn read(&self) -> Result<Region, String> {
        let zone = self.time_zone.as_deref().map(zone).transpose()?;
        Ok(Region { key: self.key.as_str().into(), title: "".into(), members: boxed(&self.members), zone })
    }
}

impl AcceptanceLines {
    fn read(&self) -> Acceptance {
        Acceptance { methods: boxed(&self.methods), proof_required: self.proof_required }
    }
}

impl MinorLines {
    fn read(&self) -> Result<MinorRule, String> {
        let treatment = match self.treatment.as_str() {
            "deny" => MinorTreatment::Deny,
            "guardian" => MinorTreatment::Guardian,
            other => return Err(format!("minors.treatment: `{other}` is not known")),
        };
        let unknown_age = match self.unknown_age.as_str() {
            "deny" => UnknownAge::Deny,
            "adult" => UnknownAge::Adult,
            other => return Err(format!("minors.unknown_age: `{other}` is not known")),
        };
        Ok(MinorRule { under: self.under, treatment, unknown_age })
    }
}

impl QuietLines {
    fn read(&self) -> Result<QuietHours, String> {
        const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let mut days = [self.days.is_none(); 7];
        for day in self.days.iter().flatten() {
            let place = DAYS.iter().position(|known| known == day);
            days[place.ok_or_else(|| format!("quiet_hours.days: `{day}` is not known"))?] = true;
        }
        Ok(QuietHours {
            channels: boxed(&self.channels),
            from: minute(&self.from)?,
            until: minute(&self.until)?,
            days,
            zone: self.time_zone.as_deref().map(zone).transpose()?,
        })
    }
}

impl TcfLines {
    fn read(&self) -> TcfRule {
        TcfRule { purposes: self.purposes.clone(), special_features: self.special_features.clone() }
    }
}

impl GppLines {
    fn read(&self) -> GppRule {
        GppRule {
            sale: self.sale,
            sharing: self.sharing,
            targeted_advertising: self.targeted_advertising,
            sensitive_data: boxed(&self.sensitive_data),
            gpc: self.gpc,
        }
    }
}

fn boxed(texts: &[String]) -> Vec<Box<str>> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

/// A time of day, `21:00`, in minutes after midnight.
fn minute(text: &str) -> Result<u16, String> {
    let wrong = || format!("`{text}` is not a time of day such as 21:00");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let (hours, minutes): (u16, u16) = (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
    if text.len() == 5 && hours < 24 && minutes < 60 { Ok(hours * 60 + minutes) } else { Err(wrong()) }
}

/// A clock by its IANA name.
pub(crate) fn zone(name: &str) -> Result<&'static Zone, String> {
    consentd::zones::find(name).ok_or_else(|| format!("time zone `{name}` is not known"))
}

pub(crate) fn named<T>(name: &str, from_name: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    from_name(name).ok_or_else(|| format!("`{name}` is not known"))
}

pub(crate) fn time(at: &Datetime) -> Result<Time, String> {
    let parsed = chrono::DateTime::parse_from_rfc3339(&at.to_string());
    parsed
        .map(|t| Time::from_unix_millis(t.timestamp_millis()))
        .map_err(|_| format!("`{at}` needs date, time and zone"))
}

pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{text}` is not a span such as 30s or 365d")),
    };
    number.parse::<u64>().map(|n| Duration::from_millis(n * millis)).map_err(|error| format!("`{text}`: {error}"))
}
