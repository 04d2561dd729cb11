"""Checks the built site: links and anchors lead somewhere, and no page asks another server for anything."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src")}
"""What a browser loads by itself, unlike a link that somebody follows."""


class SitePage(HTMLParser):
    """The links, anchors and loaded files of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag links to, loads, or can be linked as."""
        for name, value in attrs:
            if value is None:
                continue
            if name in ("id", "name"):
                self.anchors.add(value)
            elif (tag, name) in LOADED and dict(attrs).get("rel") != "canonical":
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)


def faults(site: Path) -> tuple[list[str], int]:
    """What is wrong in the site, and how many links were looked at."""
    pages = {path: SitePage(path) for path in sorted(site.rglob("*.html"))}
    found = []
    count = 0
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name} loads {each}" for each in page.loaded if urlsplit(each).netloc]
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            count += 1
            folder = site if parts.path.startswith("/") else path.parent
            target = (folder / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                found.append(f"{name} links to {link}, which does not exist")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name} links to {link}, where the page has no such anchor")
    return found, count


def main(site: Path) -> int:
    """Print what is wrong; the exit code is 1 if anything is."""
    found, count = faults(site.resolve())
    print("\n".join([*found, f"{count} links, {len(found)} broken"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
