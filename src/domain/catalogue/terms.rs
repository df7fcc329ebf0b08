//! Purposes, and the terms under which each is allowed.

use std::time::Duration;

use super::DEFAULT_MAX_STALENESS;
use crate::domain::time::Time;
use crate::domain::words::LegalBasis;
use crate::domain::zone::Zone;

/// One purpose, with the terms under which it is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// Dot-separated, such as `marketing.newsletter`.
    pub key: Box<str>,
    /// For people.
    pub title: Box<str>,
    /// For people.
    pub description: Box<str>,
    /// Where no region says otherwise.
    pub terms: Terms,
    /// What holds in some regions in place of `terms`.
    pub regional: Vec<Regional>,
}

impl Purpose {
    /// A purpose with the same terms everywhere.
    #[must_use]
    pub fn new(key: &str, terms: Terms) -> Self {
        Self { key: key.into(), title: "".into(), description: "".into(), terms, regional: Vec::new() }
    }
}

/// The terms that hold in some regions. Where several apply, all must allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regional {
    /// Codes of ISO 3166 or groups of the catalogue.
    pub regions: Vec<Box<str>>,
    /// Why, for people.
    pub source: Box<str>,
    /// All terms, those that the region does not change included.
    pub terms: Terms,
}

/// The terms under which a purpose is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a term of its own, as the catalogue has it")]
pub struct Terms {
    /// Whether it may not be pursued at all.
    pub prohibited: bool,
    /// The ground it rests on.
    pub legal_basis: LegalBasis,
    /// The channels it uses; at least one.
    pub channels: Vec<Box<str>>,
    /// How long a consent lasts; `None` is without limit.
    pub max_age: Option<Duration>,
    /// How old a view an answer may rest on.
    pub max_staleness: Duration,
    /// Whether a parent's consent covers it.
    pub covered_by_parent: bool,
    /// Whether consent must be explicit.
    pub special_category: bool,
    /// The notice that the subject must have been shown.
    pub notice: Option<NoticeRule>,
    /// Purposes that must be allowed as well.
    pub requires: Vec<Box<str>>,
    /// Whether `Sec-GPC: 1` denies it.
    pub honours_gpc: bool,
    /// Which consents it accepts.
    pub accepts: Acceptance,
    /// What holds for the young.
    pub minors: Option<MinorRule>,
    /// Whether it may go on while processing is restricted.
    pub despite_restriction: bool,
    /// When subjects are left alone.
    pub quiet_hours: Vec<QuietHours>,
    /// What a TCF string must permit.
    pub tcf: Option<TcfRule>,
    /// What a GPP string may opt out of.
    pub gpp: Option<GppRule>,
}

impl Default for Terms {
    /// Consent, without anything besides, over no channel yet.
    fn default() -> Self {
        Self {
            prohibited: false,
            legal_basis: LegalBasis::Consent,
            channels: Vec::new(),
            max_age: None,
            max_staleness: DEFAULT_MAX_STALENESS,
            covered_by_parent: false,
            special_category: false,
            notice: None,
            requires: Vec::new(),
            honours_gpc: false,
            accepts: Acceptance::default(),
            minors: None,
            despite_restriction: false,
            quiet_hours: Vec::new(),
            tcf: None,
            gpp: None,
        }
    }
}

/// Which notice a purpose demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRule {
    /// The notice.
    pub id: Box<str>,
    /// The first version under which consent is informed, whatever `versions` say; 0 leaves it to them.
    pub material_since: u32,
    /// The notice's versions as the catalogue has them, by number.
    pub versions: Vec<NoticeVersion>,
}

/// A version of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoticeVersion {
    /// Later is greater.
    pub version: u32,
    /// Whether consent under an older one is not informed any more.
    pub material: bool,
    /// From when on it is shown; `None` is since ever.
    pub effective_at: Option<Time>,
}

/// Which consents a purpose accepts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acceptance {
    /// Collection methods; empty is any.
    pub methods: Vec<Box<str>>,
    /// Whether a record must say where its proof lies.
    pub proof_required: bool,
}

/// What holds for the young.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinorRule {
    /// The age, in years, below which it holds.
    pub under: u8,
    /// What is demanded then.
    pub treatment: MinorTreatment,
    /// What is taken of a subject whose age is not on record.
    pub unknown_age: UnknownAge,
}

/// What is demanded for the young.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinorTreatment {
    /// Never, whoever agreed.
    Deny,
    /// Only by consent of a guardian.
    Guardian,
}

/// What is taken of a subject whose age is not on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownAge {
    /// Deny.
    Deny,
    /// Old enough.
    Adult,
}

/// When subjects are left alone, by their own clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuietHours {
    /// The channels it holds for; empty is all.
    pub channels: Vec<Box<str>>,
    /// When it begins, in minutes after midnight, below 1440.
    pub from: u16,
    /// When it ends; not after `from` it is on the next day.
    pub until: u16,
    /// The days on which it begins, Monday first.
    pub days: [bool; 7],
    /// The clock of subjects whose own is not known.
    pub zone: Option<&'static Zone>,
}

/// What a TCF string must permit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcfRule {
    /// The framework's purposes.
    pub purposes: Vec<u16>,
    /// The framework's special features.
    pub special_features: Vec<u16>,
}

/// What a GPP string may opt out of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is an opt-out of its own, as the standard has it")]
pub struct GppRule {
    /// The sale of data.
    pub sale: bool,
    /// The sharing of data.
    pub sharing: bool,
    /// Targeted advertising.
    pub targeted_advertising: bool,
    /// Categories of sensitive data, by name.
    pub sensitive_data: Vec<Box<str>>,
    /// Whether the string's Global Privacy Control counts.
    pub gpc: bool,
}
