//! A page of the documentation as its reader goes through it: every block of commands run in the order of the page, in
//! an empty home, with the real program, and what the page shows compared with what comes.
//!
//! A block is run where it is `sh`. The line before its fence may say otherwise, in a comment that no reader sees:
//!
//! | comment | what becomes of the block |
//! |---|---|
//! | none | run; must end with 0 |
//! | `<!-- ends with 1 -->` | run; must end with that |
//! | `<!-- goes on, once it says "…" -->` | started, and left running; must not end before the page does |
//! | `<!-- until "…" -->` | run again and again until it ends with 0 and its output has that, for half a minute |
//! | `<!-- in a checkout -->` | run in the repository instead of the home, where the network is |
//! | `<!-- file ask.py -->` | not commands: written into the home under that name |
//! | `<!-- not run: … -->` | left alone, for that reason |
//! | `<!-- shown -->` | nothing to run: a form, a fragment |
//!
//! A `text` block behind one that was run is what it prints: each of its lines must come, in that order. `…` in a line
//! stands for anything in it, and a line of `…` for any lines; without one, every line that comes must be shown. A block of
//! nothing but `…` would hold whatever comes, and is refused.

#![allow(clippy::panic, clippy::expect_used, reason = "tests may fail loudly")]

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tempfile::TempDir;

/// How long a block may take: the client that is generated and installed takes the longest.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long what goes on may take to say that it has begun, and what is asked again to be so.
const SOON: Duration = Duration::from_secs(30);

/// A block of a page.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Where it begins, for people.
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) plan: Plan,
    pub(crate) text: String,
}

/// What is done with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    Run {
        code: i32,
    },
    GoesOn {
        says: String,
    },
    Until {
        says: String,
    },
    InCheckout,
    File {
        name: String,
    },
    NotRun {
        why: String,
    },
    Shown,
    /// What the block before it prints.
    Output,
}

impl Plan {
    fn of(comment: Option<&str>, language: &str) -> Self {
        let quoted = |text: &str| text.trim_matches('"').to_owned();
        let Some(comment) = comment else {
            return match language {
                "sh" => Self::Run { code: 0 },
                "text" => Self::Output,
                other => panic!("a block of `{other}` says nothing of what becomes of it"),
            };
        };
        let words = comment.split_once(' ').unwrap_or((comment, ""));
        match words {
            ("ends", rest) => Self::Run { code: rest.trim_start_matches("with ").parse().expect("a number") },
            ("goes", rest) => Self::GoesOn { says: quoted(rest.trim_start_matches("on, once it says ")) },
            ("until", rest) => Self::Until { says: quoted(rest) },
            ("in", _) => Self::InCheckout,
            ("file", name) => Self::File { name: name.to_owned() },
            ("not", rest) => Self::NotRun { why: rest.trim_start_matches("run: ").to_owned() },
            ("shown", _) => Self::Shown,
            _ => panic!("`<!-- {comment} -->` says nothing of what becomes of a block"),
        }
    }
}

/// The blocks of a page, in order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().zip(1_usize..);
    let mut comment = None;
    while let Some((line, number)) = lines.next() {
        if let Some(said) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")) {
            comment = Some(said);
            continue;
        }
        if let Some(language) = line.strip_prefix("```") {
            let body = lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```");
            let text = body.flat_map(|line| [line, "\n"]).collect();
            let plan = Plan::of(comment.take(), language);
            blocks.push(Block { line: number, language: language.to_owned(), plan, text });
        }
        assert!(comment.is_none() || line.is_empty(), "line {number}: the comment before it is about no block");
    }
    blocks
}

/// Who reads a page: a home of their own, a network of their own, and what they have started.
pub(crate) struct Reader {
    home: TempDir,
    page: &'static str,
    /// See [`PATIENCE`].
    patience: Duration,
    /// See [`SOON`].
    soon: Duration,
    going_on: Vec<Going>,
    /// Groups of processes that went on after the block that began them with `&`.
    left: RefCell<Vec<Pid>>,
    /// A process that holds the network in which the blocks are run, so that no other sidecar of this machine is there.
    network: Option<Child>,
}

/// A block that goes on.
struct Going {
    /// Where it stands.
    at: String,
    child: Child,
    /// What it prints.
    log: PathBuf,
}

impl Reader {
    pub(crate) fn of(page: &'static str) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let network = network();
        Self { home, page, patience: PATIENCE, soon: SOON, going_on: Vec::new(), left: RefCell::default(), network }
    }

    /// Goes through the page, and gives how many blocks were run.
    pub(crate) fn read(&mut self, text: &str) -> usize {
        let blocks = blocks(text);
        let mut count = 0;
        let mut said: Option<String> = None;
        for block in &blocks {
            let at = format!("{}:{}", self.page, block.line);
            let result = match &block.plan {
                Plan::Run { code } => Some(self.run(&at, &block.text, *code)),
                Plan::InCheckout => Some(self.run_in_checkout(&at, &block.text)),
                Plan::Until { says } => Some(self.run_until(&at, &block.text, says)),
                Plan::GoesOn { says } => Some(self.start(&at, &block.text, says)),
                Plan::File { name } => {
                    fs::write(self.home.path().join(name), &block.text).expect("written");
                    None
                }
                Plan::Output => {
                    assert!(block.text.lines().any(|line| line != "…"), "{at}: this is shown whatever comes");
                    let said = said.take().unwrap_or_else(|| panic!("{at}: nothing was run that could print this"));
                    compare(&at, &block.text, &said);
                    None
                }
                Plan::NotRun { .. } | Plan::Shown => None,
            };
            count += usize::from(result.is_some());
            said = result;
            self.goes_on();
        }
        count
    }

    /// Makes sure that what should go on does.
    fn goes_on(&mut self) {
        for Going { at, child, log } in &mut self.going_on {
            if let Some(status) = child.try_wait().expect("a child") {
                panic!("{at}: should go on, and has ended: {status}\n{}", fs::read_to_string(log).expect("read"));
            }
        }
    }

    fn run(&self, at: &str, script: &str, wanted: i32) -> String {
        let (code, said) = self.script(at, script, self.home.path(), true);
        assert_eq!(code, Some(wanted), "{at}: ends with {code:?}\n{script}\n{said}");
        said
    }

    fn run_in_checkout(&self, at: &str, script: &str) -> String {
        let (code, said) = self.script(at, script, Path::new(env!("CARGO_MANIFEST_DIR")), false);
        assert_eq!(code, Some(0), "{at}: ends with {code:?}\n{script}\n{said}");
        said
    }

    fn run_until(&self, at: &str, script: &str, says: &str) -> String {
        let deadline = Instant::now() + self.soon;
        loop {
            let (code, said) = self.script(at, script, self.home.path(), true);
            if code == Some(0) && said.contains(says) {
                return said;
            }
            assert!(
                Instant::now() < deadline,
                "{at}: `{says}` is not said with 0, but with {code:?}:\n{script}\n{said}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Starts what goes on, and waits until it says that it has begun.
    fn start(&mut self, at: &str, script: &str, says: &str) -> String {
        let log = self.home.path().join(format!(".output-{}", self.going_on.len()));
        let out = File::create(&log).expect("a file");
        let mut command = self.bash(&format!("exec {script}"), self.home.path(), true);
        command.stdout(out.try_clone().expect("a file")).stderr(out);
        let child = command.spawn().expect("it starts");
        self.going_on.push(Going { at: at.to_owned(), child, log: log.clone() });
        let deadline = Instant::now() + self.soon;
        loop {
            let said = fs::read_to_string(&log).expect("read");
            if said.contains(says) {
                return said;
            }
            self.goes_on();
            assert!(Instant::now() < deadline, "{at}: `{says}` is not said:\n{script}\n{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How a script ends, and what it prints on both outputs.
    fn script(&self, at: &str, script: &str, folder: &Path, is_alone: bool) -> (Option<i32>, String) {
        let path = self.home.path().join(".output");
        let out = File::create(&path).expect("a file");
        let mut command = self.bash(script, folder, is_alone);
        command.stdout(out.try_clone().expect("a file")).stderr(out);
        let mut child = command.spawn().expect("bash starts");
        // INVARIANT: the script leads a group of its own, in which is all that it starts.
        let group = Pid::from_child(&child);
        let deadline = Instant::now() + self.patience;
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                panic!("{at}: does not end:\n{script}\n{}", fs::read_to_string(&path).expect("read"));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if test_kill_process_group(group).is_ok() {
            self.left.borrow_mut().push(group);
        }
        (status.code(), fs::read_to_string(&path).expect("UTF-8"))
    }

    /// A shell as the reader has it: the program on the path, no settings of this machine's. Each keeps the variables of
    /// the one before it, as the same terminal does.
    fn bash(&self, script: &str, folder: &Path, is_alone: bool) -> Command {
        let state = self.home.path().join(".state");
        let keep = format!("trap 'declare -p | grep \"^declare -- [a-z_]*=\" >{} || true' EXIT", state.display());
        let state = state.display();
        let whole = format!("set -euo pipefail\nif [[ -f {state} ]]; then . {state}; fi\n{keep}\n{script}");
        let mut command = match self.network.as_ref().filter(|_| is_alone) {
            Some(network) => {
                let mut command = Command::new("nsenter");
                command.args(["--preserve-credentials", "--user", "--net", "--target", &network.id().to_string()]);
                command.arg("bash");
                command
            }
            None => Command::new("bash"),
        };
        command.args(["-c", &whole]).current_dir(folder).stdin(Stdio::null()).process_group(0);
        if is_alone {
            command.env_clear().env("HOME", self.home.path()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        } else {
            command.env("CLIENTS_BUILD", target().join("clients"));
        }
        command.env("PATH", path());
        command
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for group in self.left.get_mut() {
            let _ = kill_process_group(*group, Signal::KILL);
        }
        for Going { child, .. } in &mut self.going_on {
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            let _ = child.wait();
        }
        if let Some(network) = &mut self.network {
            let _ = network.kill();
            let _ = network.wait();
        }
    }
}

/// The folder of what is built for tests.
fn target() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_consentd"));
    binary.ancestors().nth(2).expect("it lies in a folder for its profile").to_owned()
}

fn path() -> std::ffi::OsString {
    let binary = Path::new(env!("CARGO_BIN_EXE_consentd")).parent().expect("a folder").to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([binary].into_iter().chain(std::env::split_paths(&others))).expect("a path")
}

/// A network in which nothing listens, or `None` where the kernel gives none to this user: then the ports must be free.
fn network() -> Option<Child> {
    const UP: &str = "import fcntl, socket, struct, sys, time\n\
                      s = socket.socket()\n\
                      fcntl.ioctl(s, 0x8914, struct.pack('16sh14x', b'lo', 0x1 | 0x40))\n\
                      print('up', flush=True)\n\
                      time.sleep(3600)\n";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "python3", "-c", UP]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut said = [0; 2];
    let is_up = child.stdout.as_mut().is_some_and(|out| out.read_exact(&mut said).is_ok()) && &said == b"up";
    if is_up {
        return Some(child);
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Holds what a page shows to what comes.
fn compare(at: &str, shown: &str, said: &str) {
    let shown: Vec<&str> = shown.lines().collect();
    let said: Vec<&str> = said.lines().collect();
    if let Err(line) = holds(&shown, &said) {
        panic!("{at}: `{line}` does not come; what comes:\n{}", said.join("\n"));
    }
}

/// Whether the lines are those that are shown; else the first shown line that does not come, or the line that is not shown.
fn holds(shown: &[&str], said: &[&str]) -> Result<(), String> {
    let mut said = said.iter();
    let mut any = false;
    for line in shown {
        if *line == "…" {
            any = true;
            continue;
        }
        let found = if any { said.find(|said| fits(line, said)) } else { said.next().filter(|said| fits(line, said)) };
        if found.is_none() {
            return Err((*line).to_owned());
        }
        any = false;
    }
    match said.next() {
        Some(more) if !any => Err(format!("(not shown) {more}")),
        _ => Ok(()),
    }
}

/// Whether a line is the one that is shown, `…` standing for anything in it.
fn fits(shown: &str, said: &str) -> bool {
    let Some((first, rest)) = shown.split_once('…') else { return shown == said };
    let Some(tail) = said.strip_prefix(first) else { return false };
    let ends = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
    ends.filter_map(|at| tail.get(at..)).any(|tail| fits(rest, tail))
}

#[test]
fn what_is_shown_is_held_to_what_comes() {
    let yes = |shown: &str, said: &str| {
        let (shown, said): (Vec<_>, Vec<_>) = (shown.lines().collect(), said.lines().collect());
        holds(&shown, &said).is_ok()
    };
    assert!(yes("a\nb …\n", "a\nb c\n"));
    assert!(yes("a … c\n…\nz\n", "a b c\nx\ny\nz\n"));
    assert!(yes("a … c", "a c c c"));
    assert!(!yes("a\n", "a\nb\n"), "more comes than is shown");
    assert!(!yes("a\nb\n", "a\n"), "less comes");
    assert!(!yes("a … c\n", "a b d\n"));
    assert!(!yes("…\nz\n", "a\nz\nb\n"));
    assert!(!yes("a\n", "ab\n"));
}

/// A page with one block, or more.
fn page_of(blocks: &[(&str, &str)]) -> String {
    let block = |(comment, script): &(&str, &str)| format!("{comment}\n```sh\n{script}\n```\n\n");
    blocks.iter().map(block).collect()
}

#[test]
#[should_panic(expected = "should go on, and has ended")]
fn what_should_go_on_and_ends_is_noticed() {
    let page =
        page_of(&[("<!-- goes on, once it says \"up\" -->", "sh -c 'echo up; sleep 0.3; exit 0'"), ("", "sleep 1")]);
    Reader::of("a page").read(&page);
}

#[test]
#[should_panic(expected = "is not said with 0, but with Some(3)")]
fn what_says_it_and_fails_is_not_taken_for_done() {
    let mut reader = Reader::of("a page");
    reader.soon = Duration::from_millis(300);
    reader.read(&page_of(&[("<!-- until \"done\" -->", "echo done; exit 3")]));
}

#[test]
#[should_panic(expected = "this is shown whatever comes")]
fn a_block_that_shows_nothing_is_refused() {
    Reader::of("a page").read(&format!("{}```text\n…\n```\n", page_of(&[("", "echo something")])));
}

/// What a script has started ends with it, also where it took too long.
#[test]
fn a_script_that_takes_too_long_is_ended_with_all_that_it_started() {
    let mut reader = Reader::of("a page");
    reader.patience = Duration::from_secs(1);
    let page = page_of(&[("", "sleep 1000 &\necho $! >child\nwait")]);
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| reader.read(&page)));
    assert!(read.is_err(), "it was waited for");
    let child = fs::read_to_string(reader.home.path().join("child")).expect("it was started");
    let stat = format!("/proc/{}/stat", child.trim());
    let deadline = Instant::now() + Duration::from_secs(5);
    // Killed, it may still wait for whoever takes in orphans.
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "it goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
}
