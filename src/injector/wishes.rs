//! What a pod asks for, by its annotations. What is not understood is a problem, and never ignored.

use super::names::PREFIX;
use super::pod::Pod;
use super::quantity::Quantity;
use super::settings::{Resources, Settings, Startup};
use super::words::{on_one_line, one_of};

/// The annotation by which a pod asks for a sidecar.
pub(super) const INJECT: &str = "consentd.io/inject";
/// Set by the webhook, with its version: the sidecar in this pod is its own.
pub(super) const INJECTED: &str = "consentd.io/injected";
pub(super) const CONTAINERS: &str = "consentd.io/containers";
pub(super) const ADMIN_PORT: &str = "consentd.io/admin-port";
const STARTUP: &str = "consentd.io/startup";
const LOG_LEVEL: &str = "consentd.io/log-level";
const CPU_REQUEST: &str = "consentd.io/cpu-request";
const CPU_LIMIT: &str = "consentd.io/cpu-limit";
const MEMORY_REQUEST: &str = "consentd.io/memory-request";
const MEMORY_LIMIT: &str = "consentd.io/memory-limit";

/// The annotations that are understood; `docs/injector.md` tells of each.
pub const ANNOTATIONS: [&str; 10] = [
    INJECT,
    CONTAINERS,
    STARTUP,
    LOG_LEVEL,
    ADMIN_PORT,
    CPU_REQUEST,
    CPU_LIMIT,
    MEMORY_REQUEST,
    MEMORY_LIMIT,
    INJECTED,
];
/// The levels of the log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The longest that is repeated of what a pod says.
const QUOTED_CHARS_MAX: usize = 64;

/// What a pod asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing of us.
    Nothing,
    /// A sidecar, in its own way.
    Sidecar(Box<Wishes>),
}

/// How a pod wants its sidecar, where not as everybody.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Those who ask; without any, all.
    pub(super) containers: Option<Vec<String>>,
    pub(super) startup: Option<Startup>,
    pub(super) log_level: Option<String>,
    pub(super) admin_port: Option<u16>,
    pub(super) requests: Resources,
    pub(super) limits: Resources,
    /// Whether the webhook has said that the sidecar in the pod is its own.
    pub(super) is_injected: bool,
}

impl Asked {
    /// Reads the annotations, or says all that is wrong with them.
    pub(super) fn read(pod: &Pod, settings: &Settings) -> Result<Self, Vec<String>> {
        let metadata = &pod.metadata;
        let ours: Vec<(&str, &str)> = metadata.annotations().filter(|(key, _)| key.starts_with(PREFIX)).collect();
        let mut problems: Vec<String> = Vec::new();
        match metadata.annotation(INJECT) {
            // Switched off, with all that would hold if it were not.
            Some("false") => return Ok(Self::Nothing),
            Some("true") => {}
            Some(other) => {
                problems.push(format!("the annotation `{INJECT}` is `{}`: write \"true\" or \"false\"", quoted(other)));
            }
            // It was meant to ask, and would start without anybody seeing that it does not.
            None if metadata.has_label(INJECT) => {
                return Err(vec![format!("the label `{INJECT}` asks for nothing: make it an annotation")]);
            }
            None => {
                // A copy of a pod says that it was injected; that alone asks for nothing.
                let Some((first, _)) = ours.iter().find(|(key, _)| *key != INJECTED) else { return Ok(Self::Nothing) };
                let what = format!("the annotation `{}` is of no use without `{INJECT}: \"true\"`", quoted(first));
                return Err(vec![what]);
            }
        }
        let mut wishes = Wishes::default();
        for (key, value) in ours {
            if let Err(what) = wishes.take(key, value) {
                problems.push(format!("the annotation `{}`: {what}", quoted(key)));
            }
        }
        problems.extend(wishes.exceeded(settings, pod.spec.shares_amounts()));
        if problems.is_empty() { Ok(Self::Sidecar(Box::new(wishes))) } else { Err(problems) }
    }
}

impl Wishes {
    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        let refused = |what: String| what.replace(value, &quoted(value));
        match key {
            INJECT => {}
            INJECTED => self.is_injected = true,
            CONTAINERS => self.containers = Some(containers(value)?),
            STARTUP => self.startup = Some(one_of(value, Startup::WORDS).map_err(refused)?),
            LOG_LEVEL => {
                let level = one_of(value, LEVELS.map(|level| (level, level))).map_err(refused)?;
                self.log_level = Some(level.to_owned());
            }
            ADMIN_PORT => {
                let port = value.parse().ok().filter(|port| *port > 0);
                self.admin_port = Some(port.ok_or_else(|| format!("`{}` is not a port", quoted(value)))?);
            }
            CPU_REQUEST => amount(&mut self.requests, "cpu", value).map_err(refused)?,
            MEMORY_REQUEST => amount(&mut self.requests, "memory", value).map_err(refused)?,
            CPU_LIMIT => amount(&mut self.limits, "cpu", value).map_err(refused)?,
            MEMORY_LIMIT => amount(&mut self.limits, "memory", value).map_err(refused)?,
            _ => return Err("consentd knows none of that name".to_owned()),
        }
        Ok(())
    }

    /// What would be requested beyond its limit. Where a pod shares amounts, those that everybody gets are left out.
    fn exceeded(&self, settings: &Settings, shares_amounts: bool) -> Vec<String> {
        let exceeded = |name: &str| {
            let of = |own: &'_ Resources, everybody: &'_ Resources| {
                own.get(name).or_else(|| everybody.get(name).filter(|_| !shares_amounts)).cloned()
            };
            let request = of(&self.requests, &settings.requests)?;
            let limit = of(&self.limits, &settings.limits)?;
            let sentence = format!(
                "`{PREFIX}{name}-request` and `{PREFIX}{name}-limit`: more {name} would be requested, `{request}`, than the limit, `{limit}`"
            );
            limit.is_less_than(&request).then_some(sentence)
        };
        ["cpu", "memory"].into_iter().filter_map(exceeded).collect()
    }
}

fn quoted(text: &str) -> String {
    on_one_line(text, QUOTED_CHARS_MAX)
}

fn amount(into: &mut Resources, name: &str, value: &str) -> Result<(), String> {
    let quantity = Quantity::parse(value)?;
    if quantity.is_zero() {
        return Err(format!("`{value}` is nothing"));
    }
    into.insert(name.to_owned(), quantity);
    Ok(())
}

/// Names with commas between them.
fn containers(value: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err("must be names of containers with commas between them".to_owned());
    }
    Ok(names)
}
