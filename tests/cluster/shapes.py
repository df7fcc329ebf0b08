"""What becomes of pods of many shapes: what the API server stored, and what their users are told."""

import copy
import json
import urllib.request
from pathlib import Path

from control_plane import Failed
from release import NAMESPACE, RESTRICTED, hold, names, ok, pod
from reviews import Reviews

FOLDER = Path(__file__).resolve().parent / "shapes"
SOCKET_DIR = "/run/consentd"
VARIABLE = "CONSENTD_TARGET"
# What is promised of a review, in milliseconds, and of how many pods at least the average is taken.
REVIEW_MS_MAX = 50.0
ENOUGH_PODS = 20
# Pods that cannot have what they ask for, and what their users must be told.
REFUSED = {
    "container-taken": "`consentd`",
    "volume-taken": "`consentd-data`",
    "mount-taken": "/run/consentd",
    "mount-around": "/run/consentd",
    "port-taken": "7312",
    "unknown-annotation": "`consentd.io/log-levle`",
    "unknown-container": "`sendr`",
    "windows": "Windows",
    "ask-by-label": "label `consentd.io/inject`",
    "ask-capital": "`True`",
    "ask-empty": "``",
    "ask-enabled": "`enabled`",
    "ask-misspelt": "`consentd.io/injct`",
    "ask-one": "`1`",
    "ask-shouted": "`TRUE`",
    "ask-space-true": "` true`",
    "ask-yes": "`yes`",
}
# Pods that get nothing.
UNTOUCHED = {"not-asking", "ask-false", "mirror-node-1"}
# Kinds whose pods are made by controllers.
MADE = {"Job": "job", "Deployment": "deployment", "StatefulSet": "stateful-set", "DaemonSet": "daemon-set"}


def check(release, node):
    """Every shape, then what needs more than a shape."""
    cluster = release.cluster
    before_anybody_answers(release)
    node.is_away = False
    release.until_rolled_out(node)
    release.until_asked(node, pod("first"))
    ok("the API server reaches the webhook by the chart's Service and trusts the chart's certificate")
    cluster.namespace("shop")
    for manifest in manifests(cluster):
        name = manifest["metadata"].get("name") or manifest["metadata"]["generateName"]
        if manifest["kind"] != "Pod":
            made_by_controllers(release, manifest)
        elif name in REFUSED:
            refused(release, manifest, REFUSED[name])
        elif name in UNTOUCHED:
            untouched(release, manifest)
        elif name == "restricted":
            continue
        else:
            injected(release, manifest, "shop")
    node.check()
    who_is_asked_about(release, node)
    asked_again(release)
    standards(release)
    limits(release)
    dry_run(release)
    refused_by_its_controller(release)
    how_long(release)


def manifests(cluster):
    """The shapes as JSON, as kubectl reads them."""
    for path in sorted(FOLDER.glob("*.yaml")):
        text = cluster.kubectl("create", f"--filename={path}", "--dry-run=client", "--validate=false", "--output=json")
        decoder, at = json.JSONDecoder(), 0
        while at < len(text):
            found, at = decoder.raw_decode(text, at)
            at += len(text[at:]) - len(text[at:].lstrip())
            yield from found["items"] if found["kind"] == "List" else [found]


def create(release, manifest, namespace, *arguments):
    """Creates an object; kubectl's exit code, what is stored, and what its user was told."""
    manifest = copy.deepcopy(manifest)
    manifest["metadata"].pop("namespace", None)
    code, out, err = release.cluster.try_kubectl(
        *["create", "--namespace", namespace, "--validate=strict", "--output=json", "--filename=-", *arguments],
        stdin=json.dumps(manifest),
    )
    return code, json.loads(out) if code == 0 else None, err


def before_anybody_answers(release):
    """The webhook is registered, and none of its pods is ready yet."""
    release.cluster.namespace("early")
    said = []

    def is_refused():
        code, _, err = create(release, pod("early"), "early", "--dry-run=server")
        said[:] = [err]
        return code != 0

    # The API server is told of a new webhook, and asks it a moment later.
    release.cluster.until("the refusal of a pod that asks", is_refused, seconds=20)
    hold("failed calling webhook" in said[0], "without a webhook that answers, a pod that asks is refused", said[0])
    plain = pod("plain")
    del plain["metadata"]["annotations"]
    code, _, err = create(release, plain, "early")
    hold(code == 0, "without a webhook that answers, a pod that does not ask is made", err)
    for namespace in ("kube-system", NAMESPACE):
        fits = restricted(pod("asks"))
        code, stored, err = create(release, fits, namespace)
        is_plain = code == 0 and "consentd" not in names(stored["spec"].get("initContainers"))
        hold(is_plain, f"the webhook is not asked about pods of the namespace {namespace}", err)
        release.cluster.kubectl("delete", "pod", "asks", "--namespace", namespace, "--wait=false")


def restricted(manifest):
    """The pod as the restricted standard wants it."""
    manifest["spec"]["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for container in manifest["spec"]["containers"]:
        container["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return manifest


def injected(release, manifest, namespace):
    """A pod that gets consentd: it is what it would have been without, and consentd besides."""
    name = manifest["metadata"].get("name") or manifest["metadata"]["generateName"]
    without = copy.deepcopy(manifest)
    without["metadata"]["annotations"]["consentd.io/inject"] = "false"
    code, without, err = create(release, without, namespace, "--dry-run=server")
    if code != 0:
        raise Failed(f"the pod `{name}` was refused without consentd\n{err}")
    code, stored, err = create(release, manifest, namespace)
    if code != 0:
        raise Failed(f"the pod `{name}` was refused\n{err}")
    examine(stored)
    difference = different(bare(stored), bare(without))
    if difference:
        raise Failed(f"the pod `{name}` has more changed than consentd added: {difference}")
    again = copy.deepcopy(stored)
    again["metadata"] = {
        "name": "again-" + stored["metadata"]["name"],
        "annotations": stored["metadata"]["annotations"],
    }
    again.pop("status", None)
    code, copied, err = create(release, again, namespace)
    if code != 0:
        raise Failed(f"the stored pod `{name}`, made again, was refused\n{err}")
    difference = different(copied["spec"], stored["spec"])
    if difference:
        raise Failed(f"the stored pod `{name}`, made again, is another: {difference}")
    ok(f"{name}: has consentd and is unchanged besides; made again from what is stored it is the same")


def examine(stored):
    """A stored pod has one consentd, before all others but the proxy of a mesh, and its containers can ask it."""
    spec, name = stored["spec"], stored["metadata"]["name"]
    inits = spec.get("initContainers", [])
    own = [container for container in inits if container["name"] == "consentd"]
    if len(own) != 1 or "consentd" in names(spec["containers"]):
        raise Failed(f"the pod `{name}` has {len(own)} sidecars")
    [sidecar] = own
    at = inits.index(sidecar)
    if sidecar.get("restartPolicy") != "Always":
        raise Failed(f"the sidecar of `{name}` does not run beside the others")
    if not all(other["name"].startswith("istio-") for other in inits[:at]):
        raise Failed(f"the sidecar of `{name}` is behind {names(inits[:at])}")
    context = sidecar["securityContext"]
    is_bound = context["runAsNonRoot"] and context["readOnlyRootFilesystem"] and not context["privileged"]
    if not (is_bound and context["capabilities"] == {"drop": ["ALL"]}):
        raise Failed(f"the sidecar of `{name}` may too much: {context}")
    mounts = {mount["mountPath"]: mount["name"] for mount in sidecar["volumeMounts"]}
    if any(volume.startswith("kube-api-access") for volume in mounts.values()):
        raise Failed(f"the sidecar of `{name}` has the token of the pod's account")
    if set(mounts.values()) - set(names(spec["volumes"])):
        raise Failed(f"the sidecar of `{name}` mounts volumes that are not there")
    chosen = stored["metadata"]["annotations"].get("consentd.io/containers")
    asking = [*spec["containers"], *inits[at + 1 :]]
    for container in asking:
        wanted = container["name"] in chosen.split(",") if chosen else not container["name"].startswith("istio-")
        places = [mount for mount in container.get("volumeMounts", []) if mount["mountPath"] == SOCKET_DIR]
        variables = [variable for variable in container.get("env", []) if variable["name"] == VARIABLE]
        found = len(places) == 1 and places[0]["readOnly"] and len(variables) == 1
        if found != wanted:
            raise Failed(f"the container `{container['name']}` of `{name}`: can ask: {found}, should: {wanted}")


def bare(stored):
    """A pod without what consentd added, and without names that were drawn by lot."""
    text = json.dumps(stored["spec"])
    for name in names(stored["spec"].get("volumes")):
        if name.startswith("kube-api-access-"):
            text = text.replace(name, "kube-api-access")
    spec = json.loads(text)
    spec["volumes"] = [volume for volume in spec.get("volumes", []) if not volume["name"].startswith("consentd-")]
    spec["initContainers"] = [each for each in spec.get("initContainers", []) if each["name"] != "consentd"]
    for container in [*spec["initContainers"], *spec["containers"]]:
        mounts = container.get("volumeMounts", [])
        container["volumeMounts"] = [mount for mount in mounts if mount["name"] != "consentd-socket"]
        own = {"name": VARIABLE, "value": f"unix://{SOCKET_DIR}/consentd.sock"}
        container["env"] = [variable for variable in container.get("env", []) if variable != own]
    return spec


def different(one, other):
    """Where two values differ, in a sentence; empty if they do not."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(set(one) | set(other)):
            where = different(one.get(key), other.get(key))
            if where:
                return f"{key}.{where}"
        return ""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for at, (left, right) in enumerate(zip(one, other)):
            where = different(left, right)
            if where:
                return f"{at}.{where}"
        return ""
    return "" if one == other else f" {json.dumps(one)} and not {json.dumps(other)}"


def refused(release, manifest, told):
    """A pod that cannot have consentd."""
    name = manifest["metadata"]["name"]
    code, _, err = create(release, manifest, "shop")
    said = err.strip().split("denied the request: ")[-1]
    if code == 0 or "denied the request" not in err or told not in err:
        raise Failed(f"the pod `{name}` should be refused with `{told}`: {code}\n{err}")
    if release.cluster.get("shop", "pod", name):
        raise Failed(f"the pod `{name}` is there although it was refused")
    ok(f"{name}: refused: {said}")


def untouched(release, manifest):
    """A pod that gets nothing."""
    name = manifest["metadata"]["name"]
    code, stored, err = create(release, manifest, "shop")
    if code != 0:
        raise Failed(f"the pod `{name}` was refused\n{err}")
    if "consentd" in json.dumps(stored["spec"]):
        raise Failed(f"the pod `{name}` got something: {json.dumps(stored['spec'])}")
    ok(f"{name}: has nothing added{': ' + err.strip() if err.strip() else ''}")


def made_by_controllers(release, manifest):
    """A pod that a controller made."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    code, _, err = create(release, manifest, "shop")
    if code != 0:
        raise Failed(f"the {kind} `{name}` was refused\n{err}")

    def pods():
        found = release.cluster.list("shop", "pods")
        return [each for each in found if owner(release, each) == (kind, name)]

    for stored in release.cluster.until(f"a pod of the {kind} `{name}`", pods):
        examine(stored)
    ok(f"{name}: the pods of a {kind} have consentd")


def owner(release, stored):
    """The kind and name of what a pod was made for; a ReplicaSet's is its Deployment."""
    for reference in stored["metadata"].get("ownerReferences", []):
        if reference["kind"] == "ReplicaSet":
            above = release.cluster.get("shop", "replicaset", reference["name"])
            return owner(release, above) if above else None
        return reference["kind"], reference["name"]
    return None


def who_is_asked_about(release, node):
    """By the webhook's own count, who is not asked about never cost a call."""
    cluster = release.cluster
    before = reviews(node)
    plain = pod("silent")
    del plain["metadata"]["annotations"]
    create(release, plain, "shop")
    cluster.kubectl("label", "--namespace=shop", "pod", "silent", "team=mail")
    cluster.kubectl("annotate", "--namespace=shop", "pod", "silent", "consentd.io/inject=true")
    cluster.kubectl("label", "--namespace=shop", "pod", "plain", "team=mail")
    cluster.kubectl("delete", "--namespace=shop", "pod", "plain", "--wait=false")
    crowded = pod("crowded")
    # About as many as a pod can have: 256 KiB in all. Whoever is to be asked is found by looking at each.
    crowded["metadata"]["annotations"] = {f"a{number:05}": "" for number in range(40_000)}
    code, stored, err = create(release, crowded, "shop")
    hold(code == 0, "a pod with 40,000 annotations, none of them ours, is made", err[-500:])
    hold(reviews(node) == before, "pods that do not ask, changes and deletions are not brought to the webhook", before)
    create(release, pod("counted"), "shop")
    hold(reviews(node) > before, "a pod that asks is", before)


def reviews(node):
    """How many reviews the webhook's pods counted."""
    total = 0
    for running in node.running.values():
        with urllib.request.urlopen(f"http://{running.address}:7312/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("consentd_injector_reviews_total"):
                    total += float(line.split()[-1])
    return total


def asked_again(release):
    """Another webhook adds a container after ours: it can ask too, and there is still one consentd."""
    cluster = release.cluster

    def proxy(review):
        containers = review["request"]["object"]["spec"]["containers"]
        if "later" in names(containers):
            return None
        value = {"name": "later", "image": "registry.example/later:1"}
        return [{"op": "add", "path": "/spec/containers/-", "value": value}]

    rules = [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]
    other = Reviews(cluster.authority, proxy)
    # Webhooks are asked in the order of their names.
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "meshed"}}
    configuration = other.configuration("zz-later", rules, namespaceSelector=selector)
    cluster.kubectl("create", "--filename=-", stdin=json.dumps(configuration))
    cluster.namespace("meshed")

    def both():
        _, stored, _ = create(release, pod("probe"), "meshed", "--dry-run=server")
        return stored and "later" in names(stored["spec"]["containers"])

    cluster.until("the other webhook", both)
    code, stored, err = create(release, pod("meshed"), "meshed")
    if code != 0:
        raise Failed(f"a pod that two webhooks change was refused\n{err}")
    examine(stored)
    cluster.kubectl("delete", "mutatingwebhookconfiguration", "zz-later")
    other.stop()
    ok("a container that another webhook adds later can ask too, and there is one consentd")


def standards(release):
    """Namespaces that enforce a standard of pod security."""
    release.cluster.namespace("restricted", **RESTRICTED)
    manifest = restricted(pod("restricted"))
    injected(release, manifest, "restricted")
    code, _, err = create(release, pod("loose"), "restricted")
    is_about_sender = 'container "sender"' in err and 'container "consentd"' not in err
    hold(code != 0 and is_about_sender, "a pod that is not as restricted wants it is refused for what is its own", err)


def limits(release):
    """A namespace with limits: the API server fills in what the sidecar leaves open."""
    release.cluster.namespace("limited")
    limit = {"type": "Container", "default": {"memory": "256Mi", "cpu": "1"}, "defaultRequest": {"cpu": "100m"}}
    ranges = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"}, "spec": {"limits": [limit]}}
    release.cluster.kubectl("create", "--namespace=limited", "--filename=-", stdin=json.dumps(ranges))
    injected(release, pod("limited"), "limited")


def dry_run(release):
    """What would be made is shown, and is not made."""
    code, shown, err = create(release, pod("dry"), "shop", "--dry-run=server")
    hold(code == 0 and "consentd" in names(shown["spec"].get("initContainers")), "a dry run shows consentd", err)
    hold(release.cluster.get("shop", "pod", "dry") is None, "a dry run makes nothing")


def refused_by_its_controller(release):
    """Who makes pods by a Deployment finds the sentence in an event."""
    template = {"metadata": {"labels": {"app": "wrong"}, "annotations": {"consentd.io/inject": "yes"}}}
    template["spec"] = {"containers": [{"name": "sender", "image": "registry.example/sender:1"}]}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "wrong"},
        "spec": {"selector": {"matchLabels": {"app": "wrong"}}, "template": template},
    }
    create(release, manifest, "shop")

    def event():
        found = release.cluster.list("shop", "events", "--field-selector=reason=FailedCreate")
        return next((each["message"] for each in found if "wrong" in each["involvedObject"]["name"]), None)

    message = release.cluster.until("an event of the ReplicaSet", event)
    hold("consentd.io/inject" in message, f"the pods of a Deployment are refused in an event: {message}")


def how_long(release):
    """How long the API server waited for the webhook, its connection and the way there included."""
    name = "apiserver_admission_webhook_admission_duration_seconds"
    sums = {"sum": 0.0, "count": 0.0}
    for line in release.cluster.request("GET", "/metrics").splitlines():
        for part in sums:
            is_ours = 'name="pods.injector.consentd.io"' in line and 'rejected="false"' in line
            if is_ours and line.startswith(f"{name}_{part}{{"):
                sums[part] += float(line.split()[-1])
    average = 1000 * sums["sum"] / max(sums["count"], 1)
    is_soon = sums["count"] >= ENOUGH_PODS and average < REVIEW_MS_MAX
    said = f"the API server waited {average:.1f} ms on average for {sums['count']:.0f} pods"
    hold(is_soon, f"{said}, less than {REVIEW_MS_MAX:.0f} ms", said)
