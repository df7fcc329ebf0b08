//! Terms in the form that `decide` reads, of one region or of several at once.
//!
//! INVARIANT: what combined terms allow, each of them allows by itself. A field is combined by taking the stricter of two
//! values where there is one, and by demanding both where there is none.

use std::collections::BTreeMap;
use std::time::Duration;

use super::terms::{GppRule, MinorRule, NoticeRule, Purpose, QuietHours, TcfRule, Terms};
use crate::domain::words::LegalBasis;

/// The terms that hold for a question: those of one region, or of several that must all allow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a term of its own, as the catalogue has it")]
pub(in crate::domain) struct Applied {
    /// Which terms of the purpose they are made of: bit 0 is its own, bit n its regional rule n - 1.
    pub(in crate::domain) parts: u64,
    pub(in crate::domain) prohibited: bool,
    pub(in crate::domain) legal_basis: LegalBasis,
    /// None where two regions have no channel in common.
    pub(in crate::domain) channels: Vec<Box<str>>,
    pub(in crate::domain) max_age: Option<Duration>,
    pub(in crate::domain) max_staleness: Duration,
    pub(in crate::domain) covered_by_parent: Coverage,
    /// Each must have been shown.
    pub(in crate::domain) notices: Vec<NoticeRule>,
    /// Places of the purposes that must be allowed as well, in the catalogue's order of entries.
    pub(in crate::domain) requires: Vec<usize>,
    pub(in crate::domain) honours_gpc: bool,
    /// `None` is any; an empty list is none, where two regions accept nothing in common.
    pub(in crate::domain) methods: Option<Vec<Box<str>>>,
    pub(in crate::domain) proof_required: bool,
    /// Each must be content.
    pub(in crate::domain) minors: Vec<MinorRule>,
    pub(in crate::domain) despite_restriction: bool,
    /// None may be running.
    pub(in crate::domain) quiet_hours: Vec<QuietHours>,
    /// Each must be permitted, on the ground that its own region pursues the purpose on.
    pub(in crate::domain) tcf: Vec<(LegalBasis, TcfRule)>,
    pub(in crate::domain) gpp: Option<GppRule>,
}

/// Whether a parent's consent covers a purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) enum Coverage {
    /// Nowhere.
    No,
    /// In some of the regions that apply: it is not enough, but where it is void, those regions deny.
    Somewhere,
    /// In all of them.
    Yes,
}

impl Applied {
    /// The terms of one part.
    pub(super) fn of(part: u32, terms: &Terms, places: &BTreeMap<&str, usize>) -> Self {
        let methods = &terms.accepts.methods;
        Self {
            parts: 1 << part,
            prohibited: terms.prohibited,
            legal_basis: terms.legal_basis,
            channels: terms.channels.clone(),
            max_age: terms.max_age,
            max_staleness: terms.max_staleness,
            covered_by_parent: if terms.covered_by_parent { Coverage::Yes } else { Coverage::No },
            notices: terms.notice.iter().cloned().collect(),
            requires: terms.requires.iter().filter_map(|key| places.get(&**key).copied()).collect(),
            honours_gpc: terms.honours_gpc,
            methods: (!methods.is_empty()).then(|| methods.clone()),
            proof_required: terms.accepts.proof_required,
            minors: terms.minors.into_iter().collect(),
            despite_restriction: terms.despite_restriction,
            quiet_hours: terms.quiet_hours.clone(),
            tcf: terms.tcf.iter().map(|rule| (terms.legal_basis, rule.clone())).collect(),
            gpp: terms.gpp.clone(),
        }
    }

    /// These and those: what both allow.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.parts |= other.parts;
        self.prohibited |= other.prohibited;
        if strictness(other.legal_basis) > strictness(self.legal_basis) {
            self.legal_basis = other.legal_basis;
        }
        self.channels.retain(|channel| other.channels.contains(channel));
        self.max_age = least(self.max_age, other.max_age);
        self.max_staleness = self.max_staleness.min(other.max_staleness);
        if self.covered_by_parent != other.covered_by_parent {
            self.covered_by_parent = Coverage::Somewhere;
        }
        add_new(&mut self.notices, other.notices);
        add_new(&mut self.requires, other.requires);
        self.honours_gpc |= other.honours_gpc;
        self.methods = match (self.methods, other.methods) {
            (Some(own), Some(others)) => Some(own.into_iter().filter(|method| others.contains(method)).collect()),
            (own, others) => own.or(others),
        };
        self.proof_required |= other.proof_required;
        add_new(&mut self.minors, other.minors);
        self.despite_restriction &= other.despite_restriction;
        add_new(&mut self.quiet_hours, other.quiet_hours);
        add_new(&mut self.tcf, other.tcf);
        self.gpp = match (self.gpp, other.gpp) {
            (Some(own), Some(others)) => Some(either_opts_out(own, others)),
            (own, others) => own.or(others),
        };
        self
    }

    /// Where these terms come from: `None` for the purpose's own, else the regional rule.
    pub(in crate::domain) fn sources<'p>(
        &self,
        purpose: &'p Purpose,
    ) -> impl Iterator<Item = Option<&'p super::Regional>> + use<'p> {
        let parts = self.parts;
        let rules = std::iter::once(None).chain(purpose.regional.iter().map(Some));
        rules.enumerate().filter(move |(part, _)| parts & (1 << part) != 0).map(|(_, rule)| rule)
    }
}

/// How much a legal basis demands. The first two need an act of the subject and differ in how plain it must be. The
/// others need none, and a refusal ends each of them, so that none allows what another denies: of those the one is told
/// that leaves the subject most say. A word is enough against a legitimate interest (GDPR Art. 21(2)), a contract ends
/// with the relation; against a public task there is an objection that can be overruled, and a life or a law leaves none.
const fn strictness(basis: LegalBasis) -> u8 {
    match basis {
        LegalBasis::ExplicitConsent => 6,
        LegalBasis::Consent => 5,
        LegalBasis::LegitimateInterest => 4,
        LegalBasis::Contract => 3,
        LegalBasis::PublicTask => 2,
        LegalBasis::VitalInterest => 1,
        LegalBasis::LegalObligation => 0,
    }
}

/// The lesser; none is without limit.
fn least(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn add_new<T: PartialEq>(into: &mut Vec<T>, from: Vec<T>) {
    for item in from {
        if !into.contains(&item) {
            into.push(item);
        }
    }
}

fn either_opts_out(one: GppRule, other: GppRule) -> GppRule {
    let mut sensitive_data = one.sensitive_data;
    add_new(&mut sensitive_data, other.sensitive_data);
    GppRule {
        sale: one.sale || other.sale,
        sharing: one.sharing || other.sharing,
        targeted_advertising: one.targeted_advertising || other.targeted_advertising,
        sensitive_data,
        gpc: one.gpc || other.gpc,
    }
}
