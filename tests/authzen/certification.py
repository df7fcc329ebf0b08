"""Asks a sidecar what the Basic Core, Batch Core and Discovery levels of the public AuthZEN certification scenario ask.

The scenario is certification/authorization-api-1_0-scenario.md of github.com/openid/authzen at revision
e287920eed842b227e38531c1735b712337ca44d. The requests are written anew from the identifiers and rules it states, and each
case is named by its anchor there. Needs nothing but Python's own library.

Usage: certification.py (HOST:PORT | unix:/path) BASE_URL
"""

import http.client
import json
import socket
import sys

ALICE = {"type": "user", "id": "alice"}
BOB = {"type": "user", "id": "bob"}
READ = {"name": "read"}
WRITE = {"name": "write"}
RECORD_1 = {"type": "record", "id": "record-1"}
RECORD_2 = {"type": "record", "id": "record-2"}
RULE_1 = {"subject": ALICE, "action": READ, "resource": RECORD_1}
RULE_4 = {"subject": BOB, "action": WRITE, "resource": RECORD_1}

ONE = "/access/v1/evaluation"
MANY = "/access/v1/evaluations"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def connection(address):
    if address.startswith("unix:"):
        return UnixConnection(address.removeprefix("unix:"))
    return http.client.HTTPConnection(address, timeout=10)


def without(key, value=RULE_1):
    return {name: own for name, own in value.items() if name != key}


class Scenario:
    def __init__(self, address, base_url):
        self.connection = connection(address)
        self.base_url = base_url
        self.passed = 0
        self.failed = []

    def request(self, method, path, body=None, headers=None):
        """Status, headers and JSON of the answer, over one connection that is kept."""
        self.connection.request(method, path, body=body, headers=headers or {})
        response = self.connection.getresponse()
        content = response.read()
        return response.status, response.headers, json.loads(content)

    def post(self, path, value, **headers):
        headers = {"Content-Type": "application/json", **{name.replace("_", "-"): own for name, own in headers.items()}}
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.request("POST", path, body, headers)

    def check(self, case, holds, seen):
        if holds:
            self.passed += 1
            print(f"ok {case}")
        else:
            self.failed.append(case)
            print(f"FAILED {case}: {seen}")

    def decides(self, case, path, value, decision):
        status, headers, answer = self.post(path, value)
        is_decision = isinstance(answer, dict) and answer.get("decision") is decision and "evaluations" not in answer
        is_context = isinstance(answer, dict) and isinstance(answer.get("context", {}), dict)
        is_json = headers.get_content_type() == "application/json"
        self.check(case, status == 200 and is_decision and is_context and is_json, (status, answer))

    def decides_many(self, case, value, decisions):
        """`None` is a decision that the scenario leaves open."""
        status, _, answer = self.post(MANY, value)
        items = answer.get("evaluations") if isinstance(answer, dict) else None
        holds = status == 200 and isinstance(items, list) and len(items) == len(decisions)
        for item, expected in zip(items or [], decisions):
            own = item.get("decision")
            holds = holds and isinstance(own, bool) and (expected is None or own is expected)
            holds = holds and isinstance(item.get("context", {}), dict)
        self.check(case, holds, (status, answer))

    def refuses(self, case, value, content_type="application/json"):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        status, _, answer = self.request("POST", ONE, body, {"Content-Type": content_type})
        self.check(case, status == 400, (status, answer))

    def basic(self):
        self.decides("c-2-2-1", ONE, RULE_1, True)
        self.decides("c-2-2-2", ONE, RULE_4, False)
        self.decides("c-1-4 rule 2", ONE, {**RULE_1, "action": WRITE}, True)
        self.decides("c-1-4 rule 3", ONE, {**RULE_1, "subject": BOB}, True)
        time = {"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}
        self.decides("c-2-2-3", ONE, {**RULE_1, "context": time}, True)
        more = {
            "subject": {**ALICE, "properties": {"department": "Sales", "role": "manager"}},
            "action": {**READ, "properties": {"method": "GET"}},
            "resource": {**RECORD_1, "properties": {"status": "active", "owner": "bob"}},
        }
        self.decides("c-2-2-8", ONE, more, True)
        self.decides("c-2-2-9", ONE, {**RULE_1, "foo": "bar", "futureField": {"nested": True}}, True)
        for key in ["subject", "action", "resource"]:
            self.refuses(f"c-2-4-1 {key}", without(key))
        for entity, keys in [("subject", ["type", "id"]), ("action", ["name"]), ("resource", ["type", "id"])]:
            for key in keys:
                self.refuses(f"c-2-4-2 {entity}.{key}", {**RULE_1, entity: without(key, RULE_1[entity])})
        for other in ["text/plain", "application/xml", "application/x-www-form-urlencoded"]:
            self.refuses(f"c-2-4-3 {other}", RULE_1, other)
        self.refuses("c-2-4-4", b'{"subject": {"type": "user", ')
        self.refuses("c-2-4-5", b"")
        self.refuses("c-2-4-6 subject", {**RULE_1, "subject": "alice"})
        self.refuses("c-2-4-6 action.name", {**RULE_1, "action": {"name": 123}})
        _, headers, _ = self.post(ONE, RULE_1, X_Request_ID="bfe9eb29-ab87-4ca3-be83-a1d5d8305716")
        self.check("c-2-5-1", headers["X-Request-ID"] == "bfe9eb29-ab87-4ca3-be83-a1d5d8305716", headers.items())
        status, _, answer = self.post(ONE, RULE_1)
        self.check("c-2-5-2", status == 200, answer)
        answers = [self.post(ONE, RULE_1)[2]["decision"] for _ in range(5)]
        self.check("c-2-6", answers == [True] * 5, answers)

    def batch(self):
        both = [{"resource": RECORD_1}, {"resource": RECORD_2}]
        self.decides_many("c-3-2-1", {"subject": ALICE, "action": READ, "evaluations": both}, [True, None])
        actions = {"subject": BOB, "resource": RECORD_1, "evaluations": [{"action": READ}, {"action": WRITE}]}
        self.decides_many("c-3-2-2", actions, [True, False])
        self.decides_many("c-3-2-5", {"evaluations": [RULE_1, RULE_4]}, [True, False])
        contexts = {
            "subject": ALICE,
            "action": READ,
            "context": {"time": "2025-06-27T18:03-07:00"},
            "evaluations": [both[0], {**both[1], "context": {"time": "2025-06-27T19:00-07:00", "source": "override"}}],
        }
        self.decides_many("c-3-2-6", contexts, [True, None])
        one_wrong = {
            "subject": ALICE,
            "action": READ,
            "options": {"evaluations_semantic": "execute_all"},
            "evaluations": [both[0], {}],
        }
        self.decides_many("c-3-4-1", one_wrong, [True, False])
        self.decides("c-3-4-2", MANY, RULE_1, True)
        self.decides("c-3-4-3", MANY, {**RULE_1, "evaluations": []}, True)

    def discovery(self):
        status, headers, answer = self.request("GET", "/.well-known/authzen-configuration")
        self.check("c-6 metadata", status == 200 and headers.get_content_type() == "application/json", answer)
        self.check("c-6 identifier", answer["policy_decision_point"] == self.base_url, answer)
        endpoints = {name: url for name, url in answer.items() if name.endswith("_endpoint")}
        wanted = {
            "access_evaluation_endpoint": self.base_url + ONE,
            "access_evaluations_endpoint": self.base_url + MANY,
        }
        self.check("c-6 endpoints", endpoints == wanted and self.base_url.startswith("https://"), answer)


def main():
    scenario = Scenario(*sys.argv[1:])
    scenario.basic()
    scenario.batch()
    scenario.discovery()
    print(f"{scenario.passed} passed, {len(scenario.failed)} failed")
    sys.exit(1 if scenario.failed else 0)


main()
