"""Two ends with TLS in memory: handshakes over bad wires, renewal, identity, passwords, pushed options."""

from __future__ import annotations

import gc
import random
from typing import Any, TypeVar

import pytest

from tests.support.grouped import tls as tls_settings
from tests.support.pki import Authority, Pair
from tests.support.tls_pair import (
    AUTHORITY,
    CLIENT,
    FRAME,
    SERVER,
    STATIC,
    carries,
    equals,
    files,
    session,
    up,
)
from tests.support.wire import START, End, Wire, wall
from tmelink.frame import Run
from tmelink.openvpn.data.aead import DirectionKey
from tmelink.openvpn.session import (
    AuthFailed,
    Challenge,
    Exit,
    Joining,
    LoginAddress,
    Notice,
    Pushed,
    Restart,
    Token,
    Up,
)
from tmelink.openvpn.tls import wrap as tls_wrap
from tmelink.openvpn.tls.engine import TlsContext, TlsFiles
from tmelink.openvpn.tls.identity import Rules, parse_fingerprint, remote_cert_tls
from tmelink.openvpn.tls.key_method import KeySource, Message
from tmelink.openvpn.tls.keygen import generate
from tmelink.openvpn.tls.session import TlsSession
from tmelink.openvpn.tls.settings import Credentials

E = TypeVar("E")


def wraps() -> dict[str, tuple[tls_wrap.WrapKey, tls_wrap.WrapKey]]:
    server_pem = tls_wrap.generate_server_key()
    client_pem = tls_wrap.generate_client_key(server_pem, START)
    return {
        "none": (None, None),
        "tls-auth": (tls_wrap.AuthKey(STATIC, 1, "SHA256"), tls_wrap.AuthKey(STATIC, 0, "SHA256")),
        "tls-crypt": (tls_wrap.CryptKey(STATIC), tls_wrap.CryptKey(STATIC)),
        "tls-crypt-v2": (tls_wrap.parse_client_key(client_pem), tls_wrap.parse_server_key(server_pem)),
    }


@pytest.mark.parametrize("wrap", ["none", "tls-auth", "tls-crypt", "tls-crypt-v2"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_two_ends_agree_and_carry_frames(wrap: str, version: str) -> None:
    ours, theirs = wraps()[wrap]
    tls = {"version_min": version, "version_max": version}
    wire = up(Wire(session(server=False, tls=tls, wrap=ours), session(server=True, tls=tls, wrap=theirs)))
    assert f"TLSv{version}" in wire.client.of(Up)[0].detail
    carries(wire)
    assert not wire.client.session.drops
    assert not wire.server.session.drops


CIPHERS = [
    *("AES-128-GCM", "AES-192-GCM", "AES-256-GCM", "CHACHA20-POLY1305"),
    *("AES-128-CBC", "AES-192-CBC", "AES-256-CBC", "none"),
]


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("auth", ["SHA1", "SHA512", "none"])
def test_ciphers_carry_frames(cipher: str, auth: str) -> None:
    wire = up(equals(accepted=(cipher,), auth=auth))
    assert cipher in wire.client.of(Up)[0].detail
    carries(wire)


@pytest.mark.parametrize("compress", ["comp-lzo no", "stub", "stub-v2"])
@pytest.mark.parametrize("fragment", [0, 80])
def test_framing_and_fragments_carry_frames(compress: str, fragment: int) -> None:
    wire = up(equals(framing=compress, fragment=fragment, explicit_exit_notify=1, ping=2))
    carries(wire)
    if fragment:
        packets = [datagram for datagram in wire.client.sent if datagram[0] >> 3 == 9]
        assert 64 < max(map(len, packets)) <= 80
    assert not wire.client.session.drops
    assert not wire.client.of(Notice)


def test_frames_too_long_or_short_are_counted() -> None:
    wire = up(equals(tun_mtu=1000))
    wire.send(wire.client, bytes(13), bytes(1023), FRAME)
    wire.do(wire.client, wire.client.session.send([Run(memoryview(bytes(2050)), 1025)], wire.now))
    wire.run(wire.now + 1)
    assert wire.server.frames == [FRAME]
    assert wire.client.session.drops == {"too short to send": 1, "too long to send": 3}


def test_ends_whose_options_differ_are_told() -> None:
    wire = up(Wire(session(server=False, tun_mtu=1400), session(server=True, auth="SHA256")))
    notices = " ".join(event.text for event in wire.client.of(Notice))
    assert "'tun-mtu' is used inconsistently, local='tun-mtu 1400', remote='tun-mtu 1500'" in notices
    assert "'auth' is used inconsistently" in notices
    quiet = up(Wire(session(server=False, tun_mtu=1400, occ=False), session(server=True)))
    assert not quiet.client.of(Notice)


def test_the_servers_order_of_ciphers_counts() -> None:
    client = session(server=False, accepted=("AES-128-GCM", "AES-256-GCM"))
    wire = up(Wire(client, session(server=True, accepted=("AES-256-GCM", "AES-128-GCM"))))
    assert "AES-256-GCM" in wire.client.of(Up)[0].detail


def test_ends_without_a_common_cipher_say_so() -> None:
    client = session(server=False, accepted=("AES-128-GCM",))
    wire = Wire(client, session(server=True, accepted=("AES-256-GCM",)))
    wire.begin()
    wire.run(5)
    assert "no cipher in common" in said(wire.client)
    assert "no cipher in common" in said(wire.server)


@pytest.mark.parametrize("seed", range(12))
def test_a_bad_wire_delays_but_never_stops_handshake_and_renewal(seed: int) -> None:
    wrap = [*wraps().values()][seed % 4]
    more: dict[str, Any] = {"reneg_sec": 40, "tls_timeout": 1, "ping": 5}
    wire = Wire(
        session(server=False, wrap=wrap[0], **more),
        session(server=True, wrap=wrap[1], **more),
        loss=0.3,
        seed=seed,
    )
    up(wire, 60)
    wire.run(400)
    for end in (wire.client, wire.server):
        assert not end.of(Restart), end.events
        assert not end.of(Exit)
    # Renewed every 40 seconds and what a handshake takes: at least five times in 400.
    assert key_ids(wire.client) >= {0, 1, 2, 3, 4, 5}
    wire.loss = 0
    wire.run(wire.now + 2)
    before = len(wire.server.frames)
    wire.send(wire.client, FRAME)
    wire.run(wire.now + 2)
    assert wire.server.frames[before:] == [FRAME]


def key_ids(end: End) -> set[int]:
    """The key ids of the data packets that an end sent."""
    return {datagram[0] & 7 for datagram in end.sent if datagram[0] >> 3 in (6, 9)}


def test_no_frame_is_lost_when_keys_are_renewed_under_traffic() -> None:
    wire = up(equals(reneg_sec=10))
    wanted: list[bytes] = []
    for number in range(4000):
        frame = FRAME[:-4] + number.to_bytes(4, "big")
        wanted.append(frame)
        wire.send(wire.client, frame)
        wire.send(wire.server, frame)
        wire.run(wire.now + 0.02)
    wire.run(wire.now + 1)
    assert wire.server.frames == wanted
    assert wire.client.frames == wanted
    assert len(key_ids(wire.client)) >= 7
    assert not wire.server.session.drops
    assert not wire.client.session.drops


@pytest.mark.parametrize(("seconds", "taken"), [(2, False), (30, True), (0, True)])
def test_a_frame_that_was_overtaken_may_be_so_late(seconds: float, taken: bool) -> None:
    wire = up(equals(seconds=seconds))
    late = wire.client.session.send([FRAME], wire.now)
    for number in range(10):
        wire.send(wire.client, FRAME[:-1] + bytes((number,)))
        wire.run(wire.now + 1)
    wire.do(wire.server, wire.server.session.receive(late.wire, wire.now))
    assert (wire.server.frames[-1] == FRAME) is taken
    assert wire.server.session.drops == ({} if taken else {"repeated packet": 1})


@pytest.mark.parametrize("limit", [{"reneg_pkts": 50}, {"reneg_bytes": 6000}])
def test_keys_are_renewed_after_so_much_traffic(limit: dict[str, int]) -> None:
    wire = up(equals(reneg_sec=0, hand_window=2, **limit))
    for _ in range(200):
        wire.send(wire.client, FRAME)
        wire.run(wire.now + 0.1)
    assert len(wire.server.frames) == 200
    assert key_ids(wire.client) >= {0, 1, 2}


def test_old_keys_are_dropped_after_the_transition() -> None:
    wire = up(equals(reneg_sec=100, tran_window=30))
    wire.run(105)
    wire.send(wire.client, FRAME)
    old = [datagram for datagram in wire.client.sent if datagram[0] >> 3 == 9]
    assert old[-1][0] & 7 == 0  # the new key is there, but the peer has not shown yet that it has it
    wire.run(170)
    packet = bytearray(old[-1])
    wire.do(wire.server, wire.server.session.receive([bytes(packet)], wire.now))
    assert wire.server.session.drops["no keys for a data packet"] == 1


def left(kind: type[E]) -> list[E]:
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, kind)]


def test_what_keys_are_made_of_is_forgotten() -> None:
    wire = up(equals(credentials=Credentials("joe", "correct horse")))
    sources, messages = left(KeySource), left(Message)
    assert len(sources) >= 4
    assert not any(source.random1 or source.pre_master for source in sources)
    assert len(messages) >= 4
    assert not any(message.password for message in messages)
    carries(wire)


def test_a_session_that_ended_holds_no_keys() -> None:
    wire = up(equals())
    assert left(DirectionKey)
    wire.call(wire.client, "close")
    wire.call(wire.server, "close")
    assert left(DirectionKey) == []
    assert left(KeySource) == []


def test_the_peer_may_begin_anew() -> None:
    wire = up(equals())
    wire.client = End(session(server=False))
    wire.do(wire.client, wire.client.session.connected(wire.now))
    wire.run(wire.now + 10)
    assert len(wire.server.of(Up)) == 2
    assert wire.client.of(Up)
    carries(wire)


def test_a_single_session_is_not_begun_anew() -> None:
    wire = up(equals(single_session=True))
    again = session(server=False)
    wire.do(wire.server, wire.server.session.receive(again.connected(wire.now).wire, wire.now))
    assert wire.server.session.drops == {"control packet for an unknown session": 1}
    carries(wire)


def test_a_server_that_begins_anew_is_found_again() -> None:
    more: dict[str, Any] = {"ping": 5, "ping_restart": 20}
    wire = up(equals(**more))
    wire.server = End(session(server=True, **more))
    wire.do(wire.server, wire.server.session.connected(wire.now))
    wire.run(wire.now + 40)
    assert "--ping-restart" in wire.client.of(Restart)[0].reason


def test_no_answer_is_an_end_after_the_hand_window() -> None:
    wire = equals(hand_window=30)
    wire.loss = 1.0
    wire.begin()
    wire.run(29)
    assert not wire.client.events
    wire.run(31)
    assert "--hand-window" in wire.client.of(Restart)[0].reason
    assert wire.client.session.deadline() is None


# Identity.


def failing(client: TlsSession, server: TlsSession) -> Wire:
    wire = Wire(client, server)
    wire.begin()
    wire.run(20)
    assert not wire.client.of(Up)
    assert not wire.server.of(Up)
    return wire


def said(end: End) -> str:
    return " ".join([event.reason for event in end.of(Restart)] + [event.text for event in end.of(Notice)])


OTHER = Authority(START, "Another authority")


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (OTHER.issue("stranger"), "issuer"),
        (AUTHORITY.issue("old", days=3, begin=-5), "expired"),
        (AUTHORITY.issue("young", begin=5), "not valid yet"),
    ],
)
def test_a_bad_certificate_is_refused_in_words(pair: Pair, words: str) -> None:
    wire = failing(session(server=False, pair=pair), session(server=True))
    assert words in said(wire.server)
    assert "certificate" in said(wire.client) or "alert" in said(wire.client)
    wire = failing(session(server=False), session(server=True, pair=pair))
    assert words in said(wire.client)


def test_an_own_certificate_that_peers_will_refuse_is_complained_of() -> None:
    context = TlsContext(files(AUTHORITY.issue("own", days=10, begin=0)), server=True)
    day = 24 * 3600
    assert context.complaint(START + 5 * day) is None
    for days, words in (
        (-1, "is not valid before 2023-11-14 22:13 UTC"),
        (11, "has expired at 2023-11-24 22:13"),
    ):
        assert f"this end's certificate 'C=CH, CN=own' {words}" in (
            context.complaint(START + days * day) or ""
        )
    bare = TlsFiles(ca=AUTHORITY.own.pem)
    assert TlsContext(bare, server=False).complaint(START) is None


def test_a_revoked_certificate_is_refused() -> None:
    crl = AUTHORITY.crl(CLIENT)
    wire = failing(session(server=False), session(server=True, tls={"crl": crl}))
    assert "revoked" in said(wire.server)
    up(Wire(session(server=False), session(server=True, tls={"crl": AUTHORITY.crl(SERVER)})))


def test_a_certificate_that_is_revoked_while_the_link_runs_is_refused_when_keys_are_renewed() -> None:
    revoked: set[int] = set()
    tls = {"revoked": revoked.__contains__}
    wire = up(Wire(session(server=False), session(server=True, tls=tls, reneg_sec=10)))
    wire.run(12)
    assert not wire.server.of(Restart)
    revoked.add(CLIENT.certificate.serial_number)
    wire.run(30)
    assert "certificate 'C=CH, CN=client.test' refused: it is revoked" in said(wire.server)


@pytest.mark.parametrize("whose", [AUTHORITY.own, SERVER])
def test_every_certificate_of_a_chain_is_asked_for(whose: Pair) -> None:
    wire = failing(
        session(server=False, tls={"revoked": {whose.certificate.serial_number}.__contains__}),
        session(server=True),
    )
    assert "refused: it is revoked" in said(wire.client)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (Rules(name="CH, CN=server.test"), "subject is 'C=CH, CN=server.test'"),
        (Rules(name="server", name_type="name"), "name is 'server.test'"),
        (Rules(name="client", name_type="name-prefix"), "name-prefix is 'server.test'"),
        (Rules(extended_usage="TLS Web Client Authentication"), "extended key usage lacks"),
        (Rules(usage=(0xA0,)), "key usage is 88, expected one of a0"),
        (Rules(fingerprints=frozenset({bytes(32)})), "fingerprint"),
    ],
)
def test_a_certificate_that_breaks_a_rule_is_refused_in_words(rules: Rules, words: str) -> None:
    wire = failing(session(server=False, tls={"rules": rules}), session(server=True))
    assert words in said(wire.client)
    assert "alert" in said(wire.server)


@pytest.mark.parametrize(
    "rules",
    [
        Rules(name="C=CH, CN=server.test"),
        Rules(name="server.test", name_type="name"),
        Rules(name="server", name_type="name-prefix"),
        Rules(usage=True, extended_usage="TLS Web Server Authentication"),
        Rules(extended_usage="1.3.6.1.5.5.7.3.1"),
        Rules(usage=(0xA0, 0x88)),
    ],
)
def test_a_certificate_that_keeps_the_rules_is_taken(rules: Rules) -> None:
    up(Wire(session(server=False, tls={"rules": rules}), session(server=True)))


def test_remote_cert_tls_stands_for_two_rules() -> None:
    usage, extended = remote_cert_tls("server")
    up(
        Wire(
            session(server=False, tls={"rules": Rules(usage=usage, extended_usage=extended)}),
            session(server=True),
        )
    )
    wire = failing(
        session(server=False, tls={"rules": Rules(usage=usage, extended_usage=extended)}),
        session(server=True, pair=AUTHORITY.issue("bare")),
    )
    assert "no key usage" in said(wire.client)


def by_fingerprint(own: Any, other: str, *, server: bool) -> TlsSession:
    rules = Rules(fingerprints=frozenset({parse_fingerprint(other)}))
    tls = TlsFiles(certificate=own.certificate, private_key=own.private_key, rules=rules)
    return TlsSession(tls_settings(server=server), TlsContext(tls, server=server), wall)


def test_two_ends_know_each_other_by_fingerprint_alone() -> None:
    a, b, c = (generate(name, START) for name in "abc")
    up(Wire(by_fingerprint(a, b.fingerprint, server=False), by_fingerprint(b, a.fingerprint, server=True)))
    wire = failing(
        by_fingerprint(c, b.fingerprint, server=False), by_fingerprint(b, a.fingerprint, server=True)
    )
    assert f"its fingerprint {c.fingerprint} is not among the expected ones" in said(wire.server)


def test_keys_come_encrypted_and_in_pkcs12() -> None:
    tls = {"private_key": CLIENT.encrypted(b"secret words"), "passphrase": b"secret words"}
    up(Wire(session(server=False, tls=tls), session(server=True)))
    archive = {"certificate": b"", "private_key": b"", "ca": b"", "passphrase": b"p"}
    up(
        Wire(
            session(server=False, tls=archive | {"pkcs12": CLIENT.pkcs12(AUTHORITY, b"p")}),
            session(server=True),
        )
    )


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"private_key": SERVER.key_pem}, "--key does not belong to --cert"),
        ({"private_key": CLIENT.encrypted(b"x")}, "--askpass"),
        ({"private_key": CLIENT.encrypted(b"x"), "passphrase": b"y"}, "passphrase is wrong"),
        ({"private_key": b"nothing"}, "--key holds no private key"),
        ({"certificate": b"nothing"}, "--cert holds no certificate"),
        ({"ca": b"nothing"}, "--ca holds no certificate"),
        ({"crl": b"nothing"}, "--crl-verify"),
        ({"pkcs12": b"nothing"}, "--pkcs12"),
        ({"ca": b""}, "which peer to trust"),
        ({"ciphers": "NO-SUCH"}, "--tls-cipher"),
        ({"ciphersuites": "NO-SUCH"}, "--tls-ciphersuites"),
        ({"profile": "lax"}, "--tls-cert-profile"),
    ],
)
def test_wrong_files_are_told_by_their_option(tls: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        session(server=False, tls=tls)


def test_tls_ciphers_and_groups_are_chosen() -> None:
    tls: dict[str, Any] = {"version_max": "1.2", "ciphers": "ECDHE-ECDSA-CHACHA20-POLY1305"}
    wire = up(Wire(session(server=False, tls=tls), session(server=True)))
    assert "ECDHE-ECDSA-CHACHA20-POLY1305" in wire.client.of(Up)[0].detail
    tls = {"ciphersuites": "TLS_CHACHA20_POLY1305_SHA256", "groups": "no-such:P-384:X25519"}
    wire = up(Wire(session(server=False, tls=tls), session(server=True)))
    assert "TLS_CHACHA20_POLY1305_SHA256" in wire.client.of(Up)[0].detail


def test_cipher_suites_by_their_iana_names() -> None:
    names = "TLS-DHE-RSA-WITH-AES-256-CBC-SHA:TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256"
    tls: dict[str, Any] = {"version_max": "1.2", "ciphers": names}
    wire = up(Wire(session(server=False, tls=tls), session(server=True)))
    assert "ECDHE-ECDSA-CHACHA20-POLY1305" in wire.client.of(Up)[0].detail
    with pytest.raises(ValueError, match="--tls-groups names no group"):
        session(server=False, tls={"groups": "no-such"})


def test_suite_b() -> None:
    tls: dict[str, Any] = {"version_max": "1.2", "profile": "suiteb"}
    wire = up(Wire(session(server=False, tls=tls), session(server=True)))
    assert "ECDHE-ECDSA-AES128-GCM-SHA256" in wire.client.of(Up)[0].detail


def test_what_a_peer_compresses_is_dropped_and_told_once() -> None:
    wire = up(equals(framing="comp-lzo no"))
    carries(wire)
    compression = wire.server.session._payloads._framer
    assert compression is not None
    compression.frame = lambda payload: b"\x66" + bytes(payload)  # type: ignore[method-assign]
    wire.send(wire.server, FRAME, FRAME)
    wire.run(wire.now + 1)
    assert wire.client.session.drops["LZO compressed"] == 2
    (notice,) = wire.client.of(Notice)
    assert "compresses with LZO" in notice.text


# A server that pushes, a client that pulls.

PUSH = ["ifconfig 10.8.0.2 255.255.255.0", "route 10.0.0.0 255.0.0.0", "ping 7", "ping-restart 30"]


def pulling(**more: Any) -> TlsSession:
    return session(server=False, mode="pull", **more)


def pushing(**more: Any) -> TlsSession:
    return session(server=True, mode="push", peer_id=5, **more)


def joined(wire: Wire, push: list[str] | None = None) -> Wire:
    wire.begin()
    wire.run(1)
    assert wire.server.of(Joining), wire.server.events
    wire.call(wire.server, "admit", PUSH if push is None else push)
    wire.run(3)
    return wire


def test_a_client_pulls_its_options() -> None:
    wire = joined(Wire(pulling(), pushing()))
    joining = wire.server.of(Joining)[0]
    assert joining.common_name == "client.test"
    assert joining.peer_info["IV_CIPHERS"]
    options = wire.client.of(Pushed)[0].options
    assert options[:4] == tuple(PUSH)
    assert {"peer-id 5", "cipher AES-256-GCM", "tun-mtu 1500"} <= set(options)
    assert wire.client.of(Up)
    carries(wire)
    assert {datagram[1:4] for datagram in wire.client.sent if datagram[0] >> 3 == 9} == {b"\0\0\5"}
    # ping 7 is followed: silence is broken every seven seconds.
    before = len(wire.client.sent)
    wire.run(wire.now + 22)
    assert len(wire.client.sent) - before in (3, 4)


def test_long_options_come_in_continuations() -> None:
    routes = [f"route 10.{a}.{b}.0 255.255.255.0" for a in range(20) for b in range(20)]
    wire = joined(Wire(pulling(), pushing()), routes)
    assert wire.client.of(Pushed)[0].options[:400] == tuple(routes)


def test_pull_filters_apply_in_their_order() -> None:
    filters = (("accept", "route 10."), ("ignore", "route"), ("ignore", "ping-restart"))
    wire = joined(Wire(pulling(pull_filters=filters), pushing()), [*PUSH, "route 11.0.0.0 255.0.0.0"])
    options = wire.client.of(Pushed)[0].options
    assert "route 10.0.0.0 255.0.0.0" in options
    assert "route 11.0.0.0 255.0.0.0" not in options
    assert "ping-restart 30" not in options
    wire = joined(Wire(pulling(pull_filters=(("reject", "route"),)), pushing()))
    assert "--pull-filter" in wire.client.of(Restart)[0].reason


def test_a_refused_client_is_told_why() -> None:
    wire = Wire(pulling(), pushing())
    wire.begin()
    wire.run(1)
    wire.call(wire.server, "refuse", "wrong password")
    wire.run(10)
    assert wire.client.of(AuthFailed) == [AuthFailed("wrong password")]
    assert wire.client.of(Exit)
    assert wire.server.of(Restart)
    wire = Wire(pulling(auth_retry="nointeract"), pushing())
    wire.begin()
    wire.run(1)
    wire.call(wire.server, "refuse", "TEMP[backoff 42,advance no]:busy")
    wire.run(10)
    assert wire.client.of(AuthFailed) == [AuthFailed("busy", True, 42.0)]
    assert wire.client.of(Restart)


def test_user_name_and_password_reach_the_server_and_no_log() -> None:
    client = pulling(credentials=Credentials("joe", "correct horse"))
    wire = joined(Wire(client, pushing(ask_password=True)))
    joining = wire.server.of(Joining)[0]
    assert (joining.username, joining.password) == ("joe", "correct horse")
    assert wire.client.of(Up)
    assert "correct horse" not in repr([wire.server.events, client.settings])


def test_a_renewal_asks_for_the_password_again_and_uses_the_token() -> None:
    client = pulling(credentials=Credentials("joe", "correct horse"))
    server = pushing(ask_password=True, reneg_sec=30)
    wire = joined(Wire(client, server), ["ifconfig 10.8.0.2 255.255.255.0", "auth-token 12345"])
    assert wire.client.of(Token) == [Token("joe", "12345")]
    assert "12345" not in repr(wire.client.events)
    wire.run(35)
    joining = wire.server.of(Joining)[-1]
    assert joining.renewed
    assert joining.password == "12345"
    wire.call(wire.server, "admit", [])
    wire.run(60)
    wire.send(wire.server, FRAME)
    wire.run(61)
    assert wire.client.frames == [FRAME]
    assert 1 in key_ids(wire.server)


def test_a_server_gives_its_client_a_token_with_each_renewal() -> None:
    client = pulling(credentials=Credentials("joe", "x"))
    wire = Wire(client, pushing(ask_password=True, reneg_sec=30))
    joined(wire, ["auth-token first"])
    for token in ("second", "third"):
        wire.run(wire.now + 31)
        wire.call(wire.server, "admit", [f"auth-token {token}"])
        wire.run(wire.now + 1)
    assert [joining.password for joining in wire.server.of(Joining)] == ["x", "first", "second"]
    assert wire.client.of(Token) == [Token("joe", token) for token in ("first", "second", "third")]
    assert len(wire.client.of(Pushed)) == 1
    carries(wire)


def test_a_renewal_that_is_not_admitted_gets_no_keys() -> None:
    wire = joined(
        Wire(pulling(credentials=Credentials("joe", "x")), pushing(ask_password=True, reneg_sec=30)),
        ["ifconfig 10.8.0.2 255.255.255.0"],
    )
    wire.run(35)
    wire.call(wire.server, "refuse", "expired")
    wire.run(45)
    assert wire.client.of(AuthFailed)


def test_equal_ends_may_ask_for_a_password_too() -> None:
    client = session(server=False, credentials=Credentials("joe", "correct horse"))
    wire = Wire(client, session(server=True, ask_password=True))
    wire.begin()
    wire.run(2)
    assert wire.server.of(Joining)[0].password == "correct horse"
    assert not wire.server.of(Up)
    wire.call(wire.server, "admit", [])
    wire.run(3)
    assert wire.server.of(Up)
    carries(wire)


def test_pings_wait_while_a_new_session_is_not_admitted() -> None:
    more: dict[str, Any] = {"credentials": Credentials("joe", "x"), "ping": 3}
    wire = Wire(session(server=False, **more), session(server=True, ask_password=True, ping=3))
    wire.begin()
    wire.run(2)
    wire.call(wire.server, "admit", [])
    wire.run(10)
    wire.client = End(session(server=False, **more))
    wire.do(wire.client, wire.client.session.connected(wire.now))
    wire.run(30)
    assert len(wire.server.of(Joining)) == 2
    wire.call(wire.server, "admit", [])
    wire.run(40)
    assert len(wire.server.of(Up)) == 2
    carries(wire)


def test_no_push_reply_is_an_end() -> None:
    wire = Wire(pulling(hand_window=20), pushing(hand_window=200))
    wire.begin()
    wire.run(25)
    assert "PUSH_REQUEST" in wire.client.of(Restart)[0].reason


def test_a_cipher_not_offered_is_not_taken() -> None:
    wire = Wire(pulling(accepted=("AES-128-GCM",)), pushing(accepted=("AES-256-GCM",)))
    wire.begin()
    wire.run(1)
    wire.call(wire.server, "admit", PUSH)
    wire.run(10)
    assert "no shared cipher" in wire.client.of(AuthFailed)[0].reason


def test_goodbyes_are_said_on_the_control_channel() -> None:
    wire = up(equals(explicit_exit_notify=1))
    wire.call(wire.client, "close")
    wire.run(wire.now + 1)
    assert "exits" in wire.server.of(Restart)[0].reason


@pytest.mark.parametrize("wrong", [{"accepted": ("BF-CBC",)}, {"auth": "MD17"}, {"framing": "lz4"}])
def test_what_there_is_not_is_told_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"BF-CBC|MD17|lz4"):
        session(server=True, **wrong)


def test_secrets_stay_out_of_repr() -> None:
    shown = repr(
        [files(CLIENT, passphrase=b"hush"), tls_settings(server=True, wrap=tls_wrap.CryptKey(STATIC))]
    )
    assert "PRIVATE" not in shown
    assert "hush" not in shown
    assert "\\x01\\x02" not in shown


# What anybody may send.


def test_a_forged_reset_neither_ends_a_session_nor_leads_it_away() -> None:
    wire = up(equals())
    for number in range(50):
        reset = b"\x38" + bytes([1, number]) + b"forged" + bytes(5)
        assert not wire.server.session.receive([reset], wire.now).authentic
        reset = b"\x40" + bytes([1, number]) + b"forged" + bytes(5)
        assert not wire.client.session.receive([reset], wire.now).authentic
    wire.run(wire.now + 120)
    carries(wire)


def test_datagrams_of_a_session_lead_to_where_it_is() -> None:
    wire = up(equals(wrap=tls_wrap.CryptKey(STATIC)))
    old = len(wire.client.sent)
    wire.call(wire.client, "renew")
    # Whoever else has the wrapping's key can make one of these.
    assert not wire.server.session.receive([wire.client.sent[old]], wire.now).authentic
    step = wire.client.session.send([FRAME], wire.now)
    assert wire.server.session.receive(step.wire, wire.now).authentic
    assert not wire.server.session.receive(step.wire, wire.now).authentic


@pytest.mark.parametrize("wrap", ["none", "tls-auth", "tls-crypt", "tls-crypt-v2"])
@pytest.mark.parametrize("seed", range(3))
def test_mutated_packets_are_counted_and_nothing_else(wrap: str, seed: int) -> None:
    chance = random.Random(seed)
    ours, theirs = wraps()[wrap]
    wire = Wire(session(server=False, wrap=ours), session(server=True, wrap=theirs))

    def touched(datagram: bytes) -> bytes:
        if chance.random() < 0.5:
            return datagram
        mutated = bytearray(datagram)
        for _ in range(chance.randint(1, 3)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        return bytes(mutated[: chance.choice((len(mutated), chance.randrange(len(mutated) + 1)))])

    wire.touch = touched
    wire.begin()
    for round_ in range(60):
        wire.run(wire.now + 1)
        for end in (wire.client, wire.server):
            for _ in range(20):
                datagram = touched(chance.choice(wire.other(end).sent)) if wire.other(end).sent else b""
                run = Run(memoryview(datagram * 5), max(1, len(datagram)))
                wire.do(end, end.session.receive([datagram, run] if datagram else [b""], wire.now))
            wire.send(end, FRAME)
            if end.of(Restart) and round_ % 5 == 4:
                server = end is wire.server
                end.session = session(server=server, wrap=theirs if server else ours)
                end.events.clear()
                wire.do(end, end.session.connected(wire.now))
    assert sum(wire.client.session.drops.values()) + sum(wire.server.session.drops.values()) > 50


MESSAGES = [
    *("PUSH_REPLY", "PUSH_REPLY,", "PUSH_REPLY,,,,push-continuation 2", "PUSH_UPDATE,x", "PUSH_REQUEST"),
    "PUSH_REPLY,ping,ping x,ping -1,peer-id,cipher",
    "PUSH_REPLY,peer-id 99999999999999999999,cipher AES-256-GCM",
    "PUSH_REPLY,cipher AES-256-GCM,auth-token,auth-token-user x,protocol-flags",
    "PUSH_REPLY,ping 999999999999999",
    *("AUTH_PENDING,timeout 99999999999", "AUTH_PENDING", "CR_RESPONSE,x", "INFO,hello", "INFO_PRE,x"),
    *("", "\r\n", "ä", "x" * 3000),
]


def test_a_server_that_says_nothing_is_given_up() -> None:
    """Within --server-poll-timeout, and with no pause after it; one that has answered has --hand-window."""
    wire = Wire(session(server=False, server_poll_timeout=3), session(server=True), loss=1)
    wire.begin()
    wire.run(2.9)
    assert not wire.client.of(Restart)
    wire.run(3.1)
    (over,) = wire.client.of(Restart)
    assert over.at_once
    assert "no answer within 3 s (--server-poll-timeout)" in over.reason

    slow = Wire(session(server=False, server_poll_timeout=3, hand_window=9), session(server=True))
    slow.touch = lambda datagram: datagram if datagram[0] >> 3 in (7, 8) else b""
    slow.begin()
    slow.run(8.9)
    assert not slow.client.of(Restart)
    slow.run(9.1)
    (over,) = slow.client.of(Restart)
    assert "--hand-window" in over.reason


LAST = ["HALT", "RESTART,[N]", "EXIT", "AUTH_FAILED,TEMP[", "AUTH_FAILED"]


@pytest.mark.parametrize("seed", range(10))
def test_any_message_is_taken_or_counted(seed: int) -> None:
    chance = random.Random(seed)
    wire = Wire(pulling(), pushing())
    wire.begin()
    wire.run(1)
    for end in (wire.server, wire.client):
        for _ in range(30):
            message = chance.choice(MESSAGES)
            end.session._send_message(message, wire.now)
            wire.do(end, end.session._finish(wire.now))
            wire.run(wire.now + 0.1)
    control_session = wire.server.session._active
    assert control_session is not None
    assert control_session.current is not None
    # What follows the end of a session in the same packet is not looked at.
    control_session.current.engine.write("\0".join([chance.choice(LAST), *MESSAGES]).encode() + b"\0")
    wire.server.session._send_message("PUSH_REPLY", wire.now)
    wire.do(wire.server, wire.server.session._finish(wire.now))
    wire.run(wire.now + 5)
    assert [*wire.client.of(Restart), *wire.client.of(Exit)]


def test_an_endless_message_is_an_end() -> None:
    wire = Wire(pulling(), pushing())
    wire.begin()
    wire.run(1)
    control_session = wire.server.session._active
    assert control_session is not None
    assert control_session.current is not None
    control_session.current.engine.write(b"x" * 100_000)
    wire.server.session._send_message("x", wire.now)
    wire.do(wire.server, wire.server.session._finish(wire.now))
    wire.run(wire.now + 5)
    assert "endless" in wire.client.of(Restart)[0].reason


# What a server pushes of sizes and compression, and changes later.


def test_a_pushed_mtu_is_followed() -> None:
    """The client's frames and TCP's segments keep to it; no difference of options is told before it."""
    server = session(server=True, mode="push", tun_mtu=1300)
    wire = Wire(pulling(tun_mtu_max=1500, mss=1460), server)
    joined(wire, PUSH)
    assert "tun-mtu 1300" in wire.client.of(Pushed)[0].options
    assert not [n for n in wire.client.of(Notice) if "tun-mtu" in n.text]
    payloads = wire.client.session._payloads
    assert payloads.longest_out == 1300 + 22
    assert payloads._mss == 1260
    wire.send(wire.client, b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + bytes(1309), FRAME)
    wire.run(wire.now + 1)
    assert wire.server.frames == [FRAME]
    assert wire.client.session.drops == {"too long to send": 1}


def test_pushed_compression_is_followed() -> None:
    wire = Wire(pulling(), session(server=True, mode="push", framing="stub-v2"))
    joined(wire, [*PUSH, "compress stub-v2"])
    carries(wire)
    old = Wire(pulling(), session(server=True, mode="push", framing="comp-lzo no"))
    joined(old, [*PUSH, "comp-lzo yes"])
    carries(old)


def test_what_was_pushed_is_changed() -> None:
    wire = Wire(
        pulling(pull_filters=(("ignore", "dns"), ("reject", "topology"))), session(server=True, mode="push")
    )
    joined(wire, [*PUSH, "route 10.1.0.0 255.255.0.0"])

    def push(*options: str) -> list[str]:
        step = wire.server.session.push_update(options, wire.now)
        assert step is not None
        wire.do(wire.server, step)
        wire.run(wire.now + 1)
        return [
            option
            for option in wire.client.of(Pushed)[-1].options
            if option.startswith(("route", "tun", "ifc"))
        ]

    own = "ifconfig 10.8.0.2 255.255.255.0"
    assert push("route 10.2.0.0 255.255.0.0", "route 10.3.0.0 255.255.0.0") == [
        own, "tun-mtu 1500", "route 10.2.0.0 255.255.0.0", "route 10.3.0.0 255.255.0.0",
    ]  # fmt: skip
    assert push("-route", "tun-mtu 1400", "?foo bar", "dns server 1") == [own, "tun-mtu 1400"]
    assert wire.client.session._payloads.longest_out == 1400 + 22
    assert push(*(f"route 10.{n}.0.0 255.255.0.0" for n in range(99)))[2:] == [
        f"route 10.{n}.0.0 255.255.0.0" for n in range(99)
    ]
    carries(wire)
    with pytest.raises(ValueError, match="cannot be pushed"):
        wire.server.session.push_update(["a,b"], wire.now)
    assert not wire.client.of(Restart)
    step = wire.server.session.push_update(["cipher none"], wire.now)
    assert step is not None
    wire.do(wire.server, step)
    wire.run(wire.now + 1)
    assert "cannot be changed while it is up" in wire.client.of(Restart)[-1].reason


def test_a_peer_that_takes_no_changes_is_sent_none() -> None:
    wire = up(equals())
    assert wire.server.session.push_update(["route 10.2.0.0 255.255.0.0"], wire.now) is None


def test_a_login_by_the_web_is_told_and_waited_for() -> None:
    wire = Wire(pulling(hand_window=20), session(server=True, mode="push"))
    wire.begin()
    wire.run(1)
    assert wire.server.of(Joining)[0].peer_info["IV_SSO"] == "webauth,openurl,crtext"
    server = wire.server.session
    for text in ("AUTH_PENDING,timeout 90", "INFO_PRE,WEB_AUTH::https://sso.example/?id=1"):
        server._send_message(text, wire.now)
    wire.do(wire.server, server._finish(wire.now))
    wire.run(50)
    assert wire.client.of(LoginAddress) == [LoginAddress("https://sso.example/?id=1")]
    assert not wire.client.of(Restart)
    wire.call(wire.server, "admit", PUSH)
    wire.run(wire.now + 2)
    assert wire.client.of(Up)


def test_a_question_of_the_server_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """CR_TEXT, before and after the client has its options; the server takes no notice of the answer here."""
    wire = Wire(pulling(hand_window=20), session(server=True, mode="push"))
    wire.begin()
    wire.run(1)
    server = wire.server.session
    told: list[str] = []
    for text in ("INFO_PRE,CR_TEXT:R,E:Your code: ", "INFO,CR_TEXT::Hello", "INFO_PRE,CR_TEXT:no colon"):
        server._send_message(text, wire.now)
    wire.do(wire.server, server._finish(wire.now))
    wire.run(2)
    assert wire.client.of(Challenge) == [
        Challenge("Your code: ", True, True),
        Challenge("Hello", False, False),
    ]
    monkeypatch.setattr(server, "_message", lambda _session, _negotiation, text, _now: told.append(text))
    wire.do(wire.client, wire.client.session.respond("1é3", wire.now))
    wire.run(wire.now + 1)
    assert [text for text in told if text.startswith("CR")] == ["CR_RESPONSE,McOpMw=="]
    with pytest.raises(ValueError, match="too long"):
        wire.client.session.respond("x" * 1000, wire.now)


def test_a_token_may_be_another_user_s() -> None:
    """auth-token-user in base64, before or after the token; what is not base64 changes nothing."""
    for options in (["auth-token 1", "auth-token-user Ym9i"], ["auth-token-user Ym9i", "auth-token 1"]):
        client = pulling(credentials=Credentials("joe", "sesame"))
        wire = joined(Wire(client, session(server=True, mode="push")), [PUSH[0], *options])
        assert wire.client.of(Token) == [Token("bob", "1")]


def test_a_revocation_list_is_read_again_when_it_changes() -> None:
    """A client that is revoked while the server runs is refused; a broken list changes nothing."""
    lists: list[bytes] = []

    def later() -> bytes:
        return lists.pop() if lists else b""

    context = TlsContext(files(SERVER, crl=AUTHORITY.crl(), later_crl=later), server=True)

    def handshake() -> Wire:
        wire = Wire(session(server=False), TlsSession(tls_settings(server=True), context, wall))
        wire.begin()
        wire.run(3)
        return wire

    assert handshake().server.of(Up)
    lists.append(b"no list at all")
    assert handshake().server.of(Up)
    lists.append(AUTHORITY.crl(CLIENT, days_later=1))
    refused = handshake()
    assert not refused.server.of(Up)
    assert "it is revoked" in str(refused.server.events)
    lists.append(AUTHORITY.crl(days_later=2))
    assert handshake().server.of(Up)
