"""Link formats against the programs that have them: vde_plug's pipe, QEMU's L2TPv3."""

from __future__ import annotations

import pytest

from tests.support.netns import Net

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip")]


@pytest.mark.needs("vde_switch", "vde_plug")
def test_a_vde_plug_on_standard_input_and_output_is_a_cable(net: Net) -> None:
    a = net.namespace()
    folder = a.directory / "vde"
    a.start("vde_switch", "-s", str(folder), "-x")
    lab = a.tmelink(
        f"""
        le0: tmelink/host inet 10.0.78.1/24
        cable at le0: tmelink/process user root restart always stdio vde_plug {folder}
        other: tmelink/vde {folder}
        le1 at other: tmelink/host inet 10.0.78.2/24
        command le0 ping 10.0.78.2 count 3 interval 0.1
        """,
        until="other: up",
    )
    lab.expect("10.0.78.2: 3 sent, [123] received")
    assert lab.stop() == 0, lab.output
