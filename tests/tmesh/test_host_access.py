"""The words after a host's address: how `tmelink deploy` reaches it."""

from __future__ import annotations

import pytest

import tmelink
from tmelink.errors import MachineError
from tmelink.tmesh.host_access import HostAccess, SshTarget, ssh_target
from tmelink.tmesh.language import parse
from tmelink.tmesh.statements import unparse


def access(words: str) -> HostAccess:
    return tmelink.load(f"host a address 192.0.2.1 {words} {{ }}\n").access["a"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", HostAccess()),
        ("behind nat", HostAccess(behind_nat=True)),
        ("ssh root@a.example.com:2222", HostAccess(ssh=SshTarget("a.example.com", "root", 2222))),
        (
            "python /usr/bin/python3 behind nat ssh a",
            HostAccess(True, SshTarget("a"), "/usr/bin/python3"),
        ),
        (
            'vars ansible_become=true "k=a b" ssh a',
            HostAccess(ssh=SshTarget("a"), variables={"ansible_become": "true", "k": "a b"}),
        ),
    ],
)
def test_the_words_of_a_host(words: str, expected: HostAccess) -> None:
    assert access(words) == expected


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("a", SshTarget("a")),
        ("amy@192.0.2.1", SshTarget("192.0.2.1", "amy")),
        ("amy@[fd00::1]:22", SshTarget("fd00::1", "amy", 22)),
        ("fd00::1", SshTarget("fd00::1")),
    ],
)
def test_where_ssh_connects(text: str, target: SshTarget) -> None:
    assert ssh_target(text) == target
    assert ssh_target(str(target)) == target


WRONG_TARGETS = ["", "@a", "a b@c", "a:0", "a:70000", "a:x", "[fd00::1", "[fd00::1]22", "-oProxyCommand=x"]


@pytest.mark.parametrize("text", WRONG_TARGETS)
def test_what_ssh_cannot_connect_to(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a (valid|host)|out of range|expected"):
        ssh_target(text)


@pytest.mark.parametrize(
    ("words", "column", "message"),
    [
        ("sssh a", 26, "unknown setting sssh of a host (did you mean ssh?)"),
        ("behind firewall", 33, "expected 'nat' after 'behind', found firewall"),
        ("ssh", 26, "a value is missing after ssh"),
        ("ssh a:b", 30, "'b' is not a valid port; expected a whole number"),
        ("ssh a ssh b", 32, "ssh is given twice"),
        ("vars a", 31, "a is not a variable (write NAME=VALUE)"),
    ],
)
def test_mistakes_have_their_places(words: str, column: int, message: str) -> None:
    with pytest.raises(MachineError) as error:
        access(words)
    assert f"<text>:1:{column}: {message}" in str(error.value)


def test_two_blocks_of_a_host_agree() -> None:
    head = "host a address 192.0.2.1"
    text = f"{head} ssh b {{ }}\n{head} {{ }}\n{head} ssh c {{ }}\n"
    with pytest.raises(MachineError, match=r"<text>:3:26: host a has other settings here"):
        tmelink.load(text)


def test_a_host_without_an_address() -> None:
    assert tmelink.load("host a address none ssh b { }\n").hosts == {"a": "none"}


def test_the_words_are_written_as_they_were_read() -> None:
    text = 'host a address 192.0.2.1 ssh "amy@[fd00::1]:22" behind nat {\n    pwd\n}\n'
    script = parse(tmelink.source.Source("f", text))
    assert unparse(script.statements) == text
