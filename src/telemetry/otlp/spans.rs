//! Spans: taken out of the queue in batches, put into words, sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status};
use tokio::sync::{Notify, mpsc};
use tonic::transport::Channel;

use super::sender::Sender;
use super::{BATCH_SPANS, Way, value};
use crate::domain::{Reason, Verdict};
use crate::telemetry::traces::{Finished, Kept, Told};

/// The longest that a span waits for others to go with.
const DELAY: Duration = Duration::from_secs(1);
/// How often a batch is sent before it is dropped, and how long after the first failure it is sent again; then twice as
/// long. Longer the others in the queue cannot wait.
const ATTEMPTS: u32 = 3;
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// The flags of a trace that is recorded. Source: W3C Trace Context, level 1, "sampled flag".
const SAMPLED: u32 = 1;

/// Sends spans.
#[derive(Debug)]
pub(super) struct Spans {
    client: TraceServiceClient<Channel>,
    sender: Sender,
    way: Way,
    waiting: mpsc::Receiver<Finished>,
    ready: Arc<Notify>,
    /// On its way.
    batch: Vec<Finished>,
}

impl Spans {
    pub(super) fn new(way: Way, waiting: mpsc::Receiver<Finished>, ready: Arc<Notify>) -> Self {
        let sender = Sender::new("traces", way.timeout);
        let client = TraceServiceClient::new(way.channel.clone());
        Self { client, sender, way, waiting, ready, batch: Vec::new() }
    }

    /// Sends what comes, when there is a batch of it and each second. Ends never.
    ///
    /// # Cancel safety
    /// What was on its way is kept and sent by the next [`Spans::flush`].
    pub(super) async fn run(&mut self) {
        let mut tick = tokio::time::interval(DELAY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.ready.notified() => {}
            }
            self.flush().await;
        }
    }

    /// Sends all that waits.
    ///
    /// # Cancel safety
    /// As [`Spans::run`].
    pub(super) async fn flush(&mut self) {
        loop {
            while self.batch.len() < BATCH_SPANS
                && let Ok(span) = self.waiting.try_recv()
            {
                self.batch.push(span);
            }
            if self.batch.is_empty() {
                return;
            }
            self.send().await;
            self.batch.clear();
        }
    }

    /// Ends without sending: how many spans are left, which are counted as undelivered.
    pub(super) fn give_up(mut self) -> u64 {
        let mut left = count(self.batch.len());
        self.waiting.close();
        while self.waiting.try_recv().is_ok() {
            left += 1;
        }
        self.way.counts.undelivered.fetch_add(left, Ordering::Relaxed);
        left
    }

    /// Sends the batch, several times if need be, and counts what became of it.
    async fn send(&mut self) {
        let spans = count(self.batch.len());
        let counts = Arc::clone(&self.way.counts);
        let mut pause = RETRY_AFTER;
        for attempt in 1..=ATTEMPTS {
            let message = request(&self.way.resource, &self.batch);
            let client = &mut self.client;
            let sent = self.sender.send(message, self.way.headers.now(), async |request| client.export(request).await);
            match sent.await {
                Ok(response) => {
                    let refused = response.partial_success.map_or(0, |partial| partial.rejected_spans);
                    let refused = u64::try_from(refused).unwrap_or(0).min(spans);
                    counts.refused.fetch_add(refused, Ordering::Relaxed);
                    counts.sent.fetch_add(spans - refused, Ordering::Relaxed);
                    return;
                }
                Err(failed) => {
                    counts.failed_spans.fetch_add(1, Ordering::Relaxed);
                    if !failed.is_passing || attempt == ATTEMPTS {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
        counts.undelivered.fetch_add(spans, Ordering::Relaxed);
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A batch as it is sent.
fn request(resource: &Resource, batch: &[Finished]) -> ExportTraceServiceRequest {
    let spans = batch.iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource.clone()), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// Who says so.
pub(super) fn scope() -> InstrumentationScope {
    let (name, version) = ("consentd".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

fn span(finished: &Finished) -> Span {
    let Finished { trace_id, span_id, parent, kept, since_ns, seen_ns, decided_ns, ended_ns, told } = finished;
    let event = |name: &str, time_unix_nano| Event { time_unix_nano, name: name.to_owned(), ..Event::default() };
    let mut flags = SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32;
    if parent.is_some() {
        flags |= SpanFlags::ContextIsRemoteMask as u32;
    }
    Span {
        trace_id: trace_id.to_vec(),
        span_id: span_id.to_vec(),
        parent_span_id: parent.map(Vec::from).unwrap_or_default(),
        flags,
        name: told.call.as_str().to_owned(),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: *since_ns,
        end_time_unix_nano: *ended_ns,
        attributes: attributes(told, *kept),
        events: vec![event("view taken", *seen_ns), event("decided", *decided_ns)],
        status: Some(status(told)),
        ..Span::default()
    }
}

fn attributes(told: &Told, kept: Kept) -> Vec<KeyValue> {
    // Taken apart, so that a field that is added is thought of here.
    let Told { call: _, reasons, purpose, channel, staleness, catalogue_version, token, evidence, caller } = told;
    let denied: u64 = reasons.iter().filter(|(reason, _)| is_denial(*reason)).map(|(_, count)| count).sum();
    let questions: u64 = reasons.iter().map(|(_, count)| count).sum();
    let verdict = match denied {
        0 => Verdict::Allow.as_str(),
        all if all == questions => Verdict::Deny.as_str(),
        _ => "MIXED",
    };
    let mut attributes = vec![
        value::text("consentd.verdict", verdict),
        value::count("consentd.questions", questions),
        value::count("consentd.denied", denied),
        value::number("consentd.staleness_seconds", staleness.as_secs_f64()),
        value::count("consentd.catalogue_version", *catalogue_version),
        value::text("consentd.kept", kept.as_str()),
    ];
    attributes.push(match reasons.as_slice() {
        [(reason, _)] => value::text("consentd.reason", reason.as_str()),
        several => value::texts("consentd.reasons", several.iter().map(|(reason, _)| reason.as_str())),
    });
    let texts = [
        ("consentd.purpose", purpose.as_deref().unwrap_or_default()),
        ("consentd.channel", channel.as_deref().unwrap_or_default()),
        ("consentd.ledger_token", token),
        ("consentd.evidence_id", evidence),
        ("consentd.caller", caller),
    ];
    attributes.extend(texts.into_iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| value::text(key, text)));
    attributes
}

fn is_denial(reason: Reason) -> bool {
    reason.verdict() == Verdict::Deny
}

/// A denial is an answer and no error, but for those that say that the sidecar could not do its work.
fn status(told: &Told) -> Status {
    let failure = told.reasons.iter().map(|(reason, _)| *reason).find(|reason| is_failure(*reason));
    failure.map_or_else(Status::default, |reason| Status {
        code: StatusCode::Error.into(),
        message: reason.as_str().to_owned(),
    })
}

const fn is_failure(reason: Reason) -> bool {
    matches!(reason, Reason::Stale | Reason::LedgerBroken | Reason::StoreUnavailable | Reason::EvidenceUnavailable)
}

impl Kept {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Ratio => "ratio",
            Self::Denied => "denied",
            Self::Slow => "slow",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Call;

    fn told(reasons: &[(Reason, u64)]) -> Told {
        Told {
            call: Call::AuthzenBatch,
            reasons: reasons.to_vec(),
            purpose: Some("marketing.newsletter".into()),
            channel: Some("email".into()),
            staleness: Duration::from_millis(250),
            catalogue_version: 3,
            token: Arc::from("1lcsnTCThK0gEyri5GTtF"),
            evidence: "a38da73575ff447b/2026-11/344".to_owned(),
            caller: "spiffe://example.org/mailer".into(),
        }
    }

    fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
        let found = attributes.iter().find(|attribute| attribute.key == key)?;
        Some(format!("{:?}", found.value.as_ref()?.value.as_ref()?))
    }

    #[test]
    fn every_attribute_that_is_sent_is_told() {
        let told_of = include_str!("../../../docs/telemetry.md");
        let cells = told_of.lines().filter_map(|line| line.strip_prefix("| `consentd."));
        let mut documented: Vec<String> =
            cells.filter_map(|line| Some(format!("consentd.{}", line.split_once('`')?.0))).collect();
        let one = attributes(&told(&[(Reason::Withdrawn, 1)]), Kept::Denied);
        let several = attributes(&told(&[(Reason::Consent, 2), (Reason::Withdrawn, 1)]), Kept::Ratio);
        let mut sent: Vec<String> = one.iter().chain(&several).map(|attribute| attribute.key.clone()).collect();
        sent.sort();
        sent.dedup();
        documented.sort();
        assert_eq!(sent, documented);
        assert_eq!(text(&one, "consentd.caller").as_deref(), Some("StringValue(\"spiffe://example.org/mailer\")"));
    }

    #[test]
    fn a_verdict_is_that_of_all_answers_or_mixed() {
        for (reasons, verdict, denied) in [
            (&[(Reason::Consent, 3)][..], "ALLOW", 0),
            (&[(Reason::Consent, 2), (Reason::Contract, 1)], "ALLOW", 0),
            (&[(Reason::Withdrawn, 2), (Reason::NoConsent, 1)], "DENY", 3),
            (&[(Reason::Withdrawn, 1), (Reason::Consent, 2)], "MIXED", 1),
        ] {
            let attributes = attributes(&told(reasons), Kept::Caller);
            assert_eq!(text(&attributes, "consentd.verdict"), Some(format!("StringValue(\"{verdict}\")")));
            assert_eq!(text(&attributes, "consentd.denied"), Some(format!("IntValue({denied})")));
            assert_eq!(text(&attributes, "consentd.questions"), Some("IntValue(3)".to_owned()));
        }
    }

    #[test]
    fn only_what_the_sidecar_failed_at_is_an_error() {
        for reason in Reason::ALL {
            let code = status(&told(&[(Reason::Consent, 1), (*reason, 1)])).code();
            let failed = ["STALE", "LEDGER_BROKEN", "STORE_UNAVAILABLE", "EVIDENCE_UNAVAILABLE"];
            assert_eq!(code == StatusCode::Error, failed.contains(&reason.as_str()), "{reason}");
        }
    }

    #[test]
    fn a_batch_at_its_largest_fits_into_what_collectors_take() {
        use prost::Message as _;
        let finished = || Finished {
            trace_id: [1; 16],
            span_id: [2; 8],
            parent: Some([3; 8]),
            kept: Kept::Caller,
            since_ns: u64::MAX,
            seen_ns: u64::MAX,
            decided_ns: u64::MAX,
            ended_ns: u64::MAX,
            told: Told {
                reasons: Reason::ALL.iter().map(|reason| (*reason, u64::MAX >> 6)).collect(),
                purpose: Some("p".repeat(128).into()),
                channel: Some("c".repeat(64).into()),
                caller: "s".repeat(2048).into(),
                ..told(&[])
            },
        };
        let batch: Vec<Finished> = std::iter::repeat_with(finished).take(BATCH_SPANS).collect();
        let bytes = request(&Resource::default(), &batch).encoded_len();
        assert!(bytes < 4 << 20, "{bytes}");
    }
}
