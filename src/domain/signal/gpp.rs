//! What a GPP string opts out of.

use std::fmt;

use super::detail::{OptOut, SignalDetail};
use super::tcf::Tcf;
use crate::domain::catalogue::GppRule;

/// What a GPP string says. Source: IAB Tech Lab, Global Privacy Platform.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gpp {
    /// Its TCF section for the European Union.
    pub tcf: Option<Box<Tcf>>,
    /// Its sections of the United States, national or a state's.
    pub sections: Vec<GppSection>,
    /// Sections that nobody here can read. They may hold an opt-out.
    pub unknown: Vec<u16>,
}

/// One section of the United States: what was opted out of; `true` where the string says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of the standard")]
pub struct GppSection {
    /// The section's number.
    pub id: u16,
    /// The sale of data: opted out of, or never offered, or a known child's without consent.
    pub sale: bool,
    /// The sharing of data, likewise.
    pub sharing: bool,
    /// Targeted advertising, likewise.
    pub targeted_advertising: bool,
    /// Whether the subject is a known child whose data may not be processed, for want of consent.
    pub child: bool,
    /// Categories of sensitive data that were opted out of, or not consented to where consent is what the state asks.
    pub sensitive_data: SensitiveData,
    /// The Global Privacy Control of the browser.
    pub gpc: bool,
}

/// Categories of sensitive data.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SensitiveData(u32);

impl Gpp {
    /// What keeps a purpose with this rule from being pursued; `None` if nothing does. Every section counts.
    #[must_use]
    pub fn bars(&self, rule: &GppRule) -> Option<SignalDetail> {
        let unknown = self.unknown.first().map(|section| SignalDetail::UnknownSection { section: *section });
        let by_section =
            |have: &GppSection| have.bars(rule).map(|what| SignalDetail::OptedOut { section: have.id, what });
        unknown.or_else(|| self.sections.iter().find_map(by_section))
    }

    /// What it takes in memory beside itself, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.tcf.as_ref().map_or(0, |tcf| size_of::<Tcf>() + tcf.heap_bytes())
            + self.sections.len() * size_of::<GppSection>()
            + self.unknown.len() * size_of::<u16>()
    }
}

impl GppSection {
    fn bars(&self, rule: &GppRule) -> Option<OptOut> {
        if self.child {
            return Some(OptOut::Child);
        }
        let matched = [
            (rule.sale && self.sale, OptOut::Sale),
            (rule.sharing && self.sharing, OptOut::Sharing),
            (rule.targeted_advertising && self.targeted_advertising, OptOut::TargetedAdvertising),
            (rule.gpc && self.gpc, OptOut::Gpc),
        ];
        matched.into_iter().find_map(|(barred, what)| barred.then_some(what)).or_else(|| {
            rule.sensitive_data.iter().find_map(|name| match SensitiveData::category(name) {
                Some(wanted) => self.sensitive_data.first_of(wanted).map(OptOut::SensitiveData),
                // A catalogue that names what no section has would deny nothing where it was meant to.
                None => Some(OptOut::UnknownCategory),
            })
        })
    }
}

impl SensitiveData {
    /// No category.
    pub const NONE: Self = Self(0);
    /// The names of all categories. The states' sections word them differently; those that mean the same share one.
    pub const NAMES: [&str; 16] = [
        "racial_or_ethnic_origin",
        "religious_beliefs",
        "health",
        "sex_life_or_sexual_orientation",
        "citizenship_or_immigration_status",
        "genetic_data",
        "biometric_data",
        "precise_geolocation",
        "identification_documents",
        "financial_accounts",
        "union_membership",
        "mail_contents",
        "consumer_health_data",
        "crime_victim_status",
        "national_origin",
        "transgender_or_nonbinary_status",
    ];

    /// The category at a place among the names; nothing where there is none.
    #[must_use]
    pub const fn at(place: usize) -> Self {
        if place < Self::NAMES.len() { Self(1 << place) } else { Self::NONE }
    }

    /// The category with this name.
    #[must_use]
    pub fn category(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|have| *have == name).map(Self::at)
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The names of the categories in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .enumerate()
            .filter(move |(place, _)| self.0 & Self::at(*place).0 != 0)
            .map(|(_, name)| name)
    }

    /// The name of the first category that is in both.
    fn first_of(self, wanted: Self) -> Option<&'static str> {
        Self(self.0 & wanted.0).names().next()
    }
}

impl fmt::Debug for SensitiveData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// What the standard calls a section. Source: Global Privacy Platform, Section Information.
#[must_use]
pub fn section_name(id: u16) -> Option<&'static str> {
    const NAMES: [(u16, &str); 25] = [
        (1, "tcfeuv1"),
        (2, "tcfeuv2"),
        (5, "tcfcav1"),
        (6, "uspv1"),
        (7, "usnat"),
        (8, "usca"),
        (9, "usva"),
        (10, "usco"),
        (11, "usut"),
        (12, "usct"),
        (13, "usfl"),
        (14, "usmt"),
        (15, "usor"),
        (16, "ustx"),
        (17, "usde"),
        (18, "usia"),
        (19, "usne"),
        (20, "usnh"),
        (21, "usnj"),
        (22, "ustn"),
        (23, "usmn"),
        (24, "usmd"),
        (25, "usin"),
        (26, "usky"),
        (27, "usri"),
    ];
    NAMES.into_iter().find_map(|(have, name)| (have == id).then_some(name))
}
