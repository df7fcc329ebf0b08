"""Every example of values, installed by Helm where the restricted standard holds, upgraded, and taken away again."""

import json

from control_plane import Failed
from node import join
from release import CHART, RESTRICTED, ok

NAME = "consentd"
# What others bring into a cluster, as far as an object can be stored: their schemas are not checked here.
CUSTOM = [
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    ("cert-manager.io", "v1", "Certificate", "certificates"),
    ("cert-manager.io", "v1", "Issuer", "issuers"),
]
# What every namespace has from the cluster, by kind and the beginning of a name.
OF_THE_CLUSTER = {("configmaps", "kube-root-ca.crt"), ("serviceaccounts", "default")}
# What stays by intent: a volume outlives what was on it.
KEPT = {"persistentvolumeclaims"}


def check(release):
    """Every file of values that the chart's own tests render."""
    cluster = release.cluster
    prepare(cluster)
    files = sorted((CHART / "ci").glob("*-values.yaml"))
    if not files:
        raise Failed(f"there are no values in {CHART / 'ci'}")
    kinds = listable(cluster)
    for number, path in enumerate(files):
        namespace = f"values-{number}"
        cluster.namespace(namespace, **RESTRICTED)
        release.helm("install", NAME, CHART, "--namespace", namespace, "--values", path)
        manifest = release.helm("get", "manifest", NAME, "--namespace", namespace)
        cluster.kubectl(
            *["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"],
            *["--namespace", namespace, "--filename=-"],
            stdin=manifest,
        )
        made = pods_are_made(cluster, namespace)
        rights(cluster, namespace)
        release.helm("upgrade", NAME, CHART, "--namespace", namespace, "--values", path)
        unchanged = release.helm("get", "manifest", NAME, "--namespace", namespace)
        if unchanged != manifest:
            raise Failed(f"{path.name}: an upgrade with the same values changes the manifest\n{unchanged}")
        before = jobs(cluster, namespace)
        changed = ["--set=resources.limits.memory=160Mi", "--set=terminationGracePeriodSeconds=90"]
        release.helm("upgrade", NAME, CHART, "--namespace", namespace, "--values", path, *changed)
        after = jobs(cluster, namespace)
        # Its name says what is in it, also how much memory it has.
        if len(after) != len(before) or (before and before == after):
            raise Failed(f"{path.name}: with other limits the Jobs {before} became {after}")
        if "catalogue.json:" in manifest:
            another_catalogue(release, namespace, path)
        release.helm("rollback", NAME, "1", "--namespace", namespace)
        release.helm("uninstall", NAME, "--namespace", namespace)
        nothing_left(cluster, kinds, namespace)
        ok(f"{path.name}: installed, validated strictly, {made}, no rights, upgraded, rolled back, and gone")


def another_catalogue(release, namespace, path):
    """Another catalogue is another Job, in place of the one before."""
    before = jobs(release.cluster, namespace)
    release.helm("upgrade", NAME, CHART, "--namespace", namespace, "--values", path, "--set=catalogue.version=2")
    after = jobs(release.cluster, namespace)
    if len(after) != 1 or before == after:
        raise Failed(f"{path.name}: with another catalogue the Jobs {before} became {after}")


def jobs(cluster, namespace):
    """The names of the Jobs that are not ending."""
    found = cluster.list(namespace, "jobs")
    return [each["metadata"]["name"] for each in found if "deletionTimestamp" not in each["metadata"]]


def prepare(cluster):
    """A node for DaemonSets, kinds that others define, and a priority that an example names."""
    join(cluster)
    cluster.kubectl("create", "priorityclass", "platform", "--value=1000")
    for group, version, kind, plural in CUSTOM:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        versions = [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]
        spec = {"group": group, "scope": "Namespaced", "versions": versions}
        spec["names"] = {"kind": kind, "plural": plural, "singular": kind.lower()}
        definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
        definition["metadata"] = {"name": f"{plural}.{group}"}
        cluster.kubectl("create", "--filename=-", stdin=json.dumps(definition))
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{plural}.{group}", "--timeout=60s")


def pods_are_made(cluster, namespace):
    """Waits until the controllers made pods of every kind, which the standard admits; the kinds, in words."""

    def wanted():
        found = []
        for each in cluster.list(namespace, "deployments,statefulsets,daemonsets,jobs"):
            status = each.get("status", {})
            # Without a kubelet nothing gets ready, and a StatefulSet makes its second pod once the first is.
            has = {
                "Deployment": status.get("replicas", 0) == each["spec"].get("replicas"),
                "StatefulSet": status.get("replicas", 0) > 0,
                "DaemonSet": status.get("currentNumberScheduled", 0) > 0,
                "Job": status.get("active", 0) > 0,
            }
            if not has[each["kind"]]:
                return None
            found.append(each["kind"])
        return found

    try:
        kinds = cluster.until("every pod", wanted)
    except Failed as failed:
        events = cluster.list(namespace, "events", "--field-selector=type=Warning")
        raise Failed(f"{failed}: {[event['message'] for event in events]}") from failed
    return f"pods made by {', '.join(sorted(set(kinds)))}"


def rights(cluster, namespace):
    """No account of the release may do more than any account, and no pod has its token."""
    own = cluster.list(namespace, "serviceaccounts", f"--selector=app.kubernetes.io/instance={NAME}")
    if not own:
        raise Failed(f"the release in {namespace} has no account of its own")
    anyone = may(cluster, namespace, "default")
    for account in own:
        name = account["metadata"]["name"]
        if may(cluster, namespace, name) != anyone:
            raise Failed(f"the account {name} may {may(cluster, namespace, name)}, where any account may {anyone}")
    for each in cluster.list(namespace, "pods"):
        if each["spec"]["serviceAccountName"] == "default" or "kube-api-access" in json.dumps(each["spec"]):
            raise Failed(f"the pod {each['metadata']['name']} has the token of an account, or no account of its own")


def may(cluster, namespace, account):
    """What an account may do in a namespace, as the API server says."""
    who = f"--as=system:serviceaccount:{namespace}:{account}"
    groups = [f"--as-group=system:serviceaccounts:{namespace}", "--as-group=system:serviceaccounts"]
    groups.append("--as-group=system:authenticated")
    listed = cluster.kubectl("auth", "can-i", "--list", "--namespace", namespace, who, *groups)
    return sorted(listed.splitlines())


def listable(cluster):
    """Every kind that can be listed, and whether it is in namespaces."""
    kinds = {}
    for scoped in ("true", "false"):
        out = cluster.kubectl("api-resources", "--verbs=list", f"--namespaced={scoped}", "--output=name")
        kinds.update({kind: scoped == "true" for kind in out.split()})
    return kinds


def nothing_left(cluster, kinds, namespace):
    """Nothing of the release is left in its namespace or in the cluster."""
    left = []

    def gone():
        left.clear()
        for kind, is_namespaced in kinds.items():
            if kind in KEPT or kind.startswith("events"):
                continue
            place = ["--namespace", namespace] if is_namespaced else [f"--selector=app.kubernetes.io/instance={NAME}"]
            out = cluster.kubectl("get", kind, *place, "--ignore-not-found", "--output=name")
            for line in out.split():
                name = line.split("/", 1)[1]
                if (kind, name) not in OF_THE_CLUSTER:
                    left.append(line)
        return not left

    try:
        cluster.until("the end of the release", gone, seconds=30)
    except Failed as failed:
        raise Failed(f"left behind in {namespace}: {left}") from failed
