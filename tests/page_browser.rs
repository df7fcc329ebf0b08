//! The local page in a real Chromium, where one is to be had: by keyboard alone, in light and dark, wide and narrow, without
//! scripts, and against pages from elsewhere. What is looked at stands in `tests/page/browser.cjs`.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/wanting.rs"]
mod wanting;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use sidecar::{Home, Process, files, given, page, until_serving};
use wanting::Want;

/// Whom the pages ask about.
const NAME: &str = "ayse.yilmaz.7711@example.org";

/// The real binary with a page, and a subject who agreed.
struct Site {
    home: Home,
    process: Process,
    admin: SocketAddr,
}

impl Site {
    async fn open() -> Self {
        let home = Home::with_catalogue();
        home.append(&given(&format!("crm:{NAME}")));
        let mut process =
            Process::spawn(&home, &[("admin.tcp", "127.0.0.1:0"), ("admin.ask", "true"), ("log.level", "trace")]);
        until_serving(&process.connect().await).await;
        let admin = home.admin();
        Self { home, process, admin }
    }

    /// Plays a scenario, to its end; not where there is no browser, and that may be.
    async fn plays(&self, scenario: &'static str) -> bool {
        let more = [self.home.ledger().display().to_string(), self.process.pid().to_string()];
        self.plays_with(scenario, &more).await
    }

    async fn plays_with(&self, scenario: &'static str, more: &[String]) -> bool {
        let Some(browser) = browser() else {
            Want::Browser.leave_out("there is no Chromium; see .ci/browser");
            return false;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/browser.cjs");
        let mut node = Command::new("node");
        node.arg(script).arg(scenario).arg(format!("http://{}/", self.admin)).arg(browser);
        node.args(more).env("NODE_PATH", modules());
        let output = tokio::task::spawn_blocking(move || node.output().expect("node runs")).await.expect("no panic");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        true
    }
}

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)));
    found.into_iter().find(|path| path.is_file())
}

/// Where `make test` put the driver.
fn modules() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder");
    let found = target.join("node-clients-page/node_modules");
    assert!(found.exists(), "`{}` is not here; `make test` gets it, and runs every test", found.display());
    found
}

fn holds(bytes: &[u8], name: &str) -> bool {
    bytes.to_ascii_lowercase().windows(name.len()).any(|window| window == name.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_asks_by_keyboard_and_nobody_finds_the_name_again() {
    let site = Site::open().await;
    if !site.plays("asked").await {
        return;
    }
    let admin = site.admin;
    for path in ["/", "/live", "/status.json", "/metrics", "/readyz"] {
        let (_, shown) = tokio::task::spawn_blocking(move || page(admin, path)).await.expect("no panic");
        assert!(!holds(shown.as_bytes(), NAME), "{path}");
    }
    let kept = files(&site.home.data());
    assert!(kept.len() > 5, "{kept:?}");
    for file in kept.iter().chain([&site.home.log()]) {
        let bytes = std::fs::read(file).unwrap_or_default();
        assert!(!holds(&bytes, NAME), "{}", file.display());
    }
    let log = std::fs::read(site.home.log()).expect("a log");
    assert!(holds(&log, "admin:page"), "the log does not tell that much");
    // That would be found.
    assert!(holds(&std::fs::read(site.home.ledger()).expect("a ledger"), NAME));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_for_everybody_in_light_and_dark_wide_and_narrow() {
    Site::open().await.plays("shapes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_scripts_it_shows_the_same_and_sends_nothing() {
    Site::open().await.plays("plain").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_browser_holds_the_page_to_its_policy() {
    Site::open().await.plays("policy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_from_elsewhere_get_no_answer() {
    Site::open().await.plays("strangers").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_follows_without_a_reload_and_takes_nothing_from_whoever_types() {
    Site::open().await.plays("live").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_no_longer_answers_is_not_shown_as_ready() {
    Site::open().await.plays("ended").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_late_is_not_shown() {
    Site::open().await.plays("late").await;
}

/// The pictures of `docs/page.md`, into a folder that is thrown away, or into the one that `TEST_PICTURES` names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pictures_of_the_document_can_be_taken() {
    let site = Site::open().await;
    let thrown_away = site.home.path("pictures");
    let folder = std::env::var_os("TEST_PICTURES").map_or(thrown_away, PathBuf::from);
    std::fs::create_dir_all(&folder).expect("a folder");
    let more = [&folder.display().to_string(), &format!("crm:{NAME}"), "newsletter", "email"].map(str::to_owned);
    if !site.plays_with("pictures", &more).await {
        return;
    }
    let document = include_str!("../docs/page.md");
    let named: Vec<&str> =
        document.split("(images/").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect();
    assert_eq!(named.len(), 5, "{named:?}");
    for name in named {
        let picture = std::fs::read(folder.join(name)).expect("a picture");
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{name}: {} bytes", picture.len());
    }
}
