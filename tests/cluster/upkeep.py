"""What happens to a release: its webhook away, other values, another certificate, its end."""

import base64
import ssl
import time

import values
from control_plane import Failed
from release import NAME, NAMESPACE, hold, names, ok, pod
from shapes import create, examine, manifests

# How long the API server may go on with what it knew, in seconds: it is told of changes, and acts a moment later.
KNOWN_SECONDS = 3


def check(release, node):
    """In the order of a release's life."""
    release.cluster.namespace("later")
    rights(release)
    away(release, node)
    lets_through(release, node)
    another_certificate(release, node)
    ended(release, node)


def rights(release):
    """The webhook's account may nothing."""
    values.rights(release.cluster, NAMESPACE)
    ok("the webhook's account may do no more than any account, and its pods have no token")


def away(release, node):
    """No webhook is ready: `Fail` refuses, `Ignore` lets through."""
    secret, bundle = certificate(release)
    take_away(release, node, True)
    code, _, err = create(release, pod("away-fail"), "later")
    is_told = "failed calling webhook" in err and "consentd.io" in err
    hold(code != 0 and is_told, f"while the webhook is away `Fail` refuses a pod that asks: {err.strip()}", err)
    release.upgrade("--set=injector.webhook.failurePolicy=Ignore")
    time.sleep(KNOWN_SECONDS)
    code, stored, err = create(release, pod("away-ignore"), "later")
    is_plain = code == 0 and "consentd" not in names(stored["spec"].get("initContainers"))
    hold(is_plain, "while the webhook is away `Ignore` starts a pod that asks without consentd", err)
    hold(certificate(release) == (secret, bundle), "an upgrade keeps the certificate that is there")
    take_away(release, node, False)
    release.upgrade()
    time.sleep(KNOWN_SECONDS)
    gets(release, "back", "once the webhook is back it adds consentd again")


def take_away(release, node, is_away):
    """Ends the programs of the webhook's pods, or starts them again, and waits until the API server knows."""
    node.is_away = is_away

    def known():
        node.check()
        slices = release.cluster.list(NAMESPACE, "endpointslices")
        ready = [each["conditions"].get("ready") for found in slices for each in found.get("endpoints") or []]
        return bool(ready) and all(state is not is_away for state in ready)

    release.cluster.until("endpoints as they should be", known)
    time.sleep(KNOWN_SECONDS)


def certificate(release):
    """The Secret's content, and what the API server trusts."""
    secret = release.cluster.get(NAMESPACE, "secret", f"{NAME}-tls")
    return secret["data"], release.webhook()["clientConfig"]["caBundle"]


def gets(release, name, sentence):
    """A pod that asks gets consentd."""
    code, stored, err = create(release, pod(name), "later")
    if code != 0:
        raise Failed(f"not so: {sentence}\n{err}")
    examine(stored)
    ok(sentence)


def lets_through(release, node):
    """`onError: allow`: the webhook is rolled out with it, and then lets pods through with a warning."""
    before = set(node.running)
    release.upgrade("--set=injector.onError=allow")
    release.until_rolled_out(node)
    hold(not before & set(node.running), "other settings make the webhook's pods anew, one after the other")
    time.sleep(KNOWN_SECONDS)
    taken = next(each for each in manifests(release.cluster) if each["metadata"].get("name") == "container-taken")
    code, stored, err = create(release, taken, "later")
    is_told = "Warning: " in err and "`consentd`" in err
    hold(code == 0 and is_told, f"with onError `allow` a pod that cannot have consentd is made: {err.strip()}", err)
    hold("initContainers" not in stored["spec"], "and nothing was added to it")
    gets(release, "allowed", "and a pod that can have it gets it")
    release.upgrade()
    release.until_rolled_out(node)


def another_certificate(release, node):
    """The certificate is near its end: an upgrade makes another, and no pod is refused meanwhile."""
    secret, bundle = certificate(release)
    same = set(node.running)
    near_its_end(release)
    # A kubelet brings a changed Secret to its pods after a minute or two.
    node.keeps_volumes = True
    release.upgrade()
    renewed, trusted = certificate(release)
    is_another = renewed["tls.crt"] != secret["tls.crt"] and trusted != bundle
    hold(is_another, "near its end an upgrade makes another certificate")
    time.sleep(KNOWN_SECONDS)
    gets(release, "old-certificate", "until the webhook's pods have it, the API server trusts the old one as well")
    node.keeps_volumes = False

    release.cluster.until("the new certificate", lambda: reloaded_everywhere(release, node, renewed), seconds=60)
    gets(release, "new-certificate", "then they serve it, and the API server trusts it")
    hold(set(node.running) == same, "without having been made anew")


def near_its_end(release):
    """Lets the certificate's time pass, in the name of Helm, whose later versions complain of changes by others."""
    name = f"{NAME}-tls"
    secret = release.cluster.get(NAMESPACE, "secret", name)
    noted = {**secret["metadata"]["annotations"], "consentd.io/renew-after": "0"}
    metadata = {"name": name, "labels": secret["metadata"]["labels"], "annotations": noted}
    kinds = {key: secret[key] for key in ("apiVersion", "kind", "type", "data")}
    path = f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}?fieldManager=helm&force=true"
    release.cluster.request("PATCH", path, {**kinds, "metadata": metadata}, "application/apply-patch+yaml")


def reloaded_everywhere(release, node, renewed):
    """Whether every pod of the webhook serves the renewed certificate."""
    node.check()
    wanted = base64.b64decode(renewed["tls.crt"]).decode().strip()
    for running in list(node.running.values()):
        if ssl.get_server_certificate((running.address, 8443)).strip() != wanted:
            return False
    return True


def ended(release, node):
    """The release is taken away."""
    release.helm("uninstall", NAME, "--namespace", NAMESPACE)
    release.cluster.until("the end of the webhook's pods", lambda: not node.running)


def check_nothing_left(release):
    """After its end."""
    cluster = release.cluster
    values.nothing_left(cluster, values.listable(cluster), NAMESPACE)
    ok("after an uninstall nothing of the release is left")
    code, stored, err = create(release, pod("after"), "later")
    is_plain = code == 0 and "initContainers" not in stored["spec"]
    hold(is_plain, "and pods that ask are made as they are", err)
