"""An OpenVPN configuration as a machine file: a link or a server, at a TAP or TUN of this computer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tmelink.importers import Imported
from tmelink.openvpn.options import config_file
from tmelink.openvpn.options.config_file import Directive
from tmelink.openvpn.options.parse import understand
from tmelink.tmesh.statements import quoted

_LINE = 90
"""Columns after which a command is continued on the next line."""

_INTERFACE = {"dev", "dev-type", "dev-node"}
"""Options about the interface, which an element of its own has here."""


def machine_file(path: Path, data: bytes, read_file: Callable[[str], bytes]) -> Imported:
    """A machine file that does what OpenVPN does with this configuration.

    Inline blocks become files beside it. What tmelink ignores or refuses is left out and named.
    """
    understood, mistakes = understand(str(path), read_file=read_file)
    status = {each.place.line: each for each in understood if each.place.source.name == str(path)}
    directives = config_file.read(data, str(path), lambda mistake: None)
    left_out = [str(mistake) for mistake in mistakes if mistake.place.line not in status]
    words: list[str] = []
    files: dict[str, bytes] = {}
    for directive in directives:
        name, line = directive.name.text, directive.name.place.line
        known = status.get(line)
        if known is None or known.status != "works":
            reason = known.reason if known is not None else "unknown"
            left_out.append(f"line {line}: {name}: {reason}")
        elif name == "connection":
            left_out.append(f"line {line}: a machine file has no <connection>; use --remote")
        elif directive.block is not None:
            file = f"{path.stem}.{name}"
            files[file] = directive.block.text.reveal()
            words.append(f"--{name} {quoted(file)}")
        elif name not in _INTERFACE - {"dev-type"}:
            words.append(" ".join([f"--{name}", *(quoted(each.text) for each in directive.arguments)]))
    return Imported(_text(path, directives, words, left_out), left_out, files)


def _text(path: Path, directives: list[Directive], words: list[str], left_out: list[str]) -> str:
    given = {each.name.text: [word.text for word in each.arguments] for each in directives}
    device = (given.get("dev") or ["tun"])[0]
    kind = (given.get("dev-type") or [device[:3]])[0]
    kind = kind if kind in ("tap", "tun") else "tun"
    interface = f" interface {quoted(device)}" if device not in ("tap", "tun", "null") else ""
    serves = "server" in given or "server-bridge" in given or given.get("mode") == ["server"]
    module = "server" if serves else "link"
    lines = [f"# Made from {path.name} by tmelink import."]
    lines += [f"# Left out, {each}" for each in left_out]
    lines += ["", f"own: tme/host/tun/{kind}{interface}"]
    command = f"{module} at own: tme/host/openvpn/socket/{module} --dev {kind}"
    for word in words:
        if len(command.rpartition("\n")[2]) + len(word) > _LINE:
            command += " \\\n   "
        command += f" {word}"
    return "\n".join([*lines, command]) + "\n"
