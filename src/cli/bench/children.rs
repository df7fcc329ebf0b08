//! Servers that a comparison starts, waits for and ends: processes of this very program, in a folder of their own.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::processor_time;
use crate::cli::Failure;
use crate::cli::client::{self, Address};

/// How long a server may take to bind its addresses.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take to be ready: a sidecar reads a ledger of a million subjects meanwhile.
const READY_TIMEOUT: Duration = Duration::from_secs(600);
/// Between two looks at its health.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// What the environment must not change in a comparison.
const OWN_VARIABLES: &str = "CONSENTD_";

/// A folder that is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new folder among the system's temporary ones, for this user alone.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn new() -> Result<Self, Failure> {
        let base = std::env::temp_dir();
        let mut number = std::process::id();
        loop {
            let path = base.join(format!("consentd-bench-{number}"));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                // What a process of this number left behind is not ours to remove.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number = number.wrapping_add(1),
                Err(error) => {
                    return Err(Failure::new(format!("cannot make the folder `{}`: {error}", path.display())));
                }
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("consentd: cannot remove the folder `{}`: {error}", self.0.display());
        }
    }
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    tcp: Address,
    uds: Address,
}

impl Server {
    /// Starts this program with arguments that make it listen on some port and on a Unix socket.
    ///
    /// # Errors
    /// If it cannot be started, or ends before it listens.
    pub(super) fn start(arguments: &[String], uds: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(OWN_VARIABLES)) {
            command.env_remove(name);
        }
        command.args(arguments).args(["--log-format", "json"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        // From here on the child ends with its owner, whatever fails.
        let unknown = Address::Uds(PathBuf::new());
        let mut server = Self { child, tcp: unknown, uds: Address::Uds(uds.to_owned()) };
        let lines = server.child.stderr.take().map(read_lines).transpose()?;
        let lines = lines.ok_or_else(|| Failure::new("a server has no standard error"))?;
        server.tcp = listening(&lines)?;
        Ok(server)
    }

    /// Where it answers over TCP.
    pub(super) const fn tcp(&self) -> &Address {
        &self.tcp
    }

    /// Where it answers over its Unix socket.
    pub(super) const fn uds(&self) -> &Address {
        &self.uds
    }

    /// Waits until its health says that it serves.
    ///
    /// # Errors
    /// If it ends, or takes too long.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let mut health = HealthClient::new(client::channel(&self.tcp).await?);
        loop {
            let response = health.check(HealthCheckRequest { service: String::new() }).await;
            if response.is_ok_and(|response| response.get_ref().status() == ServingStatus::Serving) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(Failure::new(format!("a server ended before it was ready: {status}")));
            }
            if started.elapsed() > READY_TIMEOUT {
                return Err(Failure::new(format!("a server was not ready after {READY_TIMEOUT:?}")));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The processor time it has taken, if the kernel tells.
    pub(super) fn processor_time(&self) -> Option<Duration> {
        processor_time::of(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended; nothing else has its number before it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what the server logs to its end, so that it never waits for a reader. Only who listens gets it.
fn read_lines(stderr: ChildStderr) -> std::io::Result<Receiver<String>> {
    let (sender, receiver): (Sender<String>, _) = channel();
    let read = move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    };
    std::thread::Builder::new().name("consentd-log".to_owned()).spawn(read)?;
    Ok(receiver)
}

/// The TCP address that a server says it listens on.
fn listening(lines: &Receiver<String>) -> Result<Address, Failure> {
    let started = Instant::now();
    let mut last = String::new();
    while let Ok(line) = lines.recv_timeout(LISTEN_TIMEOUT.saturating_sub(started.elapsed())) {
        if let Some(address) = address(&line) {
            return Ok(address);
        }
        last = line;
    }
    Err(Failure::new(format!("a server did not begin to listen; it said last: {last}")))
}

fn address(line: &str) -> Option<Address> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    if line.get("message")?.as_str()? != "listening" {
        return None;
    }
    line.get("tcp")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_log() {
        let line = r#"{"timestamp":"t","level":"INFO","message":"listening","tcp":"127.0.0.1:4711","uds":"/s"}"#;
        assert_eq!(address(line), Some(Address::Tcp("127.0.0.1:4711".to_owned())));
        assert_eq!(address(r#"{"message":"ready","tcp":"127.0.0.1:4711"}"#), None);
        assert_eq!(address("consentd: cannot listen"), None);
    }

    #[test]
    fn the_folder_goes_with_its_owner() {
        let folder = Folder::new().expect("a folder");
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), "x").expect("writable");
        drop(folder);
        assert!(!path.exists());
    }
}
