"""Why frames are dropped: every reason that a counter may have, what it means and what helps.

One list, for the explanations in the log, for `tmelink doctor` and for docs/drops.md. An outgoing loss is counted
beside what was sent, an incoming one beside what was received.
"""

# ruff: noqa: E501 (a reason in a line reads as a table)

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

DropDirection = Literal["out", "in", "both"]


class Reason(NamedTuple):
    """`direction` is from the counting end's own point of view; `remedy` may be empty."""

    direction: DropDirection
    meaning: str
    remedy: str = ""


_KEYS = "compare --secret (the file and its direction), --auth and --cipher at both ends"
_SIZES = "give both ends the same --tun-mtu, --fragment and compression (--comp-lzo, --compress)"
_CONTROL_KEY = "compare --tls-crypt, --tls-auth (the file and its direction) and --auth at both ends"
_ATTACK = "a few come from strangers or an old session; if there are many, find out who sends them"
_SLOW = "the receiver is slower than the sender; lower the rate, or give it more processor time"

REASONS: Final[Mapping[str, Reason]] = {
    # Sockets, and the network beyond them
    "peer's port closed": Reason(
        "out",
        "the other computer answers, but nothing listens on that port",
        "start the other end, and compare --rport here with its --lport",
    ),
    "host unreachable": Reason(
        "out",
        "no computer answers at that address: ARP or neighbour discovery failed, or a router says so",
        "check the address in --remote, and that the other computer is on",
    ),
    "no route": Reason(
        "out", "this computer has no route to that address", "check 'ip route get ADDRESS' and the network cable"
    ),
    "network unreachable": Reason(
        "out", "a router on the path has no route to that address", "check the address in --remote"
    ),
    "network down": Reason("out", "the interface towards that address is down", "set it up: 'ip link set DEV up'"),
    "refused by a firewall on the path": Reason(
        "out", "a firewall on the path or on the other computer rejects the datagrams", "allow the port there"
    ),
    "refused by a firewall rule": Reason(
        "out", "a rule of this computer's firewall rejects the datagrams", "allow it: 'nft list ruleset' shows the rule"
    ),
    "hop limit exceeded on the path": Reason("out", "there is a routing loop on the path"),
    "too long for the path": Reason(
        "out",
        "datagrams are longer than the path allows, but must not be fragmented (--mtu-disc yes)",
        "lower --tun-mtu, or use --fragment or --mssfix",
    ),
    "undeliverable": Reason("out", "the network reports another ICMP error"),
    "socket error": Reason("both", "the system reports another error"),
    "socket full": Reason("out", "the socket's send buffer was full", "raise --sndbuf, or lower the rate"),
    "not the remote": Reason(
        "in",
        "the datagram came from another address or port than the peer's",
        "correct --remote, or use --float if the peer's address may change",
    ),
    "no peer yet": Reason("out", "the peer's address is unknown until it sends something"),
    "no route outside the link": Reason("out", "the answer to an unknown address would have entered the link itself"),
    "not connected": Reason("both", "nothing is connected on the other side"),
    "lost with the connection": Reason("out", "the packet was waiting to be sent when the TCP connection broke"),
    "queue full": Reason("both", "packets arrive faster than they leave the queue", _SLOW),
    "queue too long": Reason(
        "both", "a stream kept everything else waiting, so tmelink dropped one of its segments to slow it down"
    ),
    "bad length": Reason("in", "a length on a TCP connection is impossible: the other end speaks another protocol"),
    "too many connections": Reason("in", "too many connections wait at once", _ATTACK),
    "over --shaper": Reason("out", "more was sent than --shaper allows"),
    "not from the proxy": Reason("in", "the datagram did not come from the SOCKS proxy's relay", _ATTACK),
    "not a relayed datagram": Reason("in", "the SOCKS proxy's relay sent something that is not a datagram"),
    # Links without TLS
    "bad hmac": Reason("in", "the key does not verify the packet: the other end has a different key", _KEYS),
    "bad packet": Reason("in", "the packet is authentic but cannot be decrypted: the ciphers differ", _KEYS),
    "too short": Reason(
        "both", "the packet is too short for this link: the other end may have no key, or a different one",
        _KEYS,
    ),
    "too long": Reason("both", "the packet is longer than --tun-mtu allows", _SIZES),
    "too short to send": Reason("out", "the packet is too short for this link"),
    "too long to send": Reason("out", "the packet is longer than --tun-mtu allows", "lower the MTU of the interface, or raise --tun-mtu at both ends"),
    "not IP": Reason(
        "in", "a --dev tun link or a tunnel received something that is not an IP packet: keys, framing or --dev differ", _SIZES
    ),
    "link down": Reason("out", "the link has no peer yet, or has lost it"),
    # Keys, fragments, compression
    "not authentic": Reason("in", "the data channel's key does not verify the packet", _ATTACK),
    "data packet too short": Reason("in", "the packet is shorter than any packet of the data channel"),
    "bad padding": Reason("in", "the packet is authentic, but its padding is invalid"),
    "repeated packet": Reason("in", "a packet arrived twice or far too late: the network duplicates it, or a stranger replays it"),
    "replayed": Reason(
        "in",
        "a packet arrived twice: the network duplicates it, or a stranger replays it",
        "nothing is lost; use --mute-replay-warnings if the network often duplicates packets",
    ),
    "too late": Reason(
        "in",
        "a packet is older than --replay-window allows: the path reorders packets, or a stranger replays it",
        "if the path reorders packets, raise --replay-window at this end",
    ),
    "old sequence": Reason(
        "in",
        "a packet was sealed under an earlier clock than those before it: "
        "somebody replays it, or the peer has restarted with its clock set back",
        "nothing: tmelink asks the peer for proof, and then accepts its packets again",
    ),
    "incomplete record": Reason(
        "in",
        "other slices of the super-frame (--super-frames over UDP) were lost on the path",
        "nothing: on a lossy path, the peer sends shorter records or none",
    ),
    "malformed record": Reason("in", "a slice of a super-frame is inconsistent", _ATTACK),
    "packet ids used up": Reason("out", "a key has sealed as many packets as it may; new keys are being negotiated"),
    "unknown epoch": Reason("in", "the packet was sealed with a key far older or newer than the present one"),
    "too many forgeries": Reason("in", "so many forged packets arrived for a key that it is no longer used"),
    "no keys for a data packet": Reason("in", "the packet was sealed with keys that this end does not have, or no longer has"),
    "no keys yet": Reason("out", "the handshake is not complete"),
    "bad fragment": Reason(
        "in", "a fragment's header is invalid: one end has --fragment and the other does not", _SIZES
    ),
    "lost fragment": Reason("in", "the other fragments of the packet did not arrive"),
    "too many fragments": Reason("out", "the packet needs more fragments than a header can count"),
    "bad compression": Reason("in", "the compression header is invalid: the two ends use different framings", _SIZES),
    "LZO compressed": Reason("in", "the peer compresses with LZO", "give the peer --comp-lzo no"),
    "compressed": Reason("in", "the peer compresses, but this end does not accept compressed packets", _SIZES),
    # TLS
    "control packet not authentic": Reason("in", "the tls-crypt or tls-auth key does not verify the packet", _CONTROL_KEY),
    "control packet too short": Reason(
        "in", "the packet is shorter than a control packet: one end has --tls-crypt or --tls-auth and the other does not",
        _CONTROL_KEY,
    ),
    "repeated control packet id": Reason("in", "a control packet arrived twice", _ATTACK),
    "unknown opcode": Reason("in", "the packet is not one of OpenVPN's TLS mode: the other end has no --tls-…", _CONTROL_KEY),
    "control packet for an unknown session": Reason("in", "the packet's session is unknown here, such as one before a restart"),
    "control packet without a session id": Reason("in", "the sender's session id is missing"),
    "control packet from another address": Reason("in", "the packet's session is at another address", _ATTACK),
    "data packet from another address": Reason(
        "in", "the packet has the peer's keys, but another address", "use --float if the peer's address may change"
    ),
    "too many acknowledgements": Reason("in", "a control packet is malformed"),
    "acknowledges another session": Reason("in", "an answer to an earlier session"),
    "answer without an acknowledgement": Reason("in", "the answer acknowledges no packet, so it proves nothing"),
    "unknown key id": Reason("in", "the packet names keys that were never negotiated"),
    "unknown control message": Reason("in", "the peer sends an unknown message on the control channel"),
    "no wrapped client key": Reason("in", "the server has --tls-crypt-v2, but the client does not", _CONTROL_KEY),
    "control packet without a client key": Reason(
        "in", "the server has --tls-crypt-v2, but the client does not", _CONTROL_KEY
    ),
    "reset without a client key": Reason("in", "the server has --tls-crypt-v2, but the client does not", _CONTROL_KEY),
    "wrapped client key not authentic": Reason("in", "the client's --tls-crypt-v2 key belongs to another server", _CONTROL_KEY),
    "client key, but no tls-crypt-v2 here": Reason("in", "the client has --tls-crypt-v2, but the server does not", _CONTROL_KEY),
    "client key too old": Reason("in", "older than --tls-crypt-v2-max-age", "give the client a new key"),
    "client cannot repeat its key (OpenVPN 2.5)": Reason(
        "in", "the client is old, and the server does not allow --tls-crypt-v2 without cookies", "update the client"
    ),
    "reset that is not the first packet": Reason(
        "in", "a session begins with a packet that is not its first: "
        "one end has --tls-crypt and the other does not, or an old packet arrived again", _CONTROL_KEY,
    ),
    "reset while the peer is alive": Reason("in", "a new session begins while the present one is alive", _ATTACK),
    "more resets than one a second": Reason("in", "sessions begin faster than tmelink answers them", _ATTACK),
    "more resets than --connect-freq-initial": Reason("in", "too many sessions begin", _ATTACK),
    "more connections than --connect-freq": Reason("in", "too many clients come at once", _ATTACK),
    "more clients than --max-clients": Reason("in", "the server is full", "raise --max-clients"),
    "replaced by a newer connection": Reason("in", "a connection that had not authenticated made room for a newer one", _ATTACK),
    "data packet from an unknown client": Reason("in", "the packet has an unknown peer-id, or comes from another address"),
    # Servers
    "client gone": Reason("in", "the client left before its frames were forwarded"),
    "no --client-to-client": Reason("in", "one client sends to another, which --client-to-client would allow"),
    "frame before admission": Reason("in", "the frame arrived before its client was admitted"),
    "station unknown": Reason("out", "no client has that MAC address"),
    # Rendezvous
    "bad registration": Reason("in", "the datagram looks like a registration at a rendezvous, but is not valid", _ATTACK),
    "unknown rendezvous key": Reason(
        "in", "an end registers with a key that the rendezvous does not have", "compare 'key' with --rendezvous at both ends"
    ),
    "not registered": Reason("in", "a datagram came from an address where no end of a link is registered", _ATTACK),
    "other end not registered": Reason("in", "the link's other end has not registered yet, or has left"),
    # Elements
    "not open": Reason("out", "the element is not open yet, or is closed"),
    "closed": Reason("out", "the interface is closed"),
    "not taken": Reason("out", "the element does not accept frames"),
    "filtered": Reason("out", "the connection's filter blocks the frame", "see docs/switch.md"),
    "switch loop": Reason("out", "frames come back to a switch that sent them", "remove one of the loop's paths"),
    "blocked by the spanning tree": Reason(
        "out", "the connection closes a loop, and another one carries its frames", "'command SWITCH tree' shows which"
    ),
    "not a bridge's message": Reason("out", "a frame to the bridges' address is not a spanning tree message"),
    "loop cut": Reason(
        "out", "the connection closes a loop, and is cut until the loop is gone", "remove one of the loop's paths"
    ),
    "storm": Reason(
        "out", "more broadcast, multicast and unknown frames a second than the connection may have flooded",
        "if that many are intended, write 'storm FRAMES' after the switch's name",
    ),
    "separated by the switch": Reason("out", "the two connections are isolated, or belong to one mesh"),
    "VLAN not at this connection": Reason("out", "the connection does not have the frame's VLAN", "write 'vlan' after the switch's name"),
    "untagged on a trunk": Reason("out", "the connection is a trunk without 'native'", "add 'native VLAN'"),
    "station pinned to another connection": Reason("out", "'macs' of another connection name the sender"),
    "station not allowed here": Reason("out", "'macs' of the connection do not name the sender"),
    "more stations than mac-limit": Reason("out", "the connection has as many stations as it is allowed", _ATTACK),
    "frame check sequence is wrong": Reason(
        "out", "the frame was damaged, or has no check sequence", "leave out 'fcs' if frames have none"
    ),
    "reserved for the nearest bridge": Reason("out", "addresses 01:80:c2:00:00:00 to -0f are not forwarded (IEEE 802.1D)"),
    "table full": Reason("in", "the switch's table of stations is full", _ATTACK),
    "short frame": Reason("both", "the frame is shorter than an Ethernet header"),
    "driver not ready": Reason("out", "the guest's driver has no queue yet"),
    "receive buffer full": Reason("in", "the kernel's buffer was full", _SLOW),
    "longer than the buffer": Reason("in", "the program's buffer is too small"),
    "longer than the buffers": Reason("in", "the guest's buffers are too small"),
    "malformed super-frame": Reason("both", "the super-frame's label does not match its content"),
    "routed into itself": Reason("out", "the tunnel's outer packet would enter the tunnel", "give the remote another route"),
    "not a remote": Reason("in", "the packet did not come from a remote of the tunnel"),
    "not a peer": Reason("in", "the datagram did not come from a peer of the bridge", "add the peer, or correct its address"),
    "protocol not for the peer": Reason("out", "the peer does not take that protocol"),
    "passive peer is silent": Reason("out", "a passive peer has not been heard for a while"),
    "not to the group": Reason("in", "the datagram was not sent to the multicast group"),
    "too many plugs": Reason("in", "more VDE plugs than the switch takes"),
    "not a plug's request": Reason("in", "the datagram is not a request from a VDE plug"),
    "unreachable plug": Reason("in", "a VDE plug's own socket cannot be reached"),
    "not IPX": Reason("out", "DOSBox's tunnel carries only IPX"),
    "no such client": Reason("out", "no DOSBox has registered with that node"),
    "not a client's node": Reason("in", "the sender has not registered, or does not use the node that it was given"),
    "another secret": Reason("in", "a frame of 86Box's switch has a different secret", "give both ends the same secret"),
    "copy": Reason("in", "the same frame arrived on several networks, and only one copy is used"),
    "not LocalTalk": Reason("in", "the datagram is not a LocalTalk packet"),
    "already connected": Reason("in", "the element takes only one connection, which it already has"),
    "protocol not spoken": Reason("in", "the built-in host speaks IPv4, IPv6 and ARP only"),
    "tagged for a VLAN": Reason("in", "the built-in host has no VLANs"),
    "other port": Reason("in", "the tunnel has another port"),
    "other protocol": Reason("in", "the packet is not of the tunnel's protocol"),
    "for another address": Reason("in", "the tunnel's outer packet is for another address"),
    "time to live exceeded": Reason("in", "there is a routing loop"),
    "too big": Reason("out", "the packet does not fit the tunnel", "lower the MTU of the interface"),
    "too big, and not to be fragmented": Reason(
        "out", "the packet does not fit the tunnel; its sender got an ICMP error", "nothing, unless it continues"
    ),
    "too big for an outer packet": Reason("out", "an outer packet cannot be that long"),
    "too big for the path": Reason("out", "the outer packet is longer than the path allows", "lower the MTU"),
    "too big for the interface": Reason("out", "the outer packet is longer than the interface allows", "lower the MTU"),
    "short VLAN tag": Reason("in", "a VLAN tag is truncated"),
    "no carrier": Reason("out", "the card is not connected, or its link is down"),
    "babble": Reason("out", "the guest sends a frame of more than 1518 bytes"),
    "no buffer": Reason("in", "the guest does not give the card a buffer in time", _SLOW),
    "receiver off": Reason("in", "the guest has not turned on the card's receiver"),
}  # fmt: skip

PREFIXES: Final[Mapping[str, str]] = {
    "ARP:": "the built-in host or gateway refuses an ARP message (RFC 826, RFC 5227)",
    "IPX:": "the packet has no valid IPX header",
    "L2TP": "the tunnel refuses an outer packet (RFC 3931)",
    "EtherIP:": "the tunnel refuses an outer packet (RFC 3378)",
    "ECN:": "the tunnel refuses an outer packet (RFC 6040)",
    "GRE:": "the tunnel refuses an outer packet (RFC 2784, RFC 2890)",
    "ICMP:": "the built-in host, gateway or tunnel refuses an ICMP message (RFC 792, RFC 1122)",
    "ICMPv6:": "the built-in host or gateway refuses an ICMPv6 message (RFC 4443)",
    "IP in IP:": "the tunnel refuses an outer packet (RFC 2003, RFC 4213)",
    "IPv4:": "the built-in host or gateway refuses a packet (RFC 791, RFC 1122, RFC 1812)",
    "IPv6:": "the built-in host or gateway refuses a packet (RFC 8200)",
    "MLD:": "the built-in host refuses a query (RFC 3810)",
    "ND:": "the built-in host or gateway refuses a neighbour discovery message (RFC 4861)",
    "UDP:": "the built-in host does not serve the port",
    "VXLAN:": "the tunnel refuses an outer packet (RFC 7348)",
    "fragment:": "the built-in host or gateway cannot put a packet's fragments together",
    "impairment:": "an impairment drops it on purpose (docs/impairment.md)",
    "neighbour:": "the next host does not answer ARP or neighbour discovery",
}
"""Prefixes of reasons, and what such reasons have in common."""


def outgoing(drops: Mapping[str, int]) -> Counter[str]:
    """A session's drops of packets that it could not send."""
    return Counter({reason: count for reason, count in drops.items() if _is_outgoing(reason)})


def incoming(drops: Mapping[str, int]) -> Counter[str]:
    """A session's drops of packets that it refused."""
    return Counter({reason: count for reason, count in drops.items() if not _is_outgoing(reason)})


def _is_outgoing(reason: str) -> bool:
    found = REASONS.get(reason)
    return found is not None and found.direction == "out"


def explained(reason: str) -> str:
    """What a reason means and what helps, in one sentence; the reason itself if it needs no explanation."""
    found = REASONS.get(reason)
    if found is None:
        return reason
    return f"{found.meaning}: {found.remedy}" if found.remedy else found.meaning


_INTRODUCTION = """\
# Why frames are dropped

tmelink counts dropped packets by reason: in `tmelink status`, in the log, and in the summary at the end of a run. It counts each where it happens: an outgoing loss with what was sent, an incoming one with what was received.
`tmelink doctor` looks at these counters too. This page is generated: `python -m tmelink.reasons > docs/drops.md`.

| reason | direction | what it means | what helps |
|---|---|---|---|
"""

_DIRECTIONS: Final[Mapping[DropDirection, str]] = {"out": "outgoing", "in": "incoming", "both": "either"}


def page() -> str:
    """The text of docs/drops.md."""
    rows = [
        f"| `{name}` | {_DIRECTIONS[each.direction]} | {each.meaning} | {each.remedy} |"
        for name, each in REASONS.items()
    ]
    prefixes = [f"| `{prefix} …` | {meaning} |" for prefix, meaning in PREFIXES.items()]
    return (
        _INTRODUCTION
        + "\n".join(rows)
        + "\n\n## Groups of reasons\n\n| reason | what they have in common |\n|---|---|\n"
        + "\n".join(prefixes)
        + "\n"
    )


if __name__ == "__main__":
    print(page(), end="")
