"""A deployment as Ansible's files: an inventory, the playbooks, and a folder of slices.

ansible-playbook runs them without tmelink.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from tmelink.deploy.plan import Deployment, HostPlan
from tmelink.system import private_file

PLAYBOOKS = Path(__file__).parent / "playbook"
FOLDER_MODE = 0o700

FROM_PYPI = "pypi"
"""The environment of a host that installs tmelink from PyPI; others are called by their wheels' digest."""


def write(folder: Path, plan: Deployment, wheels: Path | None) -> None:
    """Write everything into `folder`, which only its owner may read, since it holds private keys.

    What an earlier call wrote there is replaced. `wheels` is a folder of wheels to install from; without it
    the hosts get tmelink from PyPI.
    """
    for name in ("slices", "wheels"):
        shutil.rmtree(folder / name, ignore_errors=True)
    pip = [] if wheels is None else sorted(wheels.glob("pip-*.whl"))
    environment = FROM_PYPI if wheels is None else _digest(wheels)
    write_inventory(folder, plan, environment, pip[-1].name if pip else "")
    for host in plan.hosts:
        _write_slice(folder / "slices" / host.name, host)
    if wheels is not None:
        shutil.copytree(wheels, folder / "wheels")


def write_inventory(folder: Path, plan: Deployment, environment: str = FROM_PYPI, pip: str = "") -> None:
    """The hosts and the playbooks alone, which is all that it takes to remove a lab.

    `pip` is the name of its wheel among those to install from; without one, hosts have to have `ensurepip`.
    """
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    folder.chmod(FOLDER_MODE)
    for playbook in [*PLAYBOOKS.glob("*.yml"), PLAYBOOKS / "probe.py"]:
        shutil.copyfile(playbook, folder / playbook.name)
    inventory = {
        "all": {
            "vars": {"tmelink_lab": plan.lab, "tmelink_environment": environment, "tmelink_pip": pip},
            "hosts": {host.name: _variables(host) for host in plan.hosts},
        }
    }
    # JSON is YAML, and needs no library.
    (folder / "inventory.yml").write_text(json.dumps(inventory, indent=2) + "\n")


def _write_slice(folder: Path, host: HostPlan) -> None:
    folder.mkdir(mode=FOLDER_MODE, parents=True)
    private_file.write_new(folder / "machine.conf", host.part.text.encode())
    private_file.write_new(folder / "lab.service", host.unit.encode())
    for name, path in host.part.files.items():
        target = folder / name
        target.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        private_file.write_new(target, path.read_bytes())


def _variables(host: HostPlan) -> dict[str, Any]:
    found: dict[str, Any] = {
        "ansible_host": host.target.host,
        "tmelink_release": host.release,
        "tmelink_links": list(host.links),
        "tmelink_devices": list(host.devices),
        "tmelink_listens": [list(each) for each in host.listens],
        "tmelink_calls": [list(each) for each in host.calls],
    }
    if host.target.user is not None:
        found["ansible_user"] = host.target.user
    if host.target.port is not None:
        found["ansible_port"] = host.target.port
    if host.access.python is not None:
        found["ansible_python_interpreter"] = host.access.python
    return found | host.access.variables


def _digest(wheels: Path) -> str:
    """Of the names, and of what is in tmelink's own wheel, which may change and keep its name."""
    digest = hashlib.sha256()
    for path in sorted(wheels.iterdir()):
        digest.update(path.name.encode() + b"\n")
        if path.name.startswith("tmelink-"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
