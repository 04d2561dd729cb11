"""The method `doctor`: findings about a running lab."""

from __future__ import annotations

from tmelink.control.all_findings import findings
from tmelink.control.control import Control
from tmelink.control.data import as_data
from tmelink.control.findings import Subject
from tmelink.control.methods import Methods
from tmelink.control.protocol import Json

METHODS = Methods()


@METHODS.request("doctor")
async def doctor(control: Control) -> list[Json]:
    """Why nothing flows: findings with `evidence` and `remedy`, the most likely first. It changes nothing.

    Links that are up send a few datagrams to measure the path, which may take some seconds.
    """
    return [as_data(finding) for finding in await findings(Subject(control.lab.machine, running=True))]
