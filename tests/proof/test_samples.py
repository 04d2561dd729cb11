"""What is explained of the samples, against files that a person can read.

After a change that is meant: TMELINK_GOLDEN=1 pytest tests/proof/test_samples.py, and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.samples import with_keys
from tmelink.cli import main
from tmelink.machine import load
from tmelink.proof.problems import problems
from tmelink.system import route_lookup

ROOT = Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests/golden/explain"

WAYS = {
    "hello": "hello.conf",
    "hello-9000": "hello.conf --size 9000",
    "lab": "lab.conf",
    "lab-9000-from-d": "lab.conf --from d/le0 --to a/le0 --size 9000",
    "lab-df": "lab.conf --from a/tap1 --to d/le0 --size 1500 --df",
    "lab-to-the-world": "lab.conf --from c/le0 --to 198.51.100.7",
    "lab-host-one": "lab.conf --host one --to 10.0.78.13",
    "peer-a": "peer-a.conf",
    "retronet": "retronet.conf",
    "gateway": "gateway.conf --from le0 --to 10.8.0.1",
    "autonat": "autonat.conf --from b-le0 --to 198.51.100.7",
    "l3-client": "l3-client.conf --to 192.168.50.9",
    "l3-server": "l3-server.conf",
    "two-identities": "two-identities.conf",
    "two-identities-from-inside": "two-identities.conf --from laptop-tun --to 192.0.2.10",
    "two-identities-from-outside": "two-identities.conf --from 198.51.100.7 --to 192.0.2.10",
    "two-identities-to-the-world": "two-identities.conf --from 192.0.2.66 --to 192.0.2.200 --size 1400",
    "l3-client-to-the-peer": "l3-client.conf --to 203.0.113.5",
    "lab-narrow": "lab.conf --from a/tap1 --to d/le0 --path-mtu 1400",
    "nested-narrow": "nested.conf --from le0 --to le1 --path-mtu 1400",
    "secure-link": "secure-link.conf",
    "nested": "nested.conf --from le0 --to le1",
    "nested-df": "nested.conf --from le0 --to le1 --df",
}


def said(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    name, *words = line.split()
    code = main(["explain", f"machines/{name}", *words])
    return code, capsys.readouterr().out


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The computer that the tests run on is not one of the samples', whatever its addresses are."""
    monkeypatch.setattr(route_lookup, "towards", lambda address: None)


@pytest.mark.parametrize("name", WAYS)
def test_what_is_explained_of_a_sample(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    code, text = said(WAYS[name], capsys)
    assert code == ("=> dropped" in text)
    golden = GOLDEN / f"{name}.txt"
    shown = f"$ tmelink explain machines/{WAYS[name]}\n\n{text}"
    if os.environ.get("TMELINK_GOLDEN"):
        golden.write_text(shown)
    assert shown == golden.read_text()


def test_every_golden_file_is_compared() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(WAYS)


@pytest.mark.parametrize("sample", sorted((ROOT / "machines").glob("*.conf")), ids=lambda path: path.name)
def test_no_sample_is_warned_of(sample: Path, tmp_path: Path) -> None:
    assert problems(load(with_keys(sample, tmp_path))) == []


@pytest.mark.parametrize("name", ["lab", "nested", "l3-client"])
def test_the_picture_is_well_formed_and_shows_every_hop(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    picture = tmp_path / "way.svg"
    _code, text = said(f"{WAYS[name]} --svg {picture}", capsys)
    root = ElementTree.parse(picture).getroot()
    words = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    names = [line.split()[1] for line in text.splitlines() if line[:3].strip().isdigit()]
    assert set(names) <= words
    height = float(root.attrib["viewBox"].split()[3])
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 < float(element.attrib["y"]) < height
