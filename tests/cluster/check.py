#!/usr/bin/env -S python3 -B
"""Tries the chart and the webhook against a real API server, and says what was found; ends at the first thing wrong.

    check.py KUBERNETES_PROGRAMS HELM CONSENTD

Runs in a network of its own (`unshare --net`), in which it gives pods their addresses.
"""

import sys
import tempfile
from pathlib import Path

import shapes
import upkeep
import values
from control_plane import ControlPlane, Failed, must
from release import Release


def main():
    programs, helm, consentd = (Path(argument).resolve() for argument in sys.argv[1:])
    must(["ip", "link", "set", "lo", "up"])
    with tempfile.TemporaryDirectory(prefix="consentd-cluster-") as data:
        with ControlPlane(programs, data) as cluster:
            print(cluster.kubectl("version").strip())
            print(f"helm {must([helm, 'version', '--short']).strip()}")
            release = Release(cluster, helm, consentd, Path(data))
            values.check(release)
            with release.installed() as node:
                shapes.check(release, node)
                upkeep.check(release, node)
            upkeep.check_nothing_left(release)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"FAILED: {failed}")
