//! The page as Prometheus reads it: whole, well-formed, and bounded.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// A page without latencies, which have many lines.
fn page(metrics: &Metrics) -> String {
    let page = metrics.render().expect("renders");
    check(&page);
    let shown = page.split_inclusive('\n').filter(|line| !line.contains("consentd_answer_duration_seconds"));
    shown.collect()
}

/// Reads a page as strictly as Prometheus reads its text format: HELP and TYPE once and before the samples, one block a
/// name, names and labels well-formed, no series twice, histograms that only grow and end with `+Inf`.
fn check(page: &str) {
    assert!(page.ends_with('\n'));
    let mut names = BTreeSet::new();
    let mut series = BTreeSet::new();
    let (mut helped, mut current, mut kind) = (String::new(), String::new(), "");
    let mut last_bucket = 0.0;
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').expect("a name and a help").0.to_owned();
            assert!(names.insert(helped.clone()), "two blocks: {line}");
            continue;
        }
        if let Some(type_line) = line.strip_prefix("# TYPE ") {
            let (name, type_name) = type_line.split_once(' ').expect("a name and a type");
            assert_eq!(name, helped, "TYPE follows HELP");
            assert!(["counter", "gauge", "histogram"].contains(&type_name), "{line}");
            (current, kind, last_bucket) = (name.to_owned(), type_name, 0.0);
            continue;
        }
        let (id, value) = line.rsplit_once(' ').expect("a sample and a value");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(series.insert(id.to_owned()), "twice: {line}");
        let (name, labels) = id
            .split_once('{')
            .map_or((id, ""), |(name, rest)| (name, rest.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))));
        let base = match kind {
            "histogram" => name.strip_suffix("_bucket").or(name.strip_suffix("_sum")).or(name.strip_suffix("_count")),
            _ => Some(name),
        };
        assert_eq!(base, Some(&*current), "{line}");
        assert!(name.starts_with("consentd_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            assert!(value.strip_suffix('"').is_some_and(|value| !value.contains(['"', '\\', '\n'])), "{line}");
        }
        if name.ends_with("_bucket") {
            last_bucket = if labels.contains("le=\"0.000001\"") { value } else { last_bucket };
            assert!(value >= last_bucket, "buckets are cumulative: {line}");
            last_bucket = value;
        } else if name.ends_with("_count") && kind == "histogram" {
            assert!(series.iter().any(|id| id.contains("le=\"+Inf\"")), "{line}");
            assert!((value - last_bucket).abs() < f64::EPSILON, "the last bucket is the count: {line}");
        }
    }
}

#[test]
fn the_page_shows_what_was_counted() {
    let metrics = Metrics::new().expect("metrics");
    let position = Arc::new(AtomicU64::new(41));
    let shown = Arc::clone(&position);
    metrics.observe_counter("consentd_ledger_events_total", "Events applied.", "{event}", move || {
        shown.load(Ordering::Relaxed)
    });
    metrics.observe_gauge("consentd_staleness_seconds", "Age of the view.", "s", || 0.25);
    metrics.observe_gauges("consentd_ready", "Whether it is ready, by condition.", "1", "condition", || {
        vec![("replica_built", 1.0), ("evidence_writable", 0.0)]
    });
    metrics.set_purposes(&["marketing.newsletter"]);
    metrics.answered("marketing.newsletter", Reason::Consent);
    metrics.row("marketing.newsletter").add(Reason::Withdrawn, 3);
    metrics.clone().answered("no.such.purpose", Reason::UnknownPurpose);
    metrics.refused(Wire::Grpc, Refusal::NotPermitted);
    metrics.refused(Wire::Grpc, Refusal::NotPermitted);
    metrics.refused(Wire::ExtAuthz, Refusal::UnknownCaller);
    position.fetch_add(1, Ordering::Relaxed);
    let expected = format!(
        r#"# HELP consentd_build_info Always 1; the label is the version.
# TYPE consentd_build_info gauge
consentd_build_info{{version="{}"}} 1
# HELP consentd_decisions_total Answers, by verdict, reason and purpose.
# TYPE consentd_decisions_total counter
consentd_decisions_total{{purpose="(unknown)",reason="UNKNOWN_PURPOSE",verdict="DENY"}} 1
consentd_decisions_total{{purpose="marketing.newsletter",reason="CONSENT",verdict="ALLOW"}} 1
consentd_decisions_total{{purpose="marketing.newsletter",reason="EVIDENCE_UNAVAILABLE",verdict="DENY"}} 0
consentd_decisions_total{{purpose="marketing.newsletter",reason="LEDGER_BROKEN",verdict="DENY"}} 0
consentd_decisions_total{{purpose="marketing.newsletter",reason="STALE",verdict="DENY"}} 0
consentd_decisions_total{{purpose="marketing.newsletter",reason="STORE_UNAVAILABLE",verdict="DENY"}} 0
consentd_decisions_total{{purpose="marketing.newsletter",reason="UNREADABLE_RECORD",verdict="DENY"}} 0
consentd_decisions_total{{purpose="marketing.newsletter",reason="WITHDRAWN",verdict="DENY"}} 3
# HELP consentd_ledger_events_total Events applied.
# TYPE consentd_ledger_events_total counter
consentd_ledger_events_total 42
# HELP consentd_ready Whether it is ready, by condition.
# TYPE consentd_ready gauge
consentd_ready{{condition="evidence_writable"}} 0
consentd_ready{{condition="replica_built"}} 1
# HELP consentd_refused_total What was not answered because of who asked, by wire and why.
# TYPE consentd_refused_total counter
consentd_refused_total{{why="handshake",wire="connection"}} 0
consentd_refused_total{{why="not_permitted",wire="authzen"}} 0
consentd_refused_total{{why="not_permitted",wire="ext_authz"}} 0
consentd_refused_total{{why="not_permitted",wire="grpc"}} 2
consentd_refused_total{{why="unknown_caller",wire="admin"}} 0
consentd_refused_total{{why="unknown_caller",wire="authzen"}} 0
consentd_refused_total{{why="unknown_caller",wire="ext_authz"}} 1
consentd_refused_total{{why="unknown_caller",wire="grpc"}} 0
# HELP consentd_staleness_seconds Age of the view.
# TYPE consentd_staleness_seconds gauge
consentd_staleness_seconds 0.25
"#,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(page(&metrics), expected);
    assert_eq!(page(&metrics), expected, "looking changes nothing");
}

#[test]
fn latencies_are_shown_by_kind_of_call() {
    let metrics = Metrics::new().expect("metrics");
    metrics.took(Call::MayProcess, Duration::from_nanos(1500));
    metrics.took(Call::MayProcess, Duration::from_millis(3));
    metrics.took(Call::MayProcessBatch, Duration::from_secs(5));
    let page = metrics.render().expect("renders");
    check(&page);
    for line in [
        r#"consentd_answer_duration_seconds_bucket{call="may_process",le="0.000001"} 0"#,
        r#"consentd_answer_duration_seconds_bucket{call="may_process",le="0.000002"} 1"#,
        r#"consentd_answer_duration_seconds_bucket{call="may_process",le="0.002048"} 1"#,
        r#"consentd_answer_duration_seconds_bucket{call="may_process",le="0.004096"} 2"#,
        r#"consentd_answer_duration_seconds_bucket{call="may_process",le="1.048576"} 2"#,
        r#"consentd_answer_duration_seconds_bucket{call="may_process",le="+Inf"} 2"#,
        r#"consentd_answer_duration_seconds_sum{call="may_process"} 0.0030015"#,
        r#"consentd_answer_duration_seconds_count{call="may_process"} 2"#,
        r#"consentd_answer_duration_seconds_bucket{call="may_process_batch",le="1.048576"} 0"#,
        r#"consentd_answer_duration_seconds_bucket{call="may_process_batch",le="+Inf"} 1"#,
        r#"consentd_answer_duration_seconds_count{call="explain"} 0"#,
    ] {
        assert!(page.lines().any(|have| have == line), "missing: {line}\nin:\n{page}");
    }
}

#[test]
fn no_series_is_folded_into_an_overflow() {
    let purposes: Vec<String> = (0..PURPOSES_MAX).map(|n| format!("p{n}")).collect();
    let purposes: Vec<&str> = purposes.iter().map(|purpose| &**purpose).collect();
    let metrics = Metrics::new().expect("metrics");
    metrics.set_purposes(&purposes);
    for purpose in &purposes {
        for reason in [Reason::Consent, Reason::Withdrawn, Reason::NoConsent] {
            metrics.answered(purpose, reason);
        }
    }
    let page = page(&metrics);
    let ones =
        page.lines().filter(|line| line.starts_with("consentd_decisions_total{purpose=\"p") && line.ends_with(" 1"));
    assert_eq!(ones.count(), 3 * PURPOSES_MAX);
}

#[test]
fn two_sidecars_in_one_process_do_not_mix() {
    let (one, other) = (Metrics::new().expect("metrics"), Metrics::new().expect("metrics"));
    one.answered("a", Reason::UnknownPurpose);
    assert!(page(&one).contains("UNKNOWN_PURPOSE"));
    assert!(!page(&other).contains("UNKNOWN_PURPOSE"));
}

#[test]
#[should_panic(expected = "twice")]
fn the_check_finds_a_series_that_is_there_twice() {
    check("# HELP consentd_a A.\n# TYPE consentd_a gauge\nconsentd_a 1\nconsentd_a 1\n");
}

#[test]
#[should_panic(expected = "buckets are cumulative")]
fn the_check_finds_a_histogram_that_shrinks() {
    check(
        "# HELP consentd_a A.\n# TYPE consentd_a histogram\nconsentd_a_bucket{le=\"0.000001\"} 2\n\
         consentd_a_bucket{le=\"+Inf\"} 1\n",
    );
}
