"""The neighbour cache against a clock that the test sets."""

from __future__ import annotations

from collections import Counter

from tmelink.stack import neighbours
from tmelink.stack.neighbours import DELAY, FORGET, REACHABLE, RETRY, TRIES, Neighbours

MAC = b"\x02\0\0\0\0\x01"
OTHER_MAC = b"\x02\0\0\0\0\x02"
A = b"\x0a\0\0\x01"


class Asked:
    """A cache, and what it asked and gave up."""

    def __init__(self) -> None:
        self.questions: list[tuple[bytes, bytes | None]] = []
        self.failures: list[tuple[bytes, tuple[bytes, ...]]] = []
        self.drops: Counter[str] = Counter()
        self.cache = Neighbours(
            lambda address, mac: self.questions.append((address, mac)),
            lambda address, packets, now: self.failures.append((address, tuple(packets))),
            self.drops,
        )


def address(number: int) -> bytes:
    return number.to_bytes(4, "big")


def test_packets_wait_for_the_answer_and_come_out_in_order() -> None:
    asked = Asked()
    cache = asked.cache
    assert cache.lookup(A, 0) is None
    assert cache.deadline() is None
    cache.wait(A, b"one", 0)
    cache.wait(A, b"two", 0)
    assert asked.questions == [(A, None)]
    assert list(cache.learn(A, MAC, 0.5, create=False)) == [b"one", b"two"]
    assert cache.lookup(A, 1) == MAC
    assert cache.deadline() is None


def test_what_was_not_asked_for_is_taken_in_only_on_purpose() -> None:
    cache = Asked().cache
    cache.learn(A, MAC, 0, create=False)
    assert cache.lookup(A, 0) is None
    cache.learn(A, MAC, 0, create=True)
    assert cache.lookup(A, 0) == MAC
    cache.learn(A, OTHER_MAC, 0, create=False)
    assert cache.lookup(A, 0) == OTHER_MAC


def test_no_answer_is_asked_for_again_and_then_given_up() -> None:
    asked = Asked()
    asked.cache.wait(A, b"one", 10)
    for attempt in range(1, TRIES):
        assert asked.cache.deadline() == 10 + attempt * RETRY
        asked.cache.tick(10 + attempt * RETRY - 0.001)
        assert len(asked.questions) == attempt
        asked.cache.tick(10 + attempt * RETRY)
        assert len(asked.questions) == attempt + 1
    asked.cache.tick(10 + TRIES * RETRY)
    assert asked.questions == [(A, None)] * TRIES
    assert asked.failures == [(A, (b"one",))]
    assert asked.drops == {"neighbour: no answer": 1}
    assert asked.cache.deadline() is None
    # The next packet restarts.
    asked.cache.wait(A, b"two", 20)
    assert len(asked.questions) == TRIES + 1


def test_an_old_entry_is_used_and_then_asked_for_alone() -> None:
    asked = Asked()
    asked.cache.learn(A, MAC, 0, create=True)
    assert asked.cache.lookup(A, REACHABLE) == MAC
    assert asked.cache.deadline() is None
    later = REACHABLE + 1
    assert asked.cache.lookup(A, later) == MAC
    assert asked.questions == []
    asked.cache.tick(later + DELAY)
    assert asked.questions == [(A, MAC)]
    asked.cache.learn(A, MAC, later + DELAY, create=False)
    assert asked.cache.deadline() is None
    assert asked.cache.lookup(A, later + DELAY) == MAC


def test_an_old_entry_that_does_not_answer_is_forgotten() -> None:
    asked = Asked()
    asked.cache.learn(A, MAC, 0, create=True)
    now = REACHABLE + 1.0
    asked.cache.lookup(A, now)
    while (due := asked.cache.deadline()) is not None:
        now = due
        asked.cache.tick(now)
    assert asked.questions == [(A, MAC)] * TRIES
    assert asked.cache.lookup(A, now) is None
    assert asked.failures == [(A, ())]


def test_an_ancient_entry_is_not_used() -> None:
    asked = Asked()
    asked.cache.learn(A, MAC, 0, create=True)
    assert asked.cache.lookup(A, FORGET + 1) is None


def test_an_unconfirmed_entry_is_used_and_asked_for() -> None:
    asked = Asked()
    asked.cache.learn(A, MAC, 0, create=True, confirmed=False)
    assert asked.cache.lookup(A, 0.1) == MAC
    assert asked.cache.deadline() == 0.1 + DELAY


def test_an_unconfirmed_repetition_does_not_weaken_a_confirmed_entry() -> None:
    asked = Asked()
    asked.cache.learn(A, MAC, 0, create=True)
    asked.cache.learn(A, MAC, 1, create=True, confirmed=False)
    asked.cache.lookup(A, 2)
    assert asked.cache.deadline() is None


def test_contradiction_makes_an_entry_stale() -> None:
    asked = Asked()
    asked.cache.learn(A, MAC, 0, create=True)
    asked.cache.stale(A, 1)
    assert asked.cache.lookup(A, 1) == MAC
    assert asked.cache.deadline() == 1 + DELAY


def test_the_queue_of_one_address_keeps_the_newest() -> None:
    asked = Asked()
    for number in range(neighbours.WAITING + 3):
        asked.cache.wait(A, address(number), 0)
    assert asked.drops == {"neighbour: queue full": 3}
    waiting = asked.cache.learn(A, MAC, 0, create=False)
    assert list(waiting) == [address(number) for number in range(3, neighbours.WAITING + 3)]


def test_a_scan_is_bounded() -> None:
    asked = Asked()
    for number in range(neighbours.UNRESOLVED + 5):
        asked.cache.wait(address(number), b"", 0)
    assert len(asked.questions) == neighbours.UNRESOLVED
    assert asked.drops == {"neighbour: too many unresolved": 5}


def test_the_cache_is_bounded_and_forgets_who_was_silent_longest() -> None:
    cache = Asked().cache
    for number in range(neighbours.CACHE):
        cache.learn(address(number), MAC, number, create=True)
    cache.learn(address(0), MAC, neighbours.CACHE, create=True)
    cache.learn(address(neighbours.CACHE), MAC, neighbours.CACHE, create=True)
    assert cache.known(address(0)) == MAC
    assert cache.known(address(1)) is None
    assert len(list(cache.table(0))) == neighbours.CACHE


def test_the_table_tells_states() -> None:
    cache = Asked().cache
    cache.learn(A, MAC, 0, create=True)
    cache.wait(address(1), b"", 0)
    assert list(cache.table(1)) == [(A, MAC, "reachable", 1), (address(1), None, "asking", 0.0)]
    assert next(iter(cache.table(REACHABLE + 1)))[2] == "stale"
