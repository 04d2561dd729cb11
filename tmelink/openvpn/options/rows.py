"""The option table: every option that OpenVPN 2.6 knows, those that it has dropped, and tmelink's own."""

from __future__ import annotations

from tmelink.openvpn.options.link_rows import LINK
from tmelink.openvpn.options.table import Row, Section
from tmelink.openvpn.options.tls_rows import TLS
from tmelink.openvpn.options.tmelink_rows import OWN
from tmelink.openvpn.options.unsupported_rows import FOREIGN

SECTIONS: tuple[Section, ...] = (*LINK, *TLS, *OWN, *FOREIGN)
"""The rows by topic, in the order in which the reference page shows them."""

ROWS: dict[str, Row] = {row.name: row for _title, rows in SECTIONS for row in rows}
"""Every row by its option's name, without `--`."""
