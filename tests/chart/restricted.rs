//! The restricted pod security standard, rule by rule. Source: Kubernetes, "Pod Security Standards", the profiles Baseline and
//! Restricted as of 1.37, with the names they have there.

#![allow(clippy::indexing_slicing, reason = "tests may fail loudly")]

use serde_json::{Value, json};

use crate::objects::containers;

/// The volumes of the restricted profile.
const VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
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

/// A pod that passes, and after each change does not, by the very rule.
#[test]
fn each_rule_is_broken_by_what_it_is_about() {
    let whole = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "ports": [{"containerPort": 1}], "livenessProbe": {"httpGet": {"port": 1}},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    });
    assert_eq!(violations(&whole), Vec::<String>::new());
    let broken = [
        ("Host Namespaces", "/hostNetwork", json!(true)),
        ("Host Namespaces", "/hostPID", json!(true)),
        ("HostProcess", "/securityContext/windowsOptions", json!({"hostProcess": true})),
        ("Sysctls", "/securityContext/sysctls", json!([{"name": "kernel.msgmax", "value": "1"}])),
        ("Volume Types", "/volumes/0/hostPath", json!({"path": "/"})),
        ("Privileged Containers", "/containers/0/securityContext/privileged", json!(true)),
        ("Privilege Escalation", "/containers/0/securityContext/allowPrivilegeEscalation", json!(true)),
        ("Running as Non-root", "/containers/0/securityContext/runAsNonRoot", json!(false)),
        ("Running as Non-root user", "/securityContext/runAsUser", json!(0)),
        ("Seccomp", "/securityContext/seccompProfile", json!({"type": "Unconfined"})),
        ("Capabilities", "/containers/0/securityContext/capabilities/drop", json!(["NET_RAW"])),
        ("Capabilities", "/containers/0/securityContext/capabilities/add", json!(["SYS_ADMIN"])),
        ("/proc Mount Type", "/containers/0/securityContext/procMount", json!("Unmasked")),
        ("AppArmor", "/containers/0/securityContext/appArmorProfile", json!({"type": "Unconfined"})),
        ("SELinux", "/containers/0/securityContext/seLinuxOptions", json!({"type": "spc_t"})),
        ("Host Ports", "/containers/0/ports/0/hostPort", json!(80)),
        ("Host Probes / Lifecycle Hooks", "/containers/0/livenessProbe/httpGet/host", json!("1.2.3.4")),
    ];
    for (name, place, value) in broken {
        let mut pod = whole.clone();
        let (parent, field) = place.rsplit_once('/').expect("a place");
        pod.pointer_mut(parent).expect("a parent")[field] = value;
        let found = violations(&pod);
        assert!(found.iter().any(|violation| violation.starts_with(&format!("{name}:"))), "{name}: {found:?}");
    }
}
