"""`tmelink graph FILE|NAME`: the topology of a file, or of a running lab with its states, as a picture."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tmelink import machine
from tmelink.cli import completers, files, labs
from tmelink.control import connect
from tmelink.errors import TmelinkError
from tmelink.proof.drawio import drawio
from tmelink.proof.graph import Graph, dot, graph, mermaid

NAME = "graph"
HELP = "draw the topology of a machine file, or of a running lab with its states and rates"
EPILOG = labs.epilog(
    ("tmelink graph lab.conf --svg -o lab.svg", "drawn by Graphviz"),
    ("tmelink graph lab --svg -o now.svg", "draw the running lab: what is up, rates and drops"),
    ("tmelink graph lab.conf --mermaid", "for a README on GitHub or GitLab"),
    ("tmelink graph lab.conf --drawio -o lab.drawio", "to edit in diagrams.net"),
)

DRAW_SECONDS = 60


def declare(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument(
        "what", metavar="FILE|NAME", help="a machine file, or the name of a running lab"
    )
    completers.offer(what, completers.labs_and_files)
    files.declare_host(parser, "only this host's part of the file")
    forms = parser.add_mutually_exclusive_group()
    for form, text in (
        ("svg", "a picture (needs Graphviz)"),
        ("png", "a picture (needs Graphviz)"),
        ("dot", "Graphviz's language (the default)"),
        ("mermaid", "Mermaid's flowchart"),
        ("drawio", "for diagrams.net (draw.io), with a layout (needs Graphviz)"),
    ):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=text)
    parser.set_defaults(form="dot")
    parser.add_argument("-o", metavar="FILE", dest="output", type=Path, help="where to write it")


def main(options: argparse.Namespace) -> int:
    what = options.what
    if Path(what).exists() or what.endswith(".conf"):
        drawn = graph(machine.load(Path(what), host=options.host))
    else:
        with connect(what) as lab:
            status, source = lab.call("status"), lab.call("source")
        # As it was read last, wherever its folder is and whatever it says by now.
        text = f"{source['text']}\n"
        folder = Path(source["file"]).parent
        drawn = graph(machine.load(text, host=status["host"], name=source["file"], folder=folder), status)
    data = _made(drawn, options.form)
    if options.output is not None:
        options.output.write_bytes(data)
    else:
        sys.stdout.buffer.write(data)
    return 0


def _made(drawn: Graph, form: str) -> bytes:
    match form:
        case "dot":
            return dot(drawn).encode()
        case "mermaid":
            return mermaid(drawn).encode()
        case "drawio":
            return drawio(drawn, json.loads(_laid_out(dot(drawn), "json", form))).encode()
        case _:
            return _laid_out(dot(drawn), form, form)


def _laid_out(text: str, wanted: str, form: str) -> bytes:
    """What Graphviz makes of its language, as `wanted`."""
    program = shutil.which("dot")
    if program is None:
        raise TmelinkError(
            f"--{form} needs Graphviz: install the package graphviz, or use --dot or --mermaid"
        )
    done = subprocess.run(
        [program, f"-T{wanted}"], input=text.encode(), capture_output=True, check=False, timeout=DRAW_SECONDS
    )
    if done.returncode:
        raise TmelinkError(f"Graphviz: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
