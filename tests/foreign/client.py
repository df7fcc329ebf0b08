"""Asks consentd with grpcio as its callers do, and prints what came as one JSON object.

    client.py TASK ADDRESS [CA CERT KEY]

LATER in the environment is a ledger token that does not come.

The stubs are made of the .proto files each time, so that the files and not what was made of them once are tested.
"""

import importlib
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"


def stubs():
    folder = tempfile.mkdtemp()
    include = Path(protoc.__file__).parent / "_proto"
    files = [str(path.relative_to(PROTO)) for path in PROTO.glob("consent/v1/*.proto")]
    arguments = ["", f"-I{PROTO}", f"-I{include}", f"--python_out={folder}", f"--grpc_python_out={folder}", *files]
    if protoc.main(arguments) != 0:
        sys.exit("the .proto files are not taken")
    sys.path.insert(0, folder)
    names = [Path(file).stem for file in files]
    messages = {}
    for name in names:
        messages.update(vars(importlib.import_module(f"consent.v1.{name}_pb2")))
        stub = vars(importlib.import_module(f"consent.v1.{name}_pb2_grpc")).get("EnforcementServiceStub")
        if stub is not None:
            messages["Stub"] = stub
    return type("V1", (), messages)


v1 = stubs()


def channel(address, files, options=()):
    # grpcio makes the authority of a Unix socket from its path, which is none for a server that reads it as a URI.
    options = [*options, ("grpc.default_authority", "localhost")] if address.startswith("unix:") else options
    if not files:
        return grpc.insecure_channel(address, options=options)
    ca, cert, key = (Path(file).read_bytes() for file in files)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert), options=options)


def question(subject="1", **more):
    return v1.Question(subject=v1.Subject(space="crm", id=subject), purpose="newsletter", channel="email", **more)


def reason(answer):
    return v1.Reason.Name(answer.reason)


def calls(address, files):
    """One of each call, health and reflection."""
    with channel(address, files) as connection:
        stub = v1.Stub(connection)
        single = stub.MayProcess(v1.MayProcessRequest(question=question()), timeout=10)
        context = v1.Context(purpose="newsletter", channel="email")
        questions = [v1.BatchQuestion(subject=v1.Subject(space="crm", id=str(number))) for number in (1, 2)]
        batch = stub.MayProcessBatch(v1.MayProcessBatchRequest(context=context, questions=questions), timeout=10)
        chunks = [v1.MayProcessStreamRequest(context=context, questions=questions) for _ in range(100)]
        streamed = [reason(a) for r in stub.MayProcessStream(iter(chunks), timeout=10) for a in r.answers]
        explained = stub.Explain(v1.ExplainRequest(question=question()), timeout=10)
        # What waits for a token that does not come is answered before its deadline.
        waiting = v1.MayProcessRequest(question=question(at_least_as_fresh=os.environ["LATER"]))
        waited = stub.MayProcess(waiting, timeout=1.0)
        try:
            stub.MayProcess(v1.MayProcessRequest(question=v1.Question()), timeout=10)
            malformed = "answered"
        except grpc.RpcError as error:
            malformed = error.code().name
        health = health_pb2_grpc.HealthStub(connection).Check(
            health_pb2.HealthCheckRequest(service="consent.v1.EnforcementService"), timeout=10
        )
        return {
            "single": reason(single.answer),
            "batch": [reason(answer) for answer in batch.answers],
            "streamed": sorted(set(streamed)),
            "streamed_count": len(streamed),
            "explained": reason(explained.answer),
            "rules": len(explained.rules),
            "waited": reason(waited.answer),
            "malformed": malformed,
            "health": health_pb2.HealthCheckResponse.ServingStatus.Name(health.status),
            "reflected": "consent.v1.EnforcementService" in ProtoReflectionDescriptorDatabase(connection).get_services(),
            "evidence": len(single.evidence_id) > 0,
        }


def keepalive(address, files, seconds=27):
    """Pings at 10 s, without calls, for longer than two of them; then a call over the same connection."""
    options = [
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    states = []
    with channel(address, files, options) as connection:
        connection.subscribe(lambda state: states.append(state.name), try_to_connect=True)
        stub = v1.Stub(connection)
        first = reason(stub.MayProcess(v1.MayProcessRequest(question=question()), timeout=10).answer)
        time.sleep(seconds)
        last = reason(stub.MayProcess(v1.MayProcessRequest(question=question()), timeout=10).answer)
        return {"first": first, "last": last, "left_ready": states[states.index("READY") + 1 :]}


def load(address, files, threads=4):
    """Asks without a pause over several connections until standard input ends; every call must be answered.

    With wait_for_ready a call waits for a server instead of failing while none listens: what fails was begun, and lost.
    """
    answered, failed, stop = [], [], threading.Event()

    def ask(number):
        count = 0
        with channel(address, files, [("grpc.use_local_subchannel_pool", 1), ("test.number", number)]) as connection:
            stub = v1.Stub(connection)
            while not stop.is_set():
                try:
                    stub.MayProcess(v1.MayProcessRequest(question=question()), timeout=20, wait_for_ready=True)
                    count += 1
                except grpc.RpcError as error:
                    failed.append(f"{error.code().name}: {error.details()}")
                    time.sleep(0.05)
        answered.append(count)

    workers = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    sys.stdin.read()
    stop.set()
    for worker in workers:
        worker.join()
    return {"answered": sum(answered), "least": min(answered), "failed": failed}


TASKS = {"calls": calls, "keepalive": keepalive, "load": load}

if __name__ == "__main__":
    task, address, *files = sys.argv[1:]
    print(json.dumps(TASKS[task](address, files)))
