//! An earlier answer decided again from what was known then, and what has become of it since.

use std::sync::Arc;

use super::history::Read;
use super::{HistoryError, Reasoning, Recorded};
use crate::domain::{
    Catalogue, Freshness, Heard, LedgerStanding, Position, Question, Reason, Signals, SubjectState, SubjectView, Time,
    TokenStanding, Verdict,
};
use crate::evidence::record::fingerprint;
use crate::ledger::Token;
use crate::zones;

/// What comes of deciding an earlier answer again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The answer as its evidence has it.
    pub recorded: Recorded,
    /// Whether it is what comes of it.
    pub standing: Standing,
    /// What is to be said of it.
    pub remarks: Vec<Remark>,
    /// What comes of it; `None` where nothing can be decided.
    pub decided: Option<Reasoning>,
    /// Whether today's reason is another than that of the evidence.
    pub differs: bool,
    /// What of it makes a difference, each alone.
    pub causes: Vec<Cause>,
}

/// Whether what was known then gives the answer that the evidence has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Reproduced,
    /// It gives another.
    Contradicted,
    /// It cannot be told.
    Impossible,
}

/// Something to be said of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Of which kind.
    pub kind: RemarkKind,
    /// In a sentence.
    pub sentence: String,
}

/// What there is to be said of a replay; as the protocol has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemarkKind {
    /// The ledger is not the one that the evidence names.
    OtherLedger,
    /// The ledger could not be read.
    LedgerUnread,
    /// That took too long.
    TooLate,
    /// There is too much of it.
    TooMuch,
    /// A string of signals was not given again.
    SignalsMissing,
    /// Another one was given.
    SignalsDiffer,
    /// The evidence has words that are not known here.
    UnknownWords,
    /// Another reason.
    ReasonDiffers,
    /// Another end.
    ValidUntilDiffers,
    /// Another record.
    RecordDiffers,
    /// The catalogue is not there, or was not in force.
    CatalogueDiffers,
    /// What the sidecar was like is taken from the evidence.
    StandingTaken,
    /// The state was newer than the view said.
    Ahead,
    /// It could not be told whether the evidence is about the subject.
    SubjectUnproved,
}

/// Why today's answer is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Time has passed.
    Time,
    /// The ledger has said something since.
    Records,
    /// Another catalogue is in force.
    Catalogue,
    /// The view is in another condition.
    View,
}

/// What today's answer to the same question was decided from.
#[derive(Debug, Clone, Copy)]
pub struct Today<'a> {
    /// The strings of signals that were given again.
    pub signals: Signals<'a>,
    /// What they say.
    pub heard: Heard<'a>,
    /// What is known about the subject.
    pub subject: SubjectView<'a>,
    /// The catalogue in force.
    pub catalogue: Option<&'a Catalogue>,
    /// The view.
    pub freshness: Freshness,
    /// The time.
    pub now: Time,
    /// The answer.
    pub reason: Reason,
}

/// An answer that cannot be decided again because the ledger was not read.
#[must_use]
pub fn unread(recorded: Recorded, error: &HistoryError, today: &Today<'_>) -> Replay {
    let kind = match error {
        HistoryError::Unread(_) => RemarkKind::LedgerUnread,
        HistoryError::TooLate => RemarkKind::TooLate,
        HistoryError::TooMuch(_) => RemarkKind::TooMuch,
    };
    Replay::impossible(recorded, vec![Remark { kind, sentence: error.to_string() }], today)
}

/// Decides an earlier answer again, from what the ledger said up to the position that its evidence names.
#[must_use]
pub fn replay(recorded: Recorded, read: &Read, today: &Today<'_>) -> Replay {
    let obstacles = obstacles(&recorded, read, today);
    if !obstacles.is_empty() {
        return Replay::impossible(recorded, obstacles, today);
    }
    let Some(reason) = recorded.reason else { return Replay::impossible(recorded, Vec::new(), today) };
    let mut remarks = Vec::new();
    let mut catalogue = None;
    if recorded.catalogue_version > 0 {
        catalogue = read.past.catalogue(recorded.catalogue_version, recorded.position);
        let in_force = read.past.in_force_at(recorded.position).map_or(0, |catalogue| catalogue.version());
        if catalogue.is_none() || in_force != recorded.catalogue_version {
            remarks.push(catalogue_differs(recorded.catalogue_version, in_force, catalogue.is_some()));
        }
        if catalogue.is_none() {
            let differs = today.reason != reason;
            let (standing, decided) = (Standing::Contradicted, None);
            return Replay { recorded, standing, remarks, decided, differs, causes: Vec::new() };
        }
    }
    let then = Then::new(&recorded, reason, catalogue, read.past.state_at(recorded.position), today);
    let mut decided = then.decide();
    let mut contradictions = contradictions(&recorded, reason, &decided);
    let mut then_ahead = None;
    // INVARIANT: a state is never older than the position that is claimed for it, but may be newer by what was being
    // applied.
    for position in read.past.positions_between(recorded.position, read.ahead) {
        if contradictions.is_empty() {
            break;
        }
        let ahead = then.with_state(read.past.state_at(position));
        let again = ahead.decide();
        if self::contradictions(&recorded, reason, &again).is_empty() {
            contradictions.clear();
            decided = again;
            then_ahead = Some(ahead);
            remarks.push(Remark {
                kind: RemarkKind::Ahead,
                sentence: format!(
                    "the answer rests on an event that was just being applied, at position {}: the state was newer than \
                     the view said",
                    position.0
                ),
            });
        }
    }
    let then = then_ahead.unwrap_or(then);
    remarks.extend(then.standing_taken.clone());
    let is_reproduced = contradictions.is_empty() && remarks.iter().all(|remark| !remark.kind.is_contradiction());
    remarks.extend(contradictions);
    let standing = if is_reproduced { Standing::Reproduced } else { Standing::Contradicted };
    let differs = today.reason != reason;
    let causes = if differs { then.causes(decided.reason, today) } else { Vec::new() };
    Replay { recorded, standing, remarks, decided: Some(decided), differs, causes }
}

impl Replay {
    fn impossible(recorded: Recorded, remarks: Vec<Remark>, today: &Today<'_>) -> Self {
        let differs = recorded.reason != Some(today.reason);
        Self { recorded, standing: Standing::Impossible, remarks, decided: None, differs, causes: Vec::new() }
    }

    /// The same, saying as well that nobody could tell whether the evidence is about the subject.
    #[must_use]
    pub fn of_unproved_subject(mut self) -> Self {
        let sentence = "the month's key is not here, so that it cannot be told whether the evidence is about the subject; \
                        give the sidecar's evidence folder with --keys, or the secret that sidecars share with --key-file";
        self.remarks.push(Remark { kind: RemarkKind::SubjectUnproved, sentence: sentence.to_owned() });
        self
    }
}

impl RemarkKind {
    /// Whether it says that the evidence and what comes of it are at odds.
    #[must_use]
    pub const fn is_contradiction(self) -> bool {
        match self {
            Self::ReasonDiffers | Self::ValidUntilDiffers | Self::RecordDiffers | Self::CatalogueDiffers => true,
            Self::OtherLedger
            | Self::LedgerUnread
            | Self::TooLate
            | Self::TooMuch
            | Self::SignalsMissing
            | Self::SignalsDiffer
            | Self::UnknownWords
            | Self::StandingTaken
            | Self::Ahead
            | Self::SubjectUnproved => false,
        }
    }
}

/// Why nothing can be decided.
fn obstacles(recorded: &Recorded, read: &Read, today: &Today<'_>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut say = |kind, sentence: &str| remarks.push(Remark { kind, sentence: sentence.to_owned() });
    if recorded.ledger.is_some_and(|ledger| ledger != read.ledger) {
        say(RemarkKind::OtherLedger, "the ledger here is not the one that the evidence names");
    } else if read.end < recorded.position {
        say(RemarkKind::OtherLedger, "the ledger here ends before the position that the evidence names");
    }
    for (name, given, kept) in
        [("TCF", today.signals.tcf, &recorded.signals.tcf), ("GPP", today.signals.gpp, &recorded.signals.gpp)]
    {
        if given.is_empty() && !kept.is_empty() {
            let sentence = format!(
                "a {name} string came with the question, and evidence keeps only its fingerprint; give the string again"
            );
            say(RemarkKind::SignalsMissing, &sentence);
        } else if !given.is_empty() && *kept != fingerprint(given) {
            let sentence = format!("the {name} string that was given is not the one that came with the question");
            say(RemarkKind::SignalsDiffer, &sentence);
        }
    }
    if recorded.reason.is_none() {
        say(RemarkKind::UnknownWords, "a newer version answered with a reason that this version does not know");
    }
    if !recorded.time_zone.is_empty() && zones::find(&recorded.time_zone).is_none() {
        say(RemarkKind::UnknownWords, "the question named a time zone that this version does not know");
    }
    remarks
}

fn catalogue_differs(version: u64, in_force: u64, is_there: bool) -> Remark {
    let what = if is_there { "was not the one in force at that position" } else { "is not in the ledger up to there" };
    let sentence = format!("catalogue {version} decided, which {what}; the ledger has {in_force} in force then");
    Remark { kind: RemarkKind::CatalogueDiffers, sentence }
}

/// In what a replay is at odds with the evidence.
fn contradictions(recorded: &Recorded, reason: Reason, decided: &Reasoning) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut say = |kind, sentence| remarks.push(Remark { kind, sentence });
    if decided.reason != reason {
        let (verdict, again) = (reason.verdict(), decided.verdict());
        let sentence =
            format!("the evidence says {verdict} {reason}, and what was known then gives {again} {}", decided.reason);
        say(RemarkKind::ReasonDiffers, sentence);
    }
    if decided.record_position() != recorded.record_position {
        let place = |position: Option<Position>| {
            position.map_or_else(|| "no record".to_owned(), |position| format!("the record at position {}", position.0))
        };
        let (have, again) = (place(recorded.record_position), place(decided.record_position()));
        say(RemarkKind::RecordDiffers, format!("the evidence names {have}, and what was known then gives {again}"));
    }
    let valid_for = decided.valid_until.map_or(0, |until| until.since(recorded.answered_at).as_millis());
    if decided.reason == reason && valid_for != u128::from(recorded.valid_for_ms) {
        let have = recorded.valid_for_ms;
        let sentence =
            format!("the evidence lets the answer be relied on for {have} ms, and it comes to {valid_for} ms");
        say(RemarkKind::ValidUntilDiffers, sentence);
    }
    remarks
}

/// All that an earlier answer was decided from.
struct Then<'a> {
    question: Question<'a>,
    state: SubjectState,
    is_available: bool,
    catalogue: Option<Arc<Catalogue>>,
    freshness: Freshness,
    at: Time,
    standing_taken: Option<Remark>,
}

impl<'a> Then<'a> {
    fn new(
        recorded: &'a Recorded,
        reason: Reason,
        catalogue: Option<Arc<Catalogue>>,
        state: SubjectState,
        today: &Today<'a>,
    ) -> Self {
        let ledger = match reason {
            Reason::ReplicaBuilding => LedgerStanding::Building,
            Reason::LedgerBroken => LedgerStanding::Broken,
            _ => LedgerStanding::Following,
        };
        let asked: Option<Token> = recorded.at_least_as_fresh.parse().ok();
        let token = match asked {
            Some(asked) if recorded.ledger.is_some_and(|ledger| ledger != asked.ledger) => TokenStanding::Foreign,
            // It may have been reached while the answer was on its way.
            Some(asked) if reason == Reason::Stale || asked.position > recorded.position => TokenStanding::NotReached,
            Some(_) | None => TokenStanding::Reached,
        };
        let is_available = reason != Reason::StoreUnavailable;
        let is_taken = ledger != LedgerStanding::Following || !is_available || token == TokenStanding::NotReached;
        let standing_taken = is_taken.then(|| Remark {
            kind: RemarkKind::StandingTaken,
            sentence: "what the sidecar itself was like then is not in the ledger: it is taken from the evidence"
                .to_owned(),
        });
        Self {
            question: Question {
                purpose: &recorded.purpose,
                channel: &recorded.channel,
                recipient: &recorded.recipient,
                jurisdiction: &recorded.jurisdiction,
                signals: Signals { sec_gpc: &recorded.signals.sec_gpc, ..today.signals },
                heard: today.heard,
                max_staleness: recorded.max_staleness,
                time_zone: zones::find(&recorded.time_zone),
            },
            state,
            is_available,
            catalogue,
            freshness: Freshness { ledger, staleness: recorded.staleness, token },
            at: recorded.answered_at,
            standing_taken,
        }
    }

    fn with_state(&self, state: SubjectState) -> Self {
        let (catalogue, standing_taken) = (self.catalogue.clone(), self.standing_taken.clone());
        Self { state, catalogue, standing_taken, ..*self }
    }

    fn subject(&self) -> SubjectView<'_> {
        if self.is_available { SubjectView::State(&self.state) } else { SubjectView::Unavailable }
    }

    fn decide(&self) -> Reasoning {
        Reasoning::of(&self.question, self.subject(), self.catalogue.as_deref(), &self.freshness, self.at)
    }

    /// What of today would alone have made another answer of it.
    fn causes(&self, reason: Reason, today: &Today<'_>) -> Vec<Cause> {
        let catalogue = self.catalogue.as_deref();
        let differs = |subject, catalogue, freshness: &Freshness, now| {
            let decision = crate::domain::decide(&self.question, subject, catalogue, freshness, now);
            decision.reason != reason
        };
        let view_differs = differs(self.subject(), catalogue, &today.freshness, self.at);
        let is_lost = today.subject == SubjectView::Unavailable && self.is_available;
        let mut causes = Vec::new();
        if !is_lost && differs(today.subject, catalogue, &self.freshness, self.at) {
            causes.push(Cause::Records);
        }
        if differs(self.subject(), today.catalogue, &self.freshness, self.at) {
            causes.push(Cause::Catalogue);
        }
        if differs(self.subject(), catalogue, &self.freshness, today.now) {
            causes.push(Cause::Time);
        }
        if view_differs || is_lost {
            causes.push(Cause::View);
        }
        causes
    }
}

impl Recorded {
    /// The verdict; what is not known here is not an ALLOW.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.reason.map_or(Verdict::Deny, Reason::verdict)
    }

    /// Until when an ALLOW may be relied on.
    #[must_use]
    pub fn valid_until(&self) -> Option<Time> {
        let span = std::time::Duration::from_millis(self.valid_for_ms);
        (self.verdict() == Verdict::Allow).then(|| self.answered_at.plus(span))
    }
}
