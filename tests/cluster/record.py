#!/usr/bin/env -S python3 -B
"""Records what a real API server asks a mutating webhook: creates every shape with kubectl, and keeps the reviews.

    record.py PROGRAMS FOLDER

Each file is the body of one review as it came, laid out anew: every field, in the order of the wire.
"""

import json
import sys
import tempfile
from pathlib import Path

from control_plane import ControlPlane, Failed
from node import join
from reviews import Reviews

HERE = Path(__file__).resolve().parent
SHAPES = HERE / "shapes"
NAMESPACE = "shop"
# Every operation on pods and what hangs below them, so that what a narrower rule leaves out is known too.
EVERYTHING = [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods", "pods/*"]}]
LIMITS = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "limits"},
    "spec": {"limits": [{"type": "Container", "default": {"memory": "256Mi"}, "defaultRequest": {"cpu": "100m"}}]},
}


class Recording:
    """Writes what the webhook was asked, a file for each review."""

    def __init__(self, cluster, reviews, folder):
        self.cluster = cluster
        self.reviews = reviews
        self.folder = folder
        self.names = set()

    def wait(self, count):
        """Waits until `count` reviews came, for those that controllers cause."""
        self.cluster.until(f"a review number {count}", lambda: len(self.reviews.kept) >= count)

    def keep(self, name, first=False):
        """Writes what came since the last time under `name`: the `first`, or all, numbered if there are more."""
        taken = self.reviews.take()
        if not taken:
            raise Failed(f"the webhook was not asked about `{name}`")
        if first:
            taken = taken[:1]
        for number, kept in enumerate(taken, 1):
            request = kept["review"]["request"]
            sub = request.get("subResource")
            parts = [name, sub, None if request["operation"] == "CREATE" else request["operation"].lower()]
            file = "-".join(part for part in parts if part) + (f"-{number}" if len(taken) > 1 else "")
            if file in self.names:
                raise Failed(f"two reviews are called `{file}`")
            self.names.add(file)
            text = json.dumps(kept["review"], ensure_ascii=False, indent=1)
            (self.folder / f"{file}.json").write_text(text + "\n", encoding="utf-8")
        print(f"recorded {name}: {len(taken)}")


def refused_before(cluster, what, manifest):
    """A shape that the API server refuses by itself: the webhook never sees it."""
    code, out, err = cluster.try_kubectl("create", "--namespace", NAMESPACE, "--filename=-", stdin=json.dumps(manifest))
    if code == 0:
        raise Failed(f"the API server took {what}: {out}")
    print(f"refused before any webhook, {what}: {err.strip()}")


def pod(name, annotations, **spec):
    """The smallest pod that asks."""
    container = {"name": "sender", "image": "registry.example/sender:1"}
    metadata = {"name": name, "annotations": {"consentd.io/inject": "true", **annotations}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


def record(cluster, reviews, folder):
    """Every shape, then what happens to pods that are there."""
    recording = Recording(cluster, reviews, folder)

    def create(shape, *arguments, user="admin", namespace=NAMESPACE):
        cluster.kubectl(
            "create", "--namespace", namespace, f"--filename={SHAPES / shape}.yaml", *arguments, user=user
        )

    made = ("job", "indexed-job", "deployment", "stateful-set", "daemon-set")
    alone = {"asks", "dry-run", "restricted", "mirror", "plain", *made}
    for shape in sorted(path.stem for path in SHAPES.glob("*.yaml")):
        if shape not in alone:
            create(shape)
            recording.keep(shape)

    # What controllers make, in their own names.
    for shape in made:
        create(shape)
        recording.wait(1)
        recording.keep(shape)

    create("asks")
    for kept in reviews.take():
        reviews.kept.append(kept)
        recording.keep(kept["review"]["request"]["name"])

    # Who asks, where, and how.
    create("plain", user="developer")
    recording.keep("plain")
    create("restricted", namespace="restricted")
    recording.keep("restricted")
    create("mirror")
    recording.keep("mirror")
    create("dry-run", "--dry-run=server")
    recording.keep("dry-run")
    applied = json.dumps(pod("applied", {}))
    cluster.kubectl("apply", "--namespace", NAMESPACE, "--filename=-", stdin=applied)
    recording.keep("applied")
    applied = json.dumps(pod("applied-by-the-server", {}))
    cluster.kubectl("apply", "--namespace", NAMESPACE, "--server-side", "--filename=-", stdin=applied)
    recording.keep("applied-by-the-server")
    cluster.kubectl(
        *["run", "run", "--namespace", NAMESPACE, "--image=registry.example/sender:1"],
        *["--annotations=consentd.io/inject=true", "--restart=Never", "--", "send", "--list=spring"],
    )
    recording.keep("run")

    # What happens to pods that are there.
    cluster.kubectl("label", "--namespace", NAMESPACE, "pod", "plain", "team=mail")
    recording.keep("label")
    cluster.kubectl("annotate", "--namespace", NAMESPACE, "pod", "not-asking", "consentd.io/inject=true")
    recording.keep("asking-too-late")
    image = {"spec": {"containers": [{"name": "sender", "image": "registry.example/sender:2"}]}}
    cluster.kubectl("patch", "--namespace", NAMESPACE, "pod", "plain", f"--patch={json.dumps(image)}")
    recording.keep("image")
    status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    cluster.kubectl(
        "patch", "--namespace", NAMESPACE, "pod", "plain", "--subresource=status", f"--patch={json.dumps(status)}"
    )
    recording.keep("status")
    debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "registry.example/debug:1"}]}}
    cluster.kubectl(
        *["replace", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/plain/ephemeralcontainers", "--filename=-"],
        stdin=json.dumps(merged(cluster.get(NAMESPACE, "pod", "plain"), debug)),
    )
    recording.keep("debug")
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "plain"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"},
    }
    cluster.kubectl(
        *["create", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/plain/binding", "--filename=-"],
        stdin=json.dumps(binding),
    )
    recording.keep("bound")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "linux", "namespace": NAMESPACE}}
    cluster.kubectl(
        *["create", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/linux/eviction", "--filename=-"],
        stdin=json.dumps(eviction),
    )
    recording.keep("evicted")
    # The node is not there: the connection fails after admission.
    cluster.try_kubectl("exec", "--namespace", NAMESPACE, "plain", "--container=sender", "--", "true")
    recording.keep("executed", first=True)
    cluster.kubectl("delete", "--namespace", NAMESPACE, "pod", "run", "--wait=false", "--grace-period=0", "--force")
    recording.keep("deleted", first=True)
    return recording.names


def merged(stored, patch):
    """A stored object with other fields in its spec."""
    stored["spec"].update(patch["spec"])
    return stored


def reinvoked(cluster, folder, name, namespace):
    """Two webhooks: one adds a sidecar, the later a container. What the first is asked, and asked again."""

    def sidecar(review):
        spec = review["request"]["object"]["spec"]
        if any(container["name"] == "first" for container in spec.get("initContainers", [])):
            return None
        value = {"name": "first", "image": "registry.example/first:1", "restartPolicy": "Always"}
        return [{"op": "add", "path": "/spec/initContainers", "value": [value]}]

    def proxy(review):
        containers = review["request"]["object"]["spec"]["containers"]
        if any(container["name"] == "proxy" for container in containers):
            return None
        value = {"name": "proxy", "image": "registry.example/proxy:1"}
        return [{"op": "add", "path": "/spec/containers/-", "value": value}]

    rules = [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]
    first, second = Reviews(cluster.authority, sidecar), Reviews(cluster.authority, proxy)
    for webhook, reviews in (("a-first", first), ("b-second", second)):
        cluster.kubectl("create", "--filename=-", stdin=json.dumps(reviews.configuration(webhook, rules)))
    wait_for_webhook(cluster, second)
    first.take()
    cluster.kubectl("create", "--namespace", namespace, "--filename=-", stdin=json.dumps(pod(name, {})))
    taken = first.take()
    if len(taken) != 2:
        raise Failed(f"the first webhook was asked {len(taken)} times where the second changed the pod")
    for number, kept in enumerate(taken, 1):
        text = json.dumps(kept["review"], ensure_ascii=False, indent=1)
        (folder / f"{name}-{number}.json").write_text(text + "\n", encoding="utf-8")
    print(f"recorded {name}: 2")
    cluster.kubectl("delete", "mutatingwebhookconfiguration", "a-first", "b-second")
    first.stop()
    second.stop()


def wait_for_webhook(cluster, reviews):
    """Waits until the API server asks the webhook that was just registered."""

    def asked():
        probe = json.dumps(pod("probe", {}))
        cluster.kubectl("create", "--namespace", NAMESPACE, "--dry-run=server", "--filename=-", stdin=probe)
        return reviews.take()

    cluster.until("the webhook", asked)


def main():
    programs, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="consentd-cluster-") as data:
        with ControlPlane(programs, data) as cluster:
            print(cluster.kubectl("version"))
            cluster.namespace(NAMESPACE)
            cluster.namespace("restricted", **{"pod-security.kubernetes.io/enforce": "restricted"})
            join(cluster)
            may = ["--verb=create,get,list,delete", "--resource=pods", "--namespace", NAMESPACE]
            cluster.kubectl("create", "role", "developers", *may)
            bound = ["--role=developers", "--group=developers", "--namespace", NAMESPACE]
            cluster.kubectl("create", "rolebinding", "developers", *bound)
            refused_before(cluster, "an annotation that is no string", pod("boolean", {"consentd.io/inject": True}))
            refused_before(cluster, "two containers of one name", pod("twice", {}, initContainers=[
                {"name": "sender", "image": "registry.example/sender:1"}]))
            refused_before(cluster, "a mount of no volume", pod("no-volume", {}, containers=[
                {"name": "sender", "image": "x", "volumeMounts": [{"name": "no", "mountPath": "/no"}]}]))

            reviews = Reviews(cluster.authority)
            cluster.kubectl("create", "--filename=-", stdin=json.dumps(reviews.configuration("record", EVERYTHING)))
            wait_for_webhook(cluster, reviews)
            names = record(cluster, reviews, folder)
            cluster.kubectl("delete", "mutatingwebhookconfiguration", "record")
            reviews.stop()
            reinvoked(cluster, folder, "reinvoked", NAMESPACE)
            cluster.namespace("limited")
            cluster.kubectl("create", "--namespace=limited", "--filename=-", stdin=json.dumps(LIMITS))
            reinvoked(cluster, folder, "limit-range", "limited")
            print(f"{len(names) + 4} reviews in {folder}")


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"record: {failed}")
