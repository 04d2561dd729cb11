"""The reference page of OpenVPN's options, made from the table: `python -m tmelink.openvpn.options.page`."""

from __future__ import annotations

from tmelink.openvpn.options.rows import SECTIONS
from tmelink.openvpn.options.table import Row

_HEAD = """# OpenVPN's options

A link's arguments are OpenVPN's own command line. A word that is not an option names a file with more
options, as after `--config`. This page lists every option of OpenVPN 2.6 and says what tmelink does with
it. tmelink's own options have a section of their own. An option has one of three states:

- **works**: it does what openvpn(8) says.
- **ignored**: tmelink accepts it without effect, and logs that once.
- **refused**: tmelink does not accept a file with it, for the reason given. With `setenv opt` or
  `ignore-unknown-option` before it, tmelink ignores it instead.

`tmelink ovpn FILE` shows the same for the options of one file. Numbers in parentheses are defaults. Options
marked † may stand inside `<connection>`, those marked ‡ may be written as a block, `<ca>` … `</ca>`.

Made by `python -m tmelink.openvpn.options.page`; do not edit it.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for title, rows in SECTIONS:
        parts.append(f"\n## {title}\n\n| option | | what it does, or why not |\n|---|---|---|\n")
        parts += [_line(row) for row in rows]
    return "".join(parts)


def _line(row: Row) -> str:
    status, about = row.status, row.about
    if row.same is not None:
        about = f"another name for `--{row.same}`" if status == "works" else about
    elif status == "refused" and row.instead:
        about = f"{about}; {row.instead}"
    marks = "†" * row.connection + "‡" * row.inline
    written = row.usage().replace("|", "\\|")
    return f"| `{written}`{marks and ' ' + marks} | {status} | {about} |\n"


if __name__ == "__main__":
    print(page(), end="")
