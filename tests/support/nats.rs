//! Real NATS servers on the loopback: one, or three that share streams and speak TLS on both sides.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use consentd::nats::Tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to start, and a cluster to agree on a leader, on a machine that compiles meanwhile.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Below the ports that the kernel gives to outgoing connections, so that a port is still free when its server, killed,
/// is started again.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// How a server is set up.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// `jetstream.sync_interval`; the server's own default, two minutes, where it is `None`.
    pub(crate) sync_interval: Option<&'static str>,
    /// More lines of its configuration, such as `accounts`.
    pub(crate) more: String,
    /// The files of TLS for clients, who must show a certificate too.
    pub(crate) tls: Option<Certificates>,
}

impl Default for Options {
    fn default() -> Self {
        Self { sync_interval: Some("always"), more: String::new(), tls: None }
    }
}

/// A server. It ends with the test; what it stored lies in a folder that goes with it.
#[derive(Debug)]
pub(crate) struct NatsServer {
    pub(crate) name: String,
    pub(crate) port: u16,
    monitor: u16,
    tls: bool,
    folder: TempDir,
    child: Option<Child>,
}

impl NatsServer {
    /// A server alone, ready.
    pub(crate) fn start(options: &Options) -> Self {
        let mut server = Self::launch("alone", options, "");
        server.wait_ready();
        server
    }

    fn launch(name: &str, options: &Options, cluster: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server =
            Self { name: name.to_owned(), port: free_port(), monitor: free_port(), tls: false, folder, child: None };
        server.tls = options.tls.is_some();
        let sync = options.sync_interval.map_or_else(String::new, |sync| format!("sync_interval: {sync}"));
        let tls = options.tls.as_ref().map_or_else(String::new, |files| files.block("tls"));
        let (port, monitor) = (server.port, server.monitor);
        let store = quoted(&server.store_dir());
        let more = &options.more;
        let config = format!(
            "server_name: {name}\nlisten: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitor}\n\
             jetstream {{ store_dir: {store}, max_file: 8G, {sync} }}\n{tls}\n{cluster}\n{more}\n"
        );
        fs::write(server.file("server.conf"), config).expect("written");
        server.run();
        server
    }

    /// Starts the process, which must not run.
    fn run(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(self.file("server.log")).expect("a log");
        let mut command = Command::new(binary());
        command.arg("--config").arg(self.file("server.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("nats-server starts"));
    }

    /// Waits until the server says that it is healthy: `JetStream` is there, and in a cluster has a leader.
    pub(crate) fn wait_ready(&mut self) {
        let started = Instant::now();
        while self.page("/healthz").is_none_or(|page| !page.contains(r#""status":"ok""#)) {
            let ended = self.child.as_mut().is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()));
            assert!(!ended && started.elapsed() < READY_WITHIN, "{} is not ready:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The body of a page of its monitoring, if the status is 200.
    pub(crate) fn page(&self, path: &str) -> Option<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.monitor));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("it ended");
    }

    /// Ends it in order, as an operator does.
    pub(crate) fn shut_down(&mut self) {
        kill_process(self.pid(), Signal::TERM).expect("told");
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("it ended");
    }

    /// Stops it in its tracks: its connections stand, and nothing is answered.
    pub(crate) fn stop(&self) {
        kill_process(self.pid(), Signal::STOP).expect("stopped");
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid().as_raw_nonzero()));
        let is_stopped = |task: fs::DirEntry| {
            // The state stands behind the name, which is in parentheses.
            fs::read_to_string(task.path().join("stat"))
                .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
        };
        while !fs::read_dir(&tasks).expect("it runs").flatten().all(is_stopped) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it go on after [`NatsServer::stop`].
    pub(crate) fn cont(&self) {
        kill_process(self.pid(), Signal::CONT).expect("continued");
    }

    /// Starts it again after [`NatsServer::kill`], on the same ports and with what it stored, and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        self.run();
        self.wait_ready();
    }

    /// As [`NatsServer::restart`], without waiting.
    pub(crate) fn restart_without_waiting(&mut self) {
        self.run();
    }

    /// Whether its process is there.
    pub(crate) const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Where clients find it.
    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "tls" } else { "nats" }, self.port)
    }

    /// Where it stores streams. To be touched only while it does not run.
    pub(crate) fn store_dir(&self) -> PathBuf {
        self.file("store")
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.file("server.log")).unwrap_or_default()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Three servers that share streams. Servers and clients show certificates to each other.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<NatsServer>,
    pub(crate) certificates: Certificates,
}

impl Cluster {
    /// A cluster, ready to make streams.
    pub(crate) fn start(size: usize) -> Self {
        Self::start_through(size, |_, _, port| port)
    }

    /// As [`Cluster::start`], where each server reaches each other on the port that `way` gives: it is told who connects
    /// to whom, and the port that this one listens on. There is no other way between them.
    pub(crate) fn start_through(size: usize, mut way: impl FnMut(usize, usize, u16) -> u16) -> Self {
        let certificates = Certificates::make();
        let ports: Vec<u16> = (0..size).map(|_| free_port()).collect();
        let tls = certificates.block("tls");
        let options = Options { tls: Some(certificates.clone()), ..Options::default() };
        let mut launch = |(from, port): (usize, &u16)| {
            let others = ports.iter().enumerate().filter(|(to, _)| *to != from);
            let routes = others.fold(String::new(), |mut text, (to, port)| {
                let _ = write!(text, "\"nats-route://127.0.0.1:{}\",", way(from, to, *port));
                text
            });
            // Servers tell each other where the others are; nobody listens where these say.
            let cluster = format!(
                "cluster {{ name: consent, listen: 127.0.0.1:{port}, no_advertise: true, advertise: \"127.0.0.1:9\", \
                 routes: [ {routes} ]\n{tls} }}"
            );
            NatsServer::launch(&format!("n{from}"), &options, &cluster)
        };
        let nodes: Vec<NatsServer> = ports.iter().enumerate().map(&mut launch).collect();
        let mut cluster = Self { nodes, certificates };
        cluster.nodes.iter_mut().for_each(NatsServer::wait_ready);
        cluster
    }

    /// Where clients find it.
    pub(crate) fn urls(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(NatsServer::url).collect();
        urls.join(",")
    }

    /// The node with this name, such as that of a stream's leader.
    pub(crate) fn node(&mut self, name: &str) -> &mut NatsServer {
        self.nodes.iter_mut().find(|node| node.name == name).expect("a node")
    }
}

/// Certificates that an authority of the test signed, as PEM files in a folder that lives as long as they are used.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    folder: std::sync::Arc<TempDir>,
}

impl Certificates {
    /// An authority, a certificate for servers on the loopback and one for clients.
    pub(crate) fn make() -> Self {
        let certificates = Self { folder: std::sync::Arc::new(tempfile::tempdir().expect("a folder")) };
        certificates.renew(2099);
        certificates
    }

    /// Puts others in their place, of another authority of the same name, good to the beginning of a year. A server takes
    /// them when it starts again.
    pub(crate) fn renew(&self, until: i32) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "consentd tests");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        fs::write(self.ca(), authority.pem()).expect("written");
        for name in ["server", "client"] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
            params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &authority).expect("signed");
            fs::write(self.file(&format!("{name}.pem")), certificate.pem()).expect("written");
            fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).expect("written");
        }
    }

    /// What a client is told of them.
    pub(crate) fn tls(&self) -> Tls {
        Tls { ca: Some(self.ca()), cert: Some(self.client_cert()), key: Some(self.client_key()) }
    }

    /// The authority's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The client's certificate.
    pub(crate) fn client_cert(&self) -> PathBuf {
        self.file("client.pem")
    }

    /// Its key.
    pub(crate) fn client_key(&self) -> PathBuf {
        self.file("client.key")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A server's configuration of TLS, which asks the other side for a certificate.
    fn block(&self, name: &str) -> String {
        let [cert, key, ca] = [self.file("server.pem"), self.file("server.key"), self.ca()].map(|file| quoted(&file));
        format!("{name} {{ cert_file: {cert}, key_file: {key}, ca_file: {ca}, verify: true, timeout: 10 }}")
    }
}

/// The server's program: on the path, as `make test` puts it there, or where `make test` put it.
pub(crate) fn binary() -> PathBuf {
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().map(|target| target.join("python-tools/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(installed);
    folders
        .find_map(|folder| Some(folder.join("nats-server")).filter(|file| file.is_file()))
        .expect("nats-server is not here; `make test` gets it, and runs every test")
}

/// A path as a string of the server's configuration.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// A port that nobody listens on, and no other test of this process was given.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Processes that run at the same time begin far from each other.
    let begin = u16::try_from(std::process::id().wrapping_mul(7919) % u32::from(span)).expect("small");
    for _ in 0..span {
        let port = PORTS.start + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
