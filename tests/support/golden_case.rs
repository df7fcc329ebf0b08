//! A golden case: a file that a lawyer can read, turned into a question to the domain. A key that is misspelt fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use consentd::domain::{
    Birth, Catalogue, Collection, Day, Decision, Defects, Freshness, Gpp, Heard, LedgerStanding, LegalBasis, Notice,
    Position, Question, Reason, Record, Restriction, Signals, Status, SubjectState, SubjectView, Tcf, Time,
    TokenStanding, UnreadableMark, Verdict, Zone, decide, explain,
};
use consentd::signals;
use serde::Deserialize;
use toml::value::Datetime;

use crate::golden_catalogue::{
    Changes, NoticeLines, PurposeLines, RecipientLines, RegionLines, named, read_catalogue, span, time, zone,
};
use crate::history::{Happening, What, state_of};

/// The identifier that events and questions are about where they do not say.
const SUBJECT: &str = "crm:42";

/// One file of `tests/cases`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// In a few words; no two cases share it.
    pub(crate) title: String,
    /// What the case shows, in a sentence or two.
    pub(crate) shows: String,
    /// The law or standard that it follows from.
    pub(crate) article: String,
    /// A file of `tests/catalogues` or of `examples/catalogues`, or `none`.
    pub(crate) catalogue: String,
    /// When the question is asked.
    now: Datetime,
    /// Purposes of the catalogue as they differ here, and purposes that only this case has.
    #[serde(default)]
    change: Vec<PurposeLines>,
    /// Notices, regions and recipients that the catalogue does not have, or that differ here.
    #[serde(default)]
    notice: Vec<NoticeLines>,
    #[serde(default)]
    region: Vec<RegionLines>,
    #[serde(default)]
    recipient: Vec<RecipientLines>,
    #[serde(default)]
    event: Vec<EventLines>,
    question: QuestionLines,
    #[serde(default)]
    view: ViewLines,
    pub(crate) expect: Expectation,
}

/// One event. `what` is a status, or `erased`, `unreadable`, `linked`, `unlinked`, `restricted`, `unrestricted`,
/// `born`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLines {
    what: String,
    at: Option<Datetime>,
    /// Whom it is about.
    identifier: Option<String>,
    /// The other identifier, of a link or its undoing.
    with: Option<String>,
    purpose: Option<String>,
    channel: Option<String>,
    recipient: Option<String>,
    legal_basis: Option<String>,
    method: Option<String>,
    defects: Option<Vec<String>>,
    by_guardian: Option<bool>,
    notice: Option<ShownLines>,
    expires_at: Option<Datetime>,
    jurisdiction: Option<String>,
    proof: Option<String>,
    /// Of a birth: `2011`, `2011-04` or `2011-04-23`.
    born: Option<String>,
    /// The event's own id, of one that cannot be read.
    id: Option<String>,
    /// Its place in the ledger; where absent, its place in this file, from 1.
    position: Option<u64>,
    #[serde(default)]
    supersedes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownLines {
    id: String,
    version: u32,
    language: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionLines {
    identifier: Option<String>,
    purpose: String,
    channel: String,
    #[serde(default)]
    recipient: String,
    #[serde(default)]
    jurisdiction: String,
    #[serde(default)]
    sec_gpc: String,
    #[serde(default)]
    tcf: String,
    #[serde(default)]
    gpp: String,
    max_staleness: Option<String>,
    /// The IANA name of the subject's clock.
    time_zone: Option<String>,
}

/// What is known about the view; healthy where the file does not say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewLines {
    /// `following`, `building` or `broken`.
    ledger: Option<String>,
    /// The age of the view; one second where absent.
    age: Option<String>,
    /// `reached`, `not_reached` or `foreign`.
    token: Option<String>,
    /// `readable` or `unavailable`.
    store: Option<String>,
}

/// The whole answer: what is absent here must be absent there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expectation {
    pub(crate) verdict: String,
    pub(crate) reason: String,
    pub(crate) rule: String,
    /// The status of the record that decided.
    status: Option<String>,
    valid_until: Option<Datetime>,
    failed_purpose: Option<String>,
    /// Why the required purpose failed.
    pub(crate) failed_reason: Option<String>,
    /// The notice to show, as `id version`.
    notice: Option<String>,
    /// From when on the hour permits it.
    not_before: Option<Datetime>,
    /// What in a string of signals denied, in words.
    detail: Option<String>,
}

/// A case made ready: everything in the domain's own types.
pub(crate) struct Prepared {
    pub(crate) case: Case,
    catalogue: Option<Catalogue>,
    freshness: Freshness,
    store_readable: bool,
    max_staleness: Option<Duration>,
    now: Time,
    time_zone: Option<&'static Zone>,
    tcf: Option<Tcf>,
    gpp: Option<Gpp>,
    identifier: String,
    expected: Answer,
    /// By identifier, in the file's order.
    pub(crate) events: Vec<(String, Happening)>,
    links: Vec<LinkLine>,
}

/// What was said of two identifiers. The later decides, at equal times that they are one person.
struct LinkLine {
    pair: [String; 2],
    said: (Time, bool),
}

/// An answer, as far as a case states it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    verdict: Verdict,
    reason: Reason,
    rule: String,
    status: Option<Status>,
    valid_until: Option<Time>,
    failed_purpose: Option<String>,
    failed_reason: Option<Reason>,
    notice: Option<String>,
    not_before: Option<Time>,
    detail: Option<String>,
}

impl Case {
    /// Reads a case; the error says what is wrong and where.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// Turns the file's words into the domain's.
    pub(crate) fn prepare(self) -> Result<Prepared, String> {
        let changes = Changes {
            purposes: &self.change,
            notices: &self.notice,
            regions: &self.region,
            recipients: &self.recipient,
        };
        let catalogue = match self.catalogue.as_str() {
            "none" if changes.is_empty() => None,
            "none" => return Err("`change` needs a catalogue".to_owned()),
            name => Some(read_catalogue(name, &changes)?),
        };
        let mut events = Vec::new();
        let mut links = Vec::new();
        for (line, place) in self.event.iter().zip(1..) {
            let identifier = line.identifier.clone().unwrap_or_else(|| SUBJECT.to_owned());
            let in_event = |problem: String| format!("event {place}: {problem}");
            if matches!(line.what.as_str(), "linked" | "unlinked") {
                links.push(line.link(identifier).map_err(in_event)?);
            } else {
                events.push((identifier, line.happening(place).map_err(in_event)?));
            }
        }
        let view = &self.view;
        Ok(Prepared {
            catalogue,
            freshness: Freshness {
                ledger: match view.ledger.as_deref() {
                    None | Some("following") => LedgerStanding::Following,
                    Some("building") => LedgerStanding::Building,
                    Some("broken") => LedgerStanding::Broken,
                    Some(other) => return Err(format!("view.ledger: `{other}` is not known")),
                },
                staleness: span(view.age.as_deref().unwrap_or("1s"))?,
                token: match view.token.as_deref() {
                    None | Some("reached") => TokenStanding::Reached,
                    Some("not_reached") => TokenStanding::NotReached,
                    Some("foreign") => TokenStanding::Foreign,
                    Some(other) => return Err(format!("view.token: `{other}` is not known")),
                },
            },
            store_readable: match view.store.as_deref() {
                None | Some("readable") => true,
                Some("unavailable") => false,
                Some(other) => return Err(format!("view.store: `{other}` is not known")),
            },
            max_staleness: self.question.max_staleness.as_deref().map(span).transpose()?,
            now: time(&self.now)?,
            time_zone: self.question.time_zone.as_deref().map(zone).transpose()?,
            tcf: signals::read_tcf(&self.question.tcf).ok(),
            gpp: signals::read_gpp(&self.question.gpp).ok(),
            identifier: self.question.identifier.clone().unwrap_or_else(|| SUBJECT.to_owned()),
            expected: self.expect.answer()?,
            events,
            links,
            case: self,
        })
    }
}

impl Expectation {
    fn answer(&self) -> Result<Answer, String> {
        Ok(Answer {
            verdict: named(&self.verdict, Verdict::from_name)?,
            reason: named(&self.reason, Reason::from_name)?,
            rule: self.rule.clone(),
            status: self.status.as_deref().map(|name| named(name, Status::from_name)).transpose()?,
            valid_until: self.valid_until.as_ref().map(time).transpose()?,
            failed_purpose: self.failed_purpose.clone(),
            failed_reason: self.failed_reason.as_deref().map(|name| named(name, Reason::from_name)).transpose()?,
            notice: self.notice.clone(),
            not_before: self.not_before.as_ref().map(time).transpose()?,
            detail: self.detail.clone(),
        })
    }
}

impl From<&Decision<'_>> for Answer {
    fn from(decision: &Decision<'_>) -> Self {
        Self {
            verdict: decision.verdict(),
            reason: decision.reason,
            rule: decision.rule.to_owned(),
            status: decision.record.map(|(_, record)| record.status),
            valid_until: decision.valid_until,
            failed_purpose: decision.failed_purpose.map(str::to_owned),
            failed_reason: decision.failed_reason,
            notice: decision.notice.map(|(id, version)| format!("{id} {version}")),
            not_before: decision.not_before,
            detail: decision.detail.map(|detail| detail.to_string()),
        }
    }
}

impl Prepared {
    /// Answers the case's question from these events, joined in this order.
    ///
    /// # Errors
    /// If the answer is not the expected one: both, and every rule that was looked at.
    pub(crate) fn check<'a>(&self, events: impl IntoIterator<Item = &'a (String, Happening)>) -> Result<(), String> {
        let mut by_identifier: BTreeMap<&str, Vec<&Happening>> = BTreeMap::new();
        for (identifier, happening) in events {
            by_identifier.entry(identifier).or_default().push(happening);
        }
        let of = |identifier: &str| state_of(by_identifier.get(identifier).into_iter().flatten().copied());
        let state = SubjectState::of_person(self.person().into_iter().map(of));
        let asked = &self.case.question;
        let question = Question {
            purpose: &asked.purpose,
            channel: &asked.channel,
            recipient: &asked.recipient,
            jurisdiction: &asked.jurisdiction,
            signals: Signals { sec_gpc: &asked.sec_gpc, tcf: &asked.tcf, gpp: &asked.gpp },
            heard: Heard { tcf: self.tcf.as_ref(), gpp: self.gpp.as_ref() },
            max_staleness: self.max_staleness,
            time_zone: self.time_zone,
        };
        let view = if self.store_readable { SubjectView::State(&state) } else { SubjectView::Unavailable };
        let catalogue = self.catalogue.as_ref();
        let answer = Answer::from(&decide(&question, view, catalogue, &self.freshness, self.now));
        let (explained, outcomes) = explain(&question, view, catalogue, &self.freshness, self.now);
        if answer == self.expected && Answer::from(&explained) == answer {
            return Ok(());
        }
        let mut trace = String::new();
        for outcome in outcomes {
            let mark = if outcome.decided { "decides" } else { "passes " };
            let of = outcome.purpose.map_or(String::new(), |key| format!(" [{key}]"));
            let _ = writeln!(trace, "      {mark} {:<12}{of} {}", outcome.rule, outcome.description);
        }
        Err(format!("  {}\n    expected {}\n    answered {answer}\n{trace}", self.case.title, self.expected))
    }

    /// The identifiers that are one person with the question's.
    fn person(&self) -> Vec<&str> {
        let stands = |link: &&LinkLine| {
            let same_pair = self.links.iter().filter(|other| other.pair == link.pair);
            same_pair.map(|other| other.said).max() == Some((link.said.0, true))
        };
        let linked: Vec<&LinkLine> = self.links.iter().filter(stands).collect();
        let mut person = vec![self.identifier.as_str()];
        loop {
            let mut both_ways = linked.iter().map(|link| &link.pair).flat_map(|[a, b]| [(a, b), (b, a)]);
            let next = both_ways.find_map(|(from, to)| {
                (person.contains(&from.as_str()) && !person.contains(&to.as_str())).then_some(to)
            });
            match next {
                Some(identifier) => person.push(identifier),
                None => return person,
            }
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} by rule {}", self.verdict, self.reason, self.rule)?;
        match self.status {
            Some(status) => write!(f, ", record {status}")?,
            None => write!(f, ", no record")?,
        }
        let shown = |time: Time| {
            let shown = chrono::DateTime::from_timestamp_millis(time.unix_millis());
            shown.map_or("never".to_owned(), |t| t.to_rfc3339())
        };
        if let Some(until) = self.valid_until {
            write!(f, ", until {}", shown(until))?;
        }
        if let Some(purpose) = &self.failed_purpose {
            write!(f, ", failed purpose {purpose}")?;
        }
        if let Some(reason) = &self.failed_reason {
            write!(f, ", failed reason {reason}")?;
        }
        if let Some(time) = self.not_before {
            write!(f, ", not before {}", shown(time))?;
        }
        if let Some(notice) = &self.notice {
            write!(f, ", notice {notice}")?;
        }
        if let Some(detail) = &self.detail {
            write!(f, ", detail {detail}")?;
        }
        Ok(())
    }
}

impl EventLines {
    fn link(&self, identifier: String) -> Result<LinkLine, String> {
        self.only_these_keys(&["at", "with"])?;
        let at = time(self.at.as_ref().ok_or("`at` is missing")?)?;
        let mut pair = [identifier, self.with.clone().ok_or("`with` is missing")?];
        pair.sort_unstable();
        Ok(LinkLine { pair, said: (at, self.what == "linked") })
    }

    fn happening(&self, place: u64) -> Result<Happening, String> {
        let at = self.at.as_ref().map(time).transpose()?;
        let demanded_at = at.ok_or_else(|| "`at` is missing".to_owned());
        let position = Position(self.position.unwrap_or(place));
        let what = match self.what.as_str() {
            "erased" => {
                self.only_these_keys(&["at", "position"])?;
                What::Erased(demanded_at?)
            }
            "unreadable" => {
                self.only_these_keys(&["at", "id", "position"])?;
                let event_id = self.id.clone().unwrap_or_else(|| format!("@{}", position.0)).into();
                What::Unreadable(UnreadableMark { event_id, position, event_time: at })
            }
            "restricted" | "unrestricted" => {
                self.only_these_keys(&["at", "purpose", "position"])?;
                let purpose = self.purpose.clone().unwrap_or_default().into();
                let restricted = self.what == "restricted";
                What::Restricted(Restriction { purpose, event_time: demanded_at?, restricted })
            }
            "born" => {
                self.only_these_keys(&["at", "born", "position"])?;
                let born = latest_day(self.born.as_deref().ok_or("`born` is missing")?)?;
                What::Born(Birth { event_time: demanded_at?, born })
            }
            _ => {
                if self.with.is_some() || self.id.is_some() || self.born.is_some() {
                    return Err("`with` is for links, `id` for what cannot be read, `born` for births".to_owned());
                }
                What::Said {
                    purpose: self.purpose.clone().ok_or("`purpose` is missing")?.into(),
                    channel: self.channel.clone().ok_or("`channel` is missing")?.into(),
                    recipient: self.recipient.clone().unwrap_or_default().into(),
                    record: self.record(demanded_at?, position)?,
                }
            }
        };
        Ok(Happening { supersedes: self.supersedes.iter().map(|id| id.as_str().into()).collect(), what })
    }

    fn record(&self, event_time: Time, position: Position) -> Result<Record, String> {
        let defects = self.defects.iter().flatten().try_fold(Defects::NONE, |all, name| {
            let defect = match name.as_str() {
                "pre_ticked" => Defects::PRE_TICKED,
                "passive" => Defects::PASSIVE,
                "bundled" => Defects::BUNDLED,
                "dark_pattern" => Defects::DARK_PATTERN,
                "penalised" => Defects::PENALISED,
                "not_specific" => Defects::NOT_SPECIFIC,
                "coerced" => Defects::COERCED,
                "not_informed" => Defects::NOT_INFORMED,
                "withdrawal_untold" => Defects::WITHDRAWAL_UNTOLD,
                other => return Err(format!("`{other}` is not a defect")),
            };
            Ok(all.with(defect))
        })?;
        Ok(Record {
            event_time,
            status: named(&self.what, Status::from_name)?,
            legal_basis: named(self.legal_basis.as_deref().unwrap_or("consent"), LegalBasis::from_name)?,
            collection: Collection {
                defects,
                by_guardian: self.by_guardian.unwrap_or_default(),
                method: self.method.clone().unwrap_or_default().into(),
            },
            notice: self.notice.as_ref().map(|notice| Notice {
                version: notice.version,
                id: notice.id.as_str().into(),
                language: notice.language.as_str().into(),
            }),
            expires_at: self.expires_at.as_ref().map(time).transpose()?,
            jurisdiction: self.jurisdiction.clone().unwrap_or_default().into(),
            proof: self.proof.clone().unwrap_or_default().into(),
            position,
        })
    }

    fn only_these_keys(&self, allowed: &[&str]) -> Result<(), String> {
        let present = [
            ("at", self.at.is_some()),
            ("with", self.with.is_some()),
            ("purpose", self.purpose.is_some()),
            ("channel", self.channel.is_some()),
            ("recipient", self.recipient.is_some()),
            ("legal_basis", self.legal_basis.is_some()),
            ("method", self.method.is_some()),
            ("defects", self.defects.is_some()),
            ("by_guardian", self.by_guardian.is_some()),
            ("born", self.born.is_some()),
            ("notice", self.notice.is_some()),
            ("expires_at", self.expires_at.is_some()),
            ("jurisdiction", self.jurisdiction.is_some()),
            ("proof", self.proof.is_some()),
            ("id", self.id.is_some()),
            ("position", self.position.is_some()),
        ];
        match present.into_iter().find(|(key, present)| *present && !allowed.contains(key)) {
            Some((key, _)) => Err(format!("`{key}` means nothing in an event that is `{}`", self.what)),
            None => Ok(()),
        }
    }
}

/// The latest day of a date that may be known to the year, the month or the day.
fn latest_day(text: &str) -> Result<Day, String> {
    let wrong = || format!("`{text}` is not a day, a month or a year such as 2011-04");
    let day = |text: &str| chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let latest = match text.len() {
        4 => day(&format!("{text}-12-31")),
        7 => (28..=31).rev().find_map(|last| day(&format!("{text}-{last}"))),
        10 => day(text),
        _ => None,
    };
    let since_epoch = latest.ok_or_else(wrong)?.signed_duration_since(chrono::NaiveDate::default()).num_days();
    i32::try_from(since_epoch).map(Day::from_unix_days).map_err(|_| wrong())
}
