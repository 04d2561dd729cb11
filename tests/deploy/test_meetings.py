"""`--via HOST`: two ends that nobody can call meet at a third host of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmelink.deploy.keys import KeyFolder
from tmelink.deploy.plan import Deployment, plan
from tmelink.errors import MachineError
from tmelink.machine import load

LINK = "tme/host/openvpn/socket/link --dev tap --secure"
LAB = f"""\
host hub address 192.0.2.1 {{ }}
host a address none ssh a {{
    le0: tmelink/host inet 10.0.0.1/24
    link0 at le0: {LINK} --via hub
}}
host b address 10.0.0.9 behind nat ssh b {{
    le1: tmelink/host inet 10.0.0.2/24
    link1 at le1: {LINK} --via hub
}}
"""


def planned(folder: Path, text: str, hub_port: int = 3478) -> Deployment:
    file = folder / "lab.conf"
    file.write_text(text)
    return plan(file, KeyFolder(folder / "keys"), hub_port=hub_port)


def test_the_hub_gets_a_rendezvous_and_no_key_of_the_link(tmp_path: Path) -> None:
    hub, a, b = planned(tmp_path, LAB).hosts
    (name,) = hub.part.files
    assert name.startswith("keys/hub-")
    assert f"rendezvous: tmelink/rendezvous key {name}" in hub.part.text
    for end in (a, b):
        assert f"--remote 192.0.2.1 3478 --rendezvous {name}" in end.part.text
        assert "--via" not in end.part.text
        assert name in end.part.files
        assert len(end.part.files) == 3
    assert hub.listens == (("udp", 3478),)
    assert [tuple(call) for call in a.calls] == [("hub", "udp", "192.0.2.1", 3478)]
    assert (a.links, b.links) == (("link0",), ("link1",))
    for host in (hub, a, b):
        assert load(host.part.text, host=host.name).elements


def test_a_hub_with_links_of_its_own_has_keys_too(tmp_path: Path) -> None:
    text = LAB.replace(
        "host hub address 192.0.2.1 { }",
        f"host hub address 192.0.2.1 {{\n    x: tmelink/nic\n    y at x: {LINK}\n}}",
    )
    text += f"host a address none {{\n    le2: tmelink/nic\n    z at le2: {LINK} --remote 192.0.2.1\n}}\n"
    made = planned(tmp_path, text)
    assert set(made.new_keys) == {"hub.rendezvous", "hub", "a", "b"}
    assert len(made.hosts[0].part.files) == 3


def test_a_new_key_is_another_release_on_all_three(tmp_path: Path) -> None:
    first = planned(tmp_path, LAB)
    assert [host.release for host in planned(tmp_path, LAB).hosts] == [host.release for host in first.hosts]
    KeyFolder(tmp_path / "keys").rotate_rendezvous()
    second = planned(tmp_path, LAB)
    assert all(one.release != other.release for one, other in zip(first.hosts, second.hosts, strict=True))
    assert (tmp_path / "keys/hub.rendezvous.old").exists()


def test_links_with_names_of_their_own_share_a_hub(tmp_path: Path) -> None:
    text = LAB.replace("--via hub", "--via hub one")
    text += f"host a address none {{\n    le2: tmelink/nic\n    link2 at le2: {LINK} --via hub two\n}}\n"
    text += f"host b address 10.0.0.9 {{\n    le3: tmelink/nic\n    link3 at le3: {LINK} --via hub two\n}}\n"
    hub, a, _b = planned(tmp_path, text).hosts
    assert len(hub.part.files) == 2
    assert hub.part.text.count(" key keys/") == 2
    assert a.links == ("link0", "link2")


def test_hubs_on_one_computer_have_ports_of_their_own(tmp_path: Path) -> None:
    text = LAB.replace("--via hub", "--via hub:4000 one")
    text += f"host a address none {{\n    le2: tmelink/nic\n    link2 at le2: {LINK} --via hub\n}}\n"
    text += f"host b address 10.0.0.9 {{\n    le3: tmelink/nic\n    link3 at le3: {LINK} --via hub\n}}\n"
    hub, a, _b = planned(tmp_path, text, hub_port=3999).hosts
    assert "    rendezvous: tmelink/rendezvous local 3999 key keys/hub-" in hub.part.text
    assert "    rendezvous0: tmelink/rendezvous local 4000 key keys/hub@4000-one-" in hub.part.text
    assert hub.elements == 2
    assert set(hub.listens) == {("udp", 3999), ("udp", 4000)}
    assert "--remote 192.0.2.1 4000 " in a.part.text
    assert "--remote 192.0.2.1 3999 " in a.part.text
    assert set(load(hub.part.text, host="hub").elements) == {"/rendezvous", "/rendezvous0"}


WRONG = [
    (
        LAB.replace("--via hub", "--via hub:4000", 1),
        "link0 is the only link with --via hub:4000 (give its other end --via hub:4000 too)",
    ),
    (LAB.replace("--via hub", "--via hub:0", 1), "--via: port 0 is out of range"),
    (LAB.replace("--via hub", "--via hup", 1), "--via hup: the file has no host hup (it has hub, a, b)"),
    (LAB.replace("link1 at le1: " + LINK + " --via hub", ""), "link0 is the only link with --via hub"),
    (
        LAB + f"host a address none {{\n    x: {LINK} --via hub\n}}\n",
        "3 links have --via hub (give both ends",
    ),
    (LAB.replace("192.0.2.1 {", "192.0.2.1 behind nat ssh hub {"), "--via hub: host hub cannot be called"),
    (LAB.replace(" --secure", "", 1), "--via needs --secure"),
    (LAB.replace("--via hub", "--via hub --remote 192.0.2.2", 1), "--via replaces --remote"),
    (LAB.replace("--via hub", "--via hub --proto tcp-server", 1), "--via needs --proto udp"),
    (LAB.replace("--via hub", "--via hub --client", 1), "--via is for a link between two peers"),
    (LAB.replace("--via hub", '--via hub "a b"', 1), "'a b' is not a valid name"),
    (
        LAB.replace("--secure --via hub", "--rendezvous k --remote 192.0.2.1", 1),
        "--rendezvous needs TLS (add --tls-server at one end and --tls-client at the other)",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_cannot_meet(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MachineError) as error:
        planned(tmp_path, text)
    assert message in str(error.value)
