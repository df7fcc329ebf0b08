//! What an answer costs inside the sidecar, its evidence included, without the wire: of a subject in memory, of one that
//! must be read from the store, and of a batch.
//!
//! `cargo bench --bench enforcer`

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "criterion's macros document nothing; a benchmark may fail loudly"
)]

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use consentd::clock::Clock;
use consentd::domain::{Heard, LedgerStanding, Question, Signals, Verdict};
use consentd::enforcer::{Ask, Call, CallKind, Enforcer};
use consentd::evidence::{self, EvidenceLog};
use consentd::ledger::LedgerSource;
use consentd::ledger::file::{self, FileSource};
use consentd::replica::{self, Replica, Running};
use consentd::telemetry::Metrics;
use consentd::zones;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Subjects of the ledger, with four records each.
const SUBJECTS: usize = 20_000;
/// Memory in which all of them fit.
const ROOMY_BYTES: u64 = 256 << 20;
/// Memory in which next to none fits.
const SCANTY_BYTES: u64 = 64 << 10;
/// sled's own cache, as it is by default.
const STORE_CACHE_BYTES: u64 = 16 << 20;
/// A string of a publisher with many vendors, of usual length. The catalogue maps nothing to it.
const TCF: &str = concat!(
    "CQkgb8AQkgb8AEsACBENCWFoAP_gAEPgAAYgImOy3z68f1-__23_n3d3uvS3P353vr7Zed_1_-_ef_XzUP0_xf_sfcv_Ofs7",
    "ce29_-i_3_v_3Nldn9d5r-__n_6e_tf-f___u365f-Pv__-dfn-vf__vv9N9FS7ft7_r5zuD5r7f-_r3K-__sfb672-vvPPv",
    "3__1-85ha9e9-t13v_PeP_t9ff7ud8ESyxvae-c5aTRUnHoqpBmEykcejnXDigNw5GzNGGAAU7dDQQy3lIdTl_qZkYbRhAPO",
    "ZFuganAn_NBioMfMiGz-Urn35m7NEurbKmaBzIxcKaPjO89TXoGa7DpCCSI2OO-pCqSLwCPDqKY5rE38MGjXiOnlXfavLCC3",
    "e7sxh4rYeWnnLWowvFIe1z6UAEJATAA8AFgASAA3gCLAFqAMOAgcBCoCVQE5gJ6AU0AtMBawDEQGPgPEAg0A.IImMW5_u9vv",
    "3-uP___-3u39___3n-v365_9b--93_ve92_3_t19__vVP9e7797Ii__3d_-ff_tv3kv_5__Pe-zp---_8ke8___N-vn-9__3",
    "e91_-919f__9_7779rv-vZ_6w13_d9jn3z__-__X_36-zWtfT_a79l_1_72_tv7-_f9__9ffvfPe__3kA",
);
/// How long the ledger may take to be read.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// A sidecar without its wire.
struct Inside {
    enforcer: Enforcer,
    evidence: EvidenceLog,
    running: Running,
}

impl Inside {
    fn start(folder: &Path, ledger: &Path, cache_bytes: u64) -> Self {
        let clock = Clock::system();
        let source_config = file::Config::new(ledger);
        let source_clock = clock.clone();
        let sources =
            move || -> Box<dyn LedgerSource> { Box::new(FileSource::new(source_config.clone(), source_clock.clone())) };
        let config = replica::Config {
            folder: folder.join("replica"),
            cache_bytes,
            store_cache_bytes: STORE_CACHE_BYTES,
            secret: [7; 32],
        };
        let (replica, running) = Replica::start(config, Box::new(sources), clock.clone()).expect("threads");
        let started = Instant::now();
        while replica.view().ledger != LedgerStanding::Following {
            assert!(started.elapsed() < READY_TIMEOUT, "{:?}", replica.trouble());
            std::thread::sleep(Duration::from_millis(10));
        }
        let metrics = Metrics::new().expect("metrics");
        let view = replica.view();
        let catalogue = view.published.catalogue.as_deref().expect("a catalogue");
        metrics.set_purposes(&catalogue.purposes().map(|purpose| &*purpose.key).collect::<Vec<_>>());
        let evidence = EvidenceLog::open(evidence::Config::new(&folder.join("evidence")), &clock).expect("not locked");
        let enforcer = Enforcer::new(replica, evidence.clone(), metrics, clock, Duration::ZERO);
        Self { enforcer, evidence, running }
    }

    /// The time that so many calls take, one after the other, each of the questions of the next chunk.
    fn time(&self, runtime: &Runtime, kind: CallKind, chunks: &[&[Ask<'_>]], calls: u64) -> Duration {
        // A wire shares what its questions have in common.
        let call = Call {
            kind,
            shared: chunks[0][0].question,
            at_least_as_fresh: None,
            patience: Duration::MAX,
            since: Instant::now(),
            caller: "",
            trace: None,
        };
        runtime.block_on(async {
            let started = Instant::now();
            for (_, asks) in (0..calls).zip(chunks.iter().cycle()) {
                let answered = self.enforcer.answer(&call, black_box(asks)).await;
                assert!(answered.evidence().is_some(), "evidence was written");
                black_box(&answered);
            }
            started.elapsed()
        })
    }

    /// Those of the subjects whose answer is ALLOW. They are in memory afterwards, if they fit.
    fn allowed<'a>(&self, runtime: &Runtime, asks: &[Ask<'a>]) -> Vec<Ask<'a>> {
        let call = Call {
            kind: CallKind::MayProcessBatch,
            shared: asks[0].question,
            at_least_as_fresh: None,
            patience: Duration::MAX,
            since: Instant::now(),
            caller: "",
            trace: None,
        };
        let answered = runtime.block_on(self.enforcer.answer(&call, asks));
        let allowed = asks.iter().zip(answered.answers()).filter(|(_, answer)| answer.verdict() == Verdict::Allow);
        allowed.map(|(ask, _)| *ask).collect()
    }

    fn stop(self) {
        self.evidence.close().expect("the log closes in order");
        self.running.stop();
    }
}

/// What the synthetic ledger has 85 in 100 allow.
fn question() -> Question<'static> {
    Question {
        purpose: "marketing.newsletter",
        channel: "email",
        recipient: "",
        jurisdiction: "",
        signals: Signals::default(),
        heard: Heard::default(),
        max_staleness: None,
        time_zone: None,
    }
}

/// The ledger again, with a catalogue behind it that makes use of everything for every purpose: terms by region, a rule for
/// the young, methods, versions of a notice, quiet hours, and signals. Its subjects are allowed as before.
fn with_everything(ledger: &Path, at: &Path) {
    let text = std::fs::read_to_string(ledger).expect("a ledger");
    let first = text.lines().next().expect("a catalogue");
    let mut event: Value = serde_json::from_str(first).expect("JSON");
    event["eventId"] = json!("everything");
    // Six hours from now, for a minute.
    let hour = (Clock::system().now().unix_millis() / 3_600_000 + 3 + 6) % 24;
    let quiet = json!([{
        "channels": ["email"], "from": format!("{hour:02}:00"), "until": format!("{hour:02}:01"), "timeZone": "Europe/Istanbul"
    }]);
    let catalogue = &mut event["catalogue"];
    catalogue["version"] = json!("2");
    catalogue["notices"] = json!([{ "id": "privacy", "versions": [
        { "version": 1 }, { "version": 2, "material": true }, { "version": 3, "effectiveAt": "2026-01-01T00:00:00Z" }
    ] }]);
    catalogue["regions"] =
        json!([{ "key": "EU", "members": ["DE", "FR"] }, { "key": "TR", "timeZone": "Europe/Istanbul" }]);
    for purpose in catalogue["purposes"].as_array_mut().expect("purposes") {
        purpose["honoursGpc"] = json!(true);
        purpose["tcf"] = json!({ "purposes": [1] });
        purpose["gpp"] = json!({ "sale": true });
        purpose["quietHours"] = quiet.clone();
        let young = json!({ "under": 18, "treatment": "MINOR_TREATMENT_GUARDIAN", "unknownAge": "UNKNOWN_AGE_ADULT" });
        purpose["minors"] = young.clone();
        purpose["regional"] = json!([
            { "regions": ["TR"], "maxAge": "31536000s", "minors": young },
            { "regions": ["EU"], "honoursGpc": true },
            { "regions": ["US-CA"], "legalBasis": "LEGAL_BASIS_LEGITIMATE_INTEREST" },
            { "regions": ["US-ME"], "specialCategory": true, "legalBasis": "LEGAL_BASIS_EXPLICIT_CONSENT" }
        ]);
    }
    std::fs::write(at, format!("{text}{event}\n")).expect("written");
}

fn answer(criterion: &mut Criterion) {
    // Where Cargo builds: a real file system, not one in memory.
    let dir = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let ledger = dir.path().join("ledger.jsonl");
    let mut write = Command::new(env!("CARGO_BIN_EXE_consentd"));
    write.args(["bench", "ledger", "--subjects", &SUBJECTS.to_string(), "--out"]).arg(&ledger);
    assert!(write.status().expect("runs").success());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ids: Vec<String> = (1..=SUBJECTS).map(|id| id.to_string()).collect();
    let asks: Vec<Ask<'_>> = ids.iter().map(|id| Ask { space: "crm", id, question: question() }).collect();

    let mut group = criterion.benchmark_group("enforcer");
    group.measurement_time(Duration::from_secs(5));

    let roomy = Inside::start(&dir.path().join("roomy"), &ledger, ROOMY_BYTES);
    let allowed = roomy.allowed(&runtime, &asks);
    assert!((SUBJECTS * 8 / 10..SUBJECTS * 9 / 10).contains(&allowed.len()), "{} allow", allowed.len());
    let one = [&allowed[..1]];
    group.bench_function("hit, allow, evidence written, one subject", |bencher| {
        bencher.iter_custom(|calls| roomy.time(&runtime, CallKind::MayProcess, &one, calls));
    });
    // To be compared with the one above.
    let signals = Signals { tcf: TCF, ..Signals::default() };
    let with_string = allowed.iter().map(|ask| Ask { question: Question { signals, ..ask.question }, ..*ask });
    let with_string: Vec<Ask<'_>> = with_string.collect();
    group.bench_function("hit, allow, evidence written, one subject, with a TCF string seen before", |bencher| {
        bencher.iter_custom(|calls| roomy.time(&runtime, CallKind::MayProcess, &[&with_string[..1]], calls));
    });
    let each: Vec<&[Ask<'_>]> = allowed.chunks(1).collect();
    group.bench_function(format!("hit, allow, evidence written, {} subjects", each.len()), |bencher| {
        bencher.iter_custom(|calls| roomy.time(&runtime, CallKind::MayProcess, &each, calls));
    });
    let batches: Vec<&[Ask<'_>]> = allowed.chunks_exact(1000).collect();
    group.throughput(Throughput::Elements(1000));
    group.bench_function("batch of 1000 hits, allow, evidence written", |bencher| {
        bencher.iter_custom(|calls| roomy.time(&runtime, CallKind::MayProcessBatch, &batches, calls));
    });
    let batches: Vec<&[Ask<'_>]> = with_string.chunks_exact(1000).collect();
    group.bench_function("batch of 1000 hits, allow, evidence written, with a TCF string seen before", |bencher| {
        bencher.iter_custom(|calls| roomy.time(&runtime, CallKind::MayProcessBatch, &batches, calls));
    });
    roomy.stop();

    // To be compared with the same of the release before there was any of it.
    let everything = dir.path().join("everything.jsonl");
    with_everything(&ledger, &everything);
    let full = Inside::start(&dir.path().join("full"), &everything, ROOMY_BYTES);
    let in_region = Question { jurisdiction: "TR", time_zone: zones::find("Europe/Istanbul"), ..question() };
    let asks_in_region: Vec<Ask<'_>> = asks.iter().map(|ask| Ask { question: in_region, ..*ask }).collect();
    let allowed = full.allowed(&runtime, &asks_in_region);
    assert!(allowed.len() > SUBJECTS / 3, "{} allow", allowed.len());
    group.throughput(Throughput::Elements(1));
    group.bench_function("hit, allow, evidence written, one subject, every feature on", |bencher| {
        bencher.iter_custom(|calls| full.time(&runtime, CallKind::MayProcess, &[&allowed[..1]], calls));
    });
    let each: Vec<&[Ask<'_>]> = allowed.chunks(1).collect();
    group.bench_function(
        format!("hit, allow, evidence written, {} subjects, every feature on", each.len()),
        |bencher| {
            bencher.iter_custom(|calls| full.time(&runtime, CallKind::MayProcess, &each, calls));
        },
    );
    let signals = Signals { sec_gpc: "0", tcf: TCF, ..Signals::default() };
    let permitted: Vec<Ask<'_>> =
        allowed.iter().map(|ask| Ask { question: Question { signals, ..ask.question }, ..*ask }).collect();
    let permitted = full.allowed(&runtime, &permitted);
    assert_eq!(permitted.len(), allowed.len(), "the string permits it");
    group.bench_function("hit, allow, evidence written, one subject, every feature on, with a TCF string", |bencher| {
        bencher.iter_custom(|calls| full.time(&runtime, CallKind::MayProcess, &[&permitted[..1]], calls));
    });
    full.stop();

    let scanty = Inside::start(&dir.path().join("scanty"), &ledger, SCANTY_BYTES);
    let cold: Vec<&[Ask<'_>]> = asks.chunks(1).collect();
    group.throughput(Throughput::Elements(1));
    group.bench_function("miss, read from the store, evidence written", |bencher| {
        bencher.iter_custom(|calls| scanty.time(&runtime, CallKind::MayProcess, &cold, calls));
    });
    scanty.stop();
    group.finish();
}

criterion_group!(benches, answer);
criterion_main!(benches);
