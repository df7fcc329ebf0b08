//! A real Envoy on the loopback, an upstream that tells what reached it, and a client that says exactly what it is told.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::extract::Request;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::sidecar::eventually;

/// Of the loopback.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Where a listener's filter asks.
#[derive(Debug, Clone)]
pub(crate) enum Asks {
    Tcp(SocketAddr),
    Uds(PathBuf),
}

/// A listener with the filter, and what is set on it beside the defaults.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) name: &'static str,
    pub(crate) asks: Asks,
    /// The deadline of a check; none is Envoy's own, 200 ms. Long, unless a test is about it: a machine may be busy.
    deadline: Option<&'static str>,
    /// More fields of the filter `ext_authz`.
    pub(crate) filter: Value,
    /// Filters that come before it.
    pub(crate) before: Vec<Value>,
    /// The route's `context_extensions`.
    pub(crate) extensions: Value,
    /// More fields of the connection manager.
    pub(crate) manager: Value,
}

impl Listener {
    pub(crate) fn new(name: &'static str, asks: Asks) -> Self {
        Self {
            name,
            asks,
            deadline: Some("20s"),
            filter: json!({}),
            before: Vec::new(),
            extensions: json!({}),
            manager: json!({}),
        }
    }

    /// With the deadline that Envoy has where nothing is said.
    pub(crate) fn hurried(mut self) -> Self {
        self.deadline = None;
        self
    }

    /// Lets requests through where it cannot ask.
    pub(crate) fn open(mut self) -> Self {
        self.filter = json!({"failure_mode_allow": true, "failure_mode_allow_header_add": true});
        self
    }

    pub(crate) fn filter(mut self, filter: Value) -> Self {
        self.filter = filter;
        self
    }

    pub(crate) fn before(mut self, filter: Value) -> Self {
        self.before.push(filter);
        self
    }

    pub(crate) fn extensions(mut self, extensions: Value) -> Self {
        self.extensions = extensions;
        self
    }

    pub(crate) fn manager(mut self, manager: Value) -> Self {
        self.manager = manager;
        self
    }

    fn cluster(&self) -> String {
        format!("consentd_{}", self.name)
    }

    fn config(&self, log: &Path) -> Value {
        let mut service = json!({"envoy_grpc": {"cluster_name": self.cluster()}});
        if let Some(deadline) = self.deadline {
            service["timeout"] = deadline.into();
        }
        let filter = typed(
            "envoy.filters.http.ext_authz",
            "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            &merged(
                json!({
                    "transport_api_version": "V3",
                    "grpc_service": service,
                    "stat_prefix": self.name,
                }),
                &self.filter,
            ),
        );
        let router = typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", &json!({}));
        let filters: Vec<Value> = self.before.iter().cloned().chain([filter, router]).collect();
        let own = json!({"check_settings": {"context_extensions": self.extensions}});
        let route = json!({
            "match": {"prefix": "/"},
            "route": {"cluster": "upstream"},
            "typed_per_filter_config": {"envoy.filters.http.ext_authz":
                with_type("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", &own)},
        });
        let told = |field: &str| format!("%DYNAMIC_METADATA(envoy.filters.http.ext_authz:{field})%");
        let line = json!({
            "listener": self.name,
            "path": "%REQ(:PATH)%",
            "status": "%RESPONSE_CODE%",
            "verdict": told("verdict"),
            "reason": told("reason"),
            "evidence_id": told("evidence_id"),
            "purpose": told("purpose"),
            "valid_until": told("valid_until"),
        });
        let log = json!({"path": log, "log_format": {"json_format": line}});
        let manager = json!({
            "stat_prefix": self.name,
            "access_log": [typed("log", "envoy.extensions.access_loggers.file.v3.FileAccessLog", &log)],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": filters,
        });
        let manager = typed(
            "envoy.filters.network.http_connection_manager",
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            &merged(manager, &self.manager),
        );
        json!({"name": self.name, "address": address(ANY_PORT), "filter_chains": [{"filters": [manager]}]})
    }
}

/// A filter, or another thing with a configuration of a type of its own.
pub(crate) fn typed(name: &str, of: &str, config: &Value) -> Value {
    json!({"name": name, "typed_config": with_type(of, config)})
}

fn with_type(of: &str, config: &Value) -> Value {
    merged(json!({"@type": format!("type.googleapis.com/{of}")}), config)
}

fn merged(mut config: Value, more: &Value) -> Value {
    let fields = config.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    config
}

fn address(at: SocketAddr) -> Value {
    json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}})
}

fn cluster(name: &str, at: &Value, is_grpc: bool) -> Value {
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": at}}]}]);
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    });
    if is_grpc {
        let of = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let options = json!({"explicit_http_config": {"http2_protocol_options": {}}});
        cluster["typed_extension_protocol_options"] = json!({of: with_type(of, &options)});
    }
    cluster
}

/// A port that nobody listens on, and no other test of this process was given. It is below those that the kernel gives to
/// outgoing connections, so that it is still free when a sidecar that was killed is started again.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const PORTS: u16 = 20_000;
    // Processes that run at the same time begin far from each other.
    let begin = u16::try_from(std::process::id().wrapping_mul(7919) % u32::from(PORTS)).expect("small");
    let mut ports = (0..PORTS).map(|_| 12_000 + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS);
    ports.find(|port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).expect("a free port")
}

/// A running Envoy. It ends with the test.
pub(crate) struct Envoy {
    child: Child,
    folder: TempDir,
    admin: SocketAddr,
    ports: BTreeMap<String, u16>,
}

impl Envoy {
    /// Starts one with these listeners in front of an upstream, and waits until they listen.
    pub(crate) async fn start(listeners: &[Listener], upstream: &Upstream) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name);
        let mut clusters = vec![cluster("upstream", &address(upstream.address), false)];
        clusters.extend(listeners.iter().map(|listener| {
            let at = match &listener.asks {
                Asks::Tcp(at) => address(*at),
                Asks::Uds(path) => json!({"pipe": {"path": path}}),
            };
            cluster(&listener.cluster(), &at, true)
        }));
        let listeners: Vec<Value> = listeners.iter().map(|listener| listener.config(&file("access.log"))).collect();
        let config = json!({
            "node": {"id": "test", "cluster": "test"},
            "admin": {"address": address(ANY_PORT)},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        });
        fs::write(file("envoy.json"), serde_json::to_vec_pretty(&config).expect("JSON")).expect("written");
        let mut command = Command::new(binary());
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
        command
            .args(["--file-flush-interval-msec", "50", "--admin-address-path"])
            .arg(file("admin"))
            .arg("--config-path");
        command.arg(file("envoy.json")).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(file("envoy.log")).expect("a log"));
        let child = command.spawn().expect("Envoy starts");
        let mut envoy = Self { child, folder, admin: ANY_PORT, ports: BTreeMap::new() };
        envoy.wait_ready().await;
        envoy
    }

    async fn wait_ready(&mut self) {
        let what = "Envoy listens";
        self.admin = eventually(what, async || {
            self.assert_running();
            fs::read_to_string(self.file("admin")).ok()?.parse().ok()
        })
        .await;
        eventually(what, async || {
            self.assert_running();
            (Client::connect(self.admin).await.get("/ready", &[]).await.status == 200).then_some(())
        })
        .await;
        let page = Client::connect(self.admin).await.get("/listeners?format=json", &[]).await;
        let page: Value = serde_json::from_str(&page.body).expect("JSON");
        for listener in page["listener_statuses"].as_array().expect("a list") {
            let port = listener["local_address"]["socket_address"]["port_value"].as_u64().expect("a port");
            let name = listener["name"].as_str().expect("a name").to_owned();
            self.ports.insert(name, u16::try_from(port).expect("a port"));
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn assert_running(&mut self) {
        let ended = self.child.try_wait().expect("a child");
        assert!(ended.is_none(), "Envoy ended: {ended:?}\n{}", self.log());
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it said to standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.file("envoy.log")).unwrap_or_default()
    }

    /// The address of a listener.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, *self.ports.get(name).expect("a listener")))
    }

    /// A connection to a listener.
    pub(crate) async fn client(&self, name: &str) -> Client {
        Client::connect(self.address(name)).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, name: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        self.client(name).await.get(path, headers).await
    }

    /// A counter of a listener's filter, such as `denied`.
    pub(crate) async fn count(&self, name: &str, counter: &str) -> u64 {
        let wanted = format!("cluster.upstream.ext_authz.{name}.{counter}");
        let page = Client::connect(self.admin).await.get(&format!("/stats?filter=^{wanted}$"), &[]).await.body;
        page.lines().find_map(|line| line.strip_prefix(&format!("{wanted}: "))?.parse().ok()).unwrap_or(0)
    }

    /// The lines of the access log that are about a path, as soon as there are so many.
    pub(crate) async fn logged(&self, path: &str, count: usize) -> Vec<Value> {
        eventually("the access log is written", async || {
            let text = fs::read_to_string(self.file("access.log")).unwrap_or_default();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let lines: Vec<Value> = lines.filter(|line| line["path"] == path).collect();
            (lines.len() >= count).then_some(lines)
        })
        .await
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("Envoy said:\n{}", self.log());
        }
    }
}

/// The program.
pub(crate) fn binary() -> PathBuf {
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().map(|target| target.join("python-tools-envoy/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(installed);
    folders
        .find_map(|folder| Some(folder.join("envoy")).filter(|file| file.is_file()))
        .expect("envoy is not here; `make test` gets it, and runs every test")
}

/// A server behind Envoy that answers with the headers that reached it.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let tell = async |request: Request| {
            let headers = request.headers().iter();
            let told: Vec<(String, String)> = headers
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect();
            serde_json::to_string(&told).expect("JSON")
        };
        let router = axum::Router::new().fallback(tell);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self { address, serving }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A connection over which HTTP/1.1 is spoken.
pub(crate) struct Client(BufReader<TcpStream>);

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        Self(BufReader::new(stream))
    }

    /// Asks for a path, with these headers as they are.
    pub(crate) async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Response {
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        self.get_bytes(path, &headers).await
    }

    /// The same, with values that need not be text.
    pub(crate) async fn get_bytes(&mut self, path: &str, headers: &[(&str, &[u8])]) -> Response {
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n").into_bytes();
        for (name, value) in headers {
            request.extend_from_slice(name.as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        self.0.get_mut().write_all(&request).await.expect("asked");
        let answer = tokio::time::timeout(Duration::from_secs(30), self.response());
        answer.await.expect("an answer in time")
    }

    async fn response(&mut self) -> Response {
        let first = self.line().await;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let response = Response { status, headers, body: String::new() };
        let mut body = Vec::new();
        if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line().await, 16).expect("a size");
                let from = body.len();
                body.resize(from + size, 0);
                self.0.read_exact(&mut body[from..]).await.expect("a chunk");
                assert_eq!(self.line().await, "");
                if size == 0 {
                    break;
                }
            }
        } else {
            let length = response.header("content-length").map_or(0, |length| length.parse().expect("a length"));
            body.resize(length, 0);
            self.0.read_exact(&mut body).await.expect("a body");
        }
        Response { body: String::from_utf8(body).expect("UTF-8"), ..response }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.expect("a line");
        line.trim_end().to_owned()
    }
}

impl Response {
    /// The one value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| &**value);
        let value = values.next();
        assert_eq!(values.next(), None, "several `{name}`: {self:?}");
        value
    }

    /// The reason of a denial, which headers and body tell alike.
    pub(crate) fn denied(&self) -> String {
        assert_eq!(self.status, 403, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        assert_eq!(self.header("x-consentd-verdict"), Some("DENY"), "{self:?}");
        let body = self.json();
        assert_eq!(body["verdict"], "DENY", "{self:?}");
        let reason = self.header("x-consentd-reason").expect("a reason");
        assert_eq!(body["reason"], reason, "{self:?}");
        assert_eq!(body["evidence_id"].as_str(), self.header("x-consentd-evidence-id"), "{self:?}");
        reason.to_owned()
    }

    /// The headers that reached the upstream.
    pub(crate) fn upstream(&self) -> Vec<(String, String)> {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).expect("headers")
    }

    /// The values of a header that reached the upstream.
    pub(crate) fn reached(&self, name: &str) -> Vec<String> {
        self.upstream().into_iter().filter(|(own, _)| own == name).map(|(_, value)| value).collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
