//! What the webhook gives to pods: one TOML file, read at the start, all that is wrong with it said at once.
//!
//! The table `config` is the sidecar's own configuration. It is checked here, with what the pod adds, by the very code
//! that reads it there: a wrong key stops the webhook, and no pod.

mod reading;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::names::{self, ADMIN_PORT, DATA_DIR, KEYS_DIR};
use super::quantity::Quantity;
use super::words;
use crate::config::{Config, Flag, LedgerKind, Problem, Problems, ShipKind, Sources};
use reading::{Reading, Spelt};

/// The policies of pulling images. Source: Kubernetes, `PullPolicy`.
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
/// What a container may ask for and be held to here.
pub(super) const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// As measured for a hundred thousand subjects (`docs/sizing.md`).
const DEFAULT_REQUESTS: [(&str, &str); 2] = [("cpu", "50m"), ("memory", "64Mi")];
/// Memory alone: a limit of processors makes answers late while processors are idle.
const DEFAULT_LIMITS: [(&str, &str); 1] = [("memory", "128Mi")];
/// A quantity. Some million answers of evidence, and what is kept beside them.
const DEFAULT_DATA_SIZE: &str = "1Gi";
/// The log is written in files of a fixed size, made ahead; so many of them are room beside what waits and what is kept.
const SEGMENTS_BESIDE: u64 = 3;
/// How long the end of a sidecar waits for its last evidence to leave: its volume goes with the pod, and of the 30 s that
/// Kubernetes gives a pod to end, the containers that ask need some.
const DEFAULT_SHIP_WAIT: &str = "20s";
/// The part of the volume that is left to the local copy.
const LOCAL_COPY_PART: u64 = 16;

/// What the webhook gives to pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub(super) image: String,
    pub(super) image_pull_policy: String,
    pub(super) on_error: OnError,
    pub(super) startup: Startup,
    pub(super) data_size: Quantity,
    /// The Secret in the pod's namespace; `None` is none.
    pub(super) secret: Option<String>,
    /// Where the sidecar shows metrics and readiness.
    pub(super) admin: SocketAddr,
    pub(super) requests: Resources,
    pub(super) limits: Resources,
    /// The sidecar's own configuration, by environment variable.
    pub(super) config: BTreeMap<String, String>,
}

/// Amounts by resource.
pub(super) type Resources = BTreeMap<String, Quantity>;

/// What becomes of a pod that cannot have what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It is refused.
    Deny,
    /// It is let through without a sidecar, with a warning.
    Allow,
}

/// What the containers of a pod wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Startup {
    /// That the sidecar is ready.
    Ready,
    /// That it lives; until it is ready it denies.
    Live,
}

/// Settings that passed, and what is worth saying about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What is allowed and yet deserves a second look; one sentence each, for the log.
    pub warnings: Vec<String>,
}

impl Startup {
    /// The words for it.
    pub(super) const WORDS: [(&'static str, Self); 2] = [("ready", Self::Ready), ("live", Self::Live)];
}

impl Settings {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// All that is wrong with it, each with its key and line.
    pub fn load(path: &Path) -> Result<Loaded, Problems> {
        let text = match reading::bounded(path) {
            Ok(text) => text,
            Err(problem) => return Err(Problems(vec![problem])),
        };
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Loaded, Problems> {
        let mut reading = Reading::new(path, text);
        let mut settings = Self::read(&mut reading);
        let warnings = settings.take_config(&mut reading);
        let problems = reading.finish();
        if problems.is_empty() { Ok(Loaded { settings, warnings }) } else { Err(Problems(problems)) }
    }

    /// All but the table `config`.
    fn read(reading: &mut Reading) -> Self {
        let image = reading.text("image", image).unwrap_or_default();
        if image.is_empty() {
            reading
                .missing("image", "must be set: the image of the sidecar, such as `ghcr.io/consentd/consentd:0.1.0`");
        }
        let [requests, limits] = [("requests", &DEFAULT_REQUESTS[..]), ("limits", &DEFAULT_LIMITS[..])];
        let [requests, limits] = [requests, limits].map(|(kind, default)| resources(reading, kind, default));
        for (name, limit) in &limits {
            if requests.get(name).is_some_and(|request| limit.is_less_than(request)) {
                reading.problem(&format!("resources.limits.{name}"), "is less than what is requested".to_owned());
            }
        }
        let secret = reading.text("secret", secret).unwrap_or_else(|| names::DEFAULT_SECRET.to_owned());
        Self {
            image,
            image_pull_policy: reading
                .text("image_pull_policy", |text| {
                    words::one_of(text, PULL_POLICIES.map(|word| (word, word.to_owned())))
                })
                .unwrap_or_else(|| "IfNotPresent".to_owned()),
            on_error: reading
                .text("on_error", |text| words::one_of(text, [("deny", OnError::Deny), ("allow", OnError::Allow)]))
                .unwrap_or(OnError::Deny),
            startup: reading.text("startup", |text| words::one_of(text, Startup::WORDS)).unwrap_or(Startup::Ready),
            data_size: reading.amount("data_size").unwrap_or_else(|| amount(DEFAULT_DATA_SIZE)),
            secret: (!secret.is_empty()).then_some(secret),
            admin: reading.text("admin", admin).unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), ADMIN_PORT)),
            requests,
            limits,
            config: BTreeMap::new(),
        }
    }

    /// Takes the table `config`, and checks it as the sidecar will.
    fn take_config(&mut self, reading: &mut Reading) -> Vec<String> {
        let fixed = names::own_configuration(Some(self.admin));
        let mut flags = Vec::new();
        for Spelt { key, value, place } in reading.table("config") {
            if fixed.iter().any(|(own, _)| *own == key) {
                reading.problem(&format!("config.{key}"), "is for the webhook to set; take it out".to_owned());
            } else {
                flags.push(Flag { name: place, key, value });
            }
        }
        // The defaults are more than the volume holds, and a volume that is full takes the pod with it.
        for (key, name, part) in [(MAX_UNSHIPPED, "half", 2), (MAX_SHIPPED, "a quarter", 4)] {
            if !flags.iter().any(|flag| flag.key == key) {
                let value = format!("{}B", self.data_size.bytes() / part);
                flags.push(Flag { name: format!("{name} of data_size"), key: key.to_owned(), value });
            }
        }
        let ships = flags.iter().any(|flag| flag.key == SHIP && flag.value == "nats");
        if ships && !flags.iter().any(|flag| flag.key == SHIP_WAIT) {
            let value = DEFAULT_SHIP_WAIT.to_owned();
            flags.push(Flag { name: "the default of the webhook".to_owned(), key: SHIP_WAIT.to_owned(), value });
        }
        if ships && self.secret.is_some() && !flags.iter().any(|flag| flag.key == KEY_FILE) {
            // A random key would go with the pod's volume, and nobody could be found in what it shipped.
            let value = format!("{KEYS_DIR}/{EVIDENCE_KEY}");
            flags.push(Flag { name: "the webhook".to_owned(), key: KEY_FILE.to_owned(), value });
        }
        let set: Vec<(String, String)> = flags.iter().map(|flag| (flag.key.clone(), flag.value.clone())).collect();
        let own =
            fixed.into_iter().map(|(key, value)| Flag { name: "the webhook".to_owned(), key: key.to_owned(), value });
        flags.extend(own);
        let (effective, result) = Config::examine(&Sources { flags, ..Sources::default() });
        let variables: BTreeMap<&str, String> = effective.keys().collect();
        let variable = |(key, value): (String, String)| Some((variables.get(key.as_str())?.clone(), value));
        self.config = set.iter().cloned().filter_map(variable).collect();
        match result {
            Ok(loaded) => {
                self.check_paths(&set, reading);
                self.check_room(&loaded.config, reading);
                second_looks(&loaded.config)
            }
            Err(problems) => {
                reading.problems(
                    problems
                        .0
                        .into_iter()
                        .map(|problem| Problem { key: problem.key.map(|key| format!("config.{key}")), ..problem }),
                );
                Vec::new()
            }
        }
    }

    /// What a path names must be in the pod.
    fn check_paths(&self, set: &[(String, String)], reading: &mut Reading) {
        for (key, value) in set.iter().filter(|(key, value)| is_path(key) && value != "off") {
            let key = format!("config.{key}");
            let path = PathBuf::from(value);
            let has_parents = path.components().any(|part| part.as_os_str() == "..");
            if path.starts_with(KEYS_DIR) && !has_parents {
                if self.secret.is_none() {
                    reading.problem(&key, format!("is in `{KEYS_DIR}`, and secret names no Secret to be there"));
                }
            } else if !path.starts_with(DATA_DIR) || has_parents {
                let what = format!("`{value}` is not in the pod: files of the Secret are in `{KEYS_DIR}`");
                reading.problem(&key, what);
            }
        }
    }

    /// A volume that is full takes the pod with it, and the evidence in it.
    fn check_room(&self, config: &Config, reading: &mut Reading) {
        let evidence = &config.evidence;
        // What is not shipped fills any volume; that is warned of.
        let is_shipped = evidence.ship.kind == ShipKind::Nats;
        let waiting = if is_shipped { evidence.ship.max_unshipped_bytes } else { 0 };
        let Some(kept) = evidence.ship.max_shipped_bytes.or((!is_shipped).then_some(0)) else {
            let what =
                "is `off`, and what was shipped would fill the volume: give it a size, such as a quarter of data_size";
            reading.problem("config.evidence.max_shipped_bytes", what.to_owned());
            return;
        };
        let segments = evidence.segment_bytes.saturating_mul(SEGMENTS_BESIDE);
        let needed = segments.saturating_add(waiting).saturating_add(if is_shipped { kept } else { 0 });
        let size = self.data_size.bytes();
        if size - size / LOCAL_COPY_PART < needed {
            let what = format!(
                "`{}` does not hold what evidence takes, {needed} bytes, and a sixteenth of it for the local copy: \
                 evidence.max_unshipped_bytes, evidence.max_shipped_bytes and {SEGMENTS_BESIDE} times evidence.segment_bytes",
                self.data_size
            );
            reading.problem("data_size", what);
        }
    }
}

const MAX_UNSHIPPED: &str = "evidence.max_unshipped_bytes";
const SHIP: &str = "evidence.ship";
const SHIP_WAIT: &str = "evidence.ship_wait";
const KEY_FILE: &str = "evidence.key_file";
/// The file of the Secret that people are found by in evidence that was shipped.
const EVIDENCE_KEY: &str = "evidence.key";
const MAX_SHIPPED: &str = "evidence.max_shipped_bytes";

/// What is allowed and yet deserves a second look.
fn second_looks(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.evidence.ship.kind == ShipKind::None {
        warnings.push(
            "config.evidence.ship: is `none`, and what a pod wrote is gone with the pod: there is no proof of its answers"
                .to_owned(),
        );
    }
    if config.evidence.ship.kind == ShipKind::Nats && config.evidence.key_file.is_none() {
        warnings.push(
            "config.evidence.key_file: is `off`, and a pod's keys are gone with the pod: nobody can be found in the evidence that it shipped"
                .to_owned(),
        );
    }
    if config.ledger.kind == LedgerKind::File {
        warnings.push("config.ledger.kind: is `file`: each pod has a ledger of its own, gone with the pod".to_owned());
    }
    warnings
}

/// Whether a key of the configuration names a file.
fn is_path(key: &str) -> bool {
    key.ends_with("_file") || key == "ledger.file"
}

/// Amounts as the settings have them, or those that hold where there is no such table; an empty one is none.
fn resources(reading: &mut Reading, kind: &str, default: &[(&str, &str)]) -> Resources {
    let table = format!("resources.{kind}");
    if !reading.has(&table) {
        return default.iter().map(|(name, text)| ((*name).to_owned(), amount(text))).collect();
    }
    let mut read = |name: &str| Some((name.to_owned(), reading.amount(&format!("{table}.{name}"))?));
    RESOURCES.into_iter().filter_map(&mut read).collect()
}

/// An amount of our own.
fn amount(text: &str) -> Quantity {
    // INVARIANT: a test reads every default.
    Quantity::parse(text).unwrap_or_else(|_| unreachable!("`{text}` is an amount"))
}

fn image(text: &str) -> Result<String, String> {
    let is_reference = !text.is_empty() && text.len() <= 4096 && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_reference.then(|| text.to_owned()).ok_or_else(|| format!("`{text}` is not the name of an image"))
}

fn secret(text: &str) -> Result<String, String> {
    let named = text.is_empty() || words::is_dns_subdomain(text);
    named.then(|| text.to_owned()).ok_or_else(|| format!("`{text}` is not the name of a Secret, nor empty for none"))
}

fn admin(text: &str) -> Result<SocketAddr, String> {
    let address: Option<SocketAddr> = text.parse().ok();
    address.filter(|address| address.port() != 0 && is_beyond(address.ip())).ok_or_else(|| {
        format!("`{text}` is not an address and port that is reached from outside the pod, such as `0.0.0.0:7312`")
    })
}

/// Whether probes, which come from outside of the pod, reach it.
const fn is_beyond(address: IpAddr) -> bool {
    !address.is_loopback()
}

#[cfg(test)]
mod tests;
