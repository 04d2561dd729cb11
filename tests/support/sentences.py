"""The sentences of the documents: drawn at random for a reader, or those that are too long.

``python -m tests.support.sentences --seed 2026 --count 20`` prints as many as are wanted, the same for
the same seed; ``--longer 25`` prints all that have more words than that.
"""

from __future__ import annotations

import argparse
import random
import re
from pathlib import Path
from typing import NamedTuple

from tests.support.documents import DOCUMENTS, ROOT

NOT_READ = ("CHANGELOG.md",)
"""Documents that are a list of entries."""

_CODE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"^\s*(?:[-*]|\d+\.)\s+")
_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[A-Z`\[*\"'(]|tmelink |libpcap |virtio|ssh )")


class Sentence(NamedTuple):
    """A sentence, with the document and the line where its paragraph begins."""

    document: str
    line: int
    text: str

    @property
    def words(self) -> int:
        """How many words it has; code in backticks counts as one."""
        return len(re.sub(r"`[^`]*`|\[([^\]]*)\]\([^)]*\)", r"\1x", self.text).split())

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {self.text}"


def sentences(path: Path) -> list[Sentence]:
    """Those of a document's paragraphs and lists; headings, tables, code and comments are none."""
    text = path.read_text(encoding="utf-8")
    text = _CODE.sub(lambda found: "\n" * found[0].count("\n"), text)
    text = re.sub(r"<!--.*?-->", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)
    found = []
    paragraph: list[str] = []
    first = 1
    for number, line in enumerate([*text.splitlines(), ""], 1):
        begins = bool(_MARKER.match(line))
        prose = bool(line.strip()) and not re.match(r"\s*(#|\||!\[)", line) and not line.startswith("    ")
        if paragraph and (begins or not prose):
            for sentence in _END.split(" ".join(paragraph)):
                found.append(Sentence(str(path.relative_to(ROOT)), first, sentence))
            paragraph = []
        if prose:
            first = number if not paragraph else first
            paragraph.append(_MARKER.sub("", line).strip())
    return found


def every_sentence() -> list[Sentence]:
    """Those of all documents that are read as prose."""
    return [each for path in DOCUMENTS if path.name not in NOT_READ for each in sentences(path)]


def main() -> None:
    """Print the sentences that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--longer", type=int, metavar="WORDS", help="all sentences of more words, instead")
    options = parser.parse_args()
    every = every_sentence()
    if options.longer is not None:
        chosen = [each for each in every if each.words > options.longer]
    else:
        chosen = random.Random(options.seed).sample(every, options.count)
    print("\n".join(map(str, chosen)))


if __name__ == "__main__":
    main()
