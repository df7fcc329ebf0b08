"""Asks a webhook as several API servers do, for some seconds, and says how it did.

Half of those who ask keep their connection, and half make one for each review, so that each certificate is met. Arguments: the
port, the authority's certificate, a review.
"""

import http.client
import json
import pathlib
import ssl
import sys
import threading
import time

SECONDS = 10.0
ASKERS = 4
# Reviews a second of each: a rollout of 40 pods a second in all.
RATE = 10.0

port, authority, body = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]).read_bytes()
times_ms: dict[bool, list[float]] = {True: [], False: []}
# How much later than wanted those who ask were woken: what this machine does besides.
late_ms: list[float] = []
failures: list[str] = []
certificates: set[bytes | None] = set()
lock = threading.Lock()


def connect(context: ssl.SSLContext) -> http.client.HTTPSConnection:
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
    connection.connect()
    with lock:
        certificates.add(connection.sock.getpeercert(binary_form=True))
    return connection


def review(connection: http.client.HTTPSConnection) -> None:
    connection.request("POST", "/inject", body, {"content-type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200 or not answer["response"]["allowed"] or "patch" not in answer["response"]:
        raise ValueError(f"{response.status} {answer}")


def ask(keeps: bool, ends: float) -> None:
    context = ssl.create_default_context(cafile=authority)
    connection = None
    while time.monotonic() < ends:
        began = time.monotonic()
        try:
            mine = connection or connect(context)
            review(mine)
            with lock:
                times_ms[keeps].append((time.monotonic() - began) * 1000)
            if keeps:
                connection = mine
            else:
                mine.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            connection = None
            with lock:
                failures.append(repr(error))
        rest = max(0.0, began + 1 / RATE - time.monotonic())
        wanted = time.monotonic() + rest
        time.sleep(rest)
        with lock:
            late_ms.append((time.monotonic() - wanted) * 1000)


def share(times: list[float], part: float) -> float | None:
    if not times:
        return None
    ordered = sorted(times)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 2)


def main() -> None:
    ends = time.monotonic() + SECONDS
    askers = [threading.Thread(target=ask, args=(at % 2 == 0, ends)) for at in range(ASKERS)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    every = times_ms[True] + times_ms[False]
    figures = {
        "reviews": len(every),
        "kept": len(times_ms[True]),
        "made": len(times_ms[False]),
        "failed": len(failures),
        "certificates": len(certificates),
        "p50_ms": share(every, 0.5),
        "p50_kept_ms": share(times_ms[True], 0.5),
        "p99_ms": share(every, 0.99),
        "p99_kept_ms": share(times_ms[True], 0.99),
        "p99_made_ms": share(times_ms[False], 0.99),
        "most_ms": share(every, 1.0),
        "late_p99_ms": share(late_ms, 0.99),
        "body_bytes": len(body),
        "failures": failures[:3],
    }
    print(json.dumps(figures))


main()
