"""OpenVPN's options for a link: words in, `Options` or located mistakes out.

The public face of the option table (`option_table`, `option_rows`), the reading (`option_list`,
`config_file`), the meaning (`option_fields`) and the checks (`option_checks`). No I/O: files are read by the
function that the caller gives.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace

from tmelink.openvpn.options import checks as option_checks
from tmelink.openvpn.options import fields as option_fields
from tmelink.openvpn.options import secure, server_fields, tls_fields
from tmelink.openvpn.options.fields import Chosen
from tmelink.openvpn.options.reading import OptionList, ReadFile, Understood
from tmelink.openvpn.options.rows import SECTIONS
from tmelink.openvpn.options.values import Note, Options, Remote
from tmelink.source import Mistake, Place, Report, Source, Word

_WIDTH = 100
"""Columns of the usage text."""

__all__ = ["Note", "Options", "Remote", "Understood", "parse", "reference", "understand", "usage"]


def parse(
    words: Sequence[Word],
    place: Place,
    report: Report,
    *,
    read_file: ReadFile,
    base: str | None = None,
) -> Options | None:
    """Read a link's arguments; None after reporting every mistake in them and in the files they name.

    Relative file names start from --cd, else from the directory of the file they stand in; for the words
    themselves that is `base`, or without it the directory of their own source. What was accepted without
    effect is in `Options.notes`.
    """
    options, _understood = _read(words, place, report, read_file, base)
    return options


def understand(path: str, *, read_file: ReadFile) -> tuple[list[Understood], list[Mistake]]:
    """How each option of a configuration file is understood, and every mistake in it.

    An option whose value or company makes a mistake is refused, though its row says that it works.
    """
    mistakes: list[Mistake] = []
    place = Place(Source(path, ""), 1, 1)
    words = [Word("--config", place), Word(path, place)]
    _options, found = _read(words, place, mistakes.append, read_file, "")
    wrong = {(m.place.source, m.place.line): m for m in reversed(mistakes)}
    understood = []
    for option in found[1:]:
        mistake = wrong.get((option.place.source, option.place.line))
        if option.status == "works" and mistake is not None:
            reason = f"{mistake.message} ({mistake.hint})" if mistake.hint else mistake.message
            option = replace(option, status="refused", reason=reason)
        understood.append(option)
    return understood, mistakes


def _read(
    words: Sequence[Word],
    place: Place,
    report: Report,
    read_file: ReadFile,
    base: str | None,
) -> tuple[Options | None, list[Understood]]:
    mistakes: set[Mistake] = set()

    def once(mistake: Mistake) -> None:
        """An option that holds for several --remote is found wrong with each."""
        if mistake not in mistakes:
            mistakes.add(mistake)
            report(mistake)

    found = OptionList(once, read_file, base)
    found.read_words(secure.with_placeholders(words))
    complete = not mistakes
    chosen = Chosen(found.settings)
    server = option_checks.serves(chosen)
    paths = option_fields.paths(found, chosen, once)
    option_checks.check(chosen, paths, place, once, complete=complete)
    device = option_fields.device(chosen, once)
    network = server_fields.network(chosen, device["dev_type"], once)
    serving = None
    if server:
        serving, own = server_fields.server(found, chosen, device["dev_type"], network.topology, once)
        network = replace(network, **own)
    side = tls_fields.role(chosen, server)
    options = Options(
        mode="server" if server else "p2p",
        remotes=tuple(path.as_remote() for path in paths if path.remote is not None),
        remote_random=chosen.has("remote-random"),
        remote_random_hostname=chosen.has("remote-random-hostname"),
        connect_retry_max=chosen.value("connect-retry-max", 0),
        resolv_retry=option_fields.resolv_retry(chosen, once),
        liveness=option_fields.liveness(chosen, server),
        verb=chosen.value("verb", 1),
        tls=None if side is None else tls_fields.tls(found, chosen, side, once),
        server=serving,
        network=network,
        notes=(*_notes(found), *option_checks.remarks(chosen, paths)),
        **device,
        **paths[0].fields,
        rendezvous=found.material(chosen.last("rendezvous")),
        **option_fields.sockets(chosen),
        monitoring=option_fields.monitoring(found, chosen, once),
        **option_fields.data_channel(found, chosen, once),
    )
    return (None if mistakes else options), found.understood


def _notes(found: OptionList) -> list[Note]:
    """What was accepted without effect, each option once."""
    notes: dict[str, Note] = {}
    for option in found.understood:
        if option.status == "ignored":
            name = option.option.split(" ")[0].strip("<>")
            notes.setdefault(name, Note(option.place, f"--{name} has no effect: {option.reason}"))
    return list(notes.values())


def usage() -> str:
    """The options that work, by topic."""
    lines = ["[FILE] [--OPTION [ARGUMENT]…]…"]
    for title, rows in SECTIONS:
        names = [f"--{row.name}" for row in rows if row.status == "works" and row.same is None]
        if names:
            text = f"{title}: {' '.join(names)}"
            lines += textwrap.wrap(
                text,
                _WIDTH,
                initial_indent="    ",
                subsequent_indent="        ",
                break_on_hyphens=False,
            )
    return "\n".join(lines)


def reference() -> list[tuple[str, str]]:
    """A row for each option that works: how it is written, what it does."""
    return [(row.usage(), row.about) for _title, rows in SECTIONS for row in rows if row.status == "works"]
