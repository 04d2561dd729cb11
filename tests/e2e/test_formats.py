"""Link formats against the programs that have them: vde_plug's pipe, QEMU's L2TPv3."""

from __future__ import annotations

import pytest

from tests.e2e import guests
from tests.support.netns import Net

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip")]


@pytest.mark.needs("vde_switch", "vde_plug")
def test_a_vde_plug_on_standard_input_and_output_is_a_cable(net: Net) -> None:
    a = net.namespace()
    folder = a.directory / "vde"
    a.start("vde_switch", "-s", str(folder), "-x")
    lab = a.tmelink(
        f"""
        le0: tmelink/host inet 10.0.78.1/24
        cable at le0: tmelink/process user root restart always stdio vde_plug {folder}
        other: tmelink/vde {folder}
        le1 at other: tmelink/host inet 10.0.78.2/24
        command le0 ping 10.0.78.2 count 3 interval 0.1
        """,
        until="other: up",
    )
    lab.expect("10.0.78.2: 3 sent, [123] received")
    assert lab.stop() == 0, lab.output


@pytest.mark.needs("qemu-system-x86_64", "busybox")
def test_qemu_over_l2tpv3(net: Net) -> None:
    guests.build()
    a = net.namespace()
    lab = a.tmelink(
        """
        vm: tmelink/l2tpv3 local "127.0.0.1:1701" remote "127.0.0.1:1702" session 7 \\
            remote-session 9 counter cookie 0102030405060708 remote-cookie 1112131415161718
        le0 at vm: tmelink/host inet 10.0.78.1/24
        """
    )
    guest = a.start(
        "qemu-system-x86_64", "-nodefaults", "-nographic", "-serial", "stdio", "-m", "128", "-accel", "tcg",
        "-kernel", str(guests.GUEST / "vmlinuz"), "-initrd", str(guests.GUEST / "initrd.gz"),
        "-append", "console=ttyS0 quiet panic=-1 guest.inet=10.0.78.2/24 guest.peer=10.0.78.1",
        "-netdev", "l2tpv3,id=n0,udp=on,src=127.0.0.1,dst=127.0.0.1,srcport=1702,dstport=1701,counter=on,"
        "rxsession=9,txsession=7,cookie64=on,rxcookie=0x1112131415161718,txcookie=0x0102030405060708",
        "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:77:00:09",
    )  # fmt: skip
    guest.expect("64 bytes from 10.0.78.1", timeout=guests.BOOT_SECONDS)
    assert lab.stop() == 0, lab.output
