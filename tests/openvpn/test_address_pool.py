"""Addresses lent to clients: kept, reused, written down."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Interface

from tmelink.openvpn.server.address_pool import AddressPool, Lease

FIRST, LAST = IPv4Address("10.8.0.2"), IPv4Address("10.8.0.5")


def small(**more: bool) -> AddressPool:
    return AddressPool(FIRST, LAST, None, **more)  # type: ignore[arg-type]


def test_every_client_gets_an_address_of_its_own_until_there_are_no_more() -> None:
    pool = AddressPool(FIRST, LAST, IPv6Interface("fd00::1000/64"))
    leases = [pool.lend(name) for name in "abcd"]
    assert leases[0] == Lease(0, FIRST, None, IPv6Interface("fd00::1000/64"))
    assert leases[3] == Lease(3, LAST, None, IPv6Interface("fd00::1003/64"))
    assert pool.lend("e") is None


def test_a_client_gets_its_address_again() -> None:
    pool = small()
    for name in "abc":
        pool.lend(name)
    pool.give_back(1, 5.0)
    pool.give_back(0, 6.0)
    new = pool.lend("d")
    assert new is not None
    assert new.number == 3  # never lent before
    again = pool.lend("b")
    assert again is not None
    assert again.number == 1


def test_the_longest_free_address_is_taken_from_its_last_client() -> None:
    pool = small()
    for name in "abcd":
        pool.lend(name)
    pool.give_back(2, 5.0)
    pool.give_back(1, 6.0)
    taken = pool.lend("e")
    assert taken is not None
    assert taken.number == 2
    back = pool.lend("c")
    assert back is not None
    assert back.number == 1


def test_clients_of_one_name_share_no_address() -> None:
    pool = small(duplicate_cn=True)
    assert [lease.number for name in "aaaa" if (lease := pool.lend(name))] == [0, 1, 2, 3]
    pool.give_back(1, 1.0)
    pool.give_back(1, 9.0)
    again = pool.lend("a")
    assert again is not None
    assert again.number == 1


def test_four_addresses_a_client() -> None:
    pool = AddressPool(IPv4Address("10.8.0.4"), IPv4Address("10.8.0.251"), None, layout="net30")
    one, two = pool.lend("a"), pool.lend("b")
    assert one == Lease(0, IPv4Address("10.8.0.6"), IPv4Address("10.8.0.5"), None)
    assert two == Lease(1, IPv4Address("10.8.0.10"), IPv4Address("10.8.0.9"), None)
    assert pool.write() == "a,10.8.0.4,\nb,10.8.0.8,\n"
    assert sum(1 for _ in iter(lambda: pool.lend(""), None)) == 60


def test_a_pool_is_written_down_and_read_again() -> None:
    pool = AddressPool(FIRST, LAST, IPv6Interface("fd00::1000/64"))
    for name in "abc":
        pool.lend(name)
    text = pool.write()
    assert text.splitlines()[1] == "b,10.8.0.3,fd00::1001"
    again = AddressPool(FIRST, LAST, IPv6Interface("fd00::1000/64"))
    assert again.read("# a comment\n\n" + text) == []
    lease = again.lend("c")
    assert lease is not None
    assert lease.number == 2
    fresh = again.lend("x")
    assert fresh is not None
    assert fresh.number == 3


def test_wrong_lines_are_told() -> None:
    told = small().read("a,10.9.0.1\nb\n,10.8.0.3\nc,here\nd,10.8.0.4\n")
    assert [text.split(":")[0] for text in told] == ["line 1", "line 2", "line 3", "line 4"]


def test_a_fixed_address_is_nobody_elses() -> None:
    pool = small(fixed=True)
    assert pool.read("a,10.8.0.2\nb,10.8.0.3\n") == []
    assert [lease.number for name in "xyz" if (lease := pool.lend(name))] == [2, 3]
    kept = pool.lend("b")
    assert kept is not None
    assert kept.number == 1


def test_without_addresses_there_is_nothing_to_lend() -> None:
    assert AddressPool(None, None, None).lend("a") is None
    six = AddressPool(None, None, IPv6Interface("fd00::2/126"))
    assert [lease.local6 for name in "abc" if (lease := six.lend(name))] == [
        IPv6Interface("fd00::2/126"),
        IPv6Interface("fd00::3/126"),
    ]
    assert six.write() == "a,,fd00::2\nb,,fd00::3\n"
