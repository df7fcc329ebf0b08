"""May the data be processed? Ask, and take whatever is not an ALLOW for a DENY."""

import json
import subprocess
import sys

import grpc
from consent.v1 import enforcement_pb2 as pb
from consent.v1 import enforcement_pb2_grpc, types_pb2

# Seconds. Nobody who asks waits for ever; what is not answered by then is a DENY.
DEADLINE = 2.0


def may_process(channel: grpc.Channel, question: pb.Question) -> tuple[bool, str]:
    """Whether it is allowed, and why or why not."""
    stub = enforcement_pb2_grpc.EnforcementServiceStub(channel)
    try:
        response = stub.MayProcess(pb.MayProcessRequest(question=question), timeout=DEADLINE)
    except grpc.RpcError:
        # Not there, too late, or malformed: nobody has said yes.
        return False, "nobody answered"
    # A verdict that this program does not know is no ALLOW.
    allowed = response.answer.verdict == types_pb2.VERDICT_ALLOW
    return allowed, types_pb2.Reason.Name(response.answer.reason).removeprefix("REASON_")


def withdraw(subject: str, purpose: str, channel: str) -> str:
    """Writes that the subject withdrew, and gives the token of that event."""
    command = ["consentd", "ledger", "withdraw", subject, purpose, "--channel", channel, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["token"]


def show(when: str, answer: tuple[bool, str]) -> None:
    allowed, reason = answer
    print(f"{when:<16}{'ALLOW' if allowed else 'DENY'} ({reason})")


def main() -> None:
    address, subject, purpose, channel = sys.argv[1:]
    space, _, identifier = subject.partition(":")
    question = pb.Question(subject=types_pb2.Subject(space=space, id=identifier), purpose=purpose, channel=channel)
    with grpc.insecure_channel(address) as sidecar:
        show("before", may_process(sidecar, question))
        # The answer waits until the sidecar knows of the withdrawal, or is a DENY.
        question.at_least_as_fresh = withdraw(subject, purpose, channel)
        show("withdrawn", may_process(sidecar, question))
    with grpc.insecure_channel("127.0.0.1:1") as nobody:
        show("no sidecar", may_process(nobody, question))


main()
