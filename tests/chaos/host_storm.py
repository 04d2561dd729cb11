"""Links between two hosts whose network, interfaces, disks and processes fail, in a seeded order. Needs root.

    python -m tests.chaos.host_storm [--seconds 3600] [--within 3] [--seed 1]

Each link joins the TAPs of two network namespaces; one has a switch at its end, with an emulator's process
and a guest in QEMU (`tests.chaos.emulated`). Every few seconds something happens at its client's host: the
program is killed and starts again, or is stopped for a while; the outer interface goes down, or gets another
address; the TAP goes down, or is removed; the route is taken away; strangers send resets and junk. After each
it is measured how long pings through the link take to come back.

Held to: every link is back within three seconds, no ping is answered twice, the server's memory stays flat,
and the hosts are at the end as they were before.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path
from random import Random

from tests.attacks.places import LINK, SERVER
from tests.chaos.emulated import EmulatedSite
from tests.chaos.record import Record, main
from tests.chaos.site import Site
from tests.support.netns import Net

KINDS: dict[str, tuple[str, str]] = {
    "UDP TLS, two ends": (
        f"{LINK} --dev tap --tls-server --float --keepalive 2 30",
        f"{LINK} --dev tap --tls-client --nobind --remote 10.1.0.1 --keepalive 2 30",
    ),
    "UDP TLS, server": (
        f"{SERVER} --dev tap --server 10.8.0.0 255.255.255.0 --keepalive 2 30",
        f"{LINK} --dev tap --client --nobind --remote 10.1.0.1",
    ),
    "TCP TLS, server": (
        f"{SERVER} --dev tap --proto tcp-server --server 10.8.0.0 255.255.255.0 --keepalive 2 30",
        f"{LINK} --dev tap --client --proto tcp-client --connect-retry 1 1 --nobind --remote 10.1.0.1",
    ),
}
"""By name, what stands at the server's end and at the client's; certificates come after it."""


def storm(seconds: float, promised: float, seed: int) -> Record:
    """All kinds at once, each in a thread."""
    record = Record()
    with tempfile.TemporaryDirectory(prefix="tm-chaos-") as folder:
        Path(folder).chmod(0o755)
        net = Net(Path(folder))
        sites = [
            Site(net, kind, ends, record, promised, Random(seed * 1000 + number))
            for number, (kind, ends) in enumerate(KINDS.items())
        ]
        ends = KINDS["UDP TLS, two ends"]
        sites.append(EmulatedSite(net, "emulators", ends, record, promised, Random(seed * 1000 + 999)))
        try:
            threads = [threading.Thread(target=site.endure, args=(seconds,)) for site in sites]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            net.close()
            for site in sites:
                site.close()
    return record


if __name__ == "__main__":
    sys.exit(main("host_storm", storm, "every link was back in time, and the hosts are as they were"))
