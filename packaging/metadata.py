"""The project's page on PyPI: README.md with links that lead to the repository, and the project's addresses.

The repository's address is not in the source. A release is built by GitHub, which has it in the
environment. Without that, the links stay relative, and the metadata has no addresses.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")


def absolute(text: str, repository: str, revision: str) -> str:
    """The text with links and pictures that lead to a revision of a repository on GitHub."""

    def link(found: re.Match[str]) -> str:
        kind = "raw" if found[1] else "tree" if found[3].endswith("/") else "blob"
        return f"{found[1]}[{found[2]}]({repository}/{kind}/{revision}/{found[3]})"

    return _LINK.sub(link, text)


class ReadmeHook(MetadataHookInterface):
    """Sets `readme`, and `urls` if the repository's address is known."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling with the static metadata of pyproject.toml."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        name = os.environ.get("GITHUB_REPOSITORY")
        if name:
            server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
            repository = f"{server}/{name}"
            revision = os.environ.get("GITHUB_REF_NAME", "main")
            text = absolute(text, repository, revision)
            metadata["urls"] = {
                "Repository": repository,
                "Documentation": f"{repository}/tree/{revision}/docs",
                "Changelog": f"{repository}/blob/{revision}/CHANGELOG.md",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
