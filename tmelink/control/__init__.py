"""Control of a running lab: `tmelink.control.connect(name)` for programs, the same as the command line uses.

::

    with tmelink.control.connect("lab") as lab:
        print(lab.call("status")["up"])
        for item in lab.stream("events"):
            print(item.value)
"""

from tmelink.control.client import Client, ControlError, LabControl, NotRunning, connect
from tmelink.control.lab_names import RunningLab, running

__all__ = ["Client", "ControlError", "LabControl", "NotRunning", "RunningLab", "connect", "running"]
