"""Datagrams under a static key: OpenVPN's bytes, and none but its own taken."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tests.support.wire import pieces
from tmelink.frame import Run
from tmelink.openvpn.data import static
from tmelink.openvpn.data.replay import ReplayWindow
from tmelink.openvpn.data.static import StaticKey
from tmelink.openvpn.keys import KeyDirection
from tmelink.openvpn.liveness import PING
from tmelink.openvpn.secret import Secret

KEY = Secret(bytes(range(256)))

# Two pings in a row of `openvpn 2.6.14 --dev tap --secret KEY … --ping 1`, read from a UDP socket.
OPENVPN = [
    (
        "AES-256-CBC",
        "SHA1",
        None,
        "155a3dc41979da26ad274e9f95ced4a4b51462abba37c9859b72012994b105d25e5e18566d303a3078996eb3ca7edc31"
        "b6c9bd4e9a31835887f9db3130f91ae74d9e7a71",
        "dfa5b1ec2aa30f4ffe8513865ced79e23cb03b0b056ad3b0b76ecf3d1d25698388e66ebba68e41dd836a0d5cfed8ff1d"
        "28a4d4dee879096faf336707d7a97c3b741774c4",
    ),
    (
        "AES-128-CBC",
        "SHA256",
        None,
        "bfe9819f84f3a44b9dd68a608d6566a42cf654a97d4bb4f16c0537e2536e6a68b340ef498cf9601818832d66bc81e86b"
        "0c69a4f0fe88e4dfa72345d448582aadb26407467a9467c78c83a062037f2bc4",
        "5e392a311e48a5f7f9e0bab58bf20bb340ee990d4d692ffef7722fafd2e88e375a59b64f31a7ea87a9a8b579cb04132a"
        "fe9cac5a2865ec5a2262a0fca231bc7356d34feee7525e3deda30c5de3c16457",
    ),
    (
        "AES-192-CBC",
        "SHA512",
        None,
        "d7164cc457c8b1fa68c8f146078ef34b9bda88b70857db793de225c43c15122bb05aec9a4a23263374a5bb1d52ba9954"
        "62185b9cb0ffb050fa42693da6c4a44f1a75e6e81f0a151612590315af2460e24e193de6fc6e951f7a9a965e79f3228f"
        "d37e7b2e1e4fdb0bcc99186258f72827",
        "71f1504652efc84f6db0d9d7cfe75a3748fe83a149b2d6fb5234e524f70fbce1df5fe80beb6e22ac3c26e5d914e2e849"
        "ce1698778d6f0e73a3dbddff70b2b7ceff4b1ee7dc4c50324fd8731d128060480b753c24fb04c6d136c5bdf395670e92"
        "e3955044ecce531d55caf0b65e5cefb8",
    ),
    (
        "none",
        "SHA384",
        None,
        "86c79b6a3496e8a403a8588f3e70549ae207f2aa8792c0236d4161f992bff2dc7be62442db852355286832517853ccf8"
        "000000016b00c9662a187bf3641eb4cb07ed2d0a981fc748",
        "cfa7001ff31b366e45707dd4abab2c7ac987e9e523fe3a13d6a9a539dc2f492fe3471408adc1863c2c306386f50f7c44"
        "000000026b00c9662a187bf3641eb4cb07ed2d0a981fc748",
    ),
    (
        "AES-256-CBC",
        "none",
        None,
        "26fc72e693ec0e9b28628b0dc0e4dd13a13f780f767da6f39bde799a1b39b9a376cd45b86278f5ab33c67ea9d6866553",
        "3cfd2d8a7c3710f2d0dc5fbffee67691b2bcafee2e6384732d99275823b100cd7da41b78f1f7e6811567c43a6f731db3",
    ),
    (
        "none",
        "none",
        None,
        "000000016b00c9682a187bf3641eb4cb07ed2d0a981fc748",
        "000000026b00c9682a187bf3641eb4cb07ed2d0a981fc748",
    ),
    (
        "AES-256-CBC",
        "SHA1",
        0,
        "f731442aefddc4f7e551727ada128c9e8c5b19664dbec3feb08df74a1c77a05e39610b52b112d1acb762ffd3295f878f"
        "f8f5688e595b2bdfe3e0fa54ae0cfc957b4f6132",
        None,
    ),
]

COMBINATIONS = [(cipher, auth) for cipher in static.CIPHERS for auth in static.DIGESTS]


def made(
    cipher: str = "AES-256-CBC",
    auth: str = "SHA1",
    *,
    direction: KeyDirection | None = None,
    key: Secret = KEY,
    unix_time: int = 1_000_000,
) -> tuple[StaticKey, Counter[str]]:
    drops: Counter[str] = Counter()
    end = StaticKey(
        key,
        direction,
        cipher=cipher,
        auth=auth,
        random=Random(9).randbytes,
        unix_time=unix_time,
        window=ReplayWindow(),
        drops=drops,
    )
    return end, drops


@pytest.mark.parametrize(("cipher", "auth", "direction", "first", "second"), OPENVPN)
def test_pings_of_openvpn_are_opened(
    cipher: str, auth: str, direction: KeyDirection | None, first: str, second: str | None
) -> None:
    end, drops = made(cipher, auth, direction=direction)
    datagrams = [bytes.fromhex(text) for text in (first, second) if text is not None]
    assert end.open(datagrams, 0) == [PING] * len(datagrams)
    assert end.open(datagrams, 0) == []
    assert drops == {"replayed": len(datagrams)}


@pytest.mark.parametrize(("cipher", "auth"), COMBINATIONS)
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 23, 24, 25, 1400])
def test_every_length_survives(cipher: str, auth: str, length: int) -> None:
    here, _ = made(cipher, auth)
    there, drops = made(cipher, auth)
    payload = Random(length).randbytes(length)
    (sealed,) = here.seal([payload], 0)
    assert there.open(pieces([sealed]), 0) == [payload]
    assert not drops


def test_sealing_is_openvpns_layout() -> None:
    """An independent reading of one datagram: the IV differs from packet to packet, the rest is fixed."""
    here, _ = made("none", "SHA1", unix_time=0x01020304)
    first, second = pieces(here.seal([b"abc", b"defg"], 0))
    assert bytes(first)[20:] == bytes.fromhex("0000000101020304") + b"abc"
    assert bytes(second)[20:] == bytes.fromhex("0000000201020304") + b"defg"
    here, _ = made()
    datagrams = pieces(here.seal([b"abc"] * 50, 0))
    assert len({bytes(datagram)[20:36] for datagram in datagrams}) == 50
    assert {len(datagram) for datagram in datagrams} == {20 + 16 + 16}


def test_equal_payloads_become_a_run_and_others_do_not() -> None:
    here, _ = made()
    (run,) = here.seal([bytes(1400)] * 5 + [bytes(60)], 0)
    assert isinstance(run, Run)
    assert len(run.pieces()) == 6
    for lengths in ([60, 1400], [1400, 60, 1400], [60, 1400, 60]):
        assert not any(isinstance(item, Run) for item in here.seal([bytes(n) for n in lengths], 0))
    there, _ = made()
    assert [len(payload) for payload in there.open(run.pieces(), 0)] == [1400] * 5 + [60]


@pytest.mark.parametrize("direction", [0, 1])
def test_a_direction_keeps_reflected_packets_out(direction: KeyDirection) -> None:
    here, drops = made(direction=direction)
    there, _ = made(direction=1 if direction == 0 else 0)
    datagrams = pieces(here.seal([b"abc"], 0))
    assert here.open(datagrams, 0) == []
    assert drops == {"bad hmac": 1}
    assert there.open(datagrams, 0) == [b"abc"]


@pytest.mark.parametrize(("cipher", "auth"), [(c, a) for c, a in COMBINATIONS if a != "none"])
def test_no_altered_bit_passes(cipher: str, auth: str) -> None:
    here, _ = made(cipher, auth)
    there, drops = made(cipher, auth)
    (sealed,) = pieces(here.seal([b"payload"], 0))
    whole = bytes(sealed)
    altered = []
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        altered.append(changed)
    assert there.open(altered, 0) == []
    assert drops == {"bad hmac": len(altered)}
    assert there.open([whole], 0) == [b"payload"]


def test_another_key_opens_nothing() -> None:
    here, _ = made(key=Secret(bytes(256)))
    there, drops = made()
    assert there.open(pieces(here.seal([b"abc"] * 3, 0)), 0) == []
    assert drops == {"bad hmac": 3}


def test_an_earlier_sequence_is_refused() -> None:
    old, _ = made(unix_time=1_000)
    new, _ = made(unix_time=2_000)
    there, drops = made()
    late = pieces(old.seal([b"late"], 0))
    assert there.open(pieces(new.seal([b"abc"], 0)), 0) == [b"abc"]
    assert there.open(late, 0) == []
    assert drops == {"old sequence": 1}


def test_ids_begin_again_under_a_later_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "LAST_ID", 3)
    here, _ = made("none", "none", unix_time=100)
    ids = [bytes(datagram)[:8].hex() for datagram in pieces(here.seal([b"x"] * 5, 50.5))]
    assert ids[2:4] == ["0000000300000064", "0000000100000096"]
    here.seal([b"x"], 50.5)
    (again,) = pieces(here.seal([b"x"], 50.5))
    assert bytes(again)[:8].hex() == "0000000100000097"


def test_names_are_taken_in_any_case_and_others_refused_with_the_list() -> None:
    assert static.cipher_name("aes-256-cbc") == "AES-256-CBC"
    assert static.digest_name("sha-256") == "SHA256"
    with pytest.raises(ValueError, match="AES-128-CBC, AES-192-CBC, AES-256-CBC, none"):
        static.cipher_name("AES-256-GCM")
    with pytest.raises(ValueError, match=r"SHA1, SHA224, .*, none"):
        static.digest_name("ROT13")


def test_the_time_of_day_is_needed() -> None:
    with pytest.raises(ValueError, match="Unix time"):
        made(unix_time=0)


@pytest.mark.parametrize(
    ("cipher", "auth"), [("AES-256-CBC", "SHA1"), ("AES-128-CBC", "none"), ("none", "none")]
)
@examples(200)
@given(st.lists(st.binary(max_size=100)))
def test_no_bytes_raise(cipher: str, auth: str, datagrams: list[bytes]) -> None:
    end, drops = made(cipher, auth)
    payloads = end.open(datagrams, 0)
    assert len(payloads) + sum(drops.values()) == len(datagrams)
    if auth != "none":
        assert not payloads
