//! From a pod and the settings to a patch, a refusal, or nothing. Pure.
//!
//! Each part is there, or added, or impossible, so that a pod that was injected and then changed by others is completed
//! and one that is complete is left as it is.

use std::path::Path;

use serde_json::Value;

use super::names::{CONTAINER, KEYS_VOLUME, SOCKET_DIR, SOCKET_VOLUME, TARGET_VARIABLE, VOLUMES};
use super::patch::{Patch, escaped};
use super::pod::{Container, Mount, Pod, Spec, Volume, place};
use super::quantity::Quantity;
use super::settings::Settings;
use super::sidecar::Sidecar;
use super::wishes::{self, Asked, Wishes};
use super::words::on_one_line;

/// Says that a pod is a node's own, which the API server only shows. Source: Kubernetes, "Create static Pods".
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Containers of meshes. They ask nothing; they carry the connections of the others, and ours to the ledger.
/// Source: Istio 1.2x, Linkerd 2.1x.
const OF_MESHES: [&str; 7] = [
    "istio-init",
    "istio-proxy",
    "istio-validation",
    "linkerd-init",
    "linkerd-network-validator",
    "linkerd-debug",
    "linkerd-proxy",
];
/// The longest name of a container. Source: RFC 1123, as Kubernetes has it.
const NAME_CHARS_MAX: usize = 63;

/// What is to be done with a pod.
#[derive(Debug)]
pub(super) enum Plan {
    /// Nothing: it does not ask.
    NotAsked,
    /// Nothing: it has all that it asks for.
    Complete,
    /// The patch makes it what it asks for.
    Patch {
        patch: Patch,
        /// What its user should know.
        warnings: Vec<String>,
    },
    /// It cannot have what it asks for, and to refuse it would change nothing.
    OutOfReach(String),
    /// It cannot have what it asks for; all that is wrong.
    Impossible(Vec<String>),
}

/// Decides what is to be done with a pod.
pub(super) fn plan(pod: &Pod, settings: &Settings) -> Plan {
    let is_mirror = pod.metadata.annotation(MIRROR).is_some();
    let wishes = match Asked::read(pod, settings) {
        Ok(Asked::Nothing) => return Plan::NotAsked,
        // However it asks: to refuse it would hide it, and it runs.
        _ if is_mirror => {
            return Plan::OutOfReach(
                "the pod is a node's own, which no webhook can change: it runs without consentd".to_owned(),
            );
        }
        Ok(Asked::Sidecar(wishes)) => wishes,
        Err(problems) => return Plan::Impossible(problems),
    };
    let mut planning = Planning {
        spec: &pod.spec,
        sidecar: Sidecar::new(settings, &wishes, &pod.spec),
        wishes: &wishes,
        patch: Patch::default(),
        problems: Vec::new(),
    };
    if pod.spec.is_windows() {
        planning.problems.push("the pod runs on Windows, for which there is no consentd".to_owned());
    }
    if pod.spec.is_on_host_network() && wishes.admin_port.is_some() {
        planning.problems.push(format!(
            "the annotation `{}`: the pod is on its node's network, where consentd has no port",
            wishes::ADMIN_PORT
        ));
    }
    let own = planning.own_container();
    planning.volumes(own);
    planning.others_mounts();
    planning.askers(own);
    planning.container(own);
    if !planning.problems.is_empty() {
        return Plan::Impossible(planning.problems);
    }
    if planning.patch.is_empty() {
        return Plan::Complete;
    }
    if !wishes.is_injected {
        let path = format!("/metadata/annotations/{}", escaped(wishes::INJECTED));
        planning.patch.add(path, Value::from(env!("CARGO_PKG_VERSION")));
    }
    let warnings = loses_its_guarantee(&pod.spec, own, &planning.sidecar).into_iter().collect();
    Plan::Patch { patch: planning.patch, warnings }
}

struct Planning<'p> {
    spec: &'p Spec,
    wishes: &'p Wishes,
    sidecar: Sidecar<'p>,
    patch: Patch,
    problems: Vec<String>,
}

impl Planning<'_> {
    /// The place of our container among the init containers, where it is there already.
    fn own_container(&mut self) -> Option<usize> {
        if self.spec.containers().iter().any(|container| container.name == CONTAINER) {
            self.problems.push(format!(
                "a container is called `{CONTAINER}`, which is the sidecar's name: rename it, or take `{}` off",
                wishes::INJECT
            ));
        }
        let all = self.spec.init_containers().iter().enumerate();
        let mut named = all.filter(|(_, container)| container.name == CONTAINER);
        let (at, container) = named.next()?;
        // Others may have changed it since, such as its image.
        let shares = container.mounts().iter().any(is_at_the_socket);
        if !(self.wishes.is_injected && container.is_sidecar() && shares) || named.next().is_some() {
            self.problems.push(format!(
                "an init container is called `{CONTAINER}` and is not the sidecar: rename it, or take `{}` off",
                wishes::INJECT
            ));
        }
        Some(at)
    }

    /// Adds the volumes that are not there.
    fn volumes(&mut self, own: Option<usize>) {
        let mounted = own.and_then(|at| self.spec.init_containers().get(at)).map(Container::mounts);
        let mut missing = Vec::new();
        for (name, volume) in self.sidecar.volumes() {
            match self.spec.volume(name) {
                Some(there) if self.wishes.is_injected && is_of_our_kind(there) => {}
                Some(_) => {
                    self.problems.push(format!("a volume is called `{name}`, which is the sidecar's: rename it"));
                }
                // A sidecar that is there has what it had when it was made.
                None if mounted.is_some_and(|mounts| mounts.iter().all(|mount| mount.name != name)) => {}
                None => missing.push(volume),
            }
        }
        self.patch.add_all("/spec/volumes", self.spec.volumes.is_some(), None, missing);
    }

    /// Evidence and keys are nobody else's, and nobody else may put another socket where that of the sidecar is.
    fn others_mounts(&mut self) {
        let all = self.spec.containers().iter().chain(self.spec.init_containers());
        for container in all.filter(|container| container.name != CONTAINER) {
            let is_ours = |mount: &&Mount| VOLUMES.contains(&mount.name.as_str()) && !is_mount_of_askers(mount);
            for mount in container.mounts().iter().filter(is_ours) {
                let (name, path) =
                    (on_one_line(&container.name, NAME_CHARS_MAX), on_one_line(&mount.path, NAME_CHARS_MAX));
                self.problems.push(format!(
                    "the container `{name}` mounts the volume `{}` at `{path}`, which is the sidecar's: take it out",
                    mount.name
                ));
            }
        }
    }

    /// Shows the socket to the containers that ask.
    fn askers(&mut self, own: Option<usize>) {
        let inits = self.spec.init_containers();
        let first = own.map_or_else(|| place_among(inits), |at| at + 1);
        let init = inits.iter().enumerate().skip(first).map(|(at, container)| ("initContainers", at, container));
        let main = self.spec.containers().iter().enumerate().map(|(at, container)| ("containers", at, container));
        let after: Vec<_> = init.chain(main).collect();
        if let Some(names) = &self.wishes.containers {
            for name in names {
                let is_before = inits.iter().take(first).any(|container| container.name == *name);
                let shown = on_one_line(name, NAME_CHARS_MAX);
                if is_before {
                    self.problems.push(format!(
                        "the annotation `{}`: the container `{shown}` runs before consentd is there",
                        wishes::CONTAINERS
                    ));
                } else if after.iter().all(|(_, _, container)| container.name != *name) {
                    self.problems
                        .push(format!("the annotation `{}`: there is no container `{shown}`", wishes::CONTAINERS));
                }
            }
        }
        for (list, at, container) in after {
            let asks = match &self.wishes.containers {
                Some(names) => names.contains(&container.name),
                None => !OF_MESHES.contains(&container.name.as_str()),
            };
            // Our own name was complained about.
            if asks && container.name != CONTAINER {
                self.asker(&format!("/spec/{list}/{at}"), container);
            }
        }
    }

    fn asker(&mut self, path: &str, container: &Container) {
        let is_mounted = container.mounts().iter().any(is_mount_of_askers);
        if let Some(problem) = taken(container, self.spec) {
            self.problems.push(problem);
        } else if !is_mounted {
            let list = format!("{path}/volumeMounts");
            // Last: what is mounted above it, such as a volume at `/run`, must be there before.
            self.patch.add_all(&list, container.has_mounts(), None, vec![Sidecar::mount_of_askers()]);
        }
        if !container.has_variable(TARGET_VARIABLE) {
            let list = format!("{path}/env");
            // First: the others can refer to it.
            self.patch.add_all(&list, container.env.is_some(), Some(0), vec![Sidecar::variable_of_askers()]);
        }
    }

    /// Adds our container, where it is not there.
    fn container(&mut self, own: Option<usize>) {
        if own.is_some() {
            return;
        }
        if let Some(port) = self.sidecar.admin_port() {
            let all = self.spec.containers().iter().chain(self.spec.init_containers());
            for container in all.filter(|container| container.listens_on(port)) {
                let name = on_one_line(&container.name, NAME_CHARS_MAX);
                self.problems.push(format!(
                    "the container `{name}` has the port {port}, where consentd shows metrics and readiness: name another by the annotation `{}`",
                    wishes::ADMIN_PORT
                ));
            }
        }
        let inits = self.spec.init_containers();
        let at = Some(place_among(inits));
        let is_there = self.spec.init_containers.is_some();
        self.patch.add_all("/spec/initContainers", is_there, at, vec![self.sidecar.container()]);
    }
}

/// Where our container belongs: first, but behind the proxy of a mesh that runs as a sidecar, by which it reaches its ledger.
fn place_among(inits: &[Container]) -> usize {
    let is_proxy = |container: &Container| container.is_sidecar() && OF_MESHES.contains(&container.name.as_str());
    inits.iter().rposition(is_proxy).map_or(0, |at| at + 1)
}

fn is_at_the_socket(mount: &Mount) -> bool {
    mount.name == SOCKET_VOLUME && place(&mount.path) == Path::new(SOCKET_DIR)
}

fn is_mount_of_askers(mount: &Mount) -> bool {
    is_at_the_socket(mount) && mount.read_only == Some(true)
}

fn is_of_our_kind(volume: &Volume) -> bool {
    if volume.name == KEYS_VOLUME { volume.secret.is_some() } else { volume.empty_dir.is_some() }
}

/// Why the socket cannot be shown to a container, if it cannot.
fn taken(container: &Container, pod: &Spec) -> Option<String> {
    let ours = Path::new(SOCKET_DIR);
    let name = on_one_line(&container.name, NAME_CHARS_MAX);
    let way_out =
        format!("mount it elsewhere, or name the containers that ask by the annotation `{}`", wishes::CONTAINERS);
    for mount in container.mounts() {
        let (volume, path, at) =
            (on_one_line(&mount.name, NAME_CHARS_MAX), on_one_line(&mount.path, NAME_CHARS_MAX), place(&mount.path));
        // What is ours was looked at.
        if VOLUMES.contains(&mount.name.as_str()) {
            continue;
        }
        if at.starts_with(ours) {
            return Some(format!(
                "the container `{name}` mounts the volume `{volume}` at `{path}`, where consentd's socket belongs: {way_out}"
            ));
        }
        let is_read_only = mount.read_only == Some(true) || pod.volume(&mount.name).is_some_and(Volume::is_read_only);
        if is_read_only && ours.starts_with(&at) {
            return Some(format!(
                "the container `{name}` mounts the volume `{volume}` read-only at `{path}`, and `{SOCKET_DIR}` cannot be made in it: {way_out}"
            ));
        }
    }
    let device = container.devices().find(|path| place(path).starts_with(ours))?;
    let device = on_one_line(device, NAME_CHARS_MAX);
    Some(format!("the container `{name}` has a device at `{device}`, where consentd's socket belongs: {way_out}"))
}

/// Says that a pod which had all that it may use reserved for it has that no more. Source: Kubernetes, "Pod Quality of
/// Service Classes".
fn loses_its_guarantee(pod: &Spec, own: Option<usize>, sidecar: &Sidecar<'_>) -> Option<String> {
    if own.is_some() || pod.containers().is_empty() || sidecar.is_guaranteed() {
        return None;
    }
    let is_guaranteed = |container: &Container| {
        ["cpu", "memory"].into_iter().all(|resource| {
            let limit = container.limit(resource).and_then(|amount| Quantity::parse(&amount.to_string()).ok());
            let request = container.request(resource).and_then(|amount| Quantity::parse(&amount.to_string()).ok());
            limit.is_some_and(|limit| request.is_none_or(|request| request.is_as_much_as(&limit)))
        })
    };
    let mut all = pod.containers().iter().chain(pod.init_containers());
    all.all(is_guaranteed).then(|| {
        "the pod was of the class Guaranteed and with consentd is Burstable: set consentd.io/cpu-request, cpu-limit, memory-request and memory-limit, each limit as its request"
            .to_owned()
    })
}
