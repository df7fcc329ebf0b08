//! Which answers leave a span.

use super::*;
use crate::domain::Time;
use crate::telemetry::Metrics;
use crate::telemetry::otlp::QUEUE_SPANS;

const PARENT: TraceParent = TraceParent { trace_id: [7; 16], span_id: [8; 8], sampled: true };

struct Recorded {
    traces: Traces,
    queue: mpsc::Receiver<Finished>,
    batch: Arc<Notify>,
    counts: Arc<Counts>,
}

fn recorded(ratio: f64, slow: Option<Duration>) -> Recorded {
    limited(ratio, slow, u32::MAX)
}

fn limited(ratio: f64, slow: Option<Duration>, kept_per_second: u32) -> Recorded {
    let (sender, queue) = mpsc::channel(QUEUE_SPANS);
    let (batch, counts) = (Arc::new(Notify::new()), Arc::new(Counts::default()));
    let clock = Clock::manual(Time::from_unix_millis(1_700_000_000_000));
    let traces =
        Traces::new(Sampling { ratio, slow, kept_per_second }, sender, Arc::clone(&batch), Arc::clone(&counts), clock);
    Recorded { traces, queue, batch, counts }
}

/// A call that took so long until its verdict.
fn timing(took: Duration) -> Timing {
    let since = Instant::now().checked_sub(took).expect("the machine runs for longer");
    Timing { since, seen: since, decided: since + took }
}

fn told() -> Told {
    Told {
        call: Call::MayProcess,
        reasons: vec![(Reason::Consent, 1)],
        purpose: None,
        channel: None,
        staleness: Duration::ZERO,
        catalogue_version: 1,
        token: Arc::from(""),
        evidence: String::new(),
        caller: Box::from(""),
    }
}

impl Recorded {
    /// Answers, and says which trace the evidence names and why the span was kept.
    fn answer(&mut self, parent: Option<TraceParent>, denied: bool) -> (Option<[u8; 16]>, Option<Kept>) {
        let span = self.traces.decided(parent, timing(Duration::ZERO), || denied);
        let named = span.trace_id();
        span.end(|| denied, told);
        let kept = self.queue.try_recv().ok();
        if let (Some(named), Some(kept)) = (named, &kept) {
            assert_eq!(named, kept.trace_id, "evidence and span name one trace");
        }
        (named, kept.map(|kept| kept.kept))
    }
}

#[test]
fn a_callers_flag_decides_before_the_share_does() {
    for ratio in [0.0, 1.0] {
        let mut recorded = recorded(ratio, None);
        let unsampled = TraceParent { sampled: false, ..PARENT };
        assert_eq!(recorded.answer(Some(PARENT), false), (Some([7; 16]), Some(Kept::Caller)));
        assert_eq!(recorded.answer(Some(unsampled), false), (Some([7; 16]), None));
        assert_eq!(recorded.answer(Some(unsampled), true), (Some([7; 16]), Some(Kept::Denied)));
        let (named, kept) = recorded.answer(None, false);
        assert_eq!((named.is_some(), kept), (ratio > 0.5, (ratio > 0.5).then_some(Kept::Ratio)));
    }
}

#[test]
fn a_share_is_that_share() {
    let mut recorded = recorded(0.1, None);
    let kept = (0..20_000).filter(|_| recorded.answer(None, false).1.is_some()).count();
    // Eleven standard deviations to each side.
    assert!((1_530..2_470).contains(&kept), "{kept}");
    assert_eq!(threshold(0.0), 0);
    assert_eq!(threshold(1.0), 1 << 56);
    assert_eq!(randomness(&[0xff; 16]), (1 << 56) - 1);
}

#[test]
fn a_slow_answer_is_kept_whether_its_verdict_or_its_evidence_took_long() {
    let slow = Duration::from_millis(20);
    let mut recorded = recorded(0.0, Some(slow));
    let span = recorded.traces.decided(None, timing(slow), || false);
    assert!(span.trace_id().is_some(), "known before the evidence is written");
    span.end(|| false, told);
    let kept = recorded.queue.try_recv().expect("kept");
    assert_eq!((kept.kept, kept.parent), (Kept::Slow, None));
    assert_eq!(kept.ended_ns, 1_700_000_000_000_000_000);
    assert!(kept.ended_ns - kept.since_ns >= 20_000_000 && kept.since_ns <= kept.decided_ns, "{kept:?}");

    let span = recorded.traces.decided(None, timing(Duration::ZERO), || false);
    assert_eq!(span.trace_id(), None);
    std::thread::sleep(slow);
    span.end(|| false, told);
    assert_eq!(recorded.queue.try_recv().expect("kept").kept, Kept::Slow);
}

#[test]
fn a_denial_for_want_of_evidence_is_kept() {
    let mut recorded = recorded(0.0, None);
    let span = recorded.traces.decided(None, timing(Duration::ZERO), || false);
    span.end(|| true, told);
    let kept = recorded.queue.try_recv().expect("kept");
    assert_eq!(kept.kept, Kept::Denied);
    assert_ne!(kept.trace_id, [0; 16]);
}

#[test]
fn what_finds_no_place_is_dropped_and_nothing_is_made_of_it() {
    let recorded = recorded(1.0, None);
    for _ in 0..QUEUE_SPANS {
        recorded.traces.decided(None, timing(Duration::ZERO), || true).end(|| true, told);
    }
    let metrics = Metrics::new().expect("metrics");
    recorded.counts.show(&metrics);
    let dropped = |count: u64| {
        let page = metrics.render().expect("renders");
        assert!(page.contains(&format!("consentd_spans_dropped_total{{why=\"queue_full\"}} {count}\n")), "{page}");
    };
    dropped(0);
    let span = recorded.traces.decided(None, timing(Duration::ZERO), || true);
    span.end(|| true, || panic!("it was made for nothing"));
    dropped(1);
}

#[test]
fn denials_are_kept_up_to_the_limit_of_a_second_and_what_is_sampled_beyond_it() {
    let mut recorded = limited(0.0, None, 3);
    let metrics = Metrics::new().expect("metrics");
    recorded.counts.show(&metrics);
    let began = Instant::now();
    let mut kept = 0;
    while began.elapsed() < Duration::from_millis(1100) {
        let (named, why) = recorded.answer(None, true);
        assert_eq!(named.is_some(), why.is_some(), "no evidence names a trace that nobody has");
        kept += u32::from(why == Some(Kept::Denied));
    }
    // The second may have ended once or twice meanwhile.
    assert!((6..=9).contains(&kept), "{kept}");
    assert_eq!(recorded.answer(Some(PARENT), true).1, Some(Kept::Caller));
    let page = metrics.render().expect("renders");
    let dropped = page.lines().find_map(|line| line.strip_prefix("consentd_spans_dropped_total{why=\"over_limit\"} "));
    assert!(dropped.expect("shown").parse::<u64>().expect("a count") > 0, "{page}");
    assert_eq!(limited(0.0, None, 0).answer(None, true), (None, None));
}

#[tokio::test]
async fn who_sends_is_woken_by_a_batch() {
    let recorded = recorded(1.0, None);
    let woken = async || tokio::time::timeout(Duration::from_millis(10), recorded.batch.notified()).await.is_ok();
    let answers = |count| {
        for _ in 0..count {
            recorded.traces.decided(None, timing(Duration::ZERO), || false).end(|| false, told);
        }
    };
    answers(BATCH_SPANS - 1);
    assert!(!woken().await);
    answers(1);
    assert!(woken().await);
}

#[test]
fn nothing_is_kept_and_no_time_read_where_it_is_off() {
    let traces = Traces::off();
    let long_ago = timing(Duration::from_secs(1)).since;
    assert_eq!(traces.moment(long_ago), long_ago);
    let span = traces.decided(None, timing(Duration::ZERO), || panic!("nobody asked"));
    assert_eq!((span.trace_id(), span.shown()), (None, None));
    span.end(|| panic!("nobody asked"), || panic!("nobody asked"));
    let span = traces.decided(Some(PARENT), timing(Duration::ZERO), || false);
    assert_eq!(span.shown().as_deref(), Some("07070707070707070707070707070707"), "the caller's, for its evidence");
}
