"""Configurations as people have them, and what becomes of each; an e2e test asks openvpn too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.configurations import Configuration, configurations, judged, prepare, written

LEAST = 100
"""Configurations that the table has at least."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configurations")
    prepare(path)
    return path


def test_there_are_enough_and_no_two_alike() -> None:
    found = configurations()
    assert len(found) >= LEAST
    assert len({str(each) for each in found}) == len({each.text for each in found}) == len(found)


@pytest.mark.parametrize("configuration", configurations(), ids=str)
def test_a_configuration_is_judged_as_it_stands_there(configuration: Configuration, folder: Path) -> None:
    verdict, reasons = judged(written(configuration, folder))
    assert verdict == configuration.verdict, reasons
    assert (verdict == "taken") == (not reasons)
