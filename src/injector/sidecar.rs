//! The container and the volumes that a pod gets.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::names::{
    ADMIN_PORT_NAME, CONTAINER, DATA_DIR, DATA_VOLUME, KEYS_DIR, KEYS_VOLUME, NO_TOKEN_VOLUME, SOCKET, SOCKET_DIR,
    SOCKET_VOLUME, TARGET, TARGET_VARIABLE, TOKEN_DIR, own_configuration,
};
use super::pod::Spec;
use super::settings::{Resources, Settings, Startup};
use super::wishes::Wishes;
use crate::config::variable;

/// The user and group of the image.
const USER: u32 = 65532;
/// What the folder of the socket may hold: one socket, which takes nothing.
const SOCKET_SIZE: &str = "1Mi";
/// What the folder without a token may hold: nothing is ever written there.
const NO_TOKEN_SIZE: &str = "4Ki";
/// Between two looks while it starts, in seconds: the containers of the pod wait.
const STARTUP_PERIOD: u32 = 1;
/// Looks that may fail while it starts: ten minutes, for a copy of a large ledger. What is copied by then is kept.
const STARTUP_FAILURES: u32 = 600;
/// Between two looks at whether it is ready, in seconds.
const READINESS_PERIOD: u32 = 5;
/// Looks that may fail before it is taken for not ready, and the pod with it: one may be a node's doing.
const READINESS_FAILURES: u32 = 2;
/// Between two looks at whether it lives, in seconds.
const LIVENESS_PERIOD: u32 = 10;
/// Looks that may fail before it is taken for dead.
const LIVENESS_FAILURES: u32 = 6;
/// How long a look may take, in seconds, on a node that is busy.
const PROBE_TIMEOUT: u32 = 5;

/// A sidecar as one pod gets it.
#[derive(Debug)]
pub(super) struct Sidecar<'s> {
    settings: &'s Settings,
    wishes: &'s Wishes,
    /// Where it shows metrics and readiness; `None` on the host's network, whose ports are not the pod's.
    admin: Option<SocketAddr>,
    /// Whether amounts are given for the pod as a whole.
    shares_amounts: bool,
    /// Whether containers of the pod have a limit of the node's disk.
    is_disk_limited: bool,
}

impl<'s> Sidecar<'s> {
    pub(super) fn new(settings: &'s Settings, wishes: &'s Wishes, pod: &Spec) -> Self {
        let port = wishes.admin_port.unwrap_or(settings.admin.port());
        let mut containers = pod.containers().iter().chain(pod.init_containers());
        Self {
            settings,
            wishes,
            admin: (!pod.is_on_host_network()).then_some(SocketAddr::new(settings.admin.ip(), port)),
            shares_amounts: pod.shares_amounts(),
            is_disk_limited: containers.any(|container| container.limit("ephemeral-storage").is_some()),
        }
    }

    /// The port on which it shows metrics and readiness, if any.
    pub(super) fn admin_port(&self) -> Option<u16> {
        self.admin.map(|admin| admin.port())
    }

    /// Whether all that it may use is reserved for it, or that is a matter of the pod as a whole.
    pub(super) fn is_guaranteed(&self) -> bool {
        let requests = self.merged(&self.settings.requests, &self.wishes.requests);
        let limits = self.merged(&self.settings.limits, &self.wishes.limits);
        let is_reserved = |name: &&str| {
            let limit = limits.get(*name);
            limit.is_some_and(|limit| requests.get(*name).is_none_or(|request| request.is_as_much_as(limit)))
        };
        self.shares_amounts || ["cpu", "memory"].iter().all(is_reserved)
    }

    pub(super) fn container(&self) -> Value {
        let mut container = json!({
            "name": CONTAINER,
            "image": self.settings.image,
            "imagePullPolicy": self.settings.image_pull_policy,
            "args": ["serve"],
            "restartPolicy": "Always",
            "env": self.environment(),
            "volumeMounts": self.mounts(),
            "startupProbe": self.probe(self.startup(), STARTUP_PERIOD, STARTUP_FAILURES),
            "readinessProbe": self.probe(Startup::Ready, READINESS_PERIOD, READINESS_FAILURES),
            "livenessProbe": self.probe(Startup::Live, LIVENESS_PERIOD, LIVENESS_FAILURES),
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"] },
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "runAsGroup": USER,
                "runAsNonRoot": true,
                "runAsUser": USER,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
        });
        let amounts = self.amounts();
        if let Some(fields) = container.as_object_mut() {
            if !amounts.is_empty() {
                fields.insert("resources".to_owned(), json!(amounts));
            }
            if let Some(admin) = self.admin {
                let port = json!({ "name": ADMIN_PORT_NAME, "containerPort": admin.port(), "protocol": "TCP" });
                fields.insert("ports".to_owned(), json!([port]));
            }
        }
        container
    }

    /// The volumes that its container mounts, by name.
    pub(super) fn volumes(&self) -> Vec<(&'static str, Value)> {
        let in_memory = |size: &str| json!({ "medium": "Memory", "sizeLimit": size });
        let mut volumes = vec![
            (SOCKET_VOLUME, json!({ "name": SOCKET_VOLUME, "emptyDir": in_memory(SOCKET_SIZE) })),
            (
                DATA_VOLUME,
                json!({ "name": DATA_VOLUME, "emptyDir": { "sizeLimit": self.settings.data_size.as_str() } }),
            ),
            (NO_TOKEN_VOLUME, json!({ "name": NO_TOKEN_VOLUME, "emptyDir": in_memory(NO_TOKEN_SIZE) })),
        ];
        if let Some(secret) = &self.settings.secret {
            // Readable by the sidecar's user, which owns nothing in there; no other container mounts it.
            let keys = json!({ "name": KEYS_VOLUME, "secret": { "secretName": secret, "defaultMode": 0o444 } });
            volumes.push((KEYS_VOLUME, keys));
        }
        volumes
    }

    /// What a container that asks mounts.
    pub(super) fn mount_of_askers() -> Value {
        json!({ "name": SOCKET_VOLUME, "mountPath": SOCKET_DIR, "readOnly": true })
    }

    /// What tells a container that asks where.
    pub(super) fn variable_of_askers() -> Value {
        json!({ "name": TARGET_VARIABLE, "value": TARGET })
    }

    fn mounts(&self) -> Value {
        let mut mounts = vec![
            json!({ "name": SOCKET_VOLUME, "mountPath": SOCKET_DIR }),
            json!({ "name": DATA_VOLUME, "mountPath": DATA_DIR }),
            json!({ "name": NO_TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": true }),
        ];
        if self.settings.secret.is_some() {
            mounts.push(json!({ "name": KEYS_VOLUME, "mountPath": KEYS_DIR, "readOnly": true }));
        }
        Value::Array(mounts)
    }

    /// Its whole configuration.
    fn environment(&self) -> Value {
        let mut variables: BTreeMap<String, String> = self.settings.config.clone();
        let own = own_configuration(self.admin);
        variables.extend(own.into_iter().map(|(key, value)| (variable(key), value)));
        if let Some(level) = &self.wishes.log_level {
            variables.insert(variable("log.level"), level.clone());
        }
        let shown = |(name, value): (String, String)| json!({ "name": name, "value": literal(&value) });
        Value::Array(variables.into_iter().map(shown).collect())
    }

    fn amounts(&self) -> BTreeMap<&'static str, BTreeMap<String, String>> {
        let requests = self.merged(&self.settings.requests, &self.wishes.requests);
        let mut limits = self.merged(&self.settings.limits, &self.wishes.limits);
        // Limits of disk are added up and hold for the pod, in which our volume counts.
        if self.is_disk_limited && !limits.contains_key("ephemeral-storage") {
            limits.insert("ephemeral-storage".to_owned(), self.settings.data_size.clone());
        }
        let spelt = |amounts: Resources| {
            amounts.into_iter().map(|(name, amount)| (name, amount.to_string())).collect::<BTreeMap<_, _>>()
        };
        let amounts = [("requests", spelt(requests)), ("limits", spelt(limits))];
        amounts.into_iter().filter(|(_, amounts)| !amounts.is_empty()).collect()
    }

    /// What the pod asks for, else what everybody gets. Where a pod shares amounts it is left to it, as it would not fit.
    fn merged(&self, everybody: &Resources, own: &Resources) -> Resources {
        let everybody = everybody.iter().filter(|_| !self.shares_amounts);
        everybody.chain(own).map(|(name, amount)| (name.clone(), amount.clone())).collect()
    }

    fn startup(&self) -> Startup {
        self.wishes.startup.unwrap_or(self.settings.startup)
    }

    fn probe(&self, what: Startup, period: u32, failures: u32) -> Value {
        let mut probe = json!({
            "periodSeconds": period,
            "timeoutSeconds": PROBE_TIMEOUT,
            "failureThreshold": failures,
        });
        let path = match what {
            Startup::Ready => "/readyz",
            Startup::Live => "/livez",
        };
        let (kind, look) = match self.admin {
            Some(admin) => ("httpGet", json!({ "path": path, "port": admin.port(), "scheme": "HTTP" })),
            None => ("exec", json!({ "command": health(what) })),
        };
        if let Some(fields) = probe.as_object_mut() {
            fields.insert(kind.to_owned(), look);
        }
        probe
    }
}

/// The command that looks where no port can be looked at.
fn health(what: Startup) -> Vec<&'static str> {
    let live = match what {
        Startup::Ready => None,
        Startup::Live => Some("--live"),
    };
    ["/consentd", "health", "--uds", SOCKET].into_iter().chain(live).collect()
}

/// A text that Kubernetes takes as it is: it would put values in place of `$(NAME)`, and `$` in place of `$$`.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}
