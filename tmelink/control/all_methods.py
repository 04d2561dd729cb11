"""Every method of the control socket: the registries of the modules beside this one.

A feature that can be asked for over the socket adds its registry here, and has nothing else to do.
"""

from __future__ import annotations

from tmelink.control import capturing, changing, consoles, doctoring, impairing, lifecycle, observing

METHODS = (
    observing.METHODS
    | changing.METHODS
    | capturing.METHODS
    | consoles.METHODS
    | doctoring.METHODS
    | impairing.METHODS
    | lifecycle.METHODS
)
