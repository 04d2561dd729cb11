"""Words in, options or located mistakes out."""

from __future__ import annotations

import pytest

from tests.support.options_of import bad, good, read


def test_defaults_are_those_of_openvpn() -> None:
    options = good("--dev tap")
    assert (options.proto, options.local, options.lport, options.remotes) == ("udp", None, 1194, ())
    assert (options.bind, options.float) == (True, True)
    assert (options.connect_retry, options.connect_retry_max, options.connect_timeout) == ((1, 300), 0, 120)
    assert (options.resolv_retry, options.sizes.tun_mtu, options.verb, options.messages.occ) == (
        None,
        1500,
        1,
        True,
    )
    assert (options.liveness.ping, options.liveness.ping_restart, options.liveness.ping_exit) == (0, 0, 0)
    assert (options.sndbuf, options.rcvbuf, options.mark, options.mtu_disc) == (None, None, None, None)


def test_the_machine_files_of_the_manual() -> None:
    server = good("--dev tap --local 10.0.0.1 --remote 10.0.0.2 --proto tcp-server")
    assert (server.proto, server.local, server.bind, server.float) == ("tcp-server", "10.0.0.1", True, False)
    client = good("--dev tap --local 10.0.0.2 --remote 10.0.0.1 --proto tcp-client")
    assert (client.proto, client.bind, client.lport) == ("tcp-client", True, 0)
    second = good("--dev tap --local 10.0.0.1 --lport 1195 --remote 10.0.0.2 1195")
    assert second.lport == 1195
    assert [(r.host, r.port, r.proto) for r in second.remotes] == [("10.0.0.2", 1195, "udp")]


def test_every_mistake_is_told_where_it_stands() -> None:
    line = "--dev tap --locl 10.0.0.1 --remote --port 99999 --proto xyz --ping 1 2"
    assert bad(line) == [
        "1:11 unknown option --locl",
        "1:27 --remote: an argument is missing",
        "1:43 --port: port 99999 is out of range: 1 to 65535",
        "1:57 --proto: 'xyz' is not one of udp, udp4, udp6, tcp, tcp4, tcp6, tcp-server, tcp4-server, "
        "tcp6-server, tcp-client, tcp4-client, tcp6-client",
        "1:70 '2' is one word too many for --ping, and not a configuration file: No such file or directory",
    ]


def test_a_near_option_is_suggested() -> None:
    _options, [mistake] = read("--remotte 10.0.0.1")
    assert mistake.hint == "did you mean --remote?"


@pytest.mark.parametrize(
    ("line", "bind"),
    [
        ("--remote 10.0.0.2", True),
        ("--remote 10.0.0.2 --nobind", False),
        ("--remote 10.0.0.2 --proto tcp-client", False),
        ("--remote 10.0.0.2 --proto tcp4-client --bind", True),
        ("--remote 10.0.0.2 --proto tcp-client --lport 5000", True),
        ("--remote 10.0.0.2 --proto tcp-client --local 10.0.0.1", True),
        ("--remote 10.0.0.2 --proto tcp-client --port 5000", False),
        ("--proto tcp-server", True),
    ],
)
def test_what_is_bound(line: str, bind: bool) -> None:
    assert good(line).bind is bind


def test_each_remote_has_its_own_protocol() -> None:
    options = good("--remote a 1 --remote b 2 tcp-client --remote c --rport 7 --float")
    assert [(r.host, r.port, r.proto) for r in options.remotes] == [
        ("a", 1, "udp"),
        ("b", 2, "tcp-client"),
        ("c", 7, "udp"),
    ]
    there = options.toward(options.remotes[1])
    assert (there.proto, there.bind, there.remotes) == ("tcp-client", False, (options.remotes[1],))
    assert options.bind is True


@pytest.mark.parametrize(
    ("line", "ours", "theirs"),
    [
        ("--port 5 --remote a", 5, 5),
        ("--port 5 --lport 6 --remote a", 6, 5),
        ("--lport 6 --port 5 --remote a", 5, 5),
        ("--rport 7 --remote a 8", 1194, 8),
        ("--lport 0 --remote a", 0, 1194),
    ],
)
def test_ports(line: str, ours: int, theirs: int) -> None:
    options = good(line)
    assert (options.lport, options.remotes[0].port) == (ours, theirs)


def test_keepalive_is_ping_and_ping_restart() -> None:
    options = good("--keepalive 10 60")
    assert (options.liveness.ping, options.liveness.ping_restart, options.liveness.ping_exit) == (10, 60, 0)


def test_the_last_of_ping_exit_and_ping_restart_holds() -> None:
    options = good("--ping-exit 5 --ping-restart 7")
    assert (options.liveness.ping_exit, options.liveness.ping_restart) == (0, 7)
    assert [note.text for note in options.notes] == ["--ping-exit is replaced by --ping-restart"]


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("--nobind", "1:1 without --remote and without a local address nothing can ever arrive"),
        ("--proto tcp-client", "1:1 --proto tcp-client needs --remote HOST to connect to"),
        ("--remote a --nobind --lport 5", "1:21 --lport and --nobind contradict each other"),
        ("--remote a --nobind --local ::1", "1:21 --local and --nobind contradict each other"),
        ("--remote a --bind --nobind", "1:12 --bind and --nobind contradict each other"),
        (
            "--proto tcp-server --remote a --nobind",
            "1:31 --nobind leaves --proto tcp-server without a port to listen on",
        ),
        (
            "--proto tcp-server --remote a --remote b",
            "1:31 --proto tcp-server takes one --remote: the peer whose connections it accepts",
        ),
        (
            "--local 10.0.0.1 --remote 10.0.0.1",
            "1:18 --local and --remote are both 10.0.0.1 port 1194",
        ),
        (
            "--local ::1 --remote 10.0.0.1",
            "1:13 --local ::1 and --remote 10.0.0.1 are of different IP versions",
        ),
        (
            "--local 10.0.0.1 1195 tcp-server --remote 10.0.0.2",
            "1:1 --local 10.0.0.1 asks for tcp-server, but --proto is udp",
        ),
        ("--proto udp6 --remote 1.2.3.4", "1:14 --remote 1.2.3.4 is an IPv4 address, and --proto is udp6"),
        ("--keepalive 10 15", "1:1 --keepalive 10 15: the second must be at least twice the first"),
        ("--keepalive 0 15", "1:1 --keepalive takes two times above 0"),
        ("--keepalive 1 15 --ping 4", "1:18 --ping and --keepalive say the same: leave one out"),
        ("--dev lan0", "1:1 --dev lan0: neither a tap nor a tun"),
        ("--resolv-retry soon", "1:16 --resolv-retry takes a number of seconds, or infinite"),
        ("--proto-force tcp --remote a", "1:1 --proto-force tcp leaves nothing to connect to"),
        ("--tun-mtu 50", "1:11 --tun-mtu: mtu 50 is out of range: 100 to 65536"),
        ("--connection x", "1:1 --connection is a block of a configuration file"),
        ("--socket-flags FOO", "1:16 --socket-flags: 'FOO' is not one of TCP_NODELAY"),
    ],
)
def test_what_does_not_go_together(line: str, mistake: str) -> None:
    assert bad(line) == [mistake]


def test_what_has_no_effect_is_noted_once() -> None:
    options = good("--persist-tun --daemon --persist-tun --user nobody")
    assert [note.text.split(":")[0] for note in options.notes] == [
        "--persist-tun has no effect",
        "--daemon has no effect",
        "--user has no effect",
    ]
    assert str(options.notes[1]).startswith("/machines/lab.conf:1:15: --daemon")


def test_a_cipher_without_a_key_is_noted() -> None:
    options = good("--cipher AES-256-CBC")
    assert options.notes[0].text == "--cipher has no effect: there is no key, and nothing is encrypted"


def test_a_word_that_is_no_option_is_a_configuration_file() -> None:
    files = {"/machines/peer.ovpn": b"remote 10.0.0.9 5555\n", "/machines/more": b"ping 5\n"}
    options = good("peer.ovpn --dev tap --float more", files)
    assert (options.remotes[0].host, options.remotes[0].port, options.liveness.ping) == ("10.0.0.9", 5555, 5)


def test_file_names_start_where_they_stand_or_from_cd() -> None:
    files = {
        "/machines/a/one.ovpn": b"config two.ovpn\nsecret one.key\n",
        "/machines/a/two.ovpn": b"ping 3\n",
        "/etc/openvpn/one.ovpn": b"config two.ovpn\nsecret one.key\n",
        "/etc/openvpn/two.ovpn": b"ping 4\n",
    }
    options = good("--config a/one.ovpn --cipher none", files)
    assert options.liveness.ping == 3
    assert options.secret is not None
    assert options.secret.path == "/machines/a/one.key"
    options = good("--cd /etc/openvpn --config one.ovpn --cipher none", files)
    assert options.liveness.ping == 4
    assert options.secret is not None
    assert options.secret.path == "/etc/openvpn/one.key"


def test_local_names_a_port_too() -> None:
    """As OpenVPN 2.7 has it; `*` is every address."""
    named = good("--local 10.0.0.1 1195 udp --remote 10.0.0.2")
    assert (named.local, named.lport) == ("10.0.0.1", 1195)
    anywhere = good("--local * --lport 1196 --remote 10.0.0.2")
    assert (anywhere.local, anywhere.lport) == (None, 1196)
    assert good("--proto tcp-client --local 10.0.0.1 1195 --remote 10.0.0.2").lport == 1195


def test_options_of_newer_versions_that_need_nothing_here() -> None:
    """They are taken, and a note says why they do nothing."""
    line = "--secret k 0 --cipher AES-256-CBC --remote 10.0.0.2 --keysize 256 --key-direction bidirectional"
    options = good(f"{line} --allow-deprecated-insecure-static-crypto")
    assert options.key_direction is None
    notes = [note.text for note in options.notes]
    assert notes == [
        "--keysize has no effect: the cipher's name says how long its keys are",
        "--allow-deprecated-insecure-static-crypto has no effect: --secret needs no permission here",
    ]
