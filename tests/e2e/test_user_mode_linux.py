"""User Mode Linux, with its own network transports: it boots, and a built-in host answers its pings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.netns import Namespace, Net, Process

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "linux.uml", "busybox", "gzip")]

BOOT_SECONDS = 60
"""For a boot and a few pings, which take three seconds on an idle processor."""

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
for card in eth0 vec0; do ip link set $card up 2>/dev/null && ip addr add 10.0.78.2/24 dev $card; done
until ping -c 1 -w 1 10.0.78.1; do :; done
ping -c 3 -s 1400 10.0.78.1
echo "guest: ready"
poweroff -f
"""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RAM disk of busybox alone."""
    folder = tmp_path_factory.mktemp("uml")
    for name in ("bin", "proc"):
        (folder / "root" / name).mkdir(parents=True)
    (folder / "root/init").write_text(INIT)
    (folder / "root/init").chmod(0o755)
    script = (
        'cp "$(command -v busybox)" bin && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 >../disk'
    )
    subprocess.run(["sh", "-c", script], cwd=folder / "root", check=True)
    return folder / "disk"


def boot(namespace: Namespace, disk: Path, card: str) -> Process:
    """A guest whose network is what `card` says."""
    return namespace.start(
        "linux.uml", "mem=64M", f"initrd={disk}", card, "con=null", "con0=null,fd:1", "quiet"
    )  # fmt: skip


CARDS = {
    "daemon": ("tmelink/vde listen {folder}/vde", "eth0=daemon,,unix,{folder}/vde/ctl"),
    "vde": ("tmelink/vde listen {folder}/vde", "eth0=vde,{folder}/vde"),
    "mcast": (
        "tmelink/qemu/multicast 239.192.168.1:1102 local 127.0.0.1",
        "eth0=mcast,,239.192.168.1,1102,1",
    ),
    "l2tpv3 over UDP": (
        "tmelink/l2tpv3 local 127.0.0.1:1701 remote 127.0.0.1:1702 session 7 remote-session 9 counter "
        "cookie 01020304 remote-cookie 05060708",
        "vec0:transport=l2tpv3,udp=1,src=127.0.0.1,dst=127.0.0.1,srcport=1702,dstport=1701,"
        "rx_session=9,tx_session=7,rx_cookie=0x05060708,tx_cookie=0x01020304,counter=1,depth=16",
    ),
    "l2tpv3 over IP": (
        "tmelink/l2tpv3 local 127.0.0.1 remote 127.0.0.2 session 7 cookie 0x0102030405060708",
        "vec0:transport=l2tpv3,udp=0,src=127.0.0.2,dst=127.0.0.1,rx_session=7,tx_session=7,"
        "cookie64=1,rx_cookie=0x0102030405060708,tx_cookie=0x0102030405060708,depth=16",
    ),
}


@pytest.mark.parametrize("transport", CARDS)
def test_a_guest_is_on_the_ethernet(net: Net, disk: Path, transport: str) -> None:
    a = net.namespace()
    a.run("ip", "route", "add", "239.0.0.0/8", "dev", "lo")
    element, card = (text.format(folder=a.directory) for text in CARDS[transport])
    a.tmelink(f"uml: {element}\nle0 at uml: tmelink/host inet 10.0.78.1/24\n")
    guest = boot(a, disk, card)
    guest.expect("^guest: ready", timeout=BOOT_SECONDS)
    assert "3 packets transmitted, 3 packets received" in guest.output
    guest.wait()
