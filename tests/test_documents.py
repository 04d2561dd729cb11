"""The documents are true: generated pages are fresh, links lead somewhere, machine files in them check."""

from __future__ import annotations

import doctest
import html
import json
import re
from pathlib import Path

import pytest

from bench import chart, deployment
from bench import page as bench_page
from tests.support import rooms
from tests.support.samples import with_keys
from tmelink import catalogue, machine, registry
from tmelink.cli import main
from tmelink.control import page
from tmelink.proof.graph import graph

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_reference_of_elements_is_what_the_program_prints() -> None:
    assert (ROOT / "docs/elements.md").read_text() == catalogue.page() + "\n", (
        "renew it with: tmelink elements --page > docs/elements.md"
    )


@pytest.mark.parametrize("module", [name for name in registry.names() if name.startswith("tm")])
def test_every_element_has_an_example_that_uses_it_and_checks(
    module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = catalogue.example(module)
    classes = {type(element) for element in machine.load(text, network_only=True).elements.values()}
    assert registry.element_class(module) in classes
    (tmp_path / "example.conf").write_text(text)
    (tmp_path / "keys").mkdir()
    copy = with_keys(tmp_path / "example.conf", tmp_path / "keys")
    assert main(["check", str(copy)]) == 0
    assert main(["fmt", "--check", str(copy)]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_methods_of_the_control_socket_are_those_it_has() -> None:
    _, methods = (ROOT / "docs/control.md").read_text().split("## Methods\n\n")
    assert methods == page.page(), "renew what follows '## Methods' with: python -m tmelink.control.page"


def test_the_picture_of_the_rooms_shows_the_measured_imports() -> None:
    """Each arrow is a title in the picture; the dashed one is drawn by hand."""
    titles = re.findall(r"<title>(.*?)</title>", (ROOT / "docs/design.svg").read_text())
    drawn = {tuple(html.unescape(title).split("->")) for title in titles if "&gt;" in title}
    drawn = {arrow for arrow in drawn if "foundations" not in arrow} - {("machine", "elements/emulators")}
    assert drawn == rooms.reduced(rooms.arrows()), "renew it: python -m tests.support.rooms > docs/design.svg"


def test_the_lines_and_commands_for_three_hosts_are_those_that_are_counted() -> None:
    text = (ROOT / "docs/deploy.md").read_text()
    for name, (lines, commands) in deployment.what_is_written().items():
        (row,) = re.findall(rf"^\| {name}.*$", text, re.MULTILINE)
        cells = [cell.strip() for cell in row.split("|")]
        assert (int(cells[2].split(",")[0]), int(cells[3])) == (lines, commands), name


def recorded() -> Path:
    """The run that docs/performance.md has the figures of."""
    found = re.search(r"\[bench/results\]\(\.\./(.*?)\)", (ROOT / "docs/performance.md").read_text())
    assert found is not None
    return ROOT / found[1]


def test_the_charts_are_those_of_the_recorded_run_and_no_word_is_cut_off() -> None:
    drawn = chart.pictures(json.loads(recorded().read_text())["medians"])
    assert len(drawn) == 4
    for name, text in drawn.items():
        assert (ROOT / "docs" / name).read_text() == text, (
            f"renew them: python -m bench --recorded {recorded().relative_to(ROOT)}"
        )
        assert name in (ROOT / "docs/performance.md").read_text()
    for text in (*drawn.values(), (ROOT / "docs/scale.svg").read_text()):
        for attributes, words in re.findall(r"<text (.*?)>(.*?)</text>", text):
            x = float(re.search(r'\bx="([\d.]+)"', attributes)[1])  # type: ignore[index]
            wide = len(html.unescape(words)) * 7
            left = x - wide if '"end"' in attributes else x - wide / 2 if "middle" in attributes else x
            assert 0 <= left <= left + wide <= chart.WIDTH, words


def test_the_ratios_are_those_of_the_run_that_the_page_names() -> None:
    written = (ROOT / "docs/performance.md").read_text()
    found = re.search(r"\[every figure of every round\]\((.*?)\)", written)
    assert found is not None
    record = json.loads((ROOT / "docs" / found[1]).read_text())
    renew = f"renew them: python -m bench --recorded {found[1]} --page docs/performance.md"
    assert bench_page.filled(written, record, Path(found[1])) == written, renew
    assert (ROOT / "docs" / bench_page.PICTURE).read_text() == chart.ratios(record["medians"]), renew
    assert bench_page.PICTURE in written


@pytest.mark.parametrize(
    ("picture", "file"),
    [
        ("one-ethernet.svg", "docs/one-ethernet.conf"),
        ("retronet.svg", "machines/retronet.conf"),
        ("observing.svg", "docs/observing.md"),
    ],
)
def test_the_pictures_of_labs_are_drawn_by_the_program(picture: str, file: str) -> None:
    """Every element with its lines, and every link: Graphviz may place them otherwise elsewhere."""
    svg = (ROOT / "docs" / picture).read_text()
    there = {html.unescape(word) for word in re.findall(r"<text[^>]*>(.*?)</text>", svg)}
    text = (ROOT / file).read_text()
    (text,) = re.findall(r"```tmesh\n(.*?)```", text, flags=re.DOTALL) if file.endswith(".md") else (text,)
    drawn = graph(machine.load(text))
    wanted = {word for node in drawn.nodes for word in (node.name, *node.lines)}
    wanted |= {edge.label for edge in drawn.edges if edge.label}
    wanted |= {word for host, address in drawn.hosts.items() for word in (f"host {host}", address)}
    assert there == wanted, f"renew it: tmelink graph {file} --svg -o docs/{picture}"


def test_the_picture_of_the_gateway_has_the_words_of_its_source() -> None:
    source = (ROOT / "docs/gateway.dot").read_text()
    wanted = {line for label in re.findall(r'label="(.*?)"', source) for line in label.split("\\n")}
    drawn = re.findall(r"<text[^>]*>(.*?)</text>", (ROOT / "docs/gateway.svg").read_text())
    assert {html.unescape(words).replace("\xa0", " ") for words in drawn} == wanted, (
        "renew it: dot -Tsvg docs/gateway.dot -o docs/gateway.svg"
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("sample", sorted(ROOT.glob("machines/*.conf")), ids=lambda path: path.name)
def test_every_sample_checks(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine.load(sample)
    assert capsys.readouterr() == ("", "")


def test_the_examples_on_embedding_run() -> None:
    results = doctest.testfile(str(ROOT / "docs/embedding.md"), module_relative=False)
    assert results.attempted > 5
    assert not results.failed
