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
_ATTACK = "a few come from strangers or from an old session; many need a look at who sends them"
_SLOW = "what follows is slower than what sends; lower the rate, or give it more processor time"

REASONS: Final[Mapping[str, Reason]] = {
    # Sockets, and the network beyond them
    "peer's port closed": Reason(
        "out",
        "the other computer was reached, and nothing listens on that port there",
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
        "out", "a firewall on the path, or of the other computer, says that it refuses", "allow the port there"
    ),
    "refused by a firewall rule": Reason(
        "out", "a rule of this computer's firewall refuses to send", "allow it: 'nft list ruleset' shows the rule"
    ),
    "hop limit exceeded on the path": Reason("out", "routers on the path hand the datagrams round in a circle"),
    "too long for the path": Reason(
        "out",
        "datagrams are longer than the path takes, and must not be fragmented (--mtu-disc yes)",
        "lower --tun-mtu, or use --fragment or --mssfix",
    ),
    "undeliverable": Reason("out", "the network reports another ICMP error"),
    "socket error": Reason("both", "the system refuses with an error that has no name here"),
    "socket full": Reason("out", "the socket's send buffer was full", "raise --sndbuf, or lower the rate"),
    "not the remote": Reason(
        "in",
        "it came from another address or port than the peer's",
        "correct --remote, or give --float where the peer may be anywhere",
    ),
    "no peer yet": Reason("out", "the peer's address is not known before it is heard"),
    "no route outside the link": Reason("out", "the answer to an unknown address would have entered the link itself"),
    "not connected": Reason("both", "no element, or no connection of the transport, is at the other side"),
    "lost with the connection": Reason("out", "it waited to be sent when the TCP connection broke"),
    "queue full": Reason("both", "more waits than the queue holds", _SLOW),
    "queue too long": Reason(
        "both",
        "streams kept everything else waiting, so that one of their segments was dropped: they slow down a little",
    ),
    "bad length": Reason("in", "a length on a TCP connection is impossible: the other end speaks something else"),
    "too many connections": Reason("in", "more connections wait than are kept", _ATTACK),
    "over --shaper": Reason("out", "more was sent than --shaper allows"),
    "not from the proxy": Reason("in", "it did not come from the SOCKS proxy's relay", _ATTACK),
    "no relayed datagram": Reason("in", "the SOCKS proxy's relay sent something that is not a datagram"),
    # Links without TLS
    "bad hmac": Reason("in", "the key does not verify the packet: the other end has another key", _KEYS),
    "bad packet": Reason("in", "the packet is authentic and cannot be decrypted: the ciphers differ", _KEYS),
    "too short": Reason(
        "both", "it is shorter than a frame or a packet of this link: the other end may have no key, or another",
        _KEYS,
    ),
    "too long": Reason("both", "it is longer than --tun-mtu allows", _SIZES),
    "too short to send": Reason("out", "it is shorter than a frame or a packet of this link"),
    "too long to send": Reason("out", "it is longer than --tun-mtu allows", "lower the MTU of the interface, or raise --tun-mtu at both ends"),
    "not IP": Reason(
        "in", "a --dev tun link or a tunnel got something that is not an IP packet: keys, framing or --dev differ", _SIZES
    ),
    "link down": Reason("out", "the link has no peer yet, or no more"),
    # Keys, fragments, compression
    "not authentic": Reason("in", "the data channel's key does not verify the packet", _ATTACK),
    "data packet too short": Reason("in", "it is shorter than any packet of the data channel"),
    "bad padding": Reason("in", "it is authentic and has no valid padding"),
    "repeated packet": Reason("in", "a packet came twice, or far too late: the network or a stranger repeats it"),
    "replayed": Reason(
        "in",
        "a packet came twice: the network or a stranger repeats it",
        "each is taken once, so nothing is lost; --mute-replay-warnings where the network often does",
    ),
    "too late": Reason(
        "in",
        "a packet is older than --replay-window allows: the path reorders, or a stranger repeats it",
        "raise --replay-window at this end where the path does",
    ),
    "old sequence": Reason(
        "in",
        "a packet was sealed under an earlier clock than those before it: somebody repeats it, or the peer has "
        "started again with its clock set back",
        "nothing: a peer that is there shows it when it is asked, and is heard again",
    ),
    "incomplete record": Reason(
        "in",
        "slices of a super-frame (--super-frames over UDP) whose others were lost on the path",
        "nothing: the peer sends shorter records, or none, where a path loses much",
    ),
    "malformed record": Reason("in", "a slice of a super-frame contradicts itself", _ATTACK),
    "packet ids used up": Reason("out", "a key has sealed as many packets as it may; new keys are being negotiated"),
    "unknown epoch": Reason("in", "it was sealed under a key far before or after the present one"),
    "too many forgeries": Reason("in", "a key has seen so many forged packets that it is no longer believed"),
    "no keys for a data packet": Reason("in", "it was sealed under keys that are not, or no longer, here"),
    "no keys yet": Reason("out", "the handshake has not come to an end"),
    "bad fragment": Reason(
        "in", "the header of a fragment is impossible: one end has --fragment and the other has not", _SIZES
    ),
    "lost fragment": Reason("in", "the other fragments of the packet did not come"),
    "too many fragments": Reason("out", "the packet needs more fragments than a header counts"),
    "bad compression": Reason("in", "the compression's header is impossible: the ends frame differently", _SIZES),
    "LZO compressed": Reason("in", "the peer compresses with LZO", "give the peer --comp-lzo no"),
    "compressed": Reason("in", "the peer compresses, and this end takes no compressed packets", _SIZES),
    # TLS
    "control packet not authentic": Reason("in", "the tls-crypt or tls-auth key does not verify it", _CONTROL_KEY),
    "control packet too short": Reason(
        "in", "it is shorter than a control packet: one end has --tls-crypt or --tls-auth, the other not",
        _CONTROL_KEY,
    ),
    "repeated control packet id": Reason("in", "a control packet came twice", _ATTACK),
    "unknown opcode": Reason("in", "it is not a packet of OpenVPN's TLS mode: the other end has no --tls-…", _CONTROL_KEY),
    "control packet of no session": Reason("in", "it belongs to no session here, such as one before a restart"),
    "control packet without a session id": Reason("in", "the sender's session id is missing"),
    "control packet from another address": Reason("in", "its session is at another address", _ATTACK),
    "data packet from another address": Reason(
        "in", "the peer's keys, from another address", "give --float where the peer's address may change"
    ),
    "too many acknowledgements": Reason("in", "a control packet is malformed"),
    "acknowledges another session": Reason("in", "an answer to an earlier session"),
    "answer that acknowledges nothing": Reason("in", "an answer that does not show that it is one"),
    "unknown key id": Reason("in", "it names keys that were never agreed on"),
    "unknown control message": Reason("in", "the peer says something on the control channel that is not known"),
    "no wrapped client key": Reason("in", "a client without --tls-crypt-v2, at a server with", _CONTROL_KEY),
    "control packet without a client key": Reason(
        "in", "a client without --tls-crypt-v2, at a server with", _CONTROL_KEY
    ),
    "reset without a client key": Reason("in", "a client without --tls-crypt-v2, at a server with", _CONTROL_KEY),
    "wrapped client key not authentic": Reason("in", "the client's --tls-crypt-v2 key is of another server", _CONTROL_KEY),
    "client key, and no tls-crypt-v2 here": Reason("in", "a client with --tls-crypt-v2, at a server without", _CONTROL_KEY),
    "client key too old": Reason("in", "older than --tls-crypt-v2-max-age", "give the client a new key"),
    "client cannot repeat its key (OpenVPN 2.5)": Reason(
        "in", "an old client, and --tls-crypt-v2 without cookies is not allowed", "update the client"
    ),
    "reset that is not the first packet": Reason(
        "in", "a session begins with a packet that is not its first: one end has --tls-crypt, the other not, or an "
        "old packet came again", _CONTROL_KEY,
    ),
    "reset of a peer that is alive": Reason("in", "a session begins while the present one is heard", _ATTACK),
    "more resets than one a second": Reason("in", "sessions begin faster than they are answered", _ATTACK),
    "more resets than --connect-freq-initial": Reason("in", "too many sessions begin", _ATTACK),
    "more connections than --connect-freq": Reason("in", "too many clients come at once", _ATTACK),
    "more clients than --max-clients": Reason("in", "the server is full", "raise --max-clients"),
    "connection made room for another": Reason("in", "a connection that had not shown who it is made room", _ATTACK),
    "data packet of no client": Reason("in", "it has no client's peer-id, or comes from another address"),
    # Servers
    "client gone": Reason("in", "the client left before its frames were handed on"),
    "no --client-to-client": Reason("in", "one client sends to another, which --client-to-client would allow"),
    "frame of no client": Reason("in", "it came before its client was admitted"),
    "station unknown": Reason("out", "no client has that MAC address"),
    # Rendezvous
    "bad registration": Reason("in", "it is not a registration at a rendezvous, though it looks like one", _ATTACK),
    "unknown rendezvous key": Reason(
        "in", "an end registers with a key that the rendezvous does not have", "compare 'key' with --rendezvous at both ends"
    ),
    "not registered": Reason("in", "a datagram came from an address where no end of a link is registered", _ATTACK),
    "other end not here": Reason("in", "the link's other end has not registered yet, or no more"),
    # Elements
    "not open": Reason("out", "the element is not open yet, or no more"),
    "closed": Reason("out", "the interface is closed"),
    "not taken": Reason("out", "the element takes no frames"),
    "filtered": Reason("out", "the connection's filter does not let it pass", "see docs/switch.md"),
    "switch loop": Reason("out", "frames come back to a switch that sent them", "remove one of the paths between"),
    "blocked by the spanning tree": Reason(
        "out", "the connection closes a loop, and another one carries its frames", "'command SWITCH tree' says which"
    ),
    "not a bridge's message": Reason("out", "a frame to the bridges' address is not a message of the spanning tree"),
    "loop cut": Reason(
        "out", "the connection closes a loop, and is cut while that lasts", "remove one of the paths between"
    ),
    "storm": Reason(
        "out", "more broadcast, multicast and unknown frames a second than the connection may have flooded",
        "'storm FRAMES' beside the switch, where that many are meant",
    ),
    "parted by the switch": Reason("out", "the two connections are isolated, or of one mesh"),
    "VLAN not here": Reason("out", "the connection does not have the frame's VLAN", "'vlan' beside the switch"),
    "no VLAN without a tag": Reason("out", "the connection is a trunk without 'native'", "add 'native VLAN'"),
    "its station is pinned elsewhere": Reason("out", "'macs' of another connection name the sender"),
    "its station is not of those here": Reason("out", "'macs' of the connection do not name the sender"),
    "more stations than mac-limit": Reason("out", "the connection has as many stations as it may have", _ATTACK),
    "frame check sequence is wrong": Reason(
        "out", "the frame was damaged, or has no check sequence", "leave out 'fcs' where frames have none"
    ),
    "reserved for the nearest bridge": Reason("out", "addresses 01:80:c2:00:00:00 to -0f are not forwarded (IEEE 802.1D)"),
    "table full": Reason("in", "the switch knows as many stations as it keeps", _ATTACK),
    "short frame": Reason("both", "it is shorter than an Ethernet header"),
    "driver not ready": Reason("out", "the guest's driver has no queue yet"),
    "receive buffer full": Reason("in", "the kernel's buffer was full", _SLOW),
    "longer than the buffer": Reason("in", "the program's buffer is too small"),
    "longer than the buffers": Reason("in", "the guest's buffers are too small"),
    "malformed super-frame": Reason("both", "its label does not fit what it holds"),
    "led into itself": Reason("out", "the tunnel's outer packet would enter the tunnel", "give the remote another route"),
    "not a remote": Reason("in", "it did not come from a remote of the tunnel"),
    "not a peer": Reason("in", "it did not come from a peer of the bridge", "add the peer, or correct its address"),
    "protocol not for the peer": Reason("out", "the peer does not take that protocol"),
    "passive peer is silent": Reason("out", "a passive peer has not been heard for a while"),
    "not to the group": Reason("in", "it was not sent to the multicast group"),
    "too many plugs": Reason("in", "more VDE plugs than the switch takes"),
    "no plug's request": Reason("in", "it is not a request of a VDE plug"),
    "unreachable plug": Reason("in", "a VDE plug's own socket cannot be reached"),
    "not IPX": Reason("out", "DOSBox's tunnel carries IPX alone"),
    "no such client": Reason("out", "no DOSBox has registered with that node"),
    "not a client's node": Reason("in", "its sender has not registered, or uses another node than it was given"),
    "another secret": Reason("in", "a frame of 86Box's switch has another secret", "give both ends the same secret"),
    "copy": Reason("in", "the same frame came on several networks, and is taken once"),
    "not LocalTalk": Reason("in", "the datagram is not a LocalTalk packet"),
    "a connection stands already": Reason("in", "the element takes one connection, and has it"),
    "protocol not spoken": Reason("in", "the built-in host speaks IPv4, IPv6 and ARP only"),
    "tagged for a VLAN": Reason("in", "the built-in host has no VLANs"),
    "other port": Reason("in", "the tunnel has another port"),
    "other protocol": Reason("in", "it is not of the tunnel's protocol"),
    "for another address": Reason("in", "the tunnel's outer packet is for another address"),
    "time to live exceeded": Reason("in", "routers hand the packets round in a circle"),
    "too big": Reason("out", "the packet does not fit the tunnel", "lower the MTU of the interface"),
    "too big, and not to be fragmented": Reason(
        "out", "the packet does not fit the tunnel; its sender was told", "nothing, unless it goes on"
    ),
    "too big for an outer packet": Reason("out", "no outer packet is that long"),
    "too big for the path": Reason("out", "the outer packet is longer than the path takes", "lower the MTU"),
    "too big for the interface": Reason("out", "the outer packet is longer than the interface takes", "lower the MTU"),
    "short VLAN tag": Reason("in", "a VLAN tag is cut off"),
    "no carrier": Reason("out", "the card is not connected, or its link is down"),
    "babble": Reason("out", "the guest sends a frame of more than 1518 bytes"),
    "no buffer": Reason("in", "the guest gives the card no buffer in time", _SLOW),
    "receiver off": Reason("in", "the guest has not switched the card's receiver on"),
}  # fmt: skip

PREFIXES: Final[Mapping[str, str]] = {
    "ARP:": "the built-in host or gateway refuses an ARP message (RFC 826, RFC 5227)",
    "IPX:": "what should be an IPX packet has no header of one",
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
"""Reasons that begin so, and what they have in common."""


def outgoing(drops: Mapping[str, int]) -> Counter[str]:
    """Those of a session's drops that it could not send."""
    return Counter({reason: count for reason, count in drops.items() if _is_outgoing(reason)})


def incoming(drops: Mapping[str, int]) -> Counter[str]:
    """Those of a session's drops that it has refused."""
    return Counter({reason: count for reason, count in drops.items() if not _is_outgoing(reason)})


def _is_outgoing(reason: str) -> bool:
    found = REASONS.get(reason)
    return found is not None and found.direction == "out"


def explained(reason: str) -> str:
    """What a reason means and what helps, in one sentence; the reason itself where it says all."""
    found = REASONS.get(reason)
    if found is None:
        return reason
    return f"{found.meaning}: {found.remedy}" if found.remedy else found.meaning


_INTRODUCTION = """\
# Why frames are dropped

`tmelink status`, the summary at the end of a run and the log count what is dropped by reason. Each is counted where it
happens: an outgoing loss beside what was sent, an incoming one beside what was received.
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
