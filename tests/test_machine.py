"""A file as a checked graph: what statements lay out, what is made of it, and every mistake on the way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.support.fuzzing import examples
from tmelink import registry, values
from tmelink.arguments import keyword, positional, rest
from tmelink.element import Claim, Element, Port
from tmelink.errors import MachineError, PortError, TmelinkError, UnknownElement
from tmelink.machine import CheckedMachine, load
from tmelink.source import Word
from tmelink.tmesh.layout import MAX_DEPTH, MAX_SOURCED
from tmelink.tmesh.tme_parts import ETHERNET_CARDS, PARTS

# Elements that do nothing, under the names of those that do ------------------------------------------------


class Fake(Element):
    @dataclass(frozen=True)
    class Arguments:
        words: tuple[str, ...] = rest("WORD", help="anything")


class FakeTap(Element):
    @dataclass(frozen=True)
    class Arguments:
        interface: str | None = keyword("NAME", values.interface_name, default=None, help="its name")

    def claims(self) -> list[Claim]:
        interface = self.arguments.interface
        return [Claim("interface", (interface,))] if interface else []


class FakeLink(Element):
    @dataclass(frozen=True)
    class Arguments:
        local: str = keyword("ADDR", values.text, default="", help="where it is")
        lport: int = keyword("PORT", values.port, default=1194, help="its port")
        proto: str = keyword("PROTO", values.choice("udp", "tcp"), default="udp", help="over what")

    def claims(self) -> list[Claim]:
        return [Claim(self.arguments.proto, (self.arguments.local, self.arguments.lport))]


class FakeHost(Element):
    @dataclass(frozen=True)
    class Arguments:
        inet: IPv4Interface = keyword("ADDR/LEN", values.ipv4_interface, help="its address")


class FakeNic(Element):
    commands = ("ping", "x")

    @dataclass(frozen=True)
    class Arguments:
        mac: bytes | None = keyword("MAC", values.mac, default=None, help="its address")


class FakeSwitch(Fake):
    capacity: ClassVar[int | None] = None


class FakeRouter(Fake):
    def make_port(self) -> Port:
        return Port(self, kind="ip")


class FakePatchPanel(FakeSwitch):
    """Takes one word a connection: which of its sockets."""

    def port(self, words: Sequence[Word] = ()) -> Port:
        if len(words) != 1:
            raise PortError(f"{self.name} wants the name of a socket")
        return super().port(())


class Grumpy(Fake):
    @dataclass(frozen=True)
    class Arguments:
        mood: str = positional("MOOD", values.text, help="how it feels")

    def __init__(self, name: str, arguments: Any) -> None:
        raise TmelinkError(f"{name} feels {arguments.mood}")


FAKES: dict[str, type[Element]] = {
    "tme/host/bsd/bpf": Fake,
    "tme/host/openvpn/socket/link": FakeLink,
    "tme/host/openvpn/tap": Fake,
    "tme/host/openvpn/tun/tap": Fake,
    "tme/host/tun/tap": FakeTap,
    "tmelink/host": FakeHost,
    "tmelink/nic": FakeNic,
    "tmelink/switch": FakeSwitch,
    "test/router": FakeRouter,
    "test/panel": FakePatchPanel,
    "test/grumpy": Grumpy,
}


@dataclass
class EntryPoint:
    value: str
    load: Callable[[], object]


def _itself(cls: type[Element]) -> object:
    return cls


def missing() -> object:
    raise ImportError("No module named 'elsewhere'")


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    points = {name: EntryPoint(f"fakes:{cls.__name__}", partial(_itself, cls)) for name, cls in FAKES.items()}
    points["test/uninstalled"] = EntryPoint("elsewhere:Element", missing)
    monkeypatch.setattr(registry, "_entry_points", lambda: points)
    registry.element_class.cache_clear()
    yield
    registry.element_class.cache_clear()


def mistakes(text: str, **options: Any) -> list[str]:
    """The mistakes in `text` as `line:column: message (hint)`."""
    with pytest.raises(MachineError) as caught:
        load(text + "\n", **options)
    return [str(mistake).removeprefix("<text>:") for mistake in caught.value.mistakes]


def connections(machine: CheckedMachine) -> list[tuple[str, str]]:
    return [(a.element.name, b.element.name) for a, b in machine.connections]


# Elements and connections ----------------------------------------------------------------------------------


def test_elements_and_connections() -> None:
    machine = load("""
        switch0: tmelink/switch
        tap0 at switch0: tme/host/tun/tap interface tap7
        connect host0 at switch0: tmelink/host inet 10.0.0.1/24
        link0: nme/host/openvpn/socket/link local 10.0.0.1
        link0 at switch0
    """)
    assert list(machine.elements) == ["/switch0", "/tap0", "/host0", "/link0"]
    assert [element.name for element in machine.elements.values()] == ["switch0", "tap0", "host0", "link0"]
    tap = machine.elements["/tap0"]
    assert isinstance(tap, FakeTap)
    assert tap.arguments.interface == "tap7"
    assert connections(machine) == [("tap0", "switch0"), ("host0", "switch0"), ("link0", "switch0")]
    for a, b in machine.connections:
        assert (a.peer, b.peer) == (b, a)
    assert [port.index for port in machine.elements["/switch0"].ports] == [0, 1, 2]


def test_places() -> None:
    machine = load("\n tap0: tme/host/tun/tap\n  host0 at tap0: tmelink/host inet 10.0.0.1/24\n")
    assert {path: str(place) for path, place in machine.places.items()} == {
        "/tap0": "<text>:2:2",
        "/host0": "<text>:3:3",
    }
    ((host, tap),) = machine.connections
    assert (str(host.place), str(tap.place)) == ("<text>:3:3", "<text>:3:12")


def test_an_element_joined_to_itself_has_one_port() -> None:
    machine = load("tap1: tme/host/tun/tap\ntap1 at tap1\n")
    ((a, b),) = machine.connections
    assert a is b
    assert a.peer is a
    assert machine.elements["/tap1"].ports == [a]


def test_connection_words_go_to_their_side() -> None:
    machine = load("panel0: test/panel\nhost0 at panel0 left: tmelink/host inet 10.0.0.1/24\n")
    assert connections(machine) == [("host0", "panel0")]
    assert mistakes(
        "panel0: test/panel\nt at panel0: tme/host/tun/tap\nu here at panel0 up: tme/host/tun/tap"
    ) == [
        "2:6: panel0 wants the name of a socket",
        "3:3: u takes no connection arguments, but got 'here'",
    ]


@pytest.mark.parametrize(
    "module", ["tme/host/tun/tap", "nme/host/tun/tap", "/tme/host/tun/tap", "tme/host_tun-tap"]
)
def test_module_names_as_tme_takes_them(module: str) -> None:
    assert isinstance(load(f"tap0: {module}\n").find("tap0"), FakeTap)


def test_unknown_modules() -> None:
    assert mistakes("a: tme/host/tun/tp\nb: nme/host/bsd/bfp\nc: tme/ic/am799\nd: zebra\nb at a") == [
        "1:4: unknown module tme/host/tun/tp (did you mean tme/host/tun/tap?)",
        "2:4: unknown module nme/host/bsd/bfp (did you mean tme/host/bsd/bpf?)",
        "3:4: unknown module tme/ic/am799 (did you mean tme/ic/am7990?)",
        "4:4: unknown module zebra ('tmelink elements' lists those there are)",
    ]


def test_a_package_that_cannot_be_loaded_is_said_once() -> None:
    (mistake,) = mistakes("a: test/uninstalled\nb: test/uninstalled x\nb at a")
    assert mistake.startswith("1:4: the package behind test/uninstalled (elsewhere:Element) cannot be loaded")


def test_arguments_are_checked() -> None:
    assert mistakes(
        "a: tmelink/host inet 10.0.0\nb: tmelink/host\nc: tme/host/tun/tap interfac x\nd: test/grumpy sad"
    ) == [
        "1:22: inet: '10.0.0' is not a valid IPv4 address with a prefix, such as 10.0.0.1/24",
        "2:4: missing argument: inet ADDR/LEN",
        "3:21: unknown argument 'interfac' (did you mean interface?)",
        "3:30: unknown argument 'x' (it takes interface)",
        "4:4: d feels sad",
    ]


def test_connected_twice() -> None:
    text = """\
    tap0: tme/host/tun/tap
    a at tap0: tmelink/nic
    b at tap0: tmelink/nic
    a at b
    c: tmelink/nic
    c at c
    c at b
    """
    assert mistakes(text) == [
        "3:10: tap0 is already connected (to /a at <text>:2:10; put a tmelink/switch between them)",
        "4:5: a is already connected (to /tap0 at <text>:2:5; put a tmelink/switch between them)",
        "4:10: b is already connected (to /tap0 at <text>:3:5; put a tmelink/switch between them)",
        "7:5: c is already connected (to /c at <text>:6:5; put a tmelink/switch between them)",
        "7:10: b is already connected (to /tap0 at <text>:3:5; put a tmelink/switch between them)",
    ]


def test_a_wrong_element_takes_a_connection_all_the_same() -> None:
    assert mistakes(
        "tap0: tme/host/tun/tap\na at tap0: tmelink/hst\nb at tap0: tmelink/host inet x\nc at b: tmelink/nic"
    ) == [
        "2:12: unknown module tmelink/hst (did you mean tmelink/host?)",
        "3:6: tap0 is already connected (to /a at <text>:2:6; put a tmelink/switch between them)",
        "3:30: inet: 'x' is not a valid IPv4 address with a prefix, such as 10.0.0.1/24",
        "4:6: b is already connected (to /tap0 at <text>:3:1; put a tmelink/switch between them)",
    ]


def test_kinds_that_do_not_match() -> None:
    assert mistakes("router0: test/router\ntap0 at router0: tme/host/tun/tap") == [
        "2:9: tap0 carries Ethernet frames and router0 carries IP packets: put a tmelink/gateway between them"
    ]


def test_duplicate_names() -> None:
    assert mistakes("a: tmelink/switch\nmkdir d\na: tmelink/nic\nd: tmelink/nic\nx at a: tmelink/nic") == [
        "3:1: a already exists (the first is at <text>:1:1)",
        "4:1: d already exists (a directory)",
    ]


def test_unknown_elements() -> None:
    text = "display0: tmelink/switch\nx at dispaly0: tmelink/nic\nq at z\nmkdir d\nx at d\n"
    text += "command y\nlog le9 1\nrm u"
    assert mistakes(text) == [
        "2:6: unknown element dispaly0 (did you mean display0?)",
        "3:1: unknown element q",
        "3:6: unknown element z",
        "5:6: d is a directory, not an element",
        "6:9: unknown element y",
        "7:5: unknown element le9",
        "8:4: u does not exist",
    ]


def test_names_of_commands_with_a_mistake_are_not_missed() -> None:
    assert mistakes(
        "a tmelink/switch\nb at a: tmelink/nic\nc: $\nc at b\nmkdir d d\nd/x: tmelink/nic\ncd d\nlog d/x 1"
    ) == [
        "1:17: expected ':' or 'at' after 'tmelink/switch', but the command ends (write 'a: tmelink/switch')",
        "3:4: unexpected '$' (put a word that contains it in double quotes)",
        "5:9: 'mkdir' takes a directory's name, but found 'd'",
    ]


def test_five_mistakes_at_once_in_the_order_of_the_file() -> None:
    text = """\
host0: tmelink/host inet 10.0.0.300/24
tap0: tme/host/tun/tp
link0: tme/host/openvpn/socket/link lport 70000
link1 at tap1: tme/host/openvpn/socket/link
nic0: tmelink/nic mac 00:01:02:03:04:05 {
}
"""
    assert mistakes(text) == [
        "1:26: inet: '10.0.0.300/24' is not a valid IPv4 address with a prefix, such as 10.0.0.1/24",
        "2:7: unknown module tme/host/tun/tp (did you mean tme/host/tun/tap?)",
        "3:43: lport: port 70000 is out of range: 1 to 65535",
        "4:10: unknown element tap1 (did you mean tap0?)",
        "5:41: a '{' can only open a block here (a block begins with 'machine NAME {' "
        "or 'host NAME address ADDRESS {')",
    ]


# Claims ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ("local 10.0.0.1", "local 10.0.0.1", "UDP port 1194 of 10.0.0.1"),
        ("", "local 10.0.0.1", "UDP port 1194 of 10.0.0.1"),
        ("local 10.0.0.1", "", "UDP port 1194"),
        ("proto tcp", "proto tcp", "TCP port 1194"),
    ],
)
def test_two_links_on_one_port(first: str, second: str, what: str) -> None:
    module = "tme/host/openvpn/socket/link"
    assert mistakes(f"link0: {module} {first}\nlink1: {module} {second}") == [
        f"2:1: /link1 wants {what}, which /link0 has (at <text>:1:1)"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("local 10.0.0.1", "local 10.0.0.2"),
        ("lport 1194", "lport 1195"),
        ("proto udp", "proto tcp"),
    ],
)
def test_links_that_do_not_collide(first: str, second: str) -> None:
    module = "tme/host/openvpn/socket/link"
    assert len(load(f"link0: {module} {first}\nlink1: {module} {second}\n").elements) == 2


def test_claims_of_other_things() -> None:
    tap = "tme/host/tun/tap interface"
    assert mistakes(f"a: {tap} tap0\nb: {tap} tap1\nc: {tap} tap0") == [
        "3:1: /c wants interface tap0, which /a has (at <text>:1:1)"
    ]


def test_claims_are_of_one_host() -> None:
    link = "tme/host/openvpn/socket/link"
    load(f"host a address 10.0.0.1 {{ x: {link} }}\nhost b address 10.0.0.2 {{ y: {link} }}\n")
    assert mistakes(f"host a address 10.0.0.1 {{ x: {link} }}\nz: {link}") == [
        "2:1: /z wants UDP port 1194, which /x has (at <text>:1:27)"
    ]


# Directories -----------------------------------------------------------------------------------------------


def test_directories() -> None:
    machine = load("""
        mkdir a; mkdir a/b; mkdir /a/b/c
        cd a/b/c; pwd
        x: tmelink/switch
        ../y at ./x: tmelink/nic
        cd ..//../; pwd
        b/c/z at b/../../a/b/c/x: tmelink/nic
        cd /; pwd; cd a/; pwd; cd ../..; pwd
        /top at /a/b/c/x: tmelink/nic
    """)
    assert machine.output == ["/a/b/c", "/a", "/", "/a", "/"]
    assert list(machine.elements) == ["/a/b/c/x", "/a/b/y", "/a/b/c/z", "/top"]
    assert machine.elements["/a/b/c/x"].name == "a/b/c/x"
    assert connections(machine) == [("a/b/y", "a/b/c/x"), ("a/b/c/z", "a/b/c/x"), ("top", "a/b/c/x")]


def test_rm_takes_the_connections_along() -> None:
    machine = load("""
        tap0: tme/host/tun/tap
        a at tap0: tmelink/nic
        command a x
        rm a
        b at tap0: tmelink/nic
        a at a: test/router
        log a 1
        mkdir d; rmdir d; mkdir d/
    """)
    assert list(machine.elements) == ["/tap0", "/b", "/a"]
    assert connections(machine) == [("b", "tap0"), ("a", "a")]
    assert [(command.element, command.level) for command in machine.commands] == [(machine.find("a"), 10)]


def test_mv() -> None:
    machine = load(
        """
        mkdir d; mkdir e
        s: tmelink/switch
        a at s: tmelink/nic
        mv a b
        mv b d
        mv d/b d/c
        mv d e
        mv e/d /f
        x at f/c/../c: tmelink/nic
    """.replace("/../c", "").replace("x at f/c: tmelink/nic", "cd f; pwd; ls; mv c /; cd /; ls")
    )
    assert list(machine.elements) == ["/s", "/c"]
    assert connections(machine) == [("c", "s")]
    assert machine.find("c").name == "c"
    assert machine.output == ["/f", "c at /s: tmelink/nic", "e/\ns: tmelink/switch\nf/\nc at s: tmelink/nic"]


def test_alias() -> None:
    machine = load("""
        mainbus0: tmelink/switch
        mkdir d
        alias d/sbus0 mainbus0
        alias more d/sbus0
        a at d/sbus0: tmelink/nic
        b at more: tmelink/nic
        rm mainbus0
        log more 1
    """)
    assert list(machine.elements) == ["/d/sbus0", "/a", "/b"]
    assert machine.aliases == {"/more": "/d/sbus0"}
    assert machine.find("more") is machine.find("/d/sbus0") is machine.commands[0].element
    assert connections(machine) == [("a", "d/sbus0"), ("b", "d/sbus0")]
    assert list(load("a: tmelink/nic\nalias b a\nrm a\nrm b\n").elements) == []


def test_ls() -> None:
    machine = load("""
        s: tmelink/switch "two words" k=v
        a at s: tmelink/nic
        mkdir d
        d/p: test/panel
        d/b at d/p "left hand": tmelink/nic
        s at d/p right
        ls
        ls -a
        ls -l d
        ls -R
        ls -laR d
        ls a
        ls -a s
        ls -l /d/b
    """)
    assert machine.output == [
        's: tmelink/switch "two words" "k=v"\na at s: tmelink/nic\nd/',
        '.\n..\ns at a: tmelink/switch "two words" "k=v"\ns at d/p right\na at s: tmelink/nic\nd/',
        '/d/p: test/panel\n/d/b at /d/p "left hand": tmelink/nic',
        's: tmelink/switch "two words" "k=v"\na at s: tmelink/nic\nd/\n\n./d:\n'
        'p: test/panel\nb at p "left hand": tmelink/nic',
        '.\n..\n/d/p "left hand" at /d/b: test/panel\n/d/p right at /s\n'
        '/d/b at /d/p "left hand": tmelink/nic',
        "a at s: tmelink/nic",
        's at a: tmelink/switch "two words" "k=v"\ns at d/p right',
        '/d/b at /d/p "left hand": tmelink/nic',
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cd nowhere", "1:4: nowhere does not exist"),
        ("mkdir there; cd theer", "1:17: theer does not exist (did you mean there?)"),
        ("cd s", "1:4: s is an element, not a directory"),
        ("cd s/x", "1:4: s is an element, not a directory"),
        ("cd s/", "1:4: s is an element, not a directory"),
        ("mkdir s", "1:7: s already exists"),
        ("mkdir .", "1:7: . already exists"),
        ("mkdir a/b", "1:7: a does not exist"),
        ("x/y: tmelink/nic", "1:1: x does not exist"),
        ("mkdir d; mkdir d/e; rmdir d", "1:27: d is not empty (it holds e)"),
        ("rmdir /", "1:7: the root directory cannot be removed"),
        ("rmdir s", "1:7: s is an element, not a directory"),
        ("rmdir d", "1:7: d does not exist"),
        (
            "mkdir d; cd d; rmdir ../d",
            "1:22: ../d is in use (leave it first, with cd or at the end of its block)",
        ),
        (
            "machine m { rmdir ../m }",
            "1:19: ../m is in use (leave it first, with cd or at the end of its block)",
        ),
        (
            "mkdir e; cd e; machine n { cd /; mv e/n q; rmdir e }",
            "1:50: e is in use (leave it first, with cd or at the end of its block)",
        ),
        ("mkdir d; rm d", "1:13: d is a directory (rmdir removes an empty one)"),
        ("rm x", "1:4: x does not exist"),
        ("mv x y", "1:4: x does not exist"),
        ("mkdir d; mv d d", "1:15: d cannot be moved into itself"),
        ("mkdir d; mkdir d/e; mv d d/e", "1:26: d cannot be moved into itself"),
        ("t: tmelink/nic; mv s t", "1:22: /t already exists"),
        ("mkdir d; d/s: tmelink/nic; mv s d", "1:33: /d/s already exists"),
        ("mv s a/b", "1:6: a does not exist"),
        ("alias a b", "1:9: unknown element b"),
        ("alias s s", "1:7: s already exists"),
        ("alias a/b s", "1:7: a does not exist"),
        ("ls -x", "1:4: ls has no option -x (its options are -a, -l and -R)"),
        ("ls nowhere", "1:4: nowhere does not exist"),
        (
            "log s loud",
            "1:7: 'loud' is not a valid log level: a number from 0, off, trace, debug, info, warning "
            "or error",
        ),
    ],
)
def test_directory_mistakes(text: str, expected: str) -> None:
    found = mistakes(f"{text}\ns: tmelink/switch" if " s" not in text else f"s: tmelink/switch\n{text}")
    assert [mistake.split(":", 1)[1] for mistake in found] == [expected.split(":", 1)[1]]


def test_after_a_failed_cd_names_do_not_end_up_elsewhere() -> None:
    assert mistakes("x: tmelink/nic\ncd nowhere\nx: tmelink/nic\ny at x: tmelink/nic\ncd ..\nx at x") == [
        "2:4: nowhere does not exist"
    ]


def test_directories_as_deep_as_anyone_likes() -> None:
    depth = 2000
    machine = load("mkdir d; cd d\n" * depth + "x: tmelink/nic; y at x: tmelink/nic; pwd\n")
    assert machine.output == ["/d" * depth]
    assert list(machine.elements) == ["/d" * depth + "/x", "/d" * depth + "/y"]
    mistakes("mkdir d; cd d\n" * depth + "x at y: tmelink/nic; cd e")


def test_find() -> None:
    machine = load("mkdir a\na/le0: tmelink/nic\ntap0: tme/host/tun/tap\n")
    assert machine.find("a/le0") is machine.find("/a/le0") is machine.find("//a/./le0")
    with pytest.raises(UnknownElement, match=r"^no element 'le0', did you mean /a/le0\?$"):
        machine.find("le0")
    with pytest.raises(KeyError):
        machine.find("zebra")


# Commands --------------------------------------------------------------------------------------------------


def test_commands_in_order() -> None:
    machine = load("a: tmelink/nic\nlog a 1\ncommand a ping fd00::1\nlog a off\nlog a warning\ncommand a x\n")
    assert [(c.level, [w.text for w in c.words], str(c.place)) for c in machine.commands] == [
        (10, ["1"], "<text>:2:5"),
        (None, ["ping", "fd00::1"], "<text>:3:9"),
        (0, ["off"], "<text>:4:5"),
        (30, ["warning"], "<text>:5:5"),
        (None, ["x"], "<text>:6:9"),
    ]
    assert all(command.element is machine.find("a") for command in machine.commands)


# Machines and hosts ----------------------------------------------------------------------------------------


def test_a_machine_block_is_a_directory_and_ends() -> None:
    machine = load("""
        mkdir lab; cd lab
        machine a { le0: tmelink/nic; mkdir deep; cd deep; x: tmelink/nic; pwd }
        machine b {
            le0: tmelink/nic
            machine inner { pwd }
        }
        pwd
        link0 at a/le0: tme/host/openvpn/socket/link
        tap0 at /lab/b/le0: tme/host/tun/tap
    """)
    assert machine.output == ["/lab/a/deep", "/lab/b/inner", "/lab"]
    assert list(machine.elements) == ["/lab/a/le0", "/lab/a/deep/x", "/lab/b/le0", "/lab/link0", "/lab/tap0"]
    assert connections(machine) == [("lab/link0", "lab/a/le0"), ("lab/tap0", "lab/b/le0")]


def test_machine_mistakes() -> None:
    text = """\
machine a { x: tmelink/nic }
machine a { y: tmelink/nic; x: tmelink/nic }
mkdir d
machine d { }
n: tmelink/nic
machine n { x: tmelink/nic; y at x }
machine p/q { x: tmelink/nic }
machine .. { }
pwd"""
    assert mistakes(text) == [
        "2:9: a already exists (the first is at <text>:1:9; 'cd a' goes back into it)",
        "2:29: x already exists (the first is at <text>:1:13)",
        "4:9: d already exists",
        "6:9: n already exists (the first is at <text>:5:1)",
        "6:29: unknown element y",
        "7:9: p/q cannot name a machine (a machine is a directory, so its name has no '/')",
        "8:9: .. cannot name a machine (a machine is a directory, so its name has no '/')",
    ]


TWO_HOSTS = """
switch0: tmelink/switch
host north address 10.0.0.1 {
    machine a { le0 at switch0 : tmelink/nic; pwd }
    link0: tme/host/openvpn/socket/link
    log link0 1
}
host south address fd00::2 {
    machine b { le0 at /switch0: tmelink/nic; pwd }
    link1 at b/le1: tme/host/openvpn/socket/link
    source only-on-south
    only at defined-on-south: third/party
    log defined-on-south 1
}
log link1 1
link1 at switch0
""".replace("link1 at b/le1", "link1 at link1")


def test_one_host_of_a_file() -> None:
    machine = load(TWO_HOSTS.replace("at switch0 :", "at /switch0:"), host="north")
    assert list(machine.elements) == ["/switch0", "/a/le0", "/link0"]
    assert connections(machine) == [("a/le0", "switch0")]
    assert machine.hosts == {"north": "10.0.0.1", "south": "fd00::2"}
    assert machine.host == "north"
    assert machine.output == ["/a"]
    assert [command.element.name for command in machine.commands] == ["link0"]


def test_all_hosts_of_a_file() -> None:
    text = """
        s: tmelink/switch
        host a address 10.0.0.1 { x at s: tmelink/nic }
        host b address b.example { y at s: tmelink/nic }
        host a address 10.0.0.1 { z at s: tmelink/nic }
    """
    machine = load(text)
    assert list(machine.elements) == ["/s", "/x", "/y", "/z"]
    assert machine.hosts == {"a": "10.0.0.1", "b": "b.example"}
    assert list(load(text, host="a").elements) == ["/s", "/x", "/z"]


def test_host_mistakes() -> None:
    text = """\
host a address 10.0.0 { x: tmelink/nic }
host b address 10.0.0.2 { y at x: tmelink/nic }
host b address 10.0.0.3 { }"""
    assert mistakes(text) == [
        "1:16: '10.0.0' is not a valid IP address or host name",
        "2:32: /y is on host b and /x on host a (a pair of tme/host/openvpn/socket/link joins hosts)",
        "3:16: host b has another address here (it is 10.0.0.2 at <text>:2:6)",
    ]


@pytest.mark.parametrize(
    ("text", "host", "hint"),
    [
        ("host north address 10.0.0.1 { }", "nroth", "did you mean north?"),
        ("host a address 10.0.0.1 { }; host b address b { }", "zebra", "it has a, b"),
        ("x: tmelink/nic", "zebra", "it has no host blocks"),
    ],
)
def test_unknown_host(text: str, host: str, hint: str) -> None:
    assert mistakes(text, host=host) == [f"1:1: the file has no host {host} ({hint})"]


# Other files -----------------------------------------------------------------------------------------------


def write(folder: Path, **files: str) -> Path:
    """Files by name, `__` for `/`; the folder."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_source_is_relative_to_the_file_it_stands_in(tmp_path: Path) -> None:
    write(
        tmp_path,
        top="s: tmelink/switch; mkdir d; cd d; source parts/one; pwd; cd /; source parts/one2",
        parts__one="one at /s: tmelink/nic; source two; source ../three; cd deeper",
        parts__two="two at one: test/panel; mkdir deeper".replace(" at one: test/panel", ": tmelink/nic"),
        three="three: tmelink/nic",
        parts__one2='four: tmelink/nic; source "/dev/null"',
    )
    machine = load(tmp_path / "top")
    assert list(machine.elements) == ["/s", "/d/one", "/d/two", "/d/three", "/four"]
    assert machine.output == ["/d/deeper"]
    assert str(machine.places["/d/two"]) == f"{tmp_path}/parts/two:1:1"


def test_a_text_sources_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, part="x: tmelink/nic")
    monkeypatch.chdir(tmp_path)
    assert list(load("source part\n").elements) == ["/x"]


def test_mistakes_in_sourced_files_stand_where_they_are_sourced(tmp_path: Path) -> None:
    write(
        tmp_path,
        top="a: $\nsource part\nb: zebra\nsource part2\nc: lion\n",
        part="d: zebra\nsource deeper\ne: lion",
        deeper="\n f: wolf",
        part2="g: wolf:",
    )
    with pytest.raises(MachineError) as caught:
        load(tmp_path / "top")
    places = [str(mistake.place).removeprefix(f"{tmp_path}/") for mistake in caught.value.mistakes]
    assert places == ["top:1:4", "part:1:4", "deeper:2:5", "part:3:4", "top:3:4", "part2:1:4", "top:5:4"]


def test_a_file_sourced_twice_has_its_mistakes_once(tmp_path: Path) -> None:
    write(tmp_path, top="mkdir a; cd a; source part; cd /; source part", part="x: zebra\ny: $")
    with pytest.raises(MachineError) as caught:
        load(tmp_path / "top")
    assert [mistake.place.line for mistake in caught.value.mistakes] == [1, 2]


@pytest.mark.parametrize("name", ["a", "b/../a", "link"])
def test_a_cycle_of_sources(tmp_path: Path, name: str) -> None:
    write(tmp_path, top="source a", a="x: tmelink/nic; source b/b", b__b=f"source ../{name}")
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(MachineError) as caught:
        load(tmp_path / "top")
    (mistake,) = caught.value.mistakes
    assert str(mistake) == f"{tmp_path}/b/b:1:8: a file cannot source itself (a sources b sources a)"


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    write(
        tmp_path, top='source prat\nsource d\nsource "/proc/self/mem"\nx at y: tmelink/nic', part="", d__x=""
    )
    with pytest.raises(MachineError) as caught:
        load(tmp_path / "top")
    assert [str(mistake).removeprefix(f"{tmp_path}/") for mistake in caught.value.mistakes] == [
        f"top:1:8: cannot read {tmp_path}/prat: no such file or directory (did you mean part?)",
        f"top:2:8: cannot read {tmp_path}/d: is a directory",
        "top:3:8: cannot read /proc/self/mem: input/output error",
        "top:4:6: unknown element y (is it in prat, which could not be read?)",
    ]


@pytest.mark.parametrize("name", ["missing", "folder", "a\0b", "x" * 300])
@pytest.mark.parametrize("kind", [Path, str])
def test_a_top_file_that_cannot_be_read(tmp_path: Path, name: str, kind: Callable[[str], Any]) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(MachineError) as caught:
        load(kind(f"{tmp_path}/{name}"))
    (mistake,) = caught.value.mistakes
    assert str(mistake).startswith(f"{tmp_path}/{name}:1:1: cannot read {tmp_path}/{name}: ")


def test_a_file_or_a_text(tmp_path: Path) -> None:
    write(tmp_path, top="x: tmelink/nic")
    assert list(load(f"{tmp_path}/top").elements) == ["/x"]
    assert list(load("y: tmelink/nic\n").elements) == ["/y"]
    with pytest.raises(MachineError, match=r"^<stdin>:1:2: "):
        load("y\n", name="<stdin>")


def test_a_file_of_any_line_ends_and_marks(tmp_path: Path) -> None:
    (tmp_path / "top").write_bytes(b"\xef\xbb\xbfx: tmelink/switch # caf\xe9\r\ny at x: tmelink/nic\r\n")
    assert connections(load(tmp_path / "top")) == [("y", "x")]
    (tmp_path / "top").write_bytes(b'x: tmelink/switch "caf\xe9"\r\ny at z: \xff')
    with pytest.raises(MachineError) as caught:
        load(tmp_path / "top")
    assert [m.message for m in caught.value.mistakes] == ["this is not UTF-8", "this is not UTF-8"]


def test_a_file_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmelink.tmesh.source_file.MAX_BYTES", 1 << 20)
    with pytest.raises(MachineError, match="cannot read /dev/zero: longer than 1 mib"):
        load(Path("/dev/zero"))


def test_depth_is_bounded(tmp_path: Path) -> None:
    for number in range(MAX_DEPTH + 10):
        (tmp_path / f"f{number}").write_text(f"machine m {{ source f{number + 1}\n}}")
    (tmp_path / f"f{MAX_DEPTH + 10}").write_text("")
    with pytest.raises(MachineError, match=f"nested more than {MAX_DEPTH} deep"):
        load(tmp_path / "f0")


def test_files_sourced_are_bounded(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"f{number}").write_text(f"source f{number + 1}\nsource f{number + 1}")
    (tmp_path / "f30").write_text("")
    with pytest.raises(MachineError) as caught:
        load(tmp_path / "f0")
    assert [m.message for m in caught.value.mistakes] == [f"more than {MAX_SOURCED} files are sourced"]


# TME's other parts -----------------------------------------------------------------------------------------

WORKSTATION = """
## a workstation of the 1980s: boards, buses, a disk, a display and an Ethernet card
board0: tme/machine/sun3 my-idprom.bin
cpu0 at board0: tme/ic/m68020 fpu-type "68881+"
obio0 at board0 obio: tme/generic/bus size 16MB
mem0 at board0 obmem: tme/generic/bus size 4GB slot 0 slot 1
alias mainbus0 mem0
ram0 at mainbus0 addr 0x0: tme/host/posix/memory ram 8MB
board0 memerr at obio0 addr 0x080000 ipl 7
zs0 at obio0 addr 0x0 ipl 6: tme/machine/sun3/zs
keys0 at zs0 channel A: tme/serial/keyboard type sun-type-3 map keys.txt rate 20
scsi0 at mainbus0: tme/ic/ncr5380; bus0 at scsi0: tme/scsi/bus
sd0 at bus0: tme/scsi/disk id 0 type "tme-scsi-1"
disk0 at sd0: tme/host/posix/disk file my-disk.img
screen0 at keys0
dma0: tme/ic/lsi64854 revision "1+" channel ethernet
le0 at dma0 master: tme/ic/am7990
le0 irq at obio0 ipl 3
command cpu0 idle-type netbsd32-type-1
command board0 power up
log zs0 1
"""


def test_tmes_parts_are_known_and_left_alone() -> None:
    machine = load(WORKSTATION)
    assert machine.elements == {}
    assert machine.connections == []
    assert machine.commands == []
    assert machine.not_emulated == {
        "/board0": "tme/machine/sun3",
        "/cpu0": "tme/ic/m68020",
        "/obio0": "tme/generic/bus",
        "/mem0": "tme/generic/bus",
        "/ram0": "tme/host/posix/memory",
        "/zs0": "tme/machine/sun3/zs",
        "/keys0": "tme/serial/keyboard",
        "/scsi0": "tme/ic/ncr5380",
        "/bus0": "tme/scsi/bus",
        "/sd0": "tme/scsi/disk",
        "/disk0": "tme/host/posix/disk",
        "/dma0": "tme/ic/lsi64854",
    }


@pytest.mark.parametrize("network_only", [False, True])
def test_the_network_around_them_is_loaded(network_only: bool) -> None:
    text = WORKSTATION + "bpf0 at le0: tme/host/bsd/bpf interface tap0\nlog le0 1\ncommand le0 x\n"
    machine = load(text, network_only=network_only)
    assert list(machine.elements) == ["/le0", "/bpf0"]
    assert isinstance(machine.find("le0"), FakeNic)
    assert connections(machine) == [("bpf0", "le0")]
    assert [command.level for command in machine.commands] == [10, None]
    assert machine.network_only is network_only


@pytest.mark.parametrize("card", sorted(ETHERNET_CARDS))
def test_ethernet_cards(card: str) -> None:
    machine = load(
        f"b: tme/generic/bus\nc at b x 1: {card} y 2\nc at b\nc z at b\n"
        "link0 at c: tme/host/openvpn/socket/link\n"
    )
    assert connections(machine) == [("link0", "c")]
    assert isinstance(machine.find("c"), FakeNic)
    assert mistakes(f"c: {card}\nx at c: tme/host/tun/tap\ny at c: tme/host/tun/tap") == [
        "3:6: c is already connected (to /x at <text>:2:6; put a tmelink/switch between them)"
    ]


def test_a_card_has_the_address_that_it_is_given() -> None:
    text = 'ec0: tme/bus/multibus/3c400 ether "00:01:02:03:04:05" and more\nx at ec0: tme/host/tun/tap\n'
    assert load(text).find("ec0").arguments.mac == bytes(range(6))
    assert mistakes(text.replace(":05", ":5g")) == [
        "1:35: mac: '00:01:02:03:04:5g' is not a valid MAC address, such as 02:00:00:00:00:01"
    ]


def test_two_cards_on_one_wire() -> None:
    machine = load("a: tme/ic/am7990\nb: tme/ic/i82586\na at b\n")
    assert connections(machine) == [("a", "b")]


def test_network_elements_and_parts_do_not_connect() -> None:
    assert mistakes("b: tme/generic/bus\nt at b: tme/host/tun/tap\nb at t") == [
        "2:6: /b is a tme/generic/bus, which has no Ethernet",
        "3:6: /b is a tme/generic/bus, which has no Ethernet",
    ]


def test_a_part_that_an_element_can_stand_in_for_says_which() -> None:
    """NME's port of a software switch is known by name, as all that tmelink does not emulate is."""
    machine = load("vale0: nme/host/netmap/vale switch sw0 port p0\nle0 at vale0: tme/ic/am7990\n")
    assert machine.not_emulated == {"/vale0": "tme/host/netmap/vale"}
    (said,) = mistakes("v: nme/host/netmap/vale switch sw0\nt at v: tme/host/tun/tap\n")
    assert said.startswith("2:6: /v is a tme/host/netmap/vale, which tmelink does not have")


def test_parts_and_elements_are_different_things() -> None:
    assert not PARTS & set(ETHERNET_CARDS)
    assert not (PARTS | set(ETHERNET_CARDS)) & set(FAKES)


def tme_machines() -> list[Path]:
    """The machine files that TME ships, where they lie beside the checkout: their licence is not ours."""
    folder = os.environ.get("TMELINK_TME_MACHINES")
    beside = Path(folder) if folder else Path(__file__).parents[2] / "shared" / "data" / "tme-machines"
    return sorted(beside.iterdir()) if beside.is_dir() else []


def test_the_files_that_tme_ships(tmp_path: Path) -> None:
    paths = tme_machines()
    if not paths:
        pytest.skip("the machine files that TME ships do not lie beside the checkout")
    console = "console0 at zs0 channel A: tme/host/posix/serial device /dev/ptmx\n"
    for path in paths:
        folder = tmp_path / path.name
        folder.mkdir()
        copy = folder / path.name
        copy.write_bytes(path.read_bytes())
        lines = path.read_text().split("\n")
        if "source sun4-ptmx" in lines:
            # A file that is sourced and not shipped.
            with pytest.raises(MachineError) as caught:
                load(copy)
            places = [mistake.place.line for mistake in caught.value.mistakes]
            assert places == [lines.index("source sun4-ptmx") + 1]
            (folder / "sun4-ptmx").write_text(console)
        machine = load(copy)
        assert machine.elements == {}
        assert len(machine.not_emulated) > 15
        # With the network lines that stand commented out in every one of them.
        wanted = [line[1:] for line in lines if line.startswith(("#mie0", "#ie0 at", "#obie0"))]
        cards = (
            line for line in lines if any(card in line for card in ETHERNET_CARDS if "3c400" not in card)
        )
        card = next(cards).split()[0].lstrip("#")
        text = "\n".join([*lines, *wanted, f"tap9 at {card}: tme/host/tun/tap interface tap9\n"])
        copy.write_text(text)
        assert connections(load(copy, network_only=True)) == [("tap9", card)]


# Any bytes -------------------------------------------------------------------------------------------------

PIECES = [
    "a",
    "b",
    "/",
    "..",
    " at ",
    ": tmelink/nic",
    ": tmelink/switch",
    "mkdir ",
    "cd ",
    "rm ",
    "mv ",
    "alias ",
]
PIECES += [
    "machine ",
    "host ",
    " address ",
    "{",
    "}",
    "\n",
    ";",
    "ls -R",
    "pwd",
    "rmdir ",
    '"',
    "log ",
    "source ",
    "1",
]
FUZZ = some.one_of(some.binary(), some.lists(some.sampled_from(PIECES)).map(lambda p: "".join(p).encode()))


@examples(500)
@given(FUZZ)
def test_no_bytes_raise_anything_but_mistakes(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz"
        path.write_bytes(data)
        try:
            machine = load(path)
        except MachineError as error:
            found = error
        else:
            assert set(machine.places) >= set(machine.elements)
            return
        assert found.mistakes
        assert str(found).encode()
