"""`tmelink graph`: every element and connection of a sample is in the drawing, and Graphviz draws it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.netns import Process
from tmelink import load
from tmelink.cli import main
from tmelink.proof.graph import dot, graph, mermaid
from tmelink.resources import folder

SAMPLES = sorted(folder("machines").glob("*.conf"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_every_element_and_connection_is_drawn(sample: Path) -> None:
    machine = load(sample)
    drawn = graph(machine)
    names = {node.name for node in drawn.nodes}
    assert {element.name for element in machine.elements.values()} <= names
    assert len([edge for edge in drawn.edges if not edge.dashed]) == len(machine.connections)
    for text in (dot(drawn), mermaid(drawn)):
        for element in machine.elements.values():
            assert element.name in text


def test_a_link_between_two_hosts_is_one_line_that_says_what_protects_it() -> None:
    drawn = graph(load(folder("machines") / "secure-link.conf"))
    dashed = [edge for edge in drawn.edges if edge.dashed]
    assert len(dashed) == 1
    assert dashed[0].label == "TLS over UDP"
    assert set(drawn.hosts) == {"one", "two"}


def test_a_peer_that_is_not_in_the_file_is_drawn_too() -> None:
    drawn = graph(load(folder("machines") / "peer-a.conf"))
    assert [node.shape for node in drawn.nodes if not node.lines] == ["cloud"]


def test_a_running_lab_shows_its_states_and_rates() -> None:
    machine = load("a: tmelink/host inet 10.0.0.1/24\nb at a: tmelink/host inet 10.0.0.2/24\n")
    counters = {"frames": 9, "bytes": 900, "drops": {"full": 3}, "bits_per_second": 2_000_000}
    status = {
        "elements": [
            {"name": "a", "state": "up", "module": "tmelink/host"},
            {"name": "b", "state": "failed", "module": "tmelink/host"},
        ],
        "connections": [{"from": "b", "to": "a", "sent": counters, "received": counters | {"drops": {}}}],
    }
    text = dot(graph(machine, status))
    assert "#d7f0d7" in text
    assert "#f0b0b0" in text
    assert "→ 2 Mbit/s, 3 dropped\\n← 2 Mbit/s" in text


def test_what_a_shell_has_changed_in_a_lab_is_drawn_as_it_is() -> None:
    machine = load("a: tmelink/host inet 10.0.0.1/24\nb at a: tmelink/host inet 10.0.0.2/24\n")
    counters = {"frames": 0, "bytes": 0, "drops": {}, "bits_per_second": 1500}
    status = {
        "elements": [
            {"name": "a", "state": "up", "module": "tmelink/host"},
            {"name": "sw", "state": "up", "module": "tmelink/switch"},
        ],
        "connections": [{"from": "sw", "to": "a", "sent": counters, "received": counters}],
    }
    drawn = graph(machine, status)
    assert [(node.name, node.shape) for node in drawn.nodes] == [("a", "box"), ("sw", "switch")]
    assert [(edge.one, edge.other, edge.label) for edge in drawn.edges] == [
        ("sw", "a", "→ 1.5 kbit/s\n← 1.5 kbit/s")
    ]


def test_a_running_lab_is_drawn_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drawn.conf").write_text("a: tmelink/host inet 10.0.0.1/24")
    lab = Process([sys.executable, "-m", "tmelink", "run", "drawn.conf"], cwd=tmp_path)
    try:
        lab.expect("running: ")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        (tmp_path / "drawn.conf").write_text("a mistake")
        assert main(["graph", "drawn", "-o", "now.dot"]) == 0
        assert '"a" [label="a\\nhost\\n10.0.0.1/24"' in Path("now.dot").read_text()
    finally:
        lab.kill()


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_graphviz_draws_every_sample(tmp_path: Path) -> None:
    for sample in SAMPLES:
        picture = tmp_path / f"{sample.stem}.svg"
        assert main(["graph", str(sample), "--svg", "-o", str(picture)]) == 0
        root = ElementTree.parse(picture).getroot()
        words = " ".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text"))
        assert all(element.name in words for element in load(sample).elements.values())


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_drawing_for_diagrams_net_has_everything_in_its_place(sample: Path, tmp_path: Path) -> None:
    file = tmp_path / "lab.drawio"
    assert main(["graph", str(sample), "--drawio", "-o", str(file)]) == 0
    drawn = graph(load(sample))
    cells = {cell.attrib["id"]: cell for cell in ElementTree.parse(file).getroot().iter("mxCell")}
    for cell in cells.values():
        for end in ("parent", "source", "target"):
            assert cell.get(end) is None or cell.attrib[end] in cells
    edges = [cell for cell in cells.values() if cell.get("edge")]
    assert len(edges) == len(drawn.edges)
    # No two elements of one box lie on each other, and each lies in its box.
    places: dict[str, list[tuple[str, float, float, float, float]]] = {}
    for node in drawn.nodes:
        cell = cells[f"n {node.name}"]
        x, y, width, height = (float(cell[0].attrib[name]) for name in ("x", "y", "width", "height"))
        places.setdefault(cell.attrib["parent"], []).append((node.name, x, y, x + width, y + height))
        if (box := cells[cell.attrib["parent"]]).find("mxGeometry") is not None:
            assert -1 < x < x + width < float(box[0].attrib["width"]) + 1
            assert -1 < y < y + height < float(box[0].attrib["height"]) + 1
        assert (cell.attrib["parent"] == "1") == (not node.host and not node.machine)
    for inside in places.values():
        for number, (one, left, top, right, bottom) in enumerate(inside):
            for other, *them in inside[:number]:
                apart = right <= them[0] or them[2] <= left or bottom <= them[1] or them[3] <= top
                assert apart, f"{one} lies on {other}"
