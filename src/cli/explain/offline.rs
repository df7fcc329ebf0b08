//! An earlier answer explained from a folder of evidence and the ledger, without a sidecar.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Args;
use crate::cli::Failure;
use crate::cli::ledger::place::Place as LedgerPlace;
use crate::clock::Clock;
use crate::domain::{Freshness, LedgerStanding, Question, Signals, Subject, SubjectView, TokenStanding};
use crate::evidence::record::fingerprint;
use crate::explain::{self, Found, History, Place, Reasoning, Recorded, Today, wire};
use crate::ledger::Token;
use crate::proto::time::{duration, timestamp};
use crate::proto::v1;
use crate::signals::{Listener, REMEMBERED_BYTES};
use crate::zones;

/// Decides an earlier answer again, and the same question as of now.
pub(super) async fn explain(args: &Args, dir: &Path, subject: &Subject) -> Result<v1::ExplainResponse, Failure> {
    let Some(id) = args.evidence else { return Err(Failure::new("which answer? give `--evidence ID`")) };
    let place = Place { dir: dir.to_owned(), keys: args.keys.places(), without_key: true };
    let Found { recorded, is_proved } = explain::find(&place, id, subject.expose(), |_, _| true)?;
    let history = match args.place().place()? {
        LedgerPlace::File(path) => History::of_file(path),
        LedgerPlace::Nats(config) => History::of_nats(config),
    };
    let until = Instant::now() + args.timeout();
    let read = history.read(subject.expose(), recorded.position, until).await?;

    let signals = Signals {
        sec_gpc: &recorded.signals.sec_gpc.clone(),
        tcf: &args.circumstances.tcf,
        gpp: &args.circumstances.gpp,
    };
    let understood = Listener::new(REMEMBERED_BYTES, fingerprint).understand(&signals);
    let asked = recorded.clone();
    let question = question(&asked, signals, &understood);
    let (state, catalogue) = (read.past.state_at(read.end), read.past.in_force_at(read.end));
    let now = Clock::system().now();
    // The ledger was read to its end just now.
    let (ledger, token) = (LedgerStanding::Following, TokenStanding::Reached);
    let freshness = Freshness { ledger, staleness: Duration::ZERO, token };
    let mut today = Reasoning::of(&question, SubjectView::State(&state), catalogue.as_deref(), &freshness, now);
    let against = Today {
        signals,
        heard: question.heard,
        subject: SubjectView::State(&state),
        catalogue: catalogue.as_deref(),
        freshness,
        now,
        reason: today.reason,
    };
    let mut replay = explain::replay(recorded, &read, &against);
    if !is_proved {
        replay = replay.of_unproved_subject();
    }
    for record in
        [Some(&mut today), replay.decided.as_mut()].into_iter().flatten().filter_map(|one| one.record.as_mut())
    {
        record.source = history.source(record.record.position, until).await;
    }
    Ok(v1::ExplainResponse {
        answer: Some(wire::answer(&today)),
        view: Some(v1::View {
            catalogue_version: catalogue.map_or(0, |catalogue| catalogue.version()),
            ledger_token: Token { ledger: read.ledger, position: read.end }.to_string(),
            staleness: Some(duration(Duration::ZERO)),
            answered_at: Some(timestamp(now)),
        }),
        evidence_id: String::new(),
        rules: wire::rules(&today),
        record: today.record.as_ref().map(wire::deciding_record),
        replay: Some(wire::replay(&replay)),
    })
}

fn question<'a>(asked: &'a Recorded, signals: Signals<'a>, understood: &'a crate::signals::Understood) -> Question<'a> {
    Question {
        purpose: &asked.purpose,
        channel: &asked.channel,
        recipient: &asked.recipient,
        jurisdiction: &asked.jurisdiction,
        signals,
        heard: understood.heard(),
        max_staleness: asked.max_staleness,
        time_zone: zones::find(&asked.time_zone),
    }
}
