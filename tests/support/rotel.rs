//! `rotel`, a collector that prints what it is sent.

#![allow(clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long it may take to start, on a machine that compiles meanwhile.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A collector. It ends with the test.
pub(crate) struct Rotel {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Rotel {
    /// Starts one; nothing, and a word that no test runner holds back, where this machine lacks the shared library of
    /// Python that the program needs.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let (grpc, http) = (free_address(), free_address());
        let (printed, said) = (folder.path().join("printed"), folder.path().join("said"));
        let mut command = Command::new(program());
        command.args(["start", "--debug-log", "traces", "--debug-log", "metrics", "--debug-log-verbosity", "detailed"]);
        command.args(["--exporter", "blackhole", "--otlp-grpc-endpoint", &grpc.to_string()]);
        command.args(["--otlp-http-endpoint", &http.to_string(), "--pid-file"]).arg(folder.path().join("pid"));
        command.env_clear().stdin(Stdio::null());
        command.stdout(File::create(printed).expect("a file")).stderr(File::create(&said).expect("a file"));
        let mut child = command.spawn().expect("started");
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(grpc).is_err() {
            if let Some(status) = child.try_wait().expect("a child") {
                let said = fs::read_to_string(said).expect("what it said");
                assert!(said.contains("libpython"), "rotel ended, {status}: {said}");
                // Past the runner, which shows what a test prints only where it fails.
                let _ = writeln!(
                    std::io::stderr(),
                    "\nNOT TESTED with rotel, a real collector: {}; on Debian: apt-get install libpython3.11",
                    said.trim()
                );
                return None;
            }
            assert!(Instant::now() < deadline, "rotel does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { child, address: grpc, folder })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that it has printed.
    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("printed")).expect("a file")).into_owned()
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        // A stopped process takes this signal too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, which lies beside the Python that it was installed for.
fn program() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder");
    let installed = target.join("python-tools-rotel/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let libraries = std::env::split_paths(&path)
        .chain([installed])
        .filter_map(|folder| fs::read_dir(folder.parent()?.join("lib")).ok());
    libraries
        .flatten()
        .filter_map(|library| Some(library.ok()?.path().join("site-packages/rotel/rotel-agent")))
        .find(|file| file.is_file())
        .expect("rotel is not here; `make test` gets it, and runs every test")
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}
