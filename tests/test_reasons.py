"""The list of reasons for drops is complete, and its page is what the list says."""

from __future__ import annotations

import ast
from pathlib import Path

import tmelink
from tmelink import reasons
from tmelink.reasons import PREFIXES, REASONS

ROOT = Path(tmelink.__file__).parent

END_A_SESSION = {"engine.py", "key_method.py", "negotiation.py", "vde.py", "vde_plug.py"}
"""Modules whose ProtocolError ends a session with a line in the log, and is not counted."""


def constants(node: ast.AST) -> set[str]:
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def counted(path: Path) -> set[str]:
    """Reasons that a module counts under, as far as it writes them there."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript):
            name = ast.unparse(node.value)
            if name.endswith("drops"):
                found |= constants(node.slice)
        elif isinstance(node, ast.Call) and node.args:
            name = ast.unparse(node.func)
            if name.endswith(".drop") or (name == "ProtocolError" and path.name not in END_A_SESSION):
                found |= constants(node.args[0])
    return found


def test_every_reason_is_explained() -> None:
    found = {reason: path for path in ROOT.rglob("*.py") for reason in counted(path)}
    assert len(found) > 100, "the search finds fewer reasons than there are"
    missing = {
        reason: path.name
        for reason, path in found.items()
        if reason not in REASONS and not reason.startswith(tuple(PREFIXES))
    }
    assert missing == {}


def test_the_page_is_what_the_list_says() -> None:
    page = (ROOT.parent / "docs" / "drops.md").read_text()
    assert page == reasons.page(), "python -m tmelink.reasons > docs/drops.md"
