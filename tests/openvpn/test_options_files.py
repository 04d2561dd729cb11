"""Options out of configuration files: includes, blocks, what is passed over, and what is told of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tests.support.options_of import bad, good, reader
from tmelink.openvpn.options.config_file import quoted
from tmelink.openvpn.options.parse import parse, understand
from tmelink.openvpn.options.rows import ROWS
from tmelink.source import Mistake, Place, Source, Word

KEY = "0123456789abcdef0123456789abcdef"


def file(text: str, **more: str) -> dict[str, bytes]:
    """A.ovpn beside the machine file, and others."""
    return {f"/machines/{name}": body.encode() for name, body in {"a.ovpn": text, **more}.items()}


def test_every_mistake_of_a_file_is_told_at_its_line() -> None:
    text = "remote a\nremotte b\nport 0\n\n<ca2>\nx\n</ca2>\nkeepalive 10\nsecret k\nplugin x.so\n"
    assert bad("--config a.ovpn", file(text)) == [
        "2:1 unknown option --remotte",
        "3:6 --port: port 0 is out of range: 1 to 65535",
        "5:1 unknown option --ca2",
        "8:1 --keepalive: an argument is missing",
        "10:1 --plugin: tmelink loads no plugins of OpenVPN",
        "9:1 --secret needs --cipher: OpenVPN's old default, BF-CBC, is weak, and libraries dropped it",
    ]


def test_options_that_are_not_known_are_passed_over_where_asked() -> None:
    text = (
        "setenv opt foo 1\nignore-unknown-option bar --baz\nbar 1\nbaz\nsetenv opt ping 3\nsetenv opt ping\n"
    )
    options = good("--config a.ovpn", file(text + "setenv opt\n"))
    assert options.liveness.ping == 3
    assert [(note.place.line, note.text) for note in options.notes] == [
        (1, "--foo has no effect: unknown, and ignored as you ask"),
        (3, "--bar has no effect: unknown, and ignored as you ask"),
        (4, "--baz has no effect: unknown, and ignored as you ask"),
        (6, "--ping has no effect: unknown, and ignored as you ask"),
        (7, "--setenv has no effect: nothing follows 'setenv opt'"),
        (5, "--ping without --ping-restart or --ping-exit does not notice a silent peer"),
    ]


def test_a_refused_option_can_be_passed_over() -> None:
    options = good("--config a.ovpn", file("setenv opt plugin x.so\n"))
    assert options.notes[0].text.endswith("tmelink loads no plugins of OpenVPN; ignored as you ask")


def test_what_is_passed_over_must_be_named_before() -> None:
    assert bad("--config a.ovpn", file("foo\nignore-unknown-option foo\n")) == ["1:1 unknown option --foo"]


def test_forward_compatible_and_generic_config() -> None:
    assert good("--config a.ovpn", file("setenv FORWARD_COMPATIBLE 1\nfoo\nping\n")).notes
    assert bad("--config a.ovpn", file("setenv GENERIC_CONFIG\n")) == [
        "1:1 this file is a template to be filled in first"
    ]
    [note] = good("--config a.ovpn", file("setenv UV_ID 7\n")).notes
    assert note.text == "--setenv has no effect: tmelink does not run this script"


def test_connections() -> None:
    text = (
        "connect-timeout 7\nnobind\n"
        "<connection>\nremote a 1 tcp-client\nconnect-timeout 3\n</connection>\n"
        "<connection>\nremote b 2\ntun-mtu 1400\n</connection>\n"
        "connect-retry 9\n"
    )
    options = good("--config a.ovpn", file(text))
    assert [(r.host, r.port, r.proto) for r in options.remotes] == [("a", 1, "tcp-client"), ("b", 2, "udp")]
    first, second = map(options.toward, options.remotes)
    assert (first.connect_timeout, first.sizes.tun_mtu, first.bind) == (3, 1500, False)
    assert (second.connect_timeout, second.sizes.tun_mtu, second.connect_retry) == (7, 1400, (1, 300))
    [note] = options.notes
    assert (note.place.line, note.text.startswith("--connect-retry has no effect")) == (11, True)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("<connection>\nrport 5\n</connection>\n", "1:1 a <connection> block needs a remote"),
        ("<connection>\nremote a\n dev tap\n</connection>\n", "3:2 --dev is not allowed in <connection>"),
        ("<connection>\nremote a 0\n</connection>\n", "2:10 --remote: port 0 is out of range: 1 to 65535"),
        ("<dev>\ntap\n</dev>\n", "1:1 --dev cannot be written as a block"),
        ("config a.ovpn\n", "1:8 /machines/a.ovpn includes itself"),
        (
            "config b.ovpn\n",
            "1:8 cannot read the configuration file /machines/b.ovpn: No such file or directory",
        ),
    ],
)
def test_mistakes_in_files(text: str, mistake: str) -> None:
    assert mistake in bad("--config a.ovpn", file(text))


def test_files_include_one_another_only_so_deep() -> None:
    files = {f"/machines/{n}": f"config {n + 1}\n".encode() for n in range(40)}
    assert bad("--config 0", files) == ["1:8 configuration files include one another deeper than 10"]


def test_files_that_include_one_another_twice_end() -> None:
    files = {f"/machines/{n}": f"config {n + 1}\n".encode() * 2 for n in range(9)} | {
        "/machines/9": b"ping 1\n"
    }
    [mistake] = bad("--config 0", files)
    assert mistake.endswith("more than 100 configuration files for one link")


def test_a_file_may_be_included_twice() -> None:
    files = file("config b\nconfig b\n", b="remote x\n")
    assert [remote.host for remote in good("a.ovpn", files).remotes] == ["x", "x"]


def test_inline_material() -> None:
    options = good("a.ovpn", file(f"cipher none\nkey-direction 1\n<secret>\n{KEY}\n</secret>\n"))
    assert options.secret is not None
    assert options.secret.path is None
    assert options.secret.load(reader(None)).reveal() == f"{KEY}\n".encode()
    assert options.key_direction == 1


def test_material_of_a_file_is_read_when_it_is_needed() -> None:
    options = good("--secret k/s.key 1 --cipher AES-256-CBC", None)
    assert options.secret is not None
    assert str(options.secret) == "/machines/k/s.key"
    assert options.secret.load(reader({"/machines/k/s.key": b"abc"})).reveal() == b"abc"
    assert options.key_direction == 1


def test_secrets_show_nowhere() -> None:
    text = (
        f"cipher none\n<secret>\n{KEY}\n</secret>\n"
        "<http-proxy-user-pass>\nme\nhush\n</http-proxy-user-pass>\n"
        "proto tcp-client\nremote a\nhttp-proxy p 8080\nhttp-proxy-option CUSTOM-HEADER X-Token hush\n"
        "http-proxy-option CUSTOM-HEADER 'X-Other: hush'\n"
    )
    files = file(text)
    options = good("a.ovpn", files)
    assert options.http_proxy is not None
    assert [(name, value and value.reveal()) for name, value in options.http_proxy.headers] == [
        ("X-Token", b"hush"),
        ("X-Other", b"hush"),
    ]
    understood, mistakes = understand("/machines/a.ovpn", read_file=reader(files))
    shown = repr(options) + repr(options.notes) + repr([u.option for u in understood])
    for secret in (KEY, "hush"):
        assert secret not in shown
    assert mistakes == []
    assert [u.option for u in understood][1:4] == ["<secret>", "<http-proxy-user-pass>", "proto tcp-client"]


def test_a_key_that_lost_its_tag_is_not_shown() -> None:
    files = file(f"{KEY}\nMy Password\nc2VjcmV0+/=\n")
    understood, mistakes = understand("/machines/a.ovpn", read_file=reader(files))
    told = "".join(m.render() for m in mistakes[:1]) + repr(understood[0].option) + understood[0].reason
    assert KEY not in told
    assert "c2Vj" not in mistakes[2].message + understood[2].option


def test_how_a_file_was_understood() -> None:
    text = "client\nremote 'a b' 1194\nremote vpn.example.org 1194\npersist-tun\nplugin x.so\n"
    text += 'foo "b c"\nverb 3\n'
    understood, mistakes = understand("x.ovpn", read_file=lambda path: text.encode())
    assert [(u.option, u.place.line, u.status) for u in understood] == [
        ("client", 1, "works"),
        ('remote "a b" 1194', 2, "refused"),
        ("remote vpn.example.org 1194", 3, "works"),
        ("persist-tun", 4, "ignored"),
        ("plugin x.so", 5, "refused"),
        ("foo …", 6, "refused"),
        ("verb 3", 7, "works"),
    ]
    assert [m.place.line for m in mistakes] == [2, 5, 6]


def test_an_option_that_does_not_go_with_another_is_refused() -> None:
    files = {"x": b"remote a\nlport 5\nnobind\nauth ROT13\n"}
    understood, mistakes = understand("x", read_file=reader(files))
    assert [(u.status, u.reason) for u in understood if u.status != "works"] == [
        ("refused", "--lport and --nobind contradict each other (leave one out)"),
        ("refused", f"{mistakes[1].message} ({mistakes[1].hint})"),
    ]


def test_understanding_a_file_that_is_not_there() -> None:
    understood, mistakes = understand("x.ovpn", read_file=reader(None))
    assert understood == []
    assert [m.message for m in mistakes] == [
        "cannot read the configuration file x.ovpn: No such file or directory"
    ]


SOURCE = Source("/machines/lab.conf", "")
words = st.one_of(
    st.sampled_from([f"--{name}" for name in ROWS]),
    st.sampled_from(
        ["a", "1", "0", "99999", "tap", "tun", "tcp", "tcp-client", "server", "10.8.0.0", "none"]
    ),
    st.sampled_from(
        ["255.255.255.0", "::1/64", "auto", "nogw", "opt", "-1", "", "--", "a.ovpn", "AES-256-CBC"]
    ),
    st.text(max_size=6),
)


def check_words(texts: list[str], files: dict[str, bytes]) -> None:
    """Nothing raises; what is wrong is told, and only then there are no options."""
    mistakes: list[Mistake] = []
    options = parse(
        [Word(text, Place(SOURCE, 1, 1)) for text in texts],
        Place(SOURCE, 1, 1),
        mistakes.append,
        read_file=reader(files),
    )
    assert (options is None) == bool(mistakes)
    assert len(mistakes) == len(set(mistakes))
    for mistake in mistakes:
        mistake.render()
    if options is not None:
        repr(options)
        for remote in options.remotes:
            options.toward(remote)


@examples(500)
@given(st.lists(words, max_size=12))
def test_no_words_raise(texts: list[str]) -> None:
    check_words(texts, {})


lines = st.lists(words.map(lambda word: quoted(word.replace("\n", " ").replace("\0", " "))), max_size=5).map(
    " ".join
)
blocks = st.sampled_from(
    [
        "<connection>",
        "</connection>",
        "<ca>",
        "</ca>",
        "<peer-fingerprint>",
        "</peer-fingerprint>",
        "remote a",
    ]
)


@examples(500)
@given(st.lists(lines | blocks | st.text(max_size=20), max_size=10))
def test_no_file_raises(text: list[str]) -> None:
    data = "\n".join(text).encode("utf-8", "surrogatepass")
    check_words(["--config", "a.ovpn"], {"/machines/a.ovpn": data})
    understood, _mistakes = understand("/machines/a.ovpn", read_file=reader({"/machines/a.ovpn": data}))
    assert all(option.reason or option.status == "works" for option in understood)
