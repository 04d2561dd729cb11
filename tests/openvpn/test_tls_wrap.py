"""tls-auth, tls-crypt and tls-crypt-v2, against packets and keys of OpenVPN's own tests."""

import pytest

from tmelink.errors import ProtocolError
from tmelink.openvpn.data import packet
from tmelink.openvpn.data.packet import Opcode
from tmelink.openvpn.tls import wrap as tls_wrap
from tmelink.openvpn.tls.wrap import Auth, Crypt, Plain, Wrapping

# Key and packets of OpenVPN's tests/unit_tests/openvpn/test_pkt.c.
KEY = bytes.fromhex(
    "37268ea8f95d7f71f9fb8fc03770c460daf714a483d815c013ce0a537efc18f2"
    "8f4f172669d9e6a413bac6741d8ea05400f49b7fd6326470f23798c606bf53d4"
    "de63ebc64ec59d57ce5d04d5b62e68b53ca6e5354351097fa370446c4d269f18"
    "7bb6ae54af2dc70ff7317fe2f8754b8282aad4202f9fa42c8640245d883e2c54"
    "a0c1c489a036cf3a8964d8d289c1583b9447c262b1da5fd167a5d27bd5ac5143"
    "17bc2343a31a2efc38dd920d910375f51c2e27f3afd36c49269da079f7ce466e"
    "bb0f9ad13e9bbb4665974e6bc24b513c5700393bf4a3e7f967e2f384069ac8a8"
    "e78b18b15604993fd16515cce9c0f3e42b4126b999005ade802797b0eeb8b9e6"
)
RESET_AUTH = bytes.fromhex(
    "38de694c5c7bfba27493537c1ded4e781529ae7cfe4b8c6d6b2b51f05a0000000161d3bf6c0000000000"
)
RESET_CRYPT = bytes.fromhex(
    "38f419cb12d1f9e48f00000001 61d3f8e1 330206f56802be44fbed905064e3db43416bec5e526719462b7eb90c96defc9b"
    "05c44879f7"
)
SERVER_KEY = bytes(range(128))
CLIENT_PEM = b"""-----BEGIN OpenVPN tls-crypt-v2 client key-----
AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v
MDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5f
YGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn+AgYKDhIWGh4iJiouMjY6P
kJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmqq6ytrq+wsbKztLW2t7i5uru8vb6/
wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj5OXm5+jp6uvs7e7v
8PHy8/T19vf4+fr7/P3+/2ntp1WCqhcLjJQY/igkjNt3Yb6i0neqFkfrOp2UCDcz
6RSJtPLZbvOOKUHk2qwxPYUsFCnz/IWV6/ZiLRrabzUpS8oSN1HS6P7qqAdrHKgf
hVTHasdSf2UdMTPC7HBgnP9Ll0FhKN0h7vSzbbt7QM7wH9mr1ecc/Mt0SYW2lpwA
aJObYGTyk6hTgWm0g/MLrworLrezTqUHBZzVsu+LDyqLWK1lzJNd66MuNOsGA4YF
fbCsDh8n3H+Cw1k5YNBZDYYJOtVUgBWXheO6vgoOmqDdI0dAQ3hVo9DE+SkCFjgf
l4FY2yLEh9ZVZZrl1eD1Owh/X178CkHrBJYl9LNQSyQEKlDGWwBLQ/pY3qtjctr3
pV62MPQdBo+1lcsjDCJVQA6XUyltas4BKQ==
-----END OpenVPN tls-crypt-v2 client key-----
"""
HEADER = b"\x20" + b"sessioni"


def wall(now: float) -> float:
    return 1_700_000_000 + now


def test_tls_auth_reads_and_writes_openvpns_packet() -> None:
    number, time, body = Auth(KEY, 0, "SHA1").open(RESET_AUTH)
    assert (number, time) == (1, 0x61D3BF6C)
    assert packet.parse_body(Opcode.CONTROL_HARD_RESET_CLIENT_V2, body) == packet.Body((), None, 0, b"")
    assert Auth(KEY, 1, "SHA1").seal(RESET_AUTH[:9], body, number, time) == RESET_AUTH


def test_tls_crypt_reads_and_writes_openvpns_packet() -> None:
    number, time, body = Crypt(KEY, server=True).open(RESET_CRYPT)
    assert (number, time) == (1, 0x61D3F8E1)
    assert packet.parse_body(Opcode.CONTROL_HARD_RESET_CLIENT_V2, body) == packet.Body((), None, 0, b"")
    assert Crypt(KEY, server=False).seal(RESET_CRYPT[:9], body, number, time) == RESET_CRYPT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Auth(KEY, 0, "SHA256"), Auth(KEY, 1, "SHA256")),
        (Auth(KEY, None, "SHA512"), Auth(KEY, None, "SHA512")),
        (Crypt(KEY, server=True), Crypt(KEY, server=False)),
        (Plain(), Plain()),
    ],
)
def test_what_one_end_seals_the_other_opens(one: tls_wrap.WrapCodec, other: tls_wrap.WrapCodec) -> None:
    for a, b in ((one, other), (other, one)):
        sealed = a.seal(HEADER, b"body", 5, 77)
        assert b.open(sealed) == ((5, 77, b"body") if a.counted else (0, 0, b"body"))
        assert len(sealed) == len(HEADER) + 4 + a.overhead


@pytest.mark.parametrize("codec", [Auth(KEY, None, "SHA1"), Crypt(KEY, server=False)])
def test_a_changed_or_short_packet_is_refused(codec: tls_wrap.WrapCodec) -> None:
    peer = Crypt(KEY, server=True) if isinstance(codec, Crypt) else codec
    sealed = peer.seal(HEADER, b"body", 5, 77)
    assert codec.open(sealed) == (5, 77, b"body")
    for at in range(len(sealed)):
        broken = bytearray(sealed)
        broken[at] ^= 1
        with pytest.raises(ProtocolError):
            codec.open(bytes(broken))
        with pytest.raises(ProtocolError):
            codec.open(sealed[:at])


def test_opposite_directions_do_not_open_each_others_packets() -> None:
    sealed = Crypt(KEY, server=True).seal(HEADER, b"body", 1, 1)
    with pytest.raises(ProtocolError):
        Crypt(KEY, server=True).open(sealed)


def test_client_key_of_openvpns_tests_opens_and_is_made_again() -> None:
    client = tls_wrap.parse_client_key(CLIENT_PEM)
    assert client.key == bytes(range(256))
    unwrapped = tls_wrap.unwrap_client_key(SERVER_KEY, client.wrapped)
    assert unwrapped.key == client.key
    assert unwrapped.metadata[0] == 0
    assert tls_wrap.wrap_client_key(SERVER_KEY, client.key, unwrapped.metadata) == client.wrapped


def test_a_wrapped_key_of_another_server_is_refused() -> None:
    client = tls_wrap.parse_client_key(CLIENT_PEM)
    with pytest.raises(ProtocolError):
        tls_wrap.unwrap_client_key(bytes(128), client.wrapped)
    for at in range(len(client.wrapped)):
        broken = bytearray(client.wrapped)
        broken[at] ^= 1
        with pytest.raises(ProtocolError):
            tls_wrap.unwrap_client_key(SERVER_KEY, bytes(broken))


def test_generated_keys_fit_each_other() -> None:
    server_pem = tls_wrap.generate_server_key()
    server = tls_wrap.parse_server_key(server_pem)
    dated = tls_wrap.parse_client_key(tls_wrap.generate_client_key(server_pem, 1000))
    metadata = tls_wrap.unwrap_client_key(server.key, dated.wrapped).metadata
    assert tls_wrap.fresh_enough(metadata, 10, 1010)
    assert not tls_wrap.fresh_enough(metadata, 10, 1011)
    assert tls_wrap.fresh_enough(metadata, None, 1e12)
    named = tls_wrap.parse_client_key(tls_wrap.generate_client_key(server_pem, 1000, b"serial 7"))
    metadata = tls_wrap.unwrap_client_key(server.key, named.wrapped).metadata
    assert metadata == b"\0serial 7"
    assert not tls_wrap.fresh_enough(metadata, 10, 1000)


def test_metadata_has_a_limit() -> None:
    server_pem = tls_wrap.generate_server_key()
    tls_wrap.generate_client_key(server_pem, 0, bytes(tls_wrap.MAX_METADATA - 1))
    with pytest.raises(ValueError, match="at most"):
        tls_wrap.generate_client_key(server_pem, 0, bytes(tls_wrap.MAX_METADATA))


def test_a_key_file_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="BEGIN OpenVPN tls-crypt-v2 server key"):
        tls_wrap.parse_server_key(CLIENT_PEM)
    with pytest.raises(ValueError, match="base64"):
        tls_wrap.parse_client_key(CLIENT_PEM.replace(b"AAEC", b"A*EC"))


def test_the_wrapped_key_rides_on_the_packets_that_carry_it() -> None:
    client = tls_wrap.parse_client_key(CLIENT_PEM)
    wrapping = Wrapping(Crypt(client.key, server=False), wall, wrapped=client.wrapped)
    head = packet.header(Opcode.CONTROL_HARD_RESET_CLIENT_V3, 0, b"sessioni")
    sealed = wrapping.seal(Opcode.CONTROL_HARD_RESET_CLIENT_V3, head, b"body", 1.0)
    bare, wrapped = tls_wrap.split_wrapped_key(sealed)
    assert wrapped == client.wrapped
    assert Crypt(client.key, server=True).open(bare)[2] == b"body"
    assert not wrapping.seal(Opcode.CONTROL_V1, HEADER, b"body", 1.0).endswith(wrapped)
    with pytest.raises(ProtocolError):
        tls_wrap.split_wrapped_key(bare)


def test_a_repeated_packet_is_refused_once_sealed_and_wrapped() -> None:
    one = Wrapping(Crypt(KEY, server=True), wall)
    other = Wrapping(Crypt(KEY, server=False), wall)
    packets = [one.seal(Opcode.CONTROL_V1, HEADER, bytes([n]), 5.0) for n in range(3)]
    assert [other.open(packets[n]) for n in (1, 0, 2)] == [b"\1", b"\0", b"\2"]
    for sealed in packets:
        with pytest.raises(ProtocolError, match="repeated"):
            other.open(sealed)
    again = Wrapping(Crypt(KEY, server=True), wall)
    with pytest.raises(ProtocolError, match="repeated"):
        other.open(again.seal(Opcode.CONTROL_V1, HEADER, b"older", 4.0))
    later = Wrapping(Crypt(KEY, server=True), wall)
    assert other.open(later.seal(Opcode.CONTROL_V1, HEADER, b"newer", 6.0)) == b"newer"


def test_keys_stay_out_of_repr() -> None:
    client = tls_wrap.parse_client_key(CLIENT_PEM)
    shown = [
        repr(client),
        repr(tls_wrap.AuthKey(KEY, 1)),
        repr(tls_wrap.CryptKey(KEY)),
        repr(tls_wrap.ServerKey(SERVER_KEY)),
        repr(tls_wrap.unwrap_client_key(SERVER_KEY, client.wrapped)),
    ]
    assert not any("\\x" in text for text in shown)


def test_dynamic_keys_are_mixed_with_the_key_before() -> None:
    exported = bytes(range(256))
    one = tls_wrap.dynamic(exported, KEY, server=True)
    other = tls_wrap.dynamic(exported, KEY, server=False)
    assert other.open(one.seal(HEADER, b"body", 1, 1))[2] == b"body"
    with pytest.raises(ProtocolError):
        tls_wrap.dynamic(exported, b"", server=False).open(one.seal(HEADER, b"body", 1, 1))
