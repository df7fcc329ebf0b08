"""A webhook that answers every review alike, and keeps what it was asked."""

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Reviews:
    """Serves HTTPS on a free port of the loopback; `answer(review)` gives the patch of each, or None for none."""

    def __init__(self, authority, answer=lambda review: None):
        self.kept = []
        lock = threading.Lock()
        kept = self.kept

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                review = json.loads(body)
                with lock:
                    kept.append({"path": self.path, "headers": dict(self.headers.items()), "review": review})
                response = {"uid": review["request"]["uid"], "allowed": True}
                patch = answer(review)
                if patch:
                    response["patchType"] = "JSONPatch"
                    response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
                answered = {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
                out = json.dumps(answered).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(out)))
                self.end_headers()
                self.wfile.write(out)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        certificate, key = authority.issue(f"reviews-{self.port}", ["IP:127.0.0.1"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.bundle = base64.b64encode(authority.certificate.read_bytes()).decode()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self):
        """What was asked since the last call, in the order it came."""
        taken = self.kept[:]
        del self.kept[: len(taken)]
        return taken

    def configuration(self, name, rules, **webhook):
        """A MutatingWebhookConfiguration that asks this server."""
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [
                {
                    "name": f"{name}.consentd.test",
                    "clientConfig": {"url": f"https://127.0.0.1:{self.port}/{name}", "caBundle": self.bundle},
                    "rules": rules,
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "reinvocationPolicy": "IfNeeded",
                    **webhook,
                }
            ],
        }

    def stop(self):
        """Stops serving."""
        self.server.shutdown()
        self.server.server_close()
