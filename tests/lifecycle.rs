//! The sidecar in a pod: what becomes of the app's questions at each moment of its life. `docs/lifecycle.md` is the table of
//! these moments, and each of its rows names a test here or beside it.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/pod.rs"]
mod pod;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use consentd::proto::v1::Reason;
use pod::{App, GRACE_MIN, answered, assert_root, check_evidence, probe, said_by_all, terminate, until_probed};
use sidecar::{Client, Home, Process, catalogue, connect_uds, eventually, newsletter, reason, until_serving};

/// As the sidecar is set up in a pod: the socket is the pod's own, and the kubelet looks from outside.
const IN_POD: [(&str, &str); 2] = [("server.uds_mode", "0666"), ("admin.tcp", "127.0.0.1:0")];
/// The grace period of the pods here.
const GRACE: Duration = Duration::from_secs(30);

/// The subjects of a ledger that takes a while to be read.
const MANY: usize = 60_000;

/// The process of the app in the other tests' pods; alone it does nothing.
#[test]
#[ignore = "the app of the other tests' pods"]
fn app_of_a_pod() {
    pod::app();
}

/// A pod that runs: the app has been answered.
async fn running(name: &str, linger: Duration) -> (Home, Process, App) {
    let home = pod::home();
    let mut sidecar = Process::spawn(&home, &IN_POD);
    until_probed(&home, &mut sidecar, "/readyz").await;
    let app = App::start(&home, name, linger);
    app.hears(100).await;
    (home, sidecar, app)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_app_starts_when_the_sidecar_is_ready_and_is_answered_from_its_first_question() {
    let home = Home::new();
    let mut sidecar = Process::spawn(&home, &IN_POD);
    until_probed(&home, &mut sidecar, "/livez").await;
    assert_eq!(probe(&home, "/readyz"), Some(503), "no ledger is there yet, and the app is not started");
    // A ledger that comes in one piece, as a copy does.
    let lines = [vec![catalogue(1)], said_by_all()].concat().join("\n") + "\n";
    std::fs::write(home.path("copied"), lines).expect("written");
    std::fs::rename(home.path("copied"), home.ledger()).expect("moved");
    until_probed(&home, &mut sidecar, "/readyz").await;

    let mut app = App::start(&home, "book", Duration::ZERO);
    app.hears(60).await;
    let ended = terminate(&mut app, &mut sidecar, GRACE).await;
    assert_eq!((ended.app.code(), ended.sidecar.code()), (Some(0), Some(0)), "{ended:?}");
    for noted in app.book() {
        let (wanted, number) =
            (&noted.came, noted.subject.trim_start_matches("crm:").parse::<usize>().expect("a number"));
        let right = [Reason::Consent, Reason::Withdrawn, Reason::UnknownSubject][number % 3];
        assert!(wanted.as_ref().is_ok_and(|(reason, _)| *reason == right), "{noted:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_answers_of_an_app_that_ends_are_served_and_in_evidence() {
    let (home, mut sidecar, mut app) = running("book", Duration::from_millis(700)).await;
    let before = app.book().len();
    let ended = terminate(&mut app, &mut sidecar, GRACE).await;
    assert_eq!((ended.app.code(), ended.sidecar.code()), (Some(0), Some(0)), "{ended:?}");
    let book = app.book();
    assert!(book.len() > before + 50, "{} answers before its end, {} in all", before, book.len());
    assert_eq!(answered(&book).count(), book.len(), "{:?}", book.iter().find(|noted| noted.came.is_err()));
    let allowed = check_evidence(&home, &book);
    assert!(allowed > 30, "{allowed} were allowed");
    assert!(ended.sidecar_took < GRACE_MIN, "{ended:?}");
    assert!(!home.uds().exists(), "the socket is removed");
}

/// The app takes more than its grace period and is killed: what is left for the sidecar is the kubelet's minimum.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_ends_in_order_within_the_least_that_a_kubelet_gives() {
    let (home, mut sidecar, mut app) = running("book", Duration::from_hours(1)).await;
    let ended = terminate(&mut app, &mut sidecar, Duration::from_millis(500)).await;
    assert_eq!(ended.app.code(), None, "the app was killed: {ended:?}");
    assert_eq!(ended.sidecar.code(), Some(0), "{ended:?}");
    assert!(check_evidence(&home, &app.book()) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_starts_again_finds_the_sidecar_as_it_was() {
    let (home, mut sidecar, mut first) = running("first", Duration::ZERO).await;
    first.kill();
    let mut second = App::start(&home, "second", Duration::ZERO);
    second.hears(100).await;
    assert!(sidecar.is_running());
    let ended = terminate(&mut second, &mut sidecar, GRACE).await;
    assert_eq!(ended.sidecar.code(), Some(0), "{ended:?}");
    let book = [first.book(), second.book()].concat();
    assert_eq!(answered(&book).count(), book.len(), "{:?}", book.iter().find(|noted| noted.came.is_err()));
    check_evidence(&home, &book);
}

/// As by the kernel for want of memory, or by a liveness probe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sidecar_is_missed_for_a_moment_and_nothing_it_said_is_lost() {
    let (home, mut sidecar, mut app) = running("book", Duration::ZERO).await;
    for round in 0..5 {
        sidecar.kill();
        assert!(home.uds().exists(), "a killed sidecar leaves its socket behind");
        sidecar = Process::spawn(&home, &IN_POD);
        app.is_allowed().await;
        println!("round {round}: missed for {:?}", longest_silence(&app));
    }
    assert!(app.is_running(), "the app goes on");
    let ended = terminate(&mut app, &mut sidecar, GRACE).await;
    assert_eq!(ended.sidecar.code(), Some(0), "{ended:?}");
    let book = app.book();
    let missed = book.iter().filter(|noted| noted.came.is_err()).count();
    assert!(missed > 0, "no question came while nobody was there");
    assert!(check_evidence(&home, &book) > 30);
}

/// The longest time between two answers.
fn longest_silence(app: &App) -> Duration {
    let book = app.book();
    let at: Vec<Duration> = answered(&book).map(|noted| noted.at).collect();
    at.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_changes_nothing() {
    let (home, mut sidecar, app) = running("book", Duration::ZERO).await;
    for _ in 0..20 {
        sidecar.terminate();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(sidecar.ended().await.code(), Some(0));
    assert!(check_evidence(&home, &app.book()) > 0);
}

/// A Deployment behind a Service: new callers come until every node knows, and are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_connects_within_the_drain_delay_is_answered_and_nobody_after_it() {
    let home = pod::home();
    let settings = [&IN_POD[..], &[("server.drain_delay", "4s")]].concat();
    let mut sidecar = Process::spawn(&home, &settings);
    until_probed(&home, &mut sidecar, "/readyz").await;
    let app = App::start(&home, "book", Duration::ZERO);
    app.hears(50).await;
    let before = app.book().len();
    let told = Instant::now();
    sidecar.terminate();
    eventually("it is not ready any more", async || (probe(&home, "/readyz") == Some(503)).then_some(())).await;
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    while told.elapsed() < Duration::from_secs(2) {
        let mut late = Client::new(connect_uds(&home.uds()).await.expect("it still takes connections"));
        assert_eq!(reason(&mut late, newsletter("crm:0")).await, Reason::Consent);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(sidecar.ended().await.code(), Some(0));
    let took = told.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert!(connect_uds(&home.uds()).await.is_err());
    // Who was connected all the time had an answer for each question until nobody was there.
    eventually("the app notices", async || app.book().iter().any(|noted| noted.came.is_err()).then_some(())).await;
    let book = app.book();
    let served = book.iter().skip(before).take_while(|noted| noted.came.is_ok()).count();
    assert!(served > 100, "{served} answers after the end was asked for");
    check_evidence(&home, &book);
}

/// The signal comes while something that the start needs is not there: here the key, behind a pipe that nobody writes to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_during_the_start_is_not_lost() {
    let home = pod::home();
    let pipe = home.path("subject.key");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("made");
    let key_file = pipe.to_str().expect("UTF-8");
    let mut sidecar = Process::spawn(&home, &[&IN_POD[..], &[("replica.key_file", key_file)]].concat());
    eventually("it listens to signals", async || listens(&sidecar).then_some(())).await;
    sidecar.terminate();
    tokio::time::sleep(Duration::from_millis(100)).await;
    std::fs::write(&pipe, [7; 32]).expect("written");
    assert_eq!(sidecar.ended().await.code(), Some(0));
    let log = std::fs::read_to_string(home.log()).expect("a log");
    assert!(log.contains("stopped"), "it ended in order: {log}");
}

/// Whether a process has its own answer to SIGTERM.
fn listens(process: &Process) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("it runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).expect("a mask");
    u64::from_str_radix(caught, 16).expect("a mask") & (1 << (rustix::process::Signal::TERM.as_raw() - 1)) != 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_while_the_copy_is_built_ends_it_at_once() {
    let home = pod::home();
    let lines: Vec<String> = (0..MANY).map(|number| sidecar::given(&format!("crm:many-{number}"))).collect();
    home.append(&lines.join("\n"));
    // Little memory, so that the copy is written out a thousand subjects at a time.
    let settings = [&IN_POD[..], &[("replica.cache_bytes", "2MiB")]].concat();
    let mut sidecar = Process::spawn(&home, &settings);
    until_probed(&home, &mut sidecar, "/livez").await;
    let some = async || Some(pod::replayed(&home)).filter(|events| *events > MANY / 10);
    let before = eventually("a part of it is built", some).await;
    assert_eq!(probe(&home, "/readyz"), Some(503), "the copy is being built");
    let told = Instant::now();
    sidecar.terminate();
    let status = sidecar.ended_by(told + GRACE_MIN).await;
    assert_eq!(status.code(), Some(0), "{status} after {:?}", told.elapsed());
    // What was built is of use to the next one.
    let mut next = Process::spawn(&home, &settings);
    until_serving(&next.connect().await).await;
    let rest = pod::replayed(&home);
    println!("{before} events were read before the end, and {rest} by the next one");
    assert!(rest + before / 2 < MANY, "{before} events were read before the end, and {rest} by the next one");
    assert_eq!(reason(&mut Client::new(next.connect().await), newsletter("crm:many-59999")).await, Reason::Consent);
}

/// In a container it is process 1, to which a signal that is not listened to does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_one_of_a_namespace_hears_the_signal() {
    assert_root("a process namespace");
    let mut deaf = Command::new("unshare");
    deaf.args(["--pid", "--fork", "--kill-child", "sleep", "1000"]);
    let mut deaf = deaf.spawn().expect("`unshare` runs");
    let inside = eventually("it runs inside", async || child_of(deaf.id())).await;
    rustix::process::kill_process(inside, rustix::process::Signal::TERM).expect("told");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(deaf.try_wait().expect("a child").is_none(), "process 1 that does not listen is not ended by SIGTERM");
    deaf.kill().expect("killed");
    deaf.wait().expect("gone");

    let home = pod::home();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_consentd")]);
    let mut sidecar = Process::spawn_by(command, &home, &IN_POD, &[]);
    until_probed(&home, &mut sidecar, "/readyz").await;
    let inside = child_of(sidecar.pid()).expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{}/status", inside.as_raw_nonzero())).expect("it runs");
    assert!(status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")), "{status}");
    let app = App::start(&home, "book", Duration::ZERO);
    app.hears(50).await;
    rustix::process::kill_process(inside, rustix::process::Signal::TERM).expect("told");
    assert_eq!(sidecar.ended().await.code(), Some(0));
    check_evidence(&home, &app.book());
}

fn child_of(parent: u32) -> Option<rustix::process::Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    rustix::process::Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// The socket's volume is mounted read-only for the app, which is another user: it can ask, and touch nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_of_another_user_asks_through_a_volume_that_is_read_only_for_it() {
    assert_root("a mount namespace");
    let home = pod::home();
    let volume = home.path("run");
    std::fs::create_dir(&volume).expect("made");
    let socket = volume.join("consentd.sock");
    let settings = [&IN_POD[..], &[("server.uds", socket.to_str().expect("UTF-8"))]].concat();
    let mut sidecar = Process::spawn(&home, &settings);
    until_probed(&home, &mut sidecar, "/readyz").await;
    let open = |path: &std::path::Path, mode| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
    };
    open(&home.path("."), 0o755);
    let book = home.path("books");
    std::fs::create_dir(&book).expect("made");
    open(&book, 0o777);
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && ! touch \"$0/x\" 2>/dev/null \
                  && ! rm \"$0/consentd.sock\" 2>/dev/null \
                  && exec setpriv --reuid 12345 --regid 12345 --clear-groups --no-new-privs --bounding-set=-all \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(&volume).arg(std::env::current_exe().expect("a path"));
    let app = App::start_by(command, &socket, &book.join("book"), Duration::ZERO);
    app.hears(50).await;
    let book = app.book();
    assert_eq!(answered(&book).count(), book.len(), "{:?}", book.iter().find(|noted| noted.came.is_err()));
    assert!(book.iter().any(pod::Noted::is_allow));
}

/// Every test that the page names is one, and every test of a pod is on the page.
#[test]
fn the_page_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/lifecycle.md")).expect("read");
    let (moments, _) = page.split_once("\n## How long it takes\n").expect("figures");
    let rows = moments.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| moment"));
    let last_cells: Vec<&str> =
        rows.filter_map(|row| row.trim_end_matches(" |").rsplit_once("| ")).map(|row| row.1).collect();
    let named: BTreeSet<&str> = last_cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(last_cells.len() > 20 && named.len() > 15, "{last_cells:?}");
    let mut tests = BTreeSet::new();
    let mut of_pods = BTreeSet::new();
    for file in
        sidecar::files(&root.join("tests")).iter().filter(|file| file.extension().is_some_and(|name| name == "rs"))
    {
        let text = std::fs::read_to_string(file).expect("read");
        let is_pods = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lifecycle"));
        // What stands before the first of either kind is no test, and what is left out by default shows nothing.
        for function in text.split("\n#[tokio::test").skip(1).chain(text.split("\n#[test]\n").skip(1)) {
            let (attributes, name) = function.split_once("fn ").expect("a test is a function");
            if attributes.contains("#[ignore") {
                continue;
            }
            let name = name.split('(').next().expect("a name").to_owned();
            if is_pods {
                of_pods.insert(name.clone());
            }
            tests.insert(name);
        }
    }
    for name in &named {
        assert!(tests.contains(*name), "`{name}` is on the page and no test");
    }
    for helper in ["running", "longest_silence", "lose", "app_of_a_pod"] {
        assert!(!tests.contains(helper), "`{helper}` is no test");
    }
    for name in of_pods.iter().filter(|name| **name != "the_page_names_tests_that_exist") {
        assert!(named.contains(&**name), "`{name}` is a test and not on the page");
    }
    assert!(last_cells.iter().all(|cell| cell.contains('`')), "{last_cells:?}");
}
