"""Methods that show frames: `connections`, `capture`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

from tmelink.control.control import Control
from tmelink.control.methods import Methods, RequestError, Sink
from tmelink.control.protocol import INVALID_PARAMETERS
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.wire_capture import WireCapture
from tmelink.errors import ElementError
from tmelink.inline.capture import SNAPLEN, Capture, CaptureOptions, connection_name

METHODS = Methods()


@METHODS.request("connections")
def connections(control: Control) -> list[dict[str, Any]]:
    """Every connection: its name, as `capture` takes it, its two elements, and "ethernet" or "ip"."""
    return [
        {
            "name": connection_name(a),
            "element": a.element.name,
            "other": b.element.name,
            "kind": a.kind,
        }
        for a, b in control.lab.machine.connections
    ]


@METHODS.stream("capture")
def capture(
    control: Control,
    sink: Sink,
    *,
    connections: list[str] | None = None,
    filter: str = "",
    direction: str = "both",
    snaplen: int = SNAPLEN,
    count: int = 0,
    super_frames: bool = False,
) -> Callable[[], None]:
    """Frames as blocks of a pcapng file, in base64; the first item is the file's header.

    A connection's name is `le0:link0`. An element's name stands for all of its connections. Without names,
    the lab captures all connections. The direction "out" is what the first element sends. Each item says for
    each interface how many `frames` it holds and how many were `seen`. So a client knows how many it missed.
    """
    options = _options(filter, direction, snaplen, count, super_frames)
    total = [0]

    def write(blocks: bytes, frames: Sequence[int]) -> None:
        total[:] = [a + b for a, b in zip(total, frames, strict=True)]
        sink.put({"pcapng": base64.b64encode(blocks).decode(), "frames": list(frames), "seen": list(total)})

    try:
        ports = control.lab.ports_of(connections or ())
        total *= len(ports)
        running = Capture(ports, options, write, sink.end)
    except ValueError as error:
        raise RequestError(str(error), INVALID_PARAMETERS) from error
    running.open()
    return running.close


@METHODS.stream("capture_wire")
def capture_wire(
    control: Control,
    sink: Sink,
    *,
    link: str,
    keylog: bool = False,
    filter: str = "",
    direction: str = "both",
    snaplen: int = SNAPLEN,
    count: int = 0,
) -> Callable[[], None]:
    """A link's datagrams, as they are on the network; the items are like those of `capture`.

    With `keylog`, an item may have `keys` instead: lines of NSS's key log format, with the TLS secrets of new
    handshakes. With them, Wireshark decrypts the control channel. A TLS client starts a new session at once;
    a TLS server waits for its peer.
    """
    element = control.lab[link]
    if not isinstance(element, Link):
        raise RequestError(f"{element.name} is not a link", INVALID_PARAMETERS)
    seen = [0]

    def write(blocks: bytes, frames: Sequence[int]) -> None:
        seen[0] += frames[0]
        sink.put({"pcapng": base64.b64encode(blocks).decode(), "frames": list(frames), "seen": list(seen)})

    try:
        running = WireCapture(
            element, _options(filter, direction, snaplen, count, super_frames=True), write, sink.end
        )
    except ValueError as error:
        raise RequestError(str(error), INVALID_PARAMETERS) from error
    running.open()
    try:
        stop_keys = element.log_keys(lambda line: sink.put({"keys": [line]})) if keylog else lambda: None
    except ElementError:
        running.close()
        raise

    def stop() -> None:
        stop_keys()
        running.close()

    return stop


def _options(filter: str, direction: str, snaplen: int, count: int, super_frames: bool) -> CaptureOptions:
    if direction not in ("in", "out", "both"):
        raise RequestError("direction is in, out or both", INVALID_PARAMETERS)
    return CaptureOptions(filter, direction, max(snaplen, 1), super_frames, max(count, 0))  # type: ignore[arg-type]
