"""Source NAT through libnftables: one table for each interface, which cannot outlive the process.

This is the library behind `nft`, called in the process: pyroute2's nftables lacks statements, and a table
made by the program `nft` would have to be cleaned up after a crash. A table with the flag "owner" (Linux
5.12) belongs to the socket that made it: the kernel removes it with the socket, and the `nft flush ruleset`
of a restarted firewall does not remove it (nft(8), "TABLES").
"""

from __future__ import annotations

import ctypes
import re
from functools import cache

from tmelink.errors import ElementError, MissingCapability, UnsupportedHere
from tmelink.routing.facts import IPNetwork

Masquerades = list[tuple[tuple[IPNetwork, ...], str]]
"""Networks, and the uplink interface whose address their packets leave with."""

_EPERM_WORDS = ("Operation not permitted", "you must be root")


def table_name(device: str) -> str:
    """The name of an interface's table; characters that nft's grammar does not allow become `_`."""
    return f"tmelink-{re.sub('[^A-Za-z0-9_.-]', '_', device)}"


class Masquerading:
    """The table of one interface, until `close`: packets of its networks leave with the host's address."""

    def __init__(self, device: str) -> None:
        self._library = _library()
        self._device = device
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_error(self._context)
        self._stands = False
        self.masquerades: Masquerades = []

    def set(self, masquerades: Masquerades) -> None:
        """Translate for exactly these networks and interfaces, in one transaction."""
        table = f"inet {table_name(self._device)}"
        rules = "".join(
            f'    {"ip" if network.version == 4 else "ip6"} saddr {network} oifname "{uplink}" masquerade\n'
            for networks, uplink in masquerades
            for network in networks
        )
        text = f"flush table {table}\n" if self._stands else ""
        text += f"table {table} {{\n flags owner;\n chain leaving {{\n"
        text += f"    type nat hook postrouting priority srcnat;\n{rules} }}\n}}\n"
        self._run(text)
        self._stands = True
        self.masquerades = masquerades

    def close(self) -> None:
        """Remove the table."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p()

    def _run(self, text: str) -> None:
        if self._library.nft_run_cmd_from_buffer(self._context, text.encode()) == 0:
            return
        said = self._library.nft_ctx_get_error_buffer(self._context).decode(errors="replace")
        what = f"translating addresses for {self._device}"
        if any(words in said for words in _EPERM_WORDS):
            raise MissingCapability(what, "CAP_NET_ADMIN")
        raise ElementError(f"{what}: {said.splitlines()[0] if said else 'libnftables refuses'}")


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise UnsupportedHere(
            f"source NAT needs libnftables ({error}); 'apt-get install libnftables1' installs it"
        ) from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_ctx_free.restype = None
    return library
