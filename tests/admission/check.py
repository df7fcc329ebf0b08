"""Applies each patch with a library that is not ours, and validates what comes of it with another.

Each file of the folder has a review's request and the response. Validation is strict, for every version of Kubernetes from
1.29 for which the pod was valid before.
"""

import base64
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


def not_restricted(pod: dict) -> list[str]:
    """What the pod security standard `restricted` has against a pod. Source: Kubernetes, "Pod Security Standards"."""
    spec, wrong = pod["spec"], []
    own = spec.get("securityContext") or {}
    for host in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(host):
            wrong.append(host)
    volumes = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"}
    for volume in spec.get("volumes") or []:
        wrong += [f"volume {volume['name']}: {kind}" for kind in volume.keys() - volumes - {"name"}]
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        context, name = container.get("securityContext") or {}, container["name"]
        capabilities = context.get("capabilities") or {}
        checks = {
            "privileged": not context.get("privileged"),
            "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
            "drop": "ALL" in (capabilities.get("drop") or []),
            "add": set(capabilities.get("add") or []) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": context.get("runAsNonRoot", own.get("runAsNonRoot")) is True,
            "runAsUser": context.get("runAsUser", own.get("runAsUser")) != 0,
            "seccomp": (context.get("seccompProfile") or own.get("seccompProfile") or {}).get("type")
            in ("RuntimeDefault", "Localhost"),
            "procMount": context.get("procMount", "Default") == "Default",
            "hostPort": all(not port.get("hostPort") for port in container.get("ports") or []),
        }
        wrong += [f"container {name}: {check}" for check, holds in checks.items() if not holds]
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
    wrong = []
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
        if not not_restricted(before):
            counts["restricted"] += 1
            wrong += [f"{path.stem}: not restricted any more: {why}" for why in not_restricted(after)]
        own = [container for container in after["spec"]["initContainers"] if container["name"] == "consentd"]
        alone = {"spec": {"initContainers": own, "containers": []}}
        wrong += [f"{path.stem}: the sidecar: {why}" for why in not_restricted(alone)]
        if len(own) != 1:
            wrong.append(f"{path.stem}: {len(own)} sidecars")
    print("\n".join(wrong))
    for word, count in counts.items():
        print(word, count)
    print("newest", NEWEST)
    sys.exit(1 if wrong else 0)


main()
