//! The restricted pod security standard, rule by rule. Source: Kubernetes, "Pod Security Standards", the profiles Baseline and
//! Restricted as of 1.37, with the names they have there.

#![allow(clippy::indexing_slicing, reason = "tests may fail loudly")]

use serde_json::{Value, json};

use crate::objects::containers;

/// How many rules have a name.
#[cfg(test)]
const RULES: usize = 15;
/// The volumes of the restricted profile; `image` since 1.33, which its page does not say. Source: kubernetes/kubernetes#130394.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// The sysctls of the baseline profile that any pod may set.
const SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];

/// The names of the rules that a pod breaks, each with where.
pub(crate) fn violations(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut rule = |name: &str, holds: bool, place: &str| {
        if !holds {
            found.push(format!("{name}: {place}"));
        }
    };
    let own = &pod["securityContext"];
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        rule("Host Namespaces", pod[field] != json!(true), field);
    }
    rule("HostProcess", own["windowsOptions"]["hostProcess"] != json!(true), "pod");
    for sysctl in own["sysctls"].as_array().into_iter().flatten() {
        rule("Sysctls", SYSCTLS.iter().any(|safe| sysctl["name"] == json!(safe)), "pod");
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds = volume.as_object().into_iter().flatten().map(|(key, _)| key).filter(|key| *key != "name");
        rule("Volume Types", kinds.into_iter().all(|kind| VOLUMES.contains(&&**kind)), &volume.to_string());
    }
    let seccomp = |context: &Value| context["seccompProfile"]["type"].as_str().map(str::to_owned);
    for container in containers(pod) {
        let place = container["name"].as_str().unwrap_or("a container without a name");
        let context = &container["securityContext"];
        let either = |field: &str| if context[field].is_null() { own[field].clone() } else { context[field].clone() };
        rule("HostProcess", context["windowsOptions"]["hostProcess"] != json!(true), place);
        rule("Privileged Containers", context["privileged"] != json!(true), place);
        rule("Privilege Escalation", context["allowPrivilegeEscalation"] == json!(false), place);
        rule("Running as Non-root", either("runAsNonRoot") == json!(true), place);
        rule("Running as Non-root user", either("runAsUser") != json!(0), place);
        let profile = seccomp(context).or_else(|| seccomp(own)).unwrap_or_default();
        rule("Seccomp", ["RuntimeDefault", "Localhost"].contains(&&*profile), place);
        let drops = context["capabilities"]["drop"].as_array().is_some_and(|dropped| dropped.contains(&json!("ALL")));
        rule("Capabilities", drops, place);
        let added = context["capabilities"]["add"].as_array().cloned().unwrap_or_default();
        rule("Capabilities", added.iter().all(|capability| capability == "NET_BIND_SERVICE"), place);
        let is_default = |mount: &Value| mount.is_null() || mount == "Default";
        rule("/proc Mount Type", is_default(&context["procMount"]), place);
        for options in [own, context] {
            let apparmor = options["appArmorProfile"]["type"].as_str();
            rule("AppArmor", apparmor.is_none_or(|kind| ["RuntimeDefault", "Localhost"].contains(&kind)), place);
            let selinux = options["seLinuxOptions"]["type"].as_str().unwrap_or_default();
            let types = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
            rule("SELinux", types.contains(&selinux), place);
            let is_set = |field: &str| options["seLinuxOptions"][field].as_str().is_some_and(|text| !text.is_empty());
            rule("SELinux", !is_set("user") && !is_set("role"), place);
        }
        for port in container["ports"].as_array().into_iter().flatten() {
            rule("Host Ports", port["hostPort"].is_null() || port["hostPort"] == json!(0), place);
        }
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            for kind in ["httpGet", "tcpSocket"] {
                let host = container[probe][kind]["host"].as_str().unwrap_or_default();
                rule("Host Probes / Lifecycle Hooks", host.is_empty(), place);
            }
        }
        for hook in ["postStart", "preStop"] {
            for kind in ["httpGet", "tcpSocket"] {
                let host = container["lifecycle"][hook][kind]["host"].as_str().unwrap_or_default();
                rule("Host Probes / Lifecycle Hooks", host.is_empty(), place);
            }
        }
    }
    found
}

/// A pod that passes, and after each change does not, by the very rule. `tests/admission/check.py` is held to the same.
#[test]
fn each_rule_is_broken_by_what_it_is_about() {
    let cases: Value = serde_json::from_str(include_str!("restricted.json")).expect("JSON");
    let whole = &cases["whole"];
    assert_eq!(violations(whole), Vec::<String>::new());
    let broken = cases["broken"].as_array().expect("a list");
    let mut rules = std::collections::BTreeSet::new();
    for case in broken {
        let [name, place] = [0, 1].map(|at| case[at].as_str().expect("a text"));
        rules.insert(name);
        let mut pod = whole.clone();
        let (parent, field) = place.rsplit_once('/').expect("a place");
        pod.pointer_mut(parent).expect("a parent")[field] = case[2].clone();
        let found = violations(&pod);
        assert!(found.iter().any(|violation| violation.starts_with(&format!("{name}:"))), "{name}: {found:?}");
    }
    assert_eq!(rules.len(), RULES, "{rules:?}");
}
