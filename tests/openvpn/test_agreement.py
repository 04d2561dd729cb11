"""What two ends agree on, peer info and push messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.grouped import tls as tls_settings
from tmelink.openvpn.tls import negotiated, peer_info, push_messages
from tmelink.openvpn.tls.key_method import KeySource, Message
from tmelink.openvpn.tls.negotiated import NegotiatedOptions, options_string

EQUAL = tls_settings(server=False)
SERVER = tls_settings(server=True, mode="push", peer_id=9)


def message(info: str = "", options: str = "") -> Message:
    return Message(KeySource.random(server=False), options, peer_info=info)


def export(label: bytes, length: int) -> bytes:
    return b"\1\2\3"[:length]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        # What OpenVPN 2.6.14 told with --verb 7 under the same options, its Blowfish left out.
        (
            {"kind": "ip"},
            "dev-type tun,link-mtu 1541,tun-mtu 1500,proto UDPv4,auth SHA1,keysize 128,"
            "key-method 2,tls-client",
        ),
        (
            {},
            "dev-type tap,link-mtu 1573,tun-mtu 1500,proto UDPv4,auth SHA1,keysize 128,"
            "key-method 2,tls-client",
        ),
        (
            {"fallback": "AES-256-CBC", "auth": "SHA256"},
            "dev-type tap,link-mtu 1601,tun-mtu 1500,proto UDPv4,cipher AES-256-CBC,auth SHA256,keysize 256,"
            "key-method 2,tls-client",
        ),
        (
            {"fallback": "AES-256-GCM"},
            "dev-type tap,link-mtu 1581,tun-mtu 1500,proto UDPv4,cipher AES-256-GCM,auth [null-digest],"
            "keysize 256,key-method 2,tls-client",
        ),
        (
            {"framing": "comp-lzo no"},
            "dev-type tap,link-mtu 1574,tun-mtu 1500,proto UDPv4,comp-lzo,auth SHA1,keysize 128,"
            "key-method 2,tls-client",
        ),
        (
            {"fragment": 1300, "tun_mtu": 1400},
            "dev-type tap,link-mtu 1477,tun-mtu 1400,proto UDPv4,mtu-dynamic,auth SHA1,keysize 128,"
            "key-method 2,tls-client",
        ),
        (
            {"stream": True, "server": True},
            "dev-type tap,link-mtu 1575,tun-mtu 1500,proto TCPv4_SERVER,auth SHA1,keysize 128,"
            "key-method 2,tls-server",
        ),
    ],
)
def test_options_strings_are_openvpns(settings: dict[str, Any], told: str) -> None:
    made = tls_settings(**{"server": False} | settings)
    assert options_string(made, remote=False) == "V4," + told
    mirrored = options_string(made, remote=True)
    assert mirrored.endswith("tls-client" if made.server else "tls-server")


def test_equal_ends_agree_on_the_same_whichever_reckons() -> None:
    ours = tls_settings(server=False, accepted=("AES-128-GCM", "AES-256-GCM"))
    theirs = tls_settings(server=True, accepted=("CHACHA20-POLY1305", "AES-256-GCM", "AES-128-GCM"))
    told = [
        peer_info.build(pull=False, ciphers=end.ciphers.accepted, version="", mtu=1500)
        for end in (ours, theirs)
    ]
    assert negotiated.as_equals(ours, message(told[1]), export) == negotiated.as_equals(
        theirs, message(told[0]), export
    )
    assert negotiated.as_equals(ours, message(told[1]), export) == NegotiatedOptions(
        "AES-256-GCM", exporter=True, epoch=True, peer_id=0x010203, exit_message=True, dynamic_wrap=True
    )


@pytest.mark.parametrize(
    ("info", "options", "fallback", "cipher"),
    [
        ("", "", None, None),
        ("", "V4,cipher AES-128-GCM", None, "AES-128-GCM"),
        ("", "V4,cipher BF-CBC", None, None),
        ("", "V4,cipher BF-CBC", "AES-256-CBC", "AES-256-CBC"),
        ("IV_PROTO=32\nIV_CIPHERS=CHACHA20-POLY1305\n", "", None, "CHACHA20-POLY1305"),
        ("IV_PROTO=32\nIV_CIPHERS=BF-CBC\n", "", None, None),
        ("IV_PROTO=nonsense\nIV_CIPHERS=AES-256-GCM\n", "", "AES-256-CBC", "AES-256-CBC"),
    ],
)
def test_equal_ends_and_old_peers(info: str, options: str, fallback: str | None, cipher: str | None) -> None:
    settings = tls_settings(server=False, fallback=fallback)
    agreed = negotiated.as_equals(settings, message(info, options), export)
    assert (agreed.cipher if agreed else None) == cipher
    assert agreed is None or not agreed.exporter


@pytest.mark.parametrize(
    ("info", "options", "cipher"),
    [
        ("IV_CIPHERS=AES-128-GCM:AES-256-GCM\n", "", "AES-256-GCM"),
        ("IV_NCP=2\n", "", "AES-256-GCM"),
        ("IV_NCP=2\n", "V4,cipher CHACHA20-POLY1305", "AES-256-GCM"),
        ("", "V4,cipher AES-128-GCM", "AES-128-GCM"),
        ("IV_CIPHERS=BF-CBC\n", "V4,cipher AES-128-GCM", None),
        ("", "V4", None),
    ],
)
def test_a_servers_choice(info: str, options: str, cipher: str | None) -> None:
    agreed = negotiated.as_server(SERVER, message(info, options))
    assert (agreed.cipher if agreed else None) == cipher


def test_a_server_tells_what_was_agreed_and_a_client_reads_it() -> None:
    info = peer_info.build(pull=True, ciphers=EQUAL.ciphers.accepted, version="1", mtu=1600)
    agreed = negotiated.as_server(SERVER, message(info))
    assert agreed is not None
    options = negotiated.options_to_push(SERVER, message(info), agreed)
    assert options == [
        "peer-id 9",
        "cipher AES-256-GCM",
        "protocol-flags cc-exit tls-ekm dyn-tls-crypt aead-epoch",
        "tun-mtu 1500",
    ]
    assert negotiated.pushed(EQUAL, message(), options) == replace(agreed, push_update=False)
    old = message("IV_PROTO=10\nIV_NCP=2\n")
    agreed = negotiated.as_server(SERVER, old)
    assert agreed is not None
    assert negotiated.options_to_push(SERVER, old, agreed) == [
        "peer-id 9",
        "cipher AES-256-GCM",
        "key-derivation tls-ekm",
    ]


@pytest.mark.parametrize(
    ("options", "named", "result"),
    [
        (["cipher AES-128-GCM", "peer-id 16777215"], "", NegotiatedOptions("AES-128-GCM")),
        (["cipher AES-128-GCM", "peer-id x", "peer-id"], "", NegotiatedOptions("AES-128-GCM")),
        ([], "V4,cipher AES-256-GCM", NegotiatedOptions("AES-256-GCM")),
        ([], "V4,cipher BF-CBC", "the server wants cipher 'BF-CBC', which --data-ciphers lacks"),
        (["cipher RC2-CBC"], "", "the server wants cipher 'RC2-CBC', which --data-ciphers lacks"),
        ([""], "", "the server wants cipher 'unknown', which --data-ciphers lacks"),
    ],
)
def test_what_a_client_takes(options: list[str], named: str, result: NegotiatedOptions | str) -> None:
    assert negotiated.pushed(EQUAL, message("", named), [o for o in options if o]) == result


def test_peer_info_reads_any_text() -> None:
    assert peer_info.parse("A=1\nB\n=x\nC=a=b\n") == {"A": "1", "": "x", "C": "a=b"}
    assert len(peer_info.parse("".join(f"N{n}=1\n" for n in range(1000)))) <= peer_info.MAX_LINES
    assert peer_info.proto({"IV_PROTO": "٣"}) == 0
    assert peer_info.proto({}) == 0


def test_push_messages_read_and_write() -> None:
    assert push_messages.parse_reply("PUSH_REPLY,route 1,push-continuation 2") == (["route 1"], True)
    assert push_messages.parse_reply("PUSH_REPLY,a,,push-continuation 1") == (["a"], False)
    assert push_messages.parse_reply("PUSH_REPLY") == ([], False)
    assert push_messages.parse_reply("PUSH_REPLYX") is None
    assert push_messages.build_replies([]) == ["PUSH_REPLY"]
    options = [f"route 10.0.{n}.0 255.255.255.0" for n in range(200)]
    replies = push_messages.build_replies(options)
    assert all(len(reply) < push_messages.BUNDLE for reply in replies)
    read = [push_messages.parse_reply(reply) for reply in replies]
    assert [option for reply in read if reply for option in reply.options] == options
    assert [reply.more for reply in read if reply] == [True] * (len(replies) - 1) + [False]
    for wrong in ("a,b", "x" * 1000, "a\0b"):
        with pytest.raises(ValueError, match="cannot be pushed"):
            push_messages.build_replies([wrong])


def test_refusals_and_waits_read() -> None:
    refusal = push_messages.parse_refusal
    assert refusal("AUTH_FAILED") == ("", False, None, "here")
    assert refusal("AUTH_FAILED,no such user") == ("no such user", False, None, "here")
    assert refusal("AUTH_FAILED,TEMP[backoff 42,advance no]:busy") == ("busy", True, 42.0, "here")
    assert refusal("AUTH_FAILED,TEMP[advance remote]") == ("", True, None, "remote")
    assert refusal("AUTH_FAILED,TEMP[advance addr,backoff 1]:") == ("", True, 1.0, "address")
    assert refusal("AUTH_FAILED,TEMP[advance nowhere]:") == ("", True, None, "here")
    assert refusal("AUTH_FAILED,TEMP:busy") == ("busy", True, None, "here")
    assert refusal("AUTH_FAILED,TEMP[backoff x") == ("", True, None, "here")
    assert refusal("HALT") is None
    assert push_messages.build_refusal("") == "AUTH_FAILED"
    assert len(push_messages.build_refusal("x" * 5000)) < push_messages.BUNDLE
    assert push_messages.parse_pending("AUTH_PENDING,timeout 60") == 60.0
    assert push_messages.parse_pending("AUTH_PENDING") == 0.0
    assert push_messages.parse_pending("AUTH") is None


def test_addresses_to_log_in_at_read() -> None:
    address = push_messages.parse_login_address
    assert address("INFO_PRE,WEB_AUTH:external:https://sso.example/x?y=1,2") == "https://sso.example/x?y=1,2"
    assert address("INFO_PRE,WEB_AUTH::https://sso.example/") == "https://sso.example/"
    assert address("INFO,OPEN_URL:https://sso.example/") == "https://sso.example/"
    assert address("INFO_PRE,OPEN_URL:file:///etc/passwd") is None
    assert address("INFO_PRE,CR_TEXT:R,E:code") is None
    assert address("PUSH_REPLY,route 10.0.0.0") is None


def test_farewells_read() -> None:
    farewell = push_messages.parse_farewell
    assert farewell("RESTART", "RESTART") == ("", False)
    assert farewell("RESTART,[N]", "RESTART") == ("", True)
    assert farewell("RESTART,[PN]maintenance", "RESTART") == ("maintenance", True)
    assert farewell("RESTART,[P", "RESTART") == ("", False)
    assert farewell("HALT,go away", "HALT") == ("go away", False)
    assert farewell("RESTARTED", "RESTART") is None


def test_messages_split_at_their_ends() -> None:
    assert push_messages.split_messages(b"A\0B\r\n\0\0C") == (["A", "B"], b"C")
    assert push_messages.split_messages(b"") == ([], b"")
