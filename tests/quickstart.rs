//! `consentd quickstart`, run as a newcomer runs it: the real program in an empty folder.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_mins(1);

/// The program, in a folder, with nothing in its environment that this machine has set for other sidecars.
fn consentd(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

fn quickstart(folder: &Path, more: &[&str]) -> Command {
    let mut command = consentd(folder);
    command.args(["quickstart", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"]).args(more);
    command
}

fn run(command: &mut Command) -> (String, String, Option<i32>) {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(stdout), text(stderr), status.code())
}

/// A sidecar that serves, ended when the test ends however that comes about.
struct Serving {
    child: Child,
    lines: mpsc::Receiver<String>,
    page: String,
}

impl Serving {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, page: String::new() }
    }

    /// Reads until a line that begins so, and gives it.
    fn until(&mut self, beginning: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no `{beginning}` after:\n{}", self.page));
            self.page.push_str(&line);
            self.page.push('\n');
            if line.starts_with(beginning) {
                return line;
            }
        }
    }

    fn tell(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it is there");
    }

    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end; so far:\n{}", self.page);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The commands that a page offers: what follows the program's path, or the whole of a line of `curl`.
fn offered(page: &str) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_consentd");
    let lines = page.lines().map(str::trim);
    lines.filter(|line| line.starts_with(program)).map(|line| line[program.len()..].trim().to_owned()).collect()
}

#[test]
fn every_step_is_shown_and_holds() {
    let home = tempfile::tempdir().expect("a folder");
    let (page, log, code) = run(&mut quickstart(home.path(), &["--exit"]));
    assert_eq!((code, log.as_str()), (Some(0), ""), "{page}");
    for (step, title) in
        (1..).zip(["A ledger", "The sidecar", "May we?", "A withdrawal", "A withdrawal", "The evidence", "Try"])
    {
        assert!(page.contains(&format!("\n{step}  {title}")), "step {step} in:\n{page}");
    }
    let answers = page
        .lines()
        .filter(|line| line.starts_with("   crm:") && (line.contains(" ALLOW ") || line.contains(" DENY ")));
    assert_eq!(answers.count(), 11, "{page}");
    for shown in [
        "crm:1006  health.lens_prescription  web    ALLOW EXPLICIT_CONSENT",
        "crm:1005  marketing.newsletter      email  DENY  PRE_TICKED",
        "first DENY        DENY  WITHDRAWN, ",
        "answer            DENY  WITHDRAWN, in one round trip of ",
        " records, all signed",
    ] {
        assert!(page.contains(shown), "`{shown}` in:\n{page}");
    }
    assert!(!page.contains('\x1b'), "colours where nobody sees them");

    // What is offered works as it is printed, and finds what the demonstration left.
    let commands = offered(&page);
    assert_eq!(commands.len(), 4, "{page}");
    for command in &commands {
        let (out, err, code) = run(consentd(home.path()).args(command.split(' ')));
        assert_eq!(code, Some(0), "`{command}`: {out}{err}");
        assert!(!out.is_empty(), "`{command}` shows nothing");
    }
    assert!(commands.iter().any(|command| command.starts_with("evidence verify")), "{commands:?}");
}

#[test]
fn it_serves_until_it_is_told_to_stop() {
    let home = tempfile::tempdir().expect("a folder");
    let mut serving = Serving::start(&mut quickstart(home.path(), &["--dir", "a folder"]));
    let last = serving.until("Serving on ");
    let address = last.trim_start_matches("Serving on ").split(' ').next().expect("an address").to_owned();
    let ask = |arguments: &[&str]| run(consentd(home.path()).arg("ask").args(arguments).args(["--address", &address]));
    let (out, _, code) = ask(&["crm:1006", "health.lens_prescription", "-c", "web"]);
    assert!(code == Some(0) && out.starts_with("ALLOW  EXPLICIT_CONSENT"), "{out}");
    let (out, _, code) = ask(&["crm:1001", "marketing.newsletter", "-c", "email"]);
    assert!(code == Some(1) && out.starts_with("DENY  WITHDRAWN"), "{out}");

    // A newer consent, as the page says, and the answer with its token.
    let grant =
        offered(&serving.page).into_iter().find(|command| command.starts_with("ledger grant")).expect("offered");
    let program = env!("CARGO_BIN_EXE_consentd");
    let shell = format!("{program} {grant} --json");
    let (out, err, code) = run(Command::new("sh").args(["-c", &shell]).current_dir(home.path()));
    assert_eq!(code, Some(0), "{err}");
    let written: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let token = written["token"].as_str().expect("a token");
    let (out, _, code) = ask(&["crm:1001", "marketing.newsletter", "-c", "email", "--at-least-as-fresh", token]);
    assert!(code == Some(0) && out.starts_with("ALLOW  CONSENT"), "{out}");

    serving.tell(Signal::TERM);
    assert_eq!(serving.ended().code(), Some(0));
    let (out, _, code) = run(consentd(home.path()).args(["evidence", "verify", "--dir", "a folder/data/evidence"]));
    assert!(code == Some(0) && out.contains("  holds: "), "{out}");
}

#[test]
fn a_second_run_begins_anew_and_a_folder_of_others_is_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let ledger = home.path().join("consentd-quickstart/ledger.jsonl");
    let (_, _, code) = run(&mut quickstart(home.path(), &["--exit"]));
    let first = std::fs::read_to_string(&ledger).expect("a ledger");
    let (page, _, again) = run(&mut quickstart(home.path(), &["--exit"]));
    assert_eq!((code, again), (Some(0), Some(0)), "{page}");
    let second = std::fs::read_to_string(&ledger).expect("a ledger");
    assert_eq!(first.lines().count(), second.lines().count());
    assert_ne!(first.lines().next(), second.lines().next(), "the ledger is another one");

    let (page, err, code) = run(&mut quickstart(home.path(), &["--exit", "--dir", "."]));
    assert_eq!((code, page.contains("The sidecar")), (Some(2), false), "{page}");
    assert!(err.starts_with("consentd: the folder `.` was not made by `consentd quickstart`"), "{err}");
    assert_eq!(std::fs::read_to_string(&ledger).expect("untouched"), second);
}

#[test]
fn a_port_that_is_taken_is_named_and_another_is_used_only_where_none_was_asked_for() {
    let home = tempfile::tempdir().expect("a folder");
    // Whether this test holds the usual port or something else on this machine does, it is taken.
    let _held = TcpListener::bind("127.0.0.1:7311");
    let (page, err, code) = run(consentd(home.path()).args(["quickstart", "--exit", "--admin=127.0.0.1:0"]));
    assert_eq!(code, Some(0), "{page}{err}");
    assert!(page.contains("Something else listens on 127.0.0.1:7311; another port was taken instead."), "{page}");
    assert!(!page.contains("questions         127.0.0.1:7311"), "{page}");

    let (_, err, code) = run(consentd(home.path()).args(["quickstart", "--exit", "--listen=127.0.0.1:7311"]));
    assert_eq!(code, Some(2));
    assert!(err.starts_with("consentd: cannot listen on `127.0.0.1:7311`"), "{err}");
}
