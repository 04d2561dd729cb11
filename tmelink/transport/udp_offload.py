"""Socket options by which Linux takes and gives many datagrams in one call (`man 7 udp`)."""

from __future__ import annotations

UDP_SEGMENT = 103
UDP_GRO = 104
