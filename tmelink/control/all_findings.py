"""Every finding: importing a module of `tmelink.control.findings` registers what is in it."""

from __future__ import annotations

from tmelink.control.findings import files, findings, host, links

MODULES = (links, host, files)

__all__ = ["MODULES", "findings"]
