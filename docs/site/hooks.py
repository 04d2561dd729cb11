"""What the site has beside the folder `docs/`: samples, the grammar, and the project's own pages, as pages.

Links of a page to a file of the repository lead to those pages, or to a copy of the file in the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]

PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "reporting.md"}
"""The project's own pages, and what they are called in the site."""

COPIES = ("bench/results", "editors/vscode", "examples")
"""Folders whose files a page may link to; the site has a copy of those that are linked."""

_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and files that are not in the folder."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_linked(text, "")))
    files.append(File.generated(config, "samples.md", content=_samples()))
    grammar = (ROOT / "grammar/tmesh.lark").read_text(encoding="utf-8")
    files.append(File.generated(config, "grammar.md", content=f"# The grammar\n\n```\n{grammar}```\n"))
    for folder in COPIES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in (".json", ".js", ".py"):
                name = str(path.relative_to(ROOT))
                files.append(File.generated(config, f"source/{name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links to the repository's files become links within the site."""
    generated = page.file.src_uri in (*PAGES.values(), "samples.md", "grammar.md")
    return markdown if generated else _linked(markdown, "docs")


def _linked(markdown: str, folder: str) -> str:
    return _LINK.sub(lambda found: f"]({_target(found[1], folder)}{found[2] or ''})", markdown)


def _target(link: str, folder: str) -> str:
    if "://" in link:
        return link
    path = posixpath.normpath(posixpath.join(folder, link))
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in PAGES:
        return PAGES[path]
    if path == "README.md":
        return "index.md"
    if path == "grammar/tmesh.lark":
        return "grammar.md"
    if path.startswith("machines"):
        return "samples.md" + (f"#{Path(path).stem}" if path.endswith(".conf") else "")
    if path == "editors/vscode":
        path += "/package.json"
    return f"source/{path}"


def _samples() -> str:
    parts = ["# Sample machines\n\nEach of these files comes with tmelink, and a test runs each.\n"]
    for path in sorted((ROOT / "machines").glob("*.conf")):
        parts.append(f"## {path.name} {{ #{path.stem} }}\n\n```\n{path.read_text(encoding='utf-8')}```\n")
    return "\n".join(parts)
