"""A file for several hosts becomes a slice, a unit and keys for each, before any host is touched."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

import tmelink
from tests.support.aio import run
from tests.support.deployments import LAB
from tmelink.deploy import ansible_files
from tmelink.deploy.keys import KeyFolder
from tmelink.deploy.plan import Deployment, plan
from tmelink.errors import MachineError, TmelinkError
from tmelink.machine import load
from tmelink.system import credentials
from tmelink.tmesh.host_access import SshTarget

PAIR = """\
host a address 192.0.2.1 {{
    le0: tmelink/host inet 10.0.0.1/24
    link0 at le0: tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2 {a}
}}
host b address 192.0.2.2 {{
    le1: tmelink/host inet 10.0.0.2/24
    link1 at le1: tme/host/openvpn/socket/link --dev tap --local 192.0.2.2 --remote 192.0.2.1 {b}
}}
"""


def planned(folder: Path, text: str, **options: object) -> Deployment:
    file = folder / "lab.conf"
    file.write_text(text)
    return plan(file, KeyFolder(folder / "keys"), **options)  # type: ignore[arg-type]


def mistakes(folder: Path, text: str) -> str:
    with pytest.raises(MachineError) as error:
        planned(folder, text)
    return str(error.value)


def test_each_host_gets_its_own_part_alone(tmp_path: Path) -> None:
    made = planned(tmp_path, LAB)
    assert [host.name for host in made.hosts] == ["north", "south", "east"]
    north, south, east = made.hosts
    assert "link0" not in north.part.text
    assert "hub" not in south.part.text
    assert (north.links, south.links, east.links) == ((), ("link0",), ("link1",))
    assert north.target == SshTarget("north.example.com", "root", 2222)
    assert south.target == SshTarget("192.0.2.2")
    assert list(load(south.part.text, host="south").elements) == ["/le1", "/link0"]


def test_a_secure_link_becomes_keys_and_fingerprints(tmp_path: Path) -> None:
    made = planned(tmp_path, LAB)
    prints = {name: KeyFolder(tmp_path / "keys").of(name).fingerprint for name in ("north", "south", "east")}
    north, south, _east = made.hosts
    assert "--secure" not in north.part.text + south.part.text
    stem = "keys/south-" + prints["south"].replace(":", "")[:8].lower()
    assert f"--keepalive 10 60 --key {stem}.key --cert {stem}.crt" in south.part.text
    assert f'--peer-fingerprint "{prints["north"]}"' in south.part.text
    assert prints["south"] in north.part.text
    assert prints["east"] in north.part.text
    assert sorted(south.part.files) == [f"{stem}.crt", f"{stem}.key"]
    assert set(made.new_keys) == {"north", "south", "east"}


@pytest.mark.parametrize(
    ("a", "b", "roles"),
    [
        ("--secure", "--secure", ("--tls-server", "--tls-client")),
        ("--secure --tls-client", "--secure --tls-server", ("--tls-client", "--tls-server")),
        ("--secure --proto tcp-client", "--secure --proto tcp-server", ("--tls-client", "--tls-server")),
    ],
)
def test_one_end_begins_tls(tmp_path: Path, a: str, b: str, roles: tuple[str, str]) -> None:
    made = planned(tmp_path, PAIR.format(a=a, b=b))
    for host, role in zip(made.hosts, roles, strict=True):
        other = {"--tls-server": "--tls-client", "--tls-client": "--tls-server"}[role]
        assert host.part.text.count(role) == 1
        assert other not in host.part.text


def test_keys_are_made_once_and_kept_to_their_owner(tmp_path: Path) -> None:
    first = planned(tmp_path, LAB)
    assert set(first.new_keys) == {"north", "south", "east"}
    second = planned(tmp_path, LAB)
    assert second.new_keys == ()
    assert [host.release for host in second.hosts] == [host.release for host in first.hosts]
    for path in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_new_keys_are_another_release(tmp_path: Path) -> None:
    first = planned(tmp_path, LAB)
    KeyFolder(tmp_path / "keys").rotate("south")
    second = planned(tmp_path, LAB)
    assert second.new_keys == ("south",)
    changed = [
        one.name for one, other in zip(first.hosts, second.hosts, strict=True) if one.release != other.release
    ]
    assert changed == ["north", "south"]


def test_a_look_writes_no_keys(tmp_path: Path) -> None:
    file = tmp_path / "lab.conf"
    file.write_text(LAB)
    made = plan(file, KeyFolder(tmp_path / "keys", spare=tmp_path / "spare"))
    assert set(made.new_keys) == {"north", "south", "east"}
    assert not (tmp_path / "keys").exists()


def test_files_come_along_and_sourced_ones_are_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "secret.key").write_text("k")
    (tmp_path / "parts" / "disk.img").write_text("d")
    (tmp_path / "parts" / "more.conf").write_text("vm0: tmelink/process sh -c true disk=disk.img\n")
    made = planned(
        tmp_path,
        "host a address 192.0.2.1 {\n"
        "    source parts/more.conf\n"
        "    link0 at vm0: tme/host/openvpn/socket/link --dev tap --remote 192.0.2.9 --secret secret.key "
        "--cipher AES-256-CBC\n}\n",
    )
    (only,) = made.hosts
    assert set(only.part.files) == {"secret.key", "parts/disk.img"}
    assert "disk=parts/disk.img" in only.part.text
    assert "source" not in only.part.text


def test_a_file_above_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.key").write_text("k")
    (tmp_path / "lab").mkdir()
    text = (
        "host a address 192.0.2.1 {\n    le0: tmelink/nic\n"
        "    link0 at le0: tme/host/openvpn/socket/link --secret ../other.key --cipher AES-256-CBC\n}\n"
    )
    assert "../other.key lies above the machine file's folder" in mistakes(tmp_path / "lab", text)


WRONG = [
    (
        PAIR.format(a="--secure", b=""),
        "link0 is --secure, and its other end link1 is not (give link1 --secure too)",
    ),
    (
        "host a address 192.0.2.1 {\n    le0: tmelink/nic\n"
        "    link0 at le0: tme/host/openvpn/socket/link --dev tap --remote 192.0.2.2 --secure\n}\n",
        "link0 is --secure, but its other end is not in the file",
    ),
    ("le0: tmelink/nic\nhost a address 192.0.2.1 { }\n", "le0 is on no host, so every host would run it"),
    (
        "host a address none {\n    le0: tmelink/nic\n}\n",
        "host a has no address (add 'ssh HOST' after 'address none')",
    ),
    (
        PAIR.format(a="", b="").replace("192.0.2.2 {", "192.0.2.2 behind nat ssh b {"),
        "link0 calls 192.0.2.2, and host b is behind NAT (leave --remote out here",
    ),
    (
        PAIR.format(a="", b="")
        .replace("192.0.2.2 {", "192.0.2.2 behind nat ssh b {")
        .replace("192.0.2.1 {", "192.0.2.1 behind nat ssh a {"),
        "neither a nor b can be called: write '--secure --via HOST' in place of --remote at both ends",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_cannot_be_deployed(tmp_path: Path, text: str, message: str) -> None:
    assert message in mistakes(tmp_path, text)


def test_a_file_without_hosts(tmp_path: Path) -> None:
    with pytest.raises(TmelinkError, match="has no hosts"):
        planned(tmp_path, "le0: tmelink/nic\n")


def test_a_limit_names_hosts_of_the_file(tmp_path: Path) -> None:
    assert [host.name for host in planned(tmp_path, LAB, limit=["south"]).hosts] == ["south"]
    with pytest.raises(TmelinkError, match="it has north, south, east"):
        planned(tmp_path, LAB, limit=["nort"])


def test_ansible_s_files(tmp_path: Path) -> None:
    made = planned(tmp_path, LAB)
    ansible_files.write(tmp_path / "out", made, None)
    inventory = json.loads((tmp_path / "out" / "inventory.yml").read_text())["all"]
    assert inventory["vars"] == {"tmelink_lab": "lab", "tmelink_environment": "pypi", "tmelink_pip": ""}
    assert inventory["hosts"]["north"]["ansible_port"] == 2222
    assert inventory["hosts"]["south"]["ansible_python_interpreter"] == "/usr/bin/python3.11"
    assert inventory["hosts"]["south"]["become"] == "true"
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    names = [path.name.split("-")[0] + path.suffix for path in sorted(tmp_path.glob("out/slices/*/keys/*"))]
    assert names == [f"{host}.{kind}" for host in ("east", "north", "south") for kind in ("crt", "key")]
    for path in tmp_path.glob("out/slices/**/*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_systemd_hands_the_keys_to_the_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    north, *_ = planned(tmp_path, LAB).hosts
    assert "LoadCredential=keys:/etc/tmelink/lab/current/keys\n" in north.unit
    KeyFolder(tmp_path / "keys").rotate("north")
    assert planned(tmp_path, LAB).hosts[0].unit == north.unit, "a lab with new keys need not restart"
    (plain,) = planned(tmp_path, "host a address 192.0.2.1 {\n    le0: tmelink/nic\n}\n").hosts
    assert "LoadCredential" not in plain.unit

    # As systemd.exec(5) has it: the folder's name, an underscore, and the file's.
    key = tmp_path / "keys/a.key"
    assert credentials.of(key) == key
    (tmp_path / "given").mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "given"))
    assert credentials.of(key) == key
    (tmp_path / "given/keys_a.key").write_text("")
    assert credentials.of(key) == tmp_path / "given/keys_a.key"


def test_pip_comes_along_with_the_wheels(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("pip-23.2.1-py3-none-any.whl", "tmelink-1.0-py3-none-any.whl"):
        (wheels / name).write_text("first")
    made = planned(tmp_path, LAB)
    ansible_files.write(tmp_path / "out", made, wheels)
    first = json.loads((tmp_path / "out/inventory.yml").read_text())["all"]["vars"]
    assert first["tmelink_pip"] == "pip-23.2.1-py3-none-any.whl"
    # A wheel of a checkout keeps its name when the checkout changes.
    (wheels / "tmelink-1.0-py3-none-any.whl").write_text("second")
    ansible_files.write(tmp_path / "out", made, wheels)
    second = json.loads((tmp_path / "out/inventory.yml").read_text())["all"]["vars"]
    assert second["tmelink_environment"] != first["tmelink_environment"]


def test_a_secure_link_does_not_run_without_its_keys() -> None:
    machine = tmelink.load(LAB, host="south")

    async def body() -> None:
        async with machine.run():
            pass

    with pytest.raises(tmelink.ElementError, match="link0: --secure has no keys yet; 'tmelink deploy FILE'"):
        run(body)
