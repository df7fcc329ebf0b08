"""Applies each patch with a library that is not ours, and validates what comes of it with another.

Each file of the folder has a review's request and the response. Validation is strict, for every version of Kubernetes from
1.29 for which the pod was valid before.
"""

import base64
import copy
import json
import pathlib
import sys

import jsonpatch
import kubernetes_validate

FIRST = 29
NEWEST = int(kubernetes_validate.latest_version().split(".")[1])
VERSIONS = [f"1.{minor}" for minor in range(FIRST, NEWEST + 1)]


def why_invalid(pod: dict, version: str) -> str | None:
    """Why a version of Kubernetes would not take the pod."""
    try:
        kubernetes_validate.validate(pod, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    return None


VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SYSCTLS = {
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
}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def not_restricted(spec: dict) -> list[str]:
    """What the pod security standard `restricted` has against a pod. Source: Kubernetes, "Pod Security Standards"."""
    wrong = []

    def rule(name: str, holds: bool, place: str) -> None:
        if not holds:
            wrong.append(f"{name}: {place}")

    own = spec.get("securityContext") or {}
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        rule("Host Namespaces", not spec.get(field), field)
    for sysctl in own.get("sysctls") or []:
        rule("Sysctls", sysctl["name"] in SYSCTLS, sysctl["name"])
    for volume in spec.get("volumes") or []:
        rule("Volume Types", volume.keys() - {"name"} <= VOLUMES, volume["name"])
    containers = [
        container
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(kind) or []
    ]
    for container in containers:
        context, name = container.get("securityContext") or {}, container["name"]
        capabilities = context.get("capabilities") or {}
        seccomp = (context.get("seccompProfile") or own.get("seccompProfile") or {}).get("type")
        rule("Privileged Containers", not context.get("privileged"), name)
        rule("Privilege Escalation", context.get("allowPrivilegeEscalation") is False, name)
        rule("Running as Non-root", context.get("runAsNonRoot", own.get("runAsNonRoot")) is True, name)
        rule("Running as Non-root user", context.get("runAsUser", own.get("runAsUser")) != 0, name)
        rule("Seccomp", seccomp in ("RuntimeDefault", "Localhost"), name)
        rule("Capabilities", "ALL" in (capabilities.get("drop") or []), name)
        rule("Capabilities", set(capabilities.get("add") or []) <= {"NET_BIND_SERVICE"}, name)
        rule("/proc Mount Type", context.get("procMount", "Default") == "Default", name)
        for options in (own, context):
            rule("HostProcess", not (options.get("windowsOptions") or {}).get("hostProcess"), name)
            profile = (options.get("appArmorProfile") or {}).get("type", "RuntimeDefault")
            rule("AppArmor", profile in ("RuntimeDefault", "Localhost"), name)
            selinux = options.get("seLinuxOptions") or {}
            rule("SELinux", selinux.get("type", "") in SELINUX_TYPES, name)
            rule("SELinux", not selinux.get("user") and not selinux.get("role"), name)
        rule("Host Ports", all(not port.get("hostPort") for port in container.get("ports") or []), name)
        looks = [container.get(probe) or {} for probe in ("livenessProbe", "readinessProbe", "startupProbe")]
        looks += [(container.get("lifecycle") or {}).get(hook) or {} for hook in ("postStart", "preStop")]
        hosts = [(look.get(kind) or {}).get("host") for look in looks for kind in ("httpGet", "tcpSocket")]
        rule("Host Probes / Lifecycle Hooks", not any(hosts), name)
    return wrong


def rules_hold() -> list[str]:
    """The standard above against pods that break it, the same that the chart's is held to."""
    cases = json.loads((pathlib.Path(__file__).parent.parent / "chart/restricted.json").read_text())
    wrong = [f"a pod that is restricted is not: {why}" for why in not_restricted(cases["whole"])]
    for name, place, value in cases["broken"]:
        pod = copy.deepcopy(cases["whole"])
        *parents, field = place.strip("/").split("/")
        at = pod
        for parent in parents:
            at = at[int(parent)] if isinstance(at, list) else at[parent]
        at[field] = value
        if not any(why.startswith(f"{name}: ") for why in not_restricted(pod)):
            wrong.append(f"{place} does not break {name}")
    return wrong


def kept(before: object, after: object, path: str = "") -> list[str]:
    """What was there and is not any more. Lists may have grown anywhere, their elements keep their order."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [lost for key, value in before.items() for lost in kept(value, after.get(key), f"{path}/{key}")]
    if isinstance(before, list) and isinstance(after, list):
        rest = iter(after)
        return [f"{path}/{at}" for at, value in enumerate(before) if not any(not kept(value, other) for other in rest)]
    # An empty list may have become one that is not.
    return [] if before == after or before is None and isinstance(after, list) else [path]


def main() -> None:
    counts = {"patched": 0, "validated": 0, "restricted": 0}
    wrong = rules_hold()
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
        review = json.loads(path.read_text())
        patch = review["response"].get("patch")
        if patch is None:
            continue
        counts["patched"] += 1
        before = review["request"]["object"]
        after = jsonpatch.JsonPatch(json.loads(base64.b64decode(patch, validate=True))).apply(before)
        wrong += [f"{path.stem}: {lost} is lost or changed" for lost in kept(before, after)]
        for version in VERSIONS:
            why = why_invalid(after, version)
            counts["validated"] += why is None
            if why and not why_invalid(before, version):
                wrong.append(f"{path.stem}: not valid for {version}: {why}")
        if not not_restricted(before["spec"]):
            counts["restricted"] += 1
            wrong += [f"{path.stem}: not restricted any more: {why}" for why in not_restricted(after["spec"])]
        own = [container for container in after["spec"]["initContainers"] if container["name"] == "consentd"]
        alone = {"initContainers": own, "containers": []}
        wrong += [f"{path.stem}: the sidecar: {why}" for why in not_restricted(alone)]
        if len(own) != 1:
            wrong.append(f"{path.stem}: {len(own)} sidecars")
    print("\n".join(wrong))
    for word, count in counts.items():
        print(word, count)
    print("newest", NEWEST)
    sys.exit(1 if wrong else 0)


main()
