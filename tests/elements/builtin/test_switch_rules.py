"""The words of a connection at a switch: VLANs, isolation, meshes, limits, padding and check sequences."""

from __future__ import annotations

import random
from zlib import crc32

import pytest

from tests.support.bridge import BROADCAST, Bridge, RuledBridge, frame, station
from tests.support.statements import words
from tmelink.elements.builtin.port_rules import EVERY_VLAN, VlanMembers, read_rules
from tmelink.elements.builtin.storm import DEFAULT_RATE
from tmelink.errors import PortError
from tmelink.frame import Burst, Gso
from tmelink.offload import segmented
from tmelink.values import vlan_list


def tagged(whole: bytes, vlan: int, kind: bytes = b"\x81\x00") -> bytes:
    return whole[:12] + kind + vlan.to_bytes(2, "big") + whole[12:]


# VLANs


def test_a_vlan_s_frames_reach_its_connections_alone_with_a_tag_where_that_is_meant() -> None:
    bridge = RuledBridge(
        "vlan access 10",
        "vlan access 10",
        "vlan access 20",
        "vlan trunk 10,20",
        "vlan trunk 1,10-20 native 20",
        "",
    )
    whole = frame(BROADCAST, 1)
    bridge.ends[0].send(whole)
    assert bridge.taken() == [[], [whole], [], [tagged(whole, 10)], [tagged(whole, 10)], [tagged(whole, 10)]]
    bridge.ends[4].send(whole)
    assert bridge.taken() == [[], [], [whole], [tagged(whole, 20)], [], [tagged(whole, 20)]]
    bridge.ends[3].send(tagged(whole, 20), tagged(whole, 10))
    assert bridge.taken() == [
        [whole],
        [whole],
        [whole],
        [],
        [whole, tagged(whole, 10)],
        [tagged(whole, 20), tagged(whole, 10)],
    ]
    bridge.ends[5].send(whole)
    assert bridge.taken() == [[], [], [], [], [tagged(whole, 1)], []], "VLAN 1, where nothing is said"


def test_each_vlan_learns_for_itself() -> None:
    bridge = RuledBridge("vlan access 10", "vlan access 20", "vlan trunk 10,20", "vlan trunk 10,20")
    bridge.ends[2].send(tagged(frame(BROADCAST, 7), 10))
    bridge.ends[3].send(tagged(frame(BROADCAST, 7), 20))
    bridge.taken()
    bridge.ends[0].send(frame(7, 1))
    assert bridge.taken() == [[], [], [tagged(frame(7, 1), 10)], []]
    bridge.ends[1].send(frame(7, 2))
    assert bridge.taken() == [[], [], [], [tagged(frame(7, 2), 20)]]
    rows = [(each.mac, each.vlan, each.port) for each in bridge.switch.details().stations]
    assert rows == [(station(7), 10, 2), (station(7), 20, 3), (station(1), 10, 0), (station(2), 20, 1)]


@pytest.mark.parametrize(
    ("rules", "sent", "reason"),
    [
        ("vlan access 10", tagged(frame(BROADCAST, 1), 10), "VLAN not at this connection"),
        ("vlan access 10", tagged(frame(BROADCAST, 1), 11), "VLAN not at this connection"),
        ("vlan trunk 10", tagged(frame(BROADCAST, 1), 11), "VLAN not at this connection"),
        ("vlan trunk 10", tagged(frame(BROADCAST, 1), 0), "VLAN not at this connection"),
        ("vlan trunk 10", frame(BROADCAST, 1), "untagged on a trunk"),
    ],
)
def test_what_is_of_no_vlan_of_the_connection_is_counted(rules: str, sent: bytes, reason: str) -> None:
    bridge = RuledBridge(rules, "")
    bridge.ends[0].send(sent, b"", sent)
    assert bridge.taken() == [[], []]
    assert bridge.drops(0) == {reason: 2, "short frame": 1}


def test_a_tag_for_its_priority_alone_is_of_the_vlan_without_tags_and_keeps_the_priority() -> None:
    bridge = RuledBridge("vlan access 10", "vlan trunk 10", "vlan access 10")
    bridge.ends[0].send(tagged(frame(BROADCAST, 1), 0xE000))
    assert bridge.taken() == [[], [tagged(frame(BROADCAST, 1), 0xE00A)], [frame(BROADCAST, 1)]]


def test_a_second_tag_passes_as_it_is() -> None:
    bridge = RuledBridge("vlan trunk 10,20", "vlan trunk 10,20", "vlan access 10", "vlan access 1", "")
    inner = tagged(frame(BROADCAST, 1), 30)
    bridge.ends[0].send(tagged(inner, 10))
    assert bridge.taken() == [[], [tagged(inner, 10)], [inner], [], [tagged(inner, 10)]]
    service = tagged(frame(BROADCAST, 1), 30, b"\x88\xa8")
    bridge.ends[3].send(service)
    assert bridge.taken() == [[], [], [], [], [service]], "a service tag is no tag of this switch"
    plain = RuledBridge("", "")
    plain.ends[0].send(tagged(inner, 10), service)
    assert plain.taken() == [[], [tagged(inner, 10), service]]


def test_super_frames_keep_their_labels_through_tags() -> None:
    ip = bytes.fromhex("45000bcc00010000400600000a0000010a000002")
    tcp = bytes.fromhex("0400040000000001000000015010ffff00000000") + bytes(3000 - 20)
    whole = station(2) + station(1) + b"\x08\x00" + ip + tcp
    label = Gso(1, 1000, 54, 34, 16)
    bridge = RuledBridge("vlan access 10", "vlan trunk 10")
    bridge.ends[0].send(whole, gso=[label])
    (burst,) = bridge.ends[1].bursts
    assert burst.gso == [Gso(1, 1000, 58, 38, 16)]
    plain = segmented(Burst([whole], [label]), bridge.switch.ports[0].sent)
    cut = segmented(burst, bridge.switch.ports[0].sent)
    assert [bytes(each) for each in cut.frames] == [tagged(bytes(each), 10) for each in plain.frames]
    bridge.ends[1].bursts.clear()
    bridge.ends[1].send(tagged(whole, 10), gso=[burst.gso[0]])
    assert bridge.ends[0].bursts == [Burst([whole], [label])]


def test_it_forwards_as_a_switch_for_each_vlan_would() -> None:
    """Random traffic, against one plain switch for each VLAN."""
    source = random.Random(11)
    members = [
        VlanMembers(frozenset(), 10),
        VlanMembers(frozenset(), 20),
        VlanMembers(frozenset((10, 20)), None),
        VlanMembers(frozenset((10,)), 20),
        EVERY_VLAN,
    ]
    bridge = RuledBridge(
        "vlan access 10", "vlan access 20", "vlan trunk 10,20", "vlan trunk 10,20 native 20", ""
    )
    where: dict[tuple[int, bytes], int] = {}
    for _ in range(1500):
        port = source.randrange(5)
        vlan = source.choice((1, 10, 20, 30))
        to = source.choice((BROADCAST, station(source.randrange(6))))
        whole = frame(to, source.randrange(6), source.randbytes(4))
        mine = members[port]
        if vlan not in mine:
            continue
        bridge.ends[port].send(whole if vlan == mine.untagged else tagged(whole, vlan))
        where[vlan, whole[6:12]] = port
        known = where.get((vlan, whole[:6]))
        expected: list[list[bytes]] = [[] for _ in range(5)]
        for end in range(5) if known is None else (known,):
            if end != port and vlan in members[end]:
                expected[end].append(whole if vlan == members[end].untagged else tagged(whole, vlan))
        assert bridge.taken() == expected


# Who may send where


def test_isolated_connections_and_those_of_one_mesh_reach_the_others_and_not_each_other() -> None:
    for word in ("isolated", "mesh houses"):
        bridge = RuledBridge(word, word, "", "mesh others")
        bridge.ends[0].send(frame(BROADCAST, 1))
        assert bridge.taken() == [[], [], [frame(BROADCAST, 1)], [frame(BROADCAST, 1)]]
        bridge.ends[1].send(frame(BROADCAST, 2), frame(1, 2))
        assert bridge.taken() == [[], [], [frame(BROADCAST, 2)], [frame(BROADCAST, 2)]]
        assert bridge.drops(1) == {"separated by the switch": 1}
        bridge.ends[2].send(frame(1, 3))
        assert bridge.taken() == [[frame(1, 3)], [], [], []]


def test_unknown_stations_are_not_looked_for_where_nothing_is_flooded() -> None:
    bridge = RuledBridge("", "no-flood", "")
    bridge.ends[0].send(frame(9, 1), frame(BROADCAST, 1))
    assert bridge.taken() == [[], [frame(BROADCAST, 1)], [frame(9, 1), frame(BROADCAST, 1)]]
    bridge.ends[1].send(frame(BROADCAST, 9))
    bridge.taken()
    bridge.ends[0].send(frame(9, 1))
    assert bridge.taken() == [[], [frame(9, 1)], []]


def test_pinned_stations_are_at_their_connection_alone_and_no_others_are_there() -> None:
    bridge = RuledBridge("macs 02:00:00:00:00:01,02:00:00:00:00:02", "", "")
    bridge.ends[0].send(frame(BROADCAST, 1), frame(BROADCAST, 3))
    assert bridge.taken()[1] == [frame(BROADCAST, 1)]
    assert bridge.drops(0) == {"station not allowed here": 1}
    bridge.ends[1].send(frame(BROADCAST, 2), frame(BROADCAST, 4))
    assert bridge.taken()[2] == [frame(BROADCAST, 4)]
    assert bridge.drops(1) == {"station pinned to another connection": 1}
    with pytest.raises(PortError, match="02:00:00:00:00:02 is already at another connection of sw0"):
        bridge.switch.port(words("macs 02:00:00:00:00:02"))


def test_a_connection_has_no_more_stations_than_its_limit_and_room_again_when_some_are_gone() -> None:
    bridge = RuledBridge("mac-limit 2", "", ageing=10.0)
    bridge.ends[0].send(*(frame(BROADCAST, number) for number in range(4)))
    assert bridge.taken()[1] == [frame(BROADCAST, 0), frame(BROADCAST, 1)]
    assert bridge.drops(0) == {"more stations than mac-limit": 2}
    bridge.ends[1].send(frame(BROADCAST, 1))
    bridge.taken()
    bridge.ends[0].send(frame(BROADCAST, 5))
    assert bridge.taken()[1] == [frame(BROADCAST, 5)], "one has moved away"
    bridge.clock.now += 11
    bridge.ends[0].send(frame(BROADCAST, 6), frame(BROADCAST, 7), frame(BROADCAST, 8))
    assert bridge.taken()[1] == [frame(BROADCAST, 6), frame(BROADCAST, 7)]


# Storms


def test_a_storm_is_dropped_said_once_a_minute_and_over_after_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bridge = RuledBridge("storm 10", "", "")
    bridge.ends[1].send(frame(BROADCAST, 2))
    bridge.taken()
    with caplog.at_level("WARNING", "tmelink"):
        for number in range(5):
            bridge.ends[0].send(*(frame(to, 1) for to in (BROADCAST, 9, 2, bytes.fromhex("01005e000001"))))
            bridge.clock.now += 0.001 * number
    got = bridge.taken()
    assert len(got[2]) == 10
    assert got[1].count(frame(2, 1)) == 5, "frames for a known station are no storm"
    assert bridge.drops(0) == {"storm": 5}
    (line,) = caplog.messages
    assert line.startswith(
        "a storm at port 0 (end0): more than 10 broadcast, multicast or unknown frames a second"
    )
    bridge.clock.now += 1
    bridge.ends[0].send(*(frame(BROADCAST, 1) for _ in range(12)))
    assert len(bridge.taken()[2]) == 0, "what comes together is taken together, or not"
    bridge.ends[0].send(*(frame(BROADCAST, 1) for _ in range(8)))
    assert len(bridge.taken()[2]) == 8


def test_without_words_a_storm_counts_only_where_it_would_be_multiplied() -> None:
    for ends, passed in ((2, DEFAULT_RATE + 1000), (3, DEFAULT_RATE)):
        bridge = Bridge(ends)
        for _ in range(DEFAULT_RATE // 100 + 10):
            bridge.ends[0].send(*[frame(BROADCAST, 1)] * 100)
        assert len(bridge.taken()[1]) == passed


# Padding and check sequences


def test_frames_are_padded_and_have_a_check_sequence_where_that_is_said() -> None:
    bridge = RuledBridge("pad fcs", "", "pad", "fcs")
    short = frame(BROADCAST, 1)
    long = frame(BROADCAST, 1, bytes(100))

    def checked(whole: bytes) -> bytes:
        return whole + crc32(whole).to_bytes(4, "little")

    bridge.ends[1].send(short, long)
    padded = short.ljust(60, b"\0")
    assert bridge.taken() == [
        [checked(padded), checked(long)],
        [],
        [padded, long],
        [checked(short), checked(long)],
    ]
    bridge.ends[0].send(checked(padded), long, checked(long)[:-1] + b"?", short)
    assert bridge.taken() == [[], [padded], [padded], [checked(padded)]]
    assert bridge.drops(0) == {"frame check sequence is wrong": 3}
    # The residue that IEEE 802.3, 3.2.9 gives: over a frame with its check sequence it is always the same.
    assert crc32(checked(padded)) == crc32(checked(long)) == 0x2144DF1C


# Words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vlan", "write 'vlan access VLAN, or vlan trunk VLANS native VLAN'"),
        ("access 10", "write 'vlan access"),
        ("vlan access 0", "access: VLAN 0 is out of range"),
        ("vlan access 4095", "out of range"),
        ("vlan access 10 trunk 20", "excludes 'trunk'"),
        ("vlan access 10 native 10", "excludes 'trunk' and 'native'"),
        ("vlan trunk 20-10", "'20-10' is not a range: its end is before its start"),
        ("vlan trunk 1,,3", "trunk: "),
        ("native 3", "'native' needs 'vlan trunk VLANS' before it"),
        ("macs ff:ff:ff:ff:ff:ff", "macs: "),
        ("mac-limit 0", "out of range"),
        ("isolted", "unknown argument 'isolted' (did you mean isolated?)"),
    ],
)
def test_wrong_words_are_said(text: str, message: str) -> None:
    with pytest.raises(PortError) as caught:
        read_rules(words(text))
    assert message in str(caught.value)


def test_lists_of_vlans() -> None:
    assert vlan_list("1,10-12,12") == {1, 10, 11, 12}
    assert read_rules(words("vlan trunk 1,10-20 native 1")).vlans == VlanMembers(frozenset(range(10, 21)), 1)


# Paths that are remembered


def said_address(source: int, vlan: int) -> bytes:
    """An ARP answer to everybody: frames of a station that has an address may take a known path."""
    address = bytes((10, 0, 0, source))
    head = BROADCAST + station(source) + b"\x08\x06" + bytes.fromhex("0001080006040002")
    whole = head + station(source) + address + BROADCAST + address
    return tagged(whole, vlan) if vlan else whole


RULES = (
    ("vlan access 10", "vlan trunk 1,10-20 native 1", "vlan access 10 mac-limit 2", "vlan trunk 10,20"),
    ("isolated", "isolated", "mesh houses", "mesh houses no-flood"),
    ("vlan access 10", "pad", "macs 02:00:00:00:00:03", "vlan trunk 1,10 native 10"),
    ("vlan access 10", "vlan access 20", "vlan trunk 10,20", ""),
)


@pytest.mark.parametrize("rules", RULES, ids=" / ".join)
def test_known_paths_change_nothing_but_the_time_it_takes(
    rules: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same random frames through a switch that remembers paths and through one that does not."""
    for seed in range(5):
        chance = random.Random(seed)
        quick, plain = (RuledBridge(*rules, ageing=30) for _ in range(2))
        monkeypatch.setattr(plain.switch, "_remember", lambda *_args, **_words: None)
        taken_paths = 0
        for _ in range(300):
            port, source, to = chance.randrange(4), chance.randrange(1, 5), chance.randrange(1, 5)
            vlan, count = chance.choice((0, 0, 10, 20)), chance.choice((1, 1, 3))
            port = source - 1 if chance.random() < 0.9 else port
            whole = tagged(frame(to, source), vlan) if vlan else frame(to, source)
            frames = [said_address(source, vlan)] if chance.random() < 0.2 else [whole] * count
            if chance.random() < 0.2:
                frames.append(frame(source, to))
            passed, away = chance.choice((*[0] * 30, 1, 31)), chance.random() < 0.02
            taken_paths += len(quick.switch._paths)
            for bridge in (quick, plain):
                bridge.clock.now += passed
                if away:
                    bridge.switch._relearn({bridge.switch.ports[port]})
                bridge.ends[port].send(*frames)
            assert quick.taken() == plain.taken()
            assert [quick.drops(each) for each in range(4)] == [plain.drops(each) for each in range(4)]
            assert [row[0] for row in quick.switch.table()] == [row[0] for row in plain.switch.table()]
            assert [row[2] for row in quick.switch.table()] == [row[2] for row in plain.switch.table()]
        assert taken_paths, "some are known"


def test_a_super_frame_takes_a_known_path_with_its_label_moved() -> None:
    bridge = RuledBridge("vlan access 10", "vlan trunk 1,10 native 1")
    for end, each in enumerate((said_address(1, 0), said_address(2, 10))):
        bridge.ends[end].send(each)
    for _ in range(2):
        bridge.ends[0].send(frame(2, 1), gso=[Gso(1, 1400, 54, 34, 16)])
    assert len(bridge.switch._paths) == 1
    (*_, first, second) = bridge.ends[1].bursts
    assert first == second == Burst([tagged(frame(2, 1), 10)], [Gso(1, 1400, 58, 38, 16)])


def test_a_port_that_is_cut_is_on_no_known_path() -> None:
    bridge = RuledBridge("vlan access 10", "vlan access 10")
    for end in (0, 1):
        bridge.ends[end].send(said_address(end + 1, 0))
    for _ in range(2):
        bridge.ends[0].send(frame(2, 1))
    assert len(bridge.ends[1].taken()) == 3
    bridge.switch._cut.add(bridge.switch.ports[1])
    bridge.ends[0].send(frame(2, 1))
    assert bridge.ends[1].taken() == []
