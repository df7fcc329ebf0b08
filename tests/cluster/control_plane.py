"""A Kubernetes control plane on the loopback: etcd, the API server and the controllers, unmodified, without nodes.

There is no kubelet and no scheduler. What is stored was admitted, defaulted and validated as in any cluster; no
container runs.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

# What a slow, shared machine may take until the API server answers.
START_SECONDS = 180
# Bearer tokens of the users; the control plane is gone before they could be of use to anyone.
USERS = {
    "admin": ("admin-token", "system:masters"),
    "developer": ("developer-token", "developers"),
}


class Failed(Exception):
    """Something that had to work did not."""


class Refused(Exception):
    """The API server answered with an error."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


def run(arguments, stdin=None, env=None, timeout=120):
    """Runs a program to its end; its exit code, what it printed, and what it complained of."""
    done = subprocess.run(
        [str(argument) for argument in arguments], input=stdin, env=env, timeout=timeout, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def must(arguments, **options):
    """Runs a program that has to succeed, and returns what it printed."""
    code, out, err = run(arguments, **options)
    if code != 0:
        raise Failed(f"`{' '.join(str(argument) for argument in arguments)}` ended with {code}\n{out}{err}")
    return out


def free_port():
    """A port of the loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Authority:
    """A certificate authority that lives as long as its folder."""

    def __init__(self, folder, name):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate = self.folder / "ca.crt"
        self.key = self.folder / "ca.key"
        must(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
            + ["-subj", f"/CN={name}", "-keyout", self.key, "-out", self.certificate]
            + ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        )

    def issue(self, name, names):
        """A serving certificate for `names` (as openssl writes them: `IP:…`, `DNS:…`), and its key."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        must(
            ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"]
            + ["-keyout", key, "-out", request]
        )
        extensions.write_text(f"subjectAltName={','.join(names)}\nextendedKeyUsage=serverAuth\n")
        must(
            ["openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial"]
            + ["-days", "1", "-extfile", extensions, "-out", certificate]
        )
        return certificate, key


class ControlPlane:
    """etcd, kube-apiserver and kube-controller-manager of one release, bound to 127.0.0.1, their data in `folder`."""

    def __init__(self, programs, folder):
        self.programs = Path(programs)
        self.folder = Path(folder)
        self.processes = []
        self.kubeconfigs = {}

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _start(self):
        pki = Authority(self.folder / "pki", "loopback")
        self.authority = pki
        self.trust = ssl.create_default_context(cafile=pki.certificate)
        certificate, key = pki.issue("apiserver", ["IP:127.0.0.1", "DNS:localhost", "DNS:kubernetes.default.svc"])
        accounts = pki.folder / "accounts.key"
        must(["openssl", "genrsa", "-out", accounts, "2048"])
        tokens = self.folder / "tokens.csv"
        tokens.write_text("".join(f'{token},{user},{user},"{group}"\n' for user, (token, group) in USERS.items()))

        store, peers, self.port = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        for user, (token, _) in USERS.items():
            self.kubeconfigs[user] = self._kubeconfig(user, token)

        self._spawn(
            "etcd",
            [f"--data-dir={self.folder / 'etcd'}", f"--listen-client-urls=http://127.0.0.1:{store}"]
            + [f"--advertise-client-urls=http://127.0.0.1:{store}", f"--listen-peer-urls=http://127.0.0.1:{peers}"]
            # The data lives as long as the run; a flush for each write is only slow.
            + ["--unsafe-no-fsync", "--log-level=warn"],
        )
        self._spawn(
            "kube-apiserver",
            [f"--etcd-servers=http://127.0.0.1:{store}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"]
            # No Endpoints of a loopback address are written for the Service `kubernetes`: they would be refused.
            + [f"--secure-port={self.port}", "--endpoint-reconciler-type=none"]
            + ["--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true"]
            + [f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}", f"--client-ca-file={pki.certificate}"]
            + ["--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={accounts}"]
            + [f"--service-account-signing-key-file={accounts}", f"--token-auth-file={tokens}"]
            + ["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"]
            # Webhooks are reached at their endpoints: nobody here makes the addresses of Services lead anywhere.
            + ["--enable-aggregator-routing=true", "--anonymous-auth=false", "--profiling=false"],
        )
        self._wait_ready()
        self._spawn(
            "kube-controller-manager",
            [f"--kubeconfig={self.kubeconfigs['admin']}", "--leader-elect=false"]
            + ["--bind-address=127.0.0.1", "--secure-port=0"]
            + [f"--service-account-private-key-file={accounts}", f"--root-ca-file={pki.certificate}"]
            + ["--use-service-account-credentials=true"]
            # Without a kubelet no node has a lease: that controller would evict what the others made.
            + ["--controllers=*,-nodelifecycle,-node-lifecycle-controller"],
        )
        self.until("the account `default`", lambda: self.get("default", "serviceaccount", "default"))

    def _spawn(self, program, arguments):
        log = open(self.folder / f"{program}.log", "wb")
        process = subprocess.Popen([self.programs / program, *arguments], stdout=log, stderr=subprocess.STDOUT)
        log.close()
        self.processes.append((program, process))

    def _kubeconfig(self, user, token):
        path = self.folder / f"{user}.kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "loopback",
                    "clusters": [
                        {
                            "name": "loopback",
                            "cluster": {"server": self.url, "certificate-authority": str(self.authority.certificate)},
                        }
                    ],
                    "users": [{"name": user, "user": {"token": token}}],
                    "contexts": [{"name": "loopback", "context": {"cluster": "loopback", "user": user}}],
                }
            )
        )
        path.chmod(0o600)
        return path

    def _wait_ready(self):
        last = "nothing listened"
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends:
            self.check_alive()
            try:
                self.request("GET", "/readyz")
                return
            except Refused as refused:
                last = refused.text
            except OSError as error:
                last = str(error)
            time.sleep(0.5)
        raise Failed(f"the API server was not ready after {START_SECONDS} s: {last}\n{self.log('kube-apiserver')}")

    def request(self, method, path, body=None, kind="application/json"):
        """Asks the API server as kubectl does not: for what nodes do, and often. The answer's text."""
        headers = {"Authorization": f"Bearer {USERS['admin'][0]}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self.trust, timeout=30) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode(errors="replace")) from error

    def check_alive(self):
        """Fails with the end of the log of a program that ended by itself."""
        for program, process in self.processes:
            if process.poll() is not None:
                raise Failed(f"{program} ended with {process.returncode}\n{self.log(program)}")

    def log(self, program):
        """The end of a program's log."""
        text = (self.folder / f"{program}.log").read_text(errors="replace")
        return text[-4000:]

    def stop(self):
        """Ends what was started, the last first."""
        for _, process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.processes.clear()

    def try_kubectl(self, *arguments, stdin=None, user="admin"):
        """Runs kubectl; its exit code, what it printed, and what it complained of."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfigs[user]), "HOME": str(self.folder)}
        return run([self.programs / "kubectl", *arguments], stdin=stdin, env=environment)

    def kubectl(self, *arguments, stdin=None, user="admin"):
        """Runs a kubectl that has to succeed, and returns what it printed."""
        code, out, err = self.try_kubectl(*arguments, stdin=stdin, user=user)
        if code != 0:
            raise Failed(f"`kubectl {' '.join(str(argument) for argument in arguments)}` ended with {code}\n{out}{err}")
        return out

    def get(self, namespace, kind, name):
        """An object as it is stored, or None."""
        out = self.kubectl("get", kind, name, "--namespace", namespace, "--ignore-not-found", "--output=json")
        return json.loads(out) if out else None

    def list(self, namespace, kind, *arguments):
        """Objects of a kind as they are stored."""
        out = self.kubectl("get", kind, "--namespace", namespace, "--output=json", *arguments)
        return json.loads(out)["items"]

    def until(self, what, holds, seconds=60):
        """Waits until `holds()` is true, and returns what it gave."""
        ends = time.monotonic() + seconds
        while True:
            found = holds()
            if found:
                return found
            self.check_alive()
            if time.monotonic() > ends:
                raise Failed(f"{what} was not there after {seconds} s")
            time.sleep(0.2)

    def namespace(self, name, **labels):
        """Makes a namespace with its default account."""
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.kubectl("create", "--filename=-", stdin=json.dumps(manifest))
        self.until(f"the account of {name}", lambda: self.get(name, "serviceaccount", "default"))
