//! The image: built of the Dockerfile, looked at file by file, and started from its own root as the user that it names,
//! without capabilities, on a root that cannot be written to.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/elf.rs"]
mod elf;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use consentd::evidence::Archive;
use consentd::proto::v1::Reason;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sidecar::{Client, Home, ask, connect_tcp, connect_uds, eventually, given, newsletter, until_serving, withdrawn};

/// The user that the image names.
const USER: u32 = 65532;
/// The most that the binary may take. What is built for tests is larger than what ships; docs/image.md has both.
const BINARY_BYTES_MAX: u64 = 48 << 20;
const DOCKERFILE: &str = include_str!("../Dockerfile");
const IGNORED: &str = include_str!("../.dockerignore");

/// The image as `.ci/image` lays it out.
struct Image {
    root: PathBuf,
    /// Its configuration, unless it was put together by hand.
    config: Option<Value>,
}

/// Names of the place where it was built, which no binary may have.
fn places() -> Vec<String> {
    let root = env!("CARGO_MANIFEST_DIR").to_owned();
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    vec![format!("{root}/"), format!("{}/", home.expect("a home of Cargo"))]
}

/// Builds the image, once for all tests.
fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        assert!(
            rustix::process::geteuid().is_root(),
            "an image can only be built, unpacked and started as root (`sudo -E cargo test`, or a container with \
             CAP_SYS_ADMIN)"
        );
        let output = Command::new("./.ci/image").current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let folder = PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8").trim());
        let built_with = std::fs::read_to_string(folder.join("built-with")).expect("said");
        let config = match built_with.trim() {
            "buildah" => {
                let text = std::fs::read(folder.join("inspected.json")).expect("inspected");
                let inspected: Value = serde_json::from_slice(&text).expect("JSON");
                Some(inspected["Docker"]["config"].clone())
            }
            "hand" => {
                let wanted = std::env::var("TEST_IMAGE_WITH").unwrap_or_default();
                assert_ne!(wanted, "buildah", "it is meant to be here, and nobody looks at the Dockerfile: {errors}");
                eprintln!("image: put together by hand; nobody looks at the Dockerfile: {errors}");
                None
            }
            other => panic!("built with `{other}`"),
        };
        Image { root: folder.join("root"), config }
    })
}

/// Everything in a tree, with kind, mode, user and group.
fn listed(root: &Path) -> BTreeMap<String, (char, u32, u32, u32)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let metadata = entry.path().symlink_metadata().expect("there");
            let kind = match metadata.file_type() {
                kind if kind.is_dir() => 'd',
                kind if kind.is_file() => 'f',
                _ => '?',
            };
            if kind == 'd' {
                folders.push(entry.path());
            }
            let name = entry.path().strip_prefix(root).expect("below").to_str().expect("UTF-8").to_owned();
            found.insert(name, (kind, metadata.permissions().mode() & 0o7777, metadata.uid(), metadata.gid()));
        }
    }
    found
}

/// No shell, no package, no second program, and nothing that its user may write to but what is meant for it.
#[test]
fn the_image_holds_the_binary_the_authorities_and_nothing_else() {
    let own = ('d', 0o755, USER, USER);
    let roots = ('d', 0o755, 0, 0);
    let wanted = [
        ("consentd", ('f', 0o555, 0, 0)),
        ("etc", roots),
        ("etc/ssl", roots),
        ("etc/ssl/certs", roots),
        ("etc/ssl/certs/ca-certificates.crt", ('f', 0o444, 0, 0)),
        ("run", roots),
        ("run/consentd", own),
        ("var", roots),
        ("var/lib", roots),
        ("var/lib/consentd", own),
    ];
    let wanted = wanted.map(|(name, what)| (name.to_owned(), what)).into_iter().collect();
    assert_eq!(listed(&image().root), wanted);
    let authorities = std::fs::read_to_string(image().root.join("etc/ssl/certs/ca-certificates.crt")).expect("read");
    assert!(authorities.matches("-----BEGIN CERTIFICATE-----").count() > 50);
}

/// What the configuration is made of, also where nothing is there to make it.
#[test]
fn the_dockerfile_gives_no_rights() {
    let (_, last) = DOCKERFILE.rsplit_once("\nFROM scratch\n").expect("an empty root");
    let words = ["ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD", "HEALTHCHECK", "RUN"];
    let said = last.lines().filter(|line| words.iter().any(|word| line.starts_with(&format!("{word} "))));
    let said: Vec<&str> = said.collect();
    assert_eq!(
        said,
        [
            "ENV CONSENTD_DATA_DIR=/var/lib/consentd",
            "USER 65532:65532",
            "WORKDIR /var/lib/consentd",
            "VOLUME /var/lib/consentd",
            "EXPOSE 7311 7312 8443",
            "STOPSIGNAL SIGTERM",
            "ENTRYPOINT [\"/consentd\"]",
            "CMD [\"serve\"]",
            "HEALTHCHECK --interval=10s --timeout=2s --start-period=1m CMD [\"/consentd\", \"health\"]",
        ]
    );
}

/// Wherever it is built, the binary names its sources alike.
#[test]
fn the_binary_tells_nothing_of_where_it_was_built() {
    let binary = std::fs::read(image().root.join("consentd")).expect("read");
    let has = |name: &str| binary.windows(name.len()).any(|window| window == name.as_bytes());
    // The looker is not blind.
    assert!(has("/cargo/registry/src/"), "panics name no file");
    let found: Vec<String> = places().into_iter().filter(|place| has(place)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_configuration_is_that_of_a_process_without_rights() {
    let Some(config) = &image().config else { return };
    assert_eq!(config["User"], "65532:65532");
    assert_eq!((&config["Entrypoint"], &config["Cmd"]), (&json!(["/consentd"]), &json!(["serve"])));
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "/consentd", "health"]));
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["WorkingDir"], "/var/lib/consentd");
    assert_eq!(config["Volumes"], json!({"/var/lib/consentd": {}}));
    assert_eq!(config["ExposedPorts"], json!({"7311/tcp": {}, "7312/tcp": {}, "8443/tcp": {}}));
    let environment: Vec<&str> = config["Env"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let own: Vec<&&str> = environment.iter().filter(|variable| !variable.starts_with("PATH=")).collect();
    assert_eq!(own, [&"CONSENTD_DATA_DIR=/var/lib/consentd"]);
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
    let revision = labels["org.opencontainers.image.revision"].as_str().expect("a revision");
    assert!(revision.len() == 40 || revision == "unknown", "{revision}");
    for label in ["title", "description", "source", "documentation"] {
        assert!(labels[format!("org.opencontainers.image.{label}")].is_string(), "{label}");
    }
}

#[test]
fn the_binary_needs_nothing_but_a_kernel() {
    let binary = std::fs::read(image().root.join("consentd")).expect("read");
    let read = elf::read(&binary).expect("an ELF file");
    assert_eq!(read.interpreter, None, "no loader is asked for");
    assert_eq!(read.needed, 0, "no library is asked for");
    assert!(!read.executable_stack && !read.writable_code, "{read:?}");
    assert!(read.position_independent, "its addresses are drawn anew at each start");
    // The looker is not blind: this test's own binary is linked against the C library.
    let own = std::fs::read(std::env::current_exe().expect("a path")).expect("read");
    let own = elf::read(&own).expect("an ELF file");
    assert!(own.interpreter.is_some() && own.needed > 0, "{own:?}");

    let bytes = binary.len() as u64;
    println!("the binary takes {} KiB", bytes >> 10);
    assert!(bytes < BINARY_BYTES_MAX, "{bytes} bytes");
}

#[test]
fn the_build_stage_has_the_toolchain_and_the_sources_that_are_pinned() {
    let toolchain = include_str!("../rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")).expect("a channel");
    let version = channel.trim_end_matches('"');
    let stages: Vec<&str> = DOCKERFILE.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(stages, [&format!("docker.io/library/rust:{version}-slim-trixie AS build"), "scratch"]);

    // What the sources take in when they are compiled comes along.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept: Vec<&str> = IGNORED.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut count = 0;
    for file in sidecar::files(&root.join("src")) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let (text, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
        for included in text.split("include_str!(\"").chain(text.split("include_bytes!(\"")).skip(1) {
            let Some((path, _)) = included.split_once("\")").filter(|(path, _)| path.starts_with("../")) else {
                continue;
            };
            let path = file.parent().expect("a folder").join(path).canonicalize().expect("there");
            let path = path.strip_prefix(root).expect("below").to_str().expect("UTF-8");
            assert!(kept.iter().any(|kept| path == *kept || path.starts_with(&format!("{kept}/"))), "`{path}`");
            count += 1;
        }
    }
    assert!(count >= 2, "{count} files are included");
    for name in kept {
        let folder = name.split('*').next().expect("a part");
        assert!(root.join(folder).exists(), "`{name}` is kept, and is not there");
    }
}

/// A container of the image: what a runtime does, done by hand.
struct Container {
    child: Child,
    /// A folder with the root that it has, and its volumes.
    home: Home,
}

/// Mounts what a runtime mounts, then gives up what a runtime takes: `$0` is the root, the rest is the command. The three
/// capabilities that are left to the boundary are those by which the step is made; the user has none.
const ENTER: &str = r#"
set -e
mount --make-rprivate /
mount --bind "$0" "$0"
mount --bind "$0-data" "$0/var/lib/consentd"
mount --bind "$0-run" "$0/run/consentd"
mount -t proc -o nosuid,nodev,noexec proc "$0/proc"
mount -o remount,bind,ro,nosuid,nodev "$0"
exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid --inh-caps=-all \
    chroot --userspec=65532:65532 --groups= "$0" /consentd "$@"
"#;

impl Container {
    /// Everything that it needs, and not yet started.
    fn home() -> Home {
        let home = Home::new();
        let root = home.path("root");
        // The very files of the image, and beside them the place for what every runtime mounts.
        let copied = Command::new("cp").args(["--archive", "--reflink=auto"]).arg(&image().root).arg(&root).status();
        assert!(copied.expect("`cp` runs").success());
        std::fs::create_dir(root.join("proc")).expect("made");
        for volume in ["root-data", "root-run"] {
            std::fs::create_dir(home.path(volume)).expect("made");
            std::os::unix::fs::chown(home.path(volume), Some(USER), Some(USER)).expect("given");
        }
        home
    }

    /// The image's command in its environment, with more of that.
    fn command(home: &Home, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "sh", "-c", ENTER]);
        command.arg(home.path("root")).args(arguments).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("CONSENTD_DATA_DIR", "/var/lib/consentd");
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        command
    }

    fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        Self::command(&Self::home(), arguments, environment).output().expect("`unshare` runs")
    }

    fn start(home: Home, environment: &[(&str, &str)]) -> Self {
        let mut command = Self::command(&home, &["serve"], environment);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(home.log()).expect("a log"));
        Self { child: command.spawn().expect("`unshare` runs"), home }
    }

    /// What it said so far.
    fn log(&self) -> String {
        std::fs::read_to_string(self.home.log()).unwrap_or_default()
    }

    /// Its process 1, as it is known out here.
    fn inside(&self) -> Option<Pid> {
        let unshare = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    }

    /// The address of its TCP listener.
    async fn tcp(&mut self) -> SocketAddr {
        let told = async || {
            let log = self.log();
            let (_, told) = log.split_once("listening tcp=")?;
            told.split(' ').next()?.parse().ok()
        };
        eventually("it listens", told).await
    }

    /// The image's health check, in the container.
    fn health(&self, arguments: &[&str]) -> Output {
        let inside = self.inside().expect("it runs").as_raw_nonzero().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &inside, "--mount", "--pid", "--root", "--wd", "--setuid=65532", "--setgid=65532"]);
        command.args(["/consentd", "health"]).args(arguments).env_clear();
        command.env("CONSENTD_SERVER_UDS", "/run/consentd/consentd.sock").output().expect("`nsenter` runs")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_from_its_own_root_as_nobody() {
    let home = Container::home();
    let ledger = home.path("root-data").join("ledger.jsonl");
    let lines = [sidecar::catalogue(1), given("crm:1"), given("crm:2"), withdrawn("crm:2")].join("\n") + "\n";
    std::fs::write(&ledger, lines).expect("written");
    let environment = [
        ("CONSENTD_LEDGER_FILE", "/var/lib/consentd/ledger.jsonl"),
        ("CONSENTD_SERVER_TCP", "127.0.0.1:0"),
        ("CONSENTD_SERVER_UDS", "/run/consentd/consentd.sock"),
        ("CONSENTD_SERVER_UDS_MODE", "0666"),
        ("CONSENTD_ADMIN_TCP", "off"),
        // Nobody takes what is sent there; it needs the authorities of the web.
        ("CONSENTD_TELEMETRY_OTLP_ENDPOINT", "https://127.0.0.1:1"),
    ];
    let mut container = Container::start(home, &environment);
    let tcp = connect_tcp(container.tcp().await).await;
    until_serving(&tcp).await;
    let uds = connect_uds(&container.home.path("root-run").join("consentd.sock")).await.expect("the socket");
    let mut evidence = Vec::new();
    for channel in [tcp, uds] {
        let mut client = Client::new(channel);
        for (subject, wanted) in [("crm:1", Reason::Consent), ("crm:2", Reason::Withdrawn)] {
            let answered = ask(&mut client, newsletter(subject)).await;
            assert_eq!(answered.answer.expect("an answer").reason(), wanted);
            evidence.push(answered.evidence_id);
        }
    }

    let inside = container.inside().expect("it runs");
    let about =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", inside.as_raw_nonzero())).expect("it runs");
    let status = about("status");
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).expect("a line");
    assert_eq!(line("Uid:"), "65532\t65532\t65532\t65532");
    assert_eq!((line("Groups:"), line("NoNewPrivs:")), ("", "1"));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
    assert!(line("NSpid:").ends_with("\t1"), "{status}");
    let mounts = about("mountinfo");
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("a root");
    assert!(root.split(' ').nth(5).is_some_and(|options| options.starts_with("ro,")), "{mounts}");

    let health = container.health(&[]);
    assert_eq!((health.status.code(), &*health.stdout), (Some(0), &b"ready\n"[..]), "{health:?}");
    assert_eq!(container.health(&["--live"]).status.code(), Some(0));
    assert_eq!(container.health(&["--address", "127.0.0.1:1"]).status.code(), Some(2));

    kill_process(inside, Signal::TERM).expect("told");
    let child = &mut container.child;
    let status = eventually("it ends", async || child.try_wait().expect("a child")).await;
    assert_eq!(status.code(), Some(0), "{}", container.log());
    let data = container.home.path("root-data");
    let archive = Archive::open(&data.join("evidence")).expect("a log");
    let reports = archive.verify(None, None).expect("readable");
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    for id in evidence {
        assert!(archive.find(&id.parse().expect("an id")).expect("readable").is_some(), "`{id}` is missing");
    }
    assert!(!container.home.path("root-run").join("consentd.sock").exists(), "the socket is removed");
    let theirs = sidecar::files(&data);
    assert!(
        theirs.len() > 5 && theirs.iter().all(|file| *file == ledger || file.metadata().expect("there").uid() == USER)
    );
}

/// The root gives nothing to write to: what is not on a volume fails, out loud.
#[test]
fn nothing_can_be_written_beside_the_volumes() {
    let environment = [("CONSENTD_LEDGER_FILE", "/ledger.jsonl"), ("CONSENTD_DATA_DIR", "/somewhere")];
    let output = Container::run(&["serve"], &environment);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot make the data folder `/somewhere`: Read-only file system"), "{said}");
}

#[test]
fn it_says_which_version_it_is_without_anything_mounted() {
    let version = Container::run(&["--version"], &[]);
    let said = String::from_utf8_lossy(&version.stdout);
    assert_eq!(version.status.code(), Some(0), "{version:?}");
    assert_eq!(said, format!("consentd {}\n", env!("CARGO_PKG_VERSION")));
}
