"""A release of the chart by real Helm, and what the checks share."""

import contextlib
import json
import os
from pathlib import Path

from control_plane import Failed, run
from node import Node, join

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "consentd"
NAMESPACE = "consentd-system"
NAME = "consentd"
# The restricted standard, in which everything of the chart has to be admitted.
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
SELECTOR = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component=injector"


def ok(sentence):
    """Says that something holds."""
    print(f"ok  {sentence}", flush=True)


def hold(condition, sentence, found=""):
    """Fails unless something holds; says that it does."""
    if not condition:
        raise Failed(f"not so: {sentence}\n{found}")
    ok(sentence)


class Release:
    """The chart in the mode `injector`, in a namespace of the restricted standard."""

    def __init__(self, cluster, helm_program, consentd, folder):
        self.cluster = cluster
        self.helm_program = helm_program
        self.consentd = consentd
        self.folder = folder
        self.values = ["--values", CHART / "ci" / "injector-values.yaml"]

    def try_helm(self, *arguments):
        """Runs Helm; its exit code, what it printed, and what it complained of."""
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfigs["admin"]), "HOME": str(self.folder)}
        return run([self.helm_program, *arguments], env=environment, timeout=180)

    def helm(self, *arguments):
        """Runs a Helm that has to succeed, and returns what it printed."""
        code, out, err = self.try_helm(*arguments)
        if code != 0:
            raise Failed(f"`helm {' '.join(str(argument) for argument in arguments)}` ended with {code}\n{out}{err}")
        return out

    def upgrade(self, *arguments):
        """Gives the release other values."""
        self.helm("upgrade", NAME, CHART, "--namespace", NAMESPACE, *self.values, *arguments)

    @contextlib.contextmanager
    def installed(self):
        """Installs it; a node is there to run its pods, and away at first."""
        self.cluster.namespace(NAMESPACE, **RESTRICTED)
        join(self.cluster)
        self.helm("install", NAME, CHART, "--namespace", NAMESPACE, *self.values)
        with Node(self.cluster, NAMESPACE, SELECTOR, self.consentd, self.folder / "node") as node:
            try:
                yield node
            except BaseException:
                print(node.logs())
                raise

    def webhook(self):
        """The webhook as the API server has it."""
        return self.configuration()["webhooks"][0]

    def configuration(self):
        """The configuration of webhooks that is the release's."""
        items = self.cluster.list("", "mutatingwebhookconfigurations", f"--selector=app.kubernetes.io/instance={NAME}")
        if len(items) != 1:
            raise Failed(f"the release has {len(items)} configurations of webhooks")
        return items[0]

    def deployment(self):
        """The webhook's Deployment."""
        [deployment] = self.cluster.list(NAMESPACE, "deployments", f"--selector={SELECTOR}")
        return deployment

    def until_rolled_out(self, node):
        """Waits until all of the webhook's pods are of its newest template, and ready, and the API server can know."""

        def rolled_out():
            node.check()
            found = self.deployment()
            status, wanted = found["status"], found["spec"]["replicas"]
            is_seen = status.get("observedGeneration") == found["metadata"]["generation"]
            counts = [status.get(count, 0) for count in ("replicas", "updatedReplicas", "readyReplicas")]
            return is_seen and counts == [wanted] * 3

        self.cluster.until("the webhook's rollout", rolled_out, seconds=90)

        def has_endpoints():
            slices = self.cluster.list(NAMESPACE, "endpointslices", f"--selector={SELECTOR}")
            ready = {
                address
                for found in slices
                for endpoint in found.get("endpoints") or []
                if endpoint["conditions"].get("ready")
                for address in endpoint["addresses"]
            }
            return ready == {running.address for running in node.running.values()}

        self.cluster.until("the webhook's endpoints", has_endpoints, seconds=60)

    def until_asked(self, node, pod):
        """Waits until the API server injects: it reads endpoints and configurations with some delay."""

        said = []

        def injected():
            node.check()
            code, out, err = self.cluster.try_kubectl(
                *["create", "--namespace=default", "--dry-run=server", "--output=json", "--filename=-"],
                stdin=json.dumps(pod),
            )
            said[:] = [err or out]
            return code == 0 and "consentd" in names(json.loads(out)["spec"].get("initContainers"))

        try:
            self.cluster.until("the API server's first injected pod", injected, seconds=30)
        except Failed as failed:
            raise Failed(f"{failed}: {said[0]}") from failed


def names(items):
    """Names of what is in a list of Kubernetes."""
    return [item["name"] for item in items or []]


def pod(name, annotations=None, **spec):
    """The smallest pod that asks."""
    container = {"name": "sender", "image": "registry.example/sender:1"}
    metadata = {"name": name, "annotations": {"consentd.io/inject": "true", **(annotations or {})}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}
