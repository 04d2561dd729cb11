"""`tmelink import`: configurations of OpenVPN and QEMU become machine files; what is left out is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmelink.cli import main
from tmelink.machine import load

OPENVPN = """\
client
dev tun
proto tcp
remote vpn.example.org 443
nobind
resolv-retry infinite
persist-tun
mute 20
iproute /sbin/ip
<ca>
-----BEGIN CERTIFICATE-----
AAAA
-----END CERTIFICATE-----
</ca>
cert amy.crt
key amy.key
remote-cert-tls server
frobnicate 3
"""

QEMU = """\
#!/bin/sh
exec qemu-system-x86_64 -m 1G -enable-kvm -smp 2 \\
    -kernel "my kernel" -append "console=ttyS0 quiet" -drive file=disk.qcow2,format=qcow2 \\
    -netdev user,id=n0,hostfwd=tcp::2222-:22 -device e1000,netdev=n0,mac=52:54:00:00:00:01 \\
    -netdev tap,id=n1,ifname=tap7 -device virtio-net-pci,netdev=n1 \\
    -daemonize -cdrom cd.iso
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("amy.crt", "amy.key", "my kernel", "disk.qcow2"):
        (tmp_path / name).touch()
    return tmp_path


def imported(folder: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    (folder / name).write_text(text)
    assert main(["import", name]) == 0
    said = capsys.readouterr()
    return said.out, said.err


def test_an_openvpn_client_becomes_a_link_at_a_tun(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, said = imported(folder, "amy.ovpn", OPENVPN, capsys)
    machine = load(text)
    assert machine.modules == {"/own": "tme/host/tun/tun", "/link": "tme/host/openvpn/socket/link"}
    link = machine.elements["/link"].arguments
    assert [str(remote.host) for remote in link.remotes] == ["vpn.example.org"]
    assert "--ca amy.ca" in text
    assert (folder / "amy.ca").read_text().startswith("-----BEGIN CERTIFICATE")
    assert (folder / "amy.ca").stat().st_mode & 0o077 == 0
    for option in ("iproute", "frobnicate"):
        assert f"line {1 + OPENVPN[: OPENVPN.index(option)].count(chr(10))}: {option}: " in said
        assert option in "".join(line for line in text.splitlines() if line.startswith("# Left out"))
        assert not [line for line in text.splitlines() if f"--{option}" in line and line[0] != "#"]


def test_an_openvpn_server_becomes_a_server(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = "dev tap0\nserver 10.0.9.0 255.255.255.0\ncert amy.crt\nkey amy.key\ndh none\nca amy.crt\n"
    text, _ = imported(folder, "server.conf", server, capsys)
    assert load(text).modules == {"/own": "tme/host/tun/tap", "/server": "tme/host/openvpn/socket/server"}
    assert "own: tme/host/tun/tap interface tap0\n" in text


def test_a_command_line_of_qemu_becomes_a_machine_at_switches(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, said = imported(folder, "vm.sh", QEMU, capsys)
    machine = load(text)
    assert list(machine.modules.values()) == [
        "tmelink/switch", "tmelink/passt", "tmelink/switch", "tmelink/qemu",
    ]  # fmt: skip
    vm = machine.elements["/vm0"].arguments
    assert (vm.memory, vm.accel, vm.kernel, vm.disk) == (1024, "kvm", "my kernel", ("disk.qcow2",))
    assert vm.append == "console=ttyS0 quiet"
    assert vm.extra == (("-smp", "2"), ("-cdrom", "cd.iso"))
    assert 'vm0 model e1000 mac "52:54:00:00:00:01" at sw0: tmelink/qemu qemu-system-x86_64' in text
    assert "vm0 model virtio-net-pci at sw1\n" in text
    for part in ("-daemonize: tmelink starts and ends QEMU", "without hostfwd", "ifname=tap7"):
        assert part in said


def test_a_file_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "nothing.ovpn"]) == 1
    assert capsys.readouterr().err == "tmelink: nothing.ovpn: No such file or directory\n"
