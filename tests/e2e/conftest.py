"""The fixture of the tests against real networks, and the check that they leave nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.support.netns import Net, host_state, network


@pytest.fixture
def net() -> Iterator[Net]:
    """Namespaces for one test; see `tests.support.netns`."""
    if shutil.which("ip") is None:
        pytest.skip("needs ip, which is not installed: apt-get install iproute2")
    before = host_state()
    with network() as net:
        yield net
    after = host_state()
    assert after == before, "the test left something on the host"
