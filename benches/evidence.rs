//! What evidence costs on the path of an answer: appending in the stage `written`, on one thread.
#![allow(clippy::expect_used, reason = "a benchmark may fail loudly")]

use std::hint::black_box;
use std::time::Duration;

use consentd::clock::Clock;
use consentd::evidence::{Config, EvidenceLog};
use consentd::proto::v1::{CallKind, EvidenceRecord, Reason};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn record(subjects: usize) -> EvidenceRecord {
    EvidenceRecord {
        answered_at: Some(pbjson_types::Timestamp { seconds: 1_795_219_200, nanos: 123_000_000 }),
        call: CallKind::MayProcess.into(),
        purpose: "marketing.newsletter".to_owned(),
        channel: "email".to_owned(),
        jurisdiction: "TR".to_owned(),
        catalogue_version: 12,
        ledger_id: vec![7; 8],
        ledger_position: 1_234_567,
        staleness: Some(pbjson_types::Duration { seconds: 0, nanos: 250_000_000 }),
        subject_tags: vec![9; 16 * subjects],
        reasons: vec![Reason::Consent.into(); subjects],
        record_positions: vec![1_200_000; subjects],
        valid_for_ms: vec![86_400_000; subjects],
        software: "consentd 0.1.0".to_owned(),
        ..EvidenceRecord::default()
    }
}

fn append(criterion: &mut Criterion) {
    // Where Cargo builds: a real file system, not one in memory.
    let dir = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let clock = Clock::system();
    let log = EvidenceLog::open(Config::new(&dir.path().join("evidence")), &clock).expect("not locked");
    let month = log.month(clock.now()).expect("the log works");
    let mut group = criterion.benchmark_group("evidence");
    group.measurement_time(Duration::from_secs(5));
    let one = record(1);
    group.bench_function(format!("append written, {} bytes", one.encoded_len()), |bencher| {
        bencher.iter(|| log.append(&month, black_box(&one)).expect("appended"));
    });
    group.bench_function("tag of a subject", |bencher| bencher.iter(|| month.tag(black_box("crm:4211"))));
    let batch = record(1000);
    group.throughput(Throughput::Elements(1000));
    group.bench_function(format!("append written, 1000 subjects, {} bytes", batch.encoded_len()), |bencher| {
        bencher.iter(|| log.append(&month, black_box(&batch)).expect("appended"));
    });
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
