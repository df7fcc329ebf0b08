"""A node that runs one kind of pod, in place of scheduler, kubelet and network: the webhook's.

It binds such pods to itself, lays out their volumes as a kubelet does, starts the program with the container's
arguments, asks its readiness probe, and says in the pod's status what it found. The controllers and the API server then
do what they do in any cluster: endpoints, rollouts, calls of the webhook at its endpoint.

What is not as in a cluster: an argument's path and address are those of this machine, because pods share its files and
its network; there is no isolation, no limit, no image.
"""

import base64
import json
import os
import shutil
import subprocess
import threading
import time
import traceback
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

from control_plane import Failed, Refused, must

NAME = "node-1"
# Between two looks at the pods, in seconds; kubelets are told at once.
PERIOD_SECONDS = 0.3
MANIFEST = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME, "labels": {"kubernetes.io/os": "linux"}}}


def join(cluster):
    """Makes the node, unless it is there, and takes off the taint that a new one has until its kubelet was heard of."""
    cluster.kubectl("apply", "--filename=-", stdin=json.dumps(MANIFEST))
    if cluster.get("", "node", NAME)["spec"].get("taints"):
        cluster.kubectl("taint", "node", NAME, "node.kubernetes.io/not-ready-")


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Running:
    """A pod's one container, as a process."""

    def __init__(self, cluster, pod, address, program, folder):
        self.cluster = cluster
        self.name, self.namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        self.container = pod["spec"]["containers"][0]
        self.volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        self.address = address
        self.folder = folder
        self.laid_out = {}
        self.is_ready = False
        self.started = now()
        self.lay_out()
        self.command = [program, *(self._local(argument) for argument in self.container["args"])]
        self.process = None
        self.begin()

    def begin(self):
        """Starts the process, the first time or again."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT)

    def _local(self, argument):
        for mount in self.container["volumeMounts"]:
            argument = argument.replace(mount["mountPath"] + "/", f"{self.folder / mount['name']}/")
        return argument.replace("=0.0.0.0:", f"={self.address}:")

    def lay_out(self):
        """Writes the volumes as a kubelet does: a new folder, and one link that is moved to it."""
        for name, volume in self.volumes.items():
            if "secret" in volume:
                secret = self._read("secrets", volume["secret"]["secretName"])
                files = {key: base64.b64decode(value) for key, value in secret.get("data", {}).items()}
            elif "configMap" in volume:
                settings = self._read("configmaps", volume["configMap"]["name"])
                files = {key: value.encode() for key, value in settings.get("data", {}).items()}
            else:
                raise Failed(f"the pod {self.name} has a volume that this node does not know: {volume}")
            if self.laid_out.get(name) == files:
                continue
            top = self.folder / name
            fresh = top / f"..{time.time_ns()}"
            fresh.mkdir(parents=True)
            for key, value in files.items():
                (fresh / key).write_bytes(value)
                if not (top / key).is_symlink():
                    (top / key).symlink_to(f"..data/{key}")
            (top / "..data_tmp").symlink_to(fresh.name)
            old = os.readlink(top / "..data") if (top / "..data").is_symlink() else None
            os.rename(top / "..data_tmp", top / "..data")
            if old:
                shutil.rmtree(top / old)
            self.laid_out[name] = files

    def _read(self, kind, name):
        return json.loads(self.cluster.request("GET", f"/api/v1/namespaces/{self.namespace}/{kind}/{name}"))

    def probe(self):
        """Whether the readiness probe passes."""
        look = self.container["readinessProbe"]["httpGet"]
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        port = ports.get(look["port"], look["port"])
        try:
            with urllib.request.urlopen(f"http://{self.address}:{port}{look['path']}", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def status(self):
        """What a kubelet says of it."""
        ready = "True" if self.is_ready else "False"
        states = {"Ready": ready, "ContainersReady": ready, "Initialized": "True", "PodScheduled": "True"}
        conditions = [
            {"type": kind, "status": state, "lastTransitionTime": now()} for kind, state in states.items()
        ]
        container = {
            "name": self.container["name"],
            "ready": self.is_ready,
            "started": True,
            "restartCount": 0,
            "image": self.container["image"],
            "imageID": "",
            "state": {"running": {"startedAt": self.started}},
        }
        return {
            "phase": "Running",
            "startTime": self.started,
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "conditions": conditions,
            "containerStatuses": [container],
        }

    def end(self):
        """Ends the process, if it runs."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Node:
    """Runs the pods of `namespace` that `labels` select, with `program` as the image's."""

    def __init__(self, cluster, namespace, labels, program, folder):
        self.cluster = cluster
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self.query = f"?labelSelector={labels.replace('=', '%3D').replace(',', '%2C')}"
        self.program = program
        self.folder = Path(folder)
        self.running = {}
        self.addresses = 0
        # While it is away the containers of its pods do not run, and new pods wait.
        self.is_away = True
        # While it keeps volumes a changed Secret or ConfigMap does not reach its pods.
        self.keeps_volumes = False
        self.failure = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        for running in self.running.values():
            running.end()

    def check(self):
        """Fails if the node did."""
        if self.failure:
            raise Failed(f"the node failed\n{self.failure}")

    def logs(self):
        """What the pods said."""
        texts = [(self.folder / uid / "log").read_text(errors="replace") for uid in self.running]
        return "\n".join(texts)[-4000:]

    def _run(self):
        while not self.stopping.wait(PERIOD_SECONDS):
            try:
                self._look()
            except (OSError, Refused) as error:
                # An object that changed meanwhile is looked at again.
                if isinstance(error, Refused) and error.code not in (404, 409):
                    self.failure = traceback.format_exc()
            except Exception:
                self.failure = traceback.format_exc()

    def _look(self):
        pods = json.loads(self.cluster.request("GET", self.pods + self.query))["items"]
        for pod in pods:
            uid = pod["metadata"]["uid"]
            if "deletionTimestamp" in pod["metadata"]:
                self._end(uid, pod)
            elif uid not in self.running:
                if not self.is_away:
                    self._begin(uid, pod)
            else:
                self._watch(self.running[uid])
        gone = set(self.running) - {pod["metadata"]["uid"] for pod in pods}
        for uid in gone:
            self.running.pop(uid).end()

    def _begin(self, uid, pod):
        path = f"{self.pods}/{pod['metadata']['name']}"
        if not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": NAME}
            binding = {"apiVersion": "v1", "kind": "Binding", "target": target}
            binding["metadata"] = {"name": pod["metadata"]["name"]}
            self.cluster.request("POST", f"{path}/binding", binding)
        self.addresses += 1
        address = f"10.244.0.{self.addresses}"
        must(["ip", "address", "add", f"{address}/32", "dev", "lo"])
        running = Running(self.cluster, pod, address, self.program, self.folder / uid)
        self.running[uid] = running
        self._say(running)

    def _watch(self, running):
        if not self.keeps_volumes:
            running.lay_out()
        if self.is_away:
            running.end()
        elif running.process is None:
            running.begin()
        elif running.process.poll() is not None:
            raise Failed(f"{running.name} ended with {running.process.returncode}\n{self.logs()}")
        is_ready = running.probe()
        if is_ready != running.is_ready:
            running.is_ready = is_ready
            self._say(running)

    def _say(self, running):
        status = {"status": running.status()}
        self.cluster.request(
            "PATCH", f"{self.pods}/{running.name}/status", status, "application/strategic-merge-patch+json"
        )

    def _end(self, uid, pod):
        if uid in self.running:
            running = self.running[uid]
            if running.is_ready:
                running.is_ready = False
                self._say(running)
            running.end()
            del self.running[uid]
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        self.cluster.request("DELETE", f"{self.pods}/{pod['metadata']['name']}", options)
