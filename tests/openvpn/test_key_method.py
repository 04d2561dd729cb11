"""Key method 2: the message and the keys, against OpenVPN's own figures."""

import pytest

from tmelink.errors import ProtocolError
from tmelink.openvpn.data import direction
from tmelink.openvpn.tls import key_method
from tmelink.openvpn.tls.key_method import KeySource, Message


def test_prf_gives_what_openvpn_gives() -> None:
    # The figure of OpenVPN's tests/unit_tests/openvpn/test_crypto.c, crypto_test_tls_prf.
    secret = (
        b"Lorem ipsum dolor sit amet, consectetur adipisici elit, sed eiusmod tempor incidunt "
        b"ut labore et dolore magna aliqua."
    )
    seed = b"Quis aute iure reprehenderit in voluptate velit esse cillum dolore"
    assert key_method.prf(secret, seed, 32).hex() == (
        "d98c8518c85e946927916acfc2d592fbb1567e4b4b1459e6a904ac2ddab72d67"
    )


def message(*, server: bool) -> Message:
    return Message(KeySource.random(server=server), "V4,dev-type tap", "user", "pass wörd", "IV_VER=1\n")


@pytest.mark.parametrize("server", [False, True])
def test_a_message_comes_back_whole_and_only_when_it_is_whole(server: bool) -> None:
    sent = message(server=server)
    data = key_method.build(sent)
    assert key_method.parse(data + b"rest", from_client=not server) == (sent, b"rest")
    complete = [
        length
        for length in range(len(data) + 1)
        if key_method.parse(data[:length], from_client=not server) is not None
    ]
    # Without user name and what follows a message counts as that of an old peer.
    assert complete[-1] == len(data)
    assert len(complete) == 4


def test_another_key_method_is_refused() -> None:
    data = bytearray(key_method.build(message(server=False)))
    data[4] = 1
    with pytest.raises(ProtocolError, match="key method"):
        key_method.parse(bytes(data), from_client=True)


def test_secrets_stay_out_of_repr() -> None:
    sent = message(server=False)
    assert "pass" not in repr(sent)
    assert repr(sent.source) == "KeySource()"


def test_both_ends_get_the_same_keys_crosswise() -> None:
    client, server = KeySource.random(server=False), KeySource.random(server=True)
    material = key_method.expand(client, server, b"c" * 8, b"s" * 8)
    assert len(material) == 256
    sends, receives = direction.split(material, server=False)
    assert direction.split(material, server=True) == (receives, sends)
