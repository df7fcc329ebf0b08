//! A pod as far as the webhook looks at it. What stands in it besides is neither read nor touched.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

/// A pod that is to be made. Source: Kubernetes, `core/v1`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pod {
    #[serde(default)]
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: Option<String>,
    pub(super) generate_name: Option<String>,
    annotations: Option<BTreeMap<String, Option<String>>>,
    labels: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) containers: Option<Vec<Container>>,
    pub(super) init_containers: Option<Vec<Container>>,
    pub(super) volumes: Option<Vec<Volume>>,
    pub(super) host_network: Option<bool>,
    pub(super) os: Option<Os>,
    pub(super) node_selector: Option<BTreeMap<String, Option<String>>>,
    /// Amounts for the pod as a whole.
    pub(super) resources: Option<Amounts>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Os {
    pub(super) name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) restart_policy: Option<String>,
    pub(super) env: Option<Vec<Named>>,
    volume_mounts: Option<Vec<Mount>>,
    volume_devices: Option<Vec<Device>>,
    ports: Option<Vec<Port>>,
    resources: Option<Amounts>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

/// A volume in a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    /// That of the volume.
    pub(super) name: String,
    #[serde(rename = "mountPath")]
    pub(super) path: String,
    pub(super) read_only: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    device_path: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    container_port: i64,
    protocol: Option<String>,
}

/// What is asked for, and what it may not exceed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Amounts {
    pub(super) requests: Option<BTreeMap<String, Amount>>,
    pub(super) limits: Option<BTreeMap<String, Amount>>,
}

/// An amount as JSON has it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Amount {
    Text(String),
    Number(serde_json::Number),
}

/// A volume, of one of the kinds that matter here or of another.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) empty_dir: Option<IgnoredAny>,
    pub(super) secret: Option<IgnoredAny>,
    config_map: Option<IgnoredAny>,
    #[serde(rename = "downwardAPI")]
    downward_api: Option<IgnoredAny>,
    projected: Option<IgnoredAny>,
    image: Option<IgnoredAny>,
}

impl Metadata {
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(|value| value.as_deref().unwrap_or_default())
    }

    pub(super) fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.annotations.iter().flatten();
        all.map(|(key, value)| (key.as_str(), value.as_deref().unwrap_or_default()))
    }

    pub(super) fn has_label(&self, key: &str) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.contains_key(key))
    }
}

impl Spec {
    pub(super) fn containers(&self) -> &[Container] {
        self.containers.as_deref().unwrap_or_default()
    }

    pub(super) fn init_containers(&self) -> &[Container] {
        self.init_containers.as_deref().unwrap_or_default()
    }

    pub(super) fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.iter().flatten().find(|volume| volume.name == name)
    }

    /// Whether amounts are given for the pod as a whole.
    pub(super) fn shares_amounts(&self) -> bool {
        self.resources.as_ref().is_some_and(|given| given.requests.is_some() || given.limits.is_some())
    }

    pub(super) fn is_on_host_network(&self) -> bool {
        self.host_network == Some(true)
    }

    pub(super) fn is_windows(&self) -> bool {
        let os = self.os.as_ref().and_then(|os| os.name.as_deref());
        let selected = self.node_selector.as_ref().and_then(|labels| labels.get("kubernetes.io/os")?.as_deref());
        [os, selected].contains(&Some("windows"))
    }
}

impl Container {
    pub(super) fn mounts(&self) -> &[Mount] {
        self.volume_mounts.as_deref().unwrap_or_default()
    }

    /// Whether there is a list of mounts, empty or not.
    pub(super) const fn has_mounts(&self) -> bool {
        self.volume_mounts.is_some()
    }

    /// Whether it is started before the others and runs beside them.
    pub(super) fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    pub(super) fn has_variable(&self, name: &str) -> bool {
        self.env.iter().flatten().any(|variable| variable.name == name)
    }

    pub(super) fn listens_on(&self, port: u16) -> bool {
        let is_it = |own: &Port| {
            own.container_port == i64::from(port) && own.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
        };
        self.ports.iter().flatten().any(is_it)
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = &str> {
        self.volume_devices.iter().flatten().map(|device| device.device_path.as_str())
    }

    pub(super) fn limit(&self, resource: &str) -> Option<&Amount> {
        self.resources.as_ref()?.limits.as_ref()?.get(resource)
    }

    pub(super) fn request(&self, resource: &str) -> Option<&Amount> {
        self.resources.as_ref()?.requests.as_ref()?.get(resource)
    }
}

impl Volume {
    /// Whether nothing can be made in it: such a volume is read-only wherever it is mounted.
    pub(super) const fn is_read_only(&self) -> bool {
        self.secret.is_some()
            || self.config_map.is_some()
            || self.downward_api.is_some()
            || self.projected.is_some()
            || self.image.is_some()
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// The place that a path of a mount leads to. `/var/run` is a link to `/run` in nearly every image.
pub(super) fn place(path: &str) -> PathBuf {
    let mut place = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => place.push(name),
            Component::ParentDir => _ = place.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    place.strip_prefix("/var/run").map(|rest| Path::new("/run").join(rest)).unwrap_or(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_however_it_is_written() {
        for path in [
            "/run/consentd",
            "/run/consentd/",
            "run//consentd",
            "/run/./consentd",
            "/x/../run/consentd",
            "/var/run/consentd",
        ] {
            assert_eq!(place(path), Path::new("/run/consentd"), "{path}");
        }
        assert_eq!(place("/var/run"), Path::new("/run"));
        assert_eq!(place("/var/running"), Path::new("/var/running"));
        assert_eq!(place(""), Path::new("/"));
        assert_eq!(place("/../.."), Path::new("/"));
    }

    #[test]
    fn null_is_nothing() {
        let pod: Pod = serde_json::from_str(
            r#"{"metadata":{"annotations":{"a":null}},"spec":{"containers":null,"initContainers":null,"volumes":null,"hostNetwork":null}}"#,
        )
        .expect("a pod");
        assert_eq!(pod.metadata.annotation("a"), Some(""));
        assert!(pod.spec.containers().is_empty() && !pod.spec.is_on_host_network());
    }
}
