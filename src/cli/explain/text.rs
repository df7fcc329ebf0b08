//! An explanation as text for a terminal of 80 columns.

use std::fmt::Write as _;
use std::time::Duration;

use super::time::Clockface;
use super::words::{self, Labels, Language};
use crate::domain::{LegalBasis, Reason, Status, Verdict};
use crate::proto::time::span;
use crate::proto::v1;

/// Columns that are written to.
const COLUMNS: usize = 80;
/// Columns of a field's name and of a rule's, with what is before it.
const NAME: usize = 22;

/// Puts an explanation into words.
#[derive(Debug)]
pub(super) struct Page {
    language: Language,
    labels: &'static Labels,
    clockface: Clockface,
}

impl Page {
    pub(super) const fn new(language: Language, clockface: Clockface) -> Self {
        Self { language, labels: Labels::of(language), clockface }
    }

    /// The whole explanation. `subject` is shown as whoever asks has typed it.
    pub(super) fn of(&self, subject: &str, asked: &v1::Question, response: &v1::ExplainResponse) -> String {
        let mut text = String::new();
        let replay = response.replay.as_ref();
        let asked = replay.and_then(|replay| replay.question.as_ref()).unwrap_or(asked);
        let Some(answer) = &response.answer else {
            let _ = writeln!(text, "{}: {}", self.labels.no, self.labels.no_answer);
            return text;
        };
        self.headline(&mut text, answer);
        paragraph(&mut text, 2, 2, &self.asked(subject, asked));
        text.push('\n');
        self.answer(&mut text, answer);
        let _ = writeln!(text, "\n{}", self.labels.record);
        match &response.record {
            Some(record) => self.record(&mut text, record),
            None => paragraph(&mut text, 2, 2, self.labels.no_record),
        }
        let _ = writeln!(text, "\n{}", self.labels.rules);
        self.rules(&mut text, &response.rules, reason(answer.reason()), answer);
        if let Some(reason) = reason(answer.reason()) {
            let _ = writeln!(text, "\n{}", self.labels.advice);
            paragraph(&mut text, 2, 2, words::advice(self.language, reason));
        }
        if let Some(replay) = replay {
            let _ = writeln!(text, "\n{}", self.labels.earlier);
            self.replay(&mut text, replay, response);
        }
        text.push('\n');
        self.foot(&mut text, response);
        text
    }

    fn headline(&self, text: &mut String, answer: &v1::Answer) {
        paragraph(text, 0, 4, &self.verdict_and_why(answer.verdict(), reason(answer.reason())));
    }

    fn verdict_and_why(&self, verdict: v1::Verdict, why: Option<Reason>) -> String {
        let verdict = Verdict::try_from(verdict).unwrap_or(Verdict::Deny);
        let said = if verdict == Verdict::Allow { self.labels.yes } else { self.labels.no };
        format!("{said}: {}.", self.why(why))
    }

    fn why(&self, why: Option<Reason>) -> &'static str {
        why.map_or(self.labels.unknown_reason, |reason| words::reason(self.language, reason))
    }

    fn asked(&self, subject: &str, asked: &v1::Question) -> String {
        let recipient = if asked.recipient.is_empty() { self.labels.controller } else { &asked.recipient };
        let parts = [subject, &asked.purpose, &asked.channel, recipient, &asked.jurisdiction, &asked.time_zone];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
    }

    fn answer(&self, text: &mut String, answer: &v1::Answer) {
        let labels = self.labels;
        if !answer.failed_purpose.is_empty() {
            let why = self.why(reason(answer.failed_reason()));
            field(text, labels.required, &format!("{}: {why}", answer.failed_purpose));
        }
        if let Some(notice) = &answer.notice {
            field(text, labels.show_notice, &format!("{}, {} {}", notice.id, labels.version, notice.version));
        }
        if let Ok(basis) = LegalBasis::try_from(answer.legal_basis()) {
            field(text, labels.legal_basis, words::legal_basis(self.language, basis));
        }
        if let Some(until) = &answer.valid_until {
            field(text, labels.valid_until, &self.clockface.show(until, labels));
        }
        if let Some(from) = &answer.not_before {
            field(text, labels.not_before, &self.clockface.show(from, labels));
        }
    }

    fn record(&self, text: &mut String, record: &v1::DecidingRecord) {
        let labels = self.labels;
        if let Ok(status) = Status::try_from(record.status()) {
            let basis = LegalBasis::try_from(record.legal_basis());
            let basis = basis.map(|basis| format!(" ({})", words::legal_basis(self.language, basis)));
            let said = format!("{}{}", words::status(self.language, status), basis.unwrap_or_default());
            field(text, labels.said, &said);
        }
        let recipient = if record.recipient.is_empty() { labels.controller } else { &record.recipient };
        field(text, labels.about, &format!("{} · {} · {recipient}", record.purpose, record.channel));
        if let Some(time) = &record.event_time {
            field(text, labels.when, &self.clockface.show(time, labels));
        }
        if let Some(time) = &record.expires_at {
            field(text, labels.expires, &self.clockface.show(time, labels));
        }
        let collection = record.collection.clone().unwrap_or_default();
        let method = if collection.method.is_empty() { labels.not_said } else { &collection.method };
        let guardian = if collection.by_guardian { format!(", {}", labels.by_guardian) } else { String::new() };
        field(text, labels.how, &format!("{method}{guardian}"));
        for defect in defects(&collection) {
            field(text, labels.defects, words::reason(self.language, defect));
        }
        let notice = record.notice.as_ref().map(|notice| {
            let language = if notice.language.is_empty() { String::new() } else { format!(", {}", notice.language) };
            format!("{}, {} {}{language}", notice.id, labels.version, notice.version)
        });
        field(text, labels.notice, notice.as_deref().unwrap_or(labels.no_notice));
        for (name, value) in
            [(labels.place, &record.jurisdiction), (labels.proof, &record.proof), (labels.source, &record.source)]
        {
            if !value.is_empty() {
                field(text, name, value);
            }
        }
        field(text, labels.position, &record.position.to_string());
    }

    /// The rules as a list to be ticked off.
    fn rules(&self, text: &mut String, rules: &[v1::RuleOutcome], why: Option<Reason>, answer: &v1::Answer) {
        for rule in rules {
            let mark = match rule.result() {
                v1::RuleResult::Passed | v1::RuleResult::Allowed => '✓',
                v1::RuleResult::Denied => '✗',
                v1::RuleResult::NotReached | v1::RuleResult::Unspecified => '·',
            };
            let is_required = !rule.purpose.is_empty();
            let indent = if is_required { "    " } else { "  " };
            let mut line = format!("{indent}{mark} {}", rule.rule);
            pad(&mut line, NAME);
            line.push_str(words::rule(self.language, &rule.rule, &rule.description));
            if is_required {
                let _ = write!(line, " [{}]", rule.purpose);
            }
            wrapped(text, &line, NAME);
            for terms in &rule.terms {
                let regions = if terms.regions.is_empty() { self.labels.elsewhere } else { &terms.regions.join(", ") };
                let source = if terms.source.is_empty() { String::new() } else { format!(": {}", terms.source) };
                paragraph(text, NAME, NAME + 2, &format!("§ {regions}{source}"));
            }
            if rule.decided {
                let reason = if is_required { reason(answer.failed_reason()) } else { why };
                if let Some(reason) = reason.filter(|_| rule.result() == v1::RuleResult::Denied || !is_required) {
                    paragraph(text, NAME, NAME + 2, &format!("→ {}", words::reason(self.language, reason)));
                }
                // The words of the standard, which has none in other languages.
                if !rule.detail.is_empty() {
                    paragraph(text, NAME, NAME + 2, &format!("→ {}", rule.detail));
                }
            }
        }
        if rules.iter().any(|rule| rule.result() == v1::RuleResult::NotReached) {
            paragraph(text, 2, 4, &format!("· {}", self.labels.not_reached));
        }
    }

    fn replay(&self, text: &mut String, replay: &v1::Replay, response: &v1::ExplainResponse) {
        let labels = self.labels;
        let recorded = replay.recorded.clone().unwrap_or_default();
        paragraph(text, 2, 6, &self.verdict_and_why(recorded.verdict(), reason(recorded.reason())));
        if let Some(at) = &recorded.answered_at {
            field(text, labels.answered, &self.clockface.show(at, labels));
        }
        if let Some(until) = &recorded.valid_until {
            field(text, labels.valid_until, &self.clockface.show(until, labels));
        }
        if !recorded.caller.is_empty() {
            field(text, labels.asked_by, &recorded.caller);
        }
        field(text, labels.evidence, &replay.evidence_id);
        text.push('\n');
        let standing = match replay.standing() {
            v1::ReplayStanding::Reproduced => labels.reproduced,
            v1::ReplayStanding::Contradicted => labels.contradicted,
            v1::ReplayStanding::Impossible | v1::ReplayStanding::Unspecified => labels.impossible,
        };
        paragraph(text, 2, 2, standing);
        for remark in &replay.remarks {
            paragraph(text, 2, 4, &format!("- {}", self.remark(remark)));
        }
        text.push('\n');
        if replay.differs {
            paragraph(text, 2, 2, labels.differs_today);
            let causes: Vec<_> = replay.causes().map(|cause| words::cause(self.language, cause)).collect();
            for cause in &causes {
                paragraph(text, 2, 4, &format!("- {cause}"));
            }
            if causes.is_empty() && replay.answer.is_some() {
                paragraph(text, 2, 4, &format!("- {}", labels.together));
            }
        } else {
            paragraph(text, 2, 2, labels.same_today);
        }
        self.then_and_now(text, replay, &recorded, response);
    }

    /// A sentence in the reader's language; in English the one that came, which has the figures.
    fn remark(&self, remark: &v1::ReplayRemark) -> String {
        let own = words::remark(self.language, remark.kind());
        match self.language {
            Language::En if !remark.sentence.is_empty() => remark.sentence.clone(),
            Language::En | Language::Tr => own.to_owned(),
        }
    }

    fn then_and_now(
        &self,
        text: &mut String,
        replay: &v1::Replay,
        recorded: &v1::RecordedAnswer,
        response: &v1::ExplainResponse,
    ) {
        let labels = self.labels;
        let deciding = |rules: &[v1::RuleOutcome]| {
            let decided = rules.iter().rfind(|rule| rule.decided && rule.purpose.is_empty());
            decided.map(|rule| rule.rule.clone())
        };
        let place = |position: Option<u64>| position.map(|position| position.to_string());
        let today = response.record.as_ref().map(|record| record.position);
        let version = response.view.as_ref().map(|view| view.catalogue_version);
        let rows = [
            (labels.then_rule, deciding(&replay.rules), deciding(&response.rules)),
            (labels.then_record, place(recorded.record_position), place(today)),
            (labels.then_catalogue, Some(recorded.catalogue_version.to_string()), place(version)),
        ];
        for (name, then, now) in rows {
            let (then, now) = (then.as_deref().unwrap_or(labels.none), now.as_deref().unwrap_or(labels.none));
            let line = if then == now { then.to_owned() } else { format!("{then}; {}: {now}", labels.today) };
            field(text, name, &line);
        }
    }

    fn foot(&self, text: &mut String, response: &v1::ExplainResponse) {
        let labels = self.labels;
        if let Some(view) = &response.view {
            let age = view.staleness.as_ref().and_then(span).unwrap_or(Duration::MAX);
            let age = format!("{:.1} s {}", age.as_secs_f64(), labels.old);
            let catalogue = format!("{} {}", labels.catalogue, view.catalogue_version);
            field(text, labels.view, &format!("{age}, {catalogue}, {}", view.ledger_token));
        }
        let evidence = match (response.evidence_id.as_str(), response.answer.as_ref().map(v1::Answer::reason)) {
            ("", Some(v1::Reason::EvidenceUnavailable)) => labels.no_evidence,
            ("", _) => labels.offline,
            (id, _) => id,
        };
        field(text, labels.evidence, evidence);
    }
}

fn reason(wire: v1::Reason) -> Option<Reason> {
    Reason::try_from(wire).ok()
}

/// The facts of a collection that void it, as the reasons that they are.
fn defects(collection: &v1::Collection) -> Vec<Reason> {
    let facts = [
        (collection.pre_ticked, Reason::PreTicked),
        (collection.passive, Reason::Passive),
        (collection.bundled, Reason::Bundled),
        (collection.dark_pattern, Reason::DarkPattern),
        (collection.penalised, Reason::Penalised),
        (collection.not_specific, Reason::NotSpecific),
        (collection.coerced, Reason::Coerced),
        (collection.not_informed, Reason::NotInformed),
        (collection.withdrawal_untold, Reason::WithdrawalUntold),
    ];
    facts.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect()
}

fn field(text: &mut String, name: &str, value: &str) {
    let mut line = format!("  {name}");
    pad(&mut line, NAME);
    line.push_str(value);
    wrapped(text, &line, NAME);
}

fn pad(line: &mut String, columns: usize) {
    let have = line.chars().count();
    line.extend(std::iter::repeat_n(' ', columns.saturating_sub(have).max(1)));
}

fn paragraph(text: &mut String, first: usize, others: usize, words: &str) {
    wrapped(text, &format!("{}{words}", " ".repeat(first)), others);
}

/// Writes a line, broken between words where it is too long for the terminal; what follows a break is indented. A word
/// that is longer than a line stays whole, so that it can be copied.
fn wrapped(text: &mut String, line: &str, indent: usize) {
    let mut column = 0;
    let begin = line.chars().take_while(|c| *c == ' ').count();
    text.extend(std::iter::repeat_n(' ', begin));
    column += begin;
    let mut is_first = true;
    for word in line.trim_start_matches(' ').split(' ') {
        let len = word.chars().count();
        if !is_first && !word.is_empty() && column + 1 + len > COLUMNS {
            while text.ends_with(' ') {
                text.pop();
            }
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if !is_first {
            text.push(' ');
            column += 1;
        }
        is_first = false;
        text.push_str(word);
        column += len;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_long_words_stay_whole() {
        let mut text = String::new();
        field(&mut text, "ad", &"sözcük ".repeat(20));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() > 2, "{text}");
        for line in &lines {
            assert!(
                line.chars().count() <= COLUMNS && !line.ends_with(' ') || line == lines.last().expect("one"),
                "{line}|"
            );
        }
        assert!(lines[1].starts_with(&" ".repeat(NAME)) && !lines[1].starts_with(&" ".repeat(NAME + 1)), "{text}");
        let mut text = String::new();
        let long = "x".repeat(100);
        field(&mut text, "name", &format!("before {long}"));
        assert!(text.lines().any(|line| line.trim() == long), "{text}");
    }
}
