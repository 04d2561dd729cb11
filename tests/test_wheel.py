"""The built wheel in an environment of its own: what it needs is declared, what it comes with is there.

The environment holds the wheel, the wheel of `tests/plugin_package` beside it, and of what is installed for
these tests only what tmelink declares that it depends on. Nothing is downloaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.samples import with_keys

CHECKOUT = Path(__file__).parent.parent

pytestmark = pytest.mark.xdist_group("wheel")
"""One process builds and installs it, once for all tests."""

SECONDS = 120
"""For one program to end."""


class Installed:
    """The environment, and a folder outside the checkout to run it in."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "elsewhere"
        self.folder.mkdir()
        self.environment = directory / "environment"
        venv.create(self.environment, symlinks=True)
        self.python = self.environment / "bin" / "python"
        self.packages = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())

    def run(self, *words: str, code: int = 0) -> str:
        """What `python WORDS…` writes, once it has ended with `code`."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return _run([str(self.python), *words], self.folder, code, variables)

    def tmelink(self, *words: str, code: int = 0) -> str:
        """What the installed command writes."""
        return _run([str(self.environment / "bin" / "tmelink"), *words], self.folder, code, {})


def _run(words: list[str], folder: Path, code: int, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"{' '.join(words)}: {done.returncode}\n{done.stdout}"
    return done.stdout


def _dependencies(name: str) -> Iterator[Distribution]:
    """The installed distributions that `name` needs here, and what they need."""
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield distribution(requirement.name)
            yield from _dependencies(requirement.name)


def _build(source: Path, directory: Path) -> Path:
    _run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(source)],
        directory,
        0,
    )
    (wheel,) = directory.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(CHECKOUT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    directory = tmp_path_factory.mktemp("installed")
    plugin = directory / "plugin"
    plugin.mkdir()
    installed = Installed(directory)
    tops = {
        (found.locate_file(file.parts[0]), file.parts[0])
        for found in _dependencies("tmelink")
        for file in found.files or ()
        if file.parts[0] not in ("..", "__pycache__")
    }
    for origin, name in sorted(tops):
        (installed.packages / name).symlink_to(str(origin))
    wheels = [str(wheel), str(_build(CHECKOUT / "tests" / "plugin_package", plugin))]
    pip = [sys.executable, "-m", "pip", "--python", str(installed.python), "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", "--no-index", "--no-deps", *wheels], directory, 0)
    _run([*pip, "check"], directory, 0)
    return installed


def test_the_wheel_holds_grammar_samples_licence_and_nothing_of_the_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    samples = {f"tmelink/machines/{sample.name}" for sample in (CHECKOUT / "machines").iterdir()}
    assert samples | {"tmelink/grammar/tmesh.lark", "tmelink/py.typed"} <= names
    name = wheel.name.removesuffix("-py3-none-any.whl")
    info, data = f"{name}.dist-info", f"{name}.data"
    assert {name.split("/")[0] for name in names} == {"tmelink", info, data}
    assert f"{info}/licenses/LICENSE" in names
    assert f"{data}/data/lib/systemd/system/tmelink@.service" in names
    share = [path for path in (CHECKOUT / "share").rglob("*") if path.is_file()]
    assert {f"{data}/data/share/{path.relative_to(CHECKOUT / 'share')}" for path in share} <= names


def test_man_and_the_shells_find_their_files(installed: Installed) -> None:
    share = installed.environment / "share"
    assert (share / "man/man1/tmelink-run.1").exists()
    assert (share / "bash-completion/completions/tmelink").exists()


def test_it_runs_outside_the_checkout_with_what_it_declares(installed: Installed) -> None:
    package = installed.packages / "tmelink"
    assert installed.run("-c", "import tmelink; print(tmelink.__file__)") == f"{package}/__init__.py\n"
    samples = sorted((package / "machines").glob("*.conf"))
    assert {sample.name for sample in samples} >= {"hello.conf", "peer-a.conf", "peer-b.conf"}
    samples = [with_keys(sample, installed.folder) for sample in samples]
    assert installed.tmelink("check", str(samples[0])) == ""
    check_all = (
        "import sys; from tmelink.cli import main; sys.exit(any(main(['check', f]) for f in sys.argv[1:]))"
    )
    assert installed.run("-c", check_all, *map(str, samples)) == ""
    said = installed.run("-m", "tmelink", "demo", "--count", "2", "--interval", "0.01")
    assert str(package / "machines" / "hello.conf") in said
    assert said.count(" 0% ") == 2


def test_every_element_loads(installed: Installed) -> None:
    """A module that imports what is not declared would show here as an element that cannot be had."""
    said = installed.tmelink("elements")
    assert "tme/host/openvpn/socket/link" in said
    assert "cannot be loaded" not in said


def test_an_element_of_another_package_is_listed_checked_and_run(installed: Installed) -> None:
    assert "example/mirror" in installed.tmelink("elements")
    assert installed.tmelink("elements", "example/mirror").startswith("example/mirror [times N]\n")
    (installed.folder / "bad.conf").write_text("n0: tmelink/nic\nm0 at n0: example/miror times 3\n")
    said = installed.tmelink("check", "bad.conf", code=1)
    assert "bad.conf:2:11: unknown module example/miror (did you mean example/mirror?)" in said
    (installed.folder / "bad.conf").write_text("n0: tmelink/nic\nm0 at n0: example/mirror times 30\n")
    said = installed.tmelink("check", "bad.conf", code=1)
    assert "bad.conf:2:32: times: '30' is not a valid number from 1 to 9" in said
    (installed.folder / "good.conf").write_text("n0: tmelink/nic\nm0 at n0: example/mirror times 3\n")
    (installed.folder / "use.py").write_text(USE)
    there, here = "02" * 6, "06" * 6
    assert installed.run("use.py") == f"{here}{there}88b5{'00' * 46}\n" * 3


CHECK = """
import sys
from tmelink.cli import main

sys.exit(any([main(["check", file]) for file in sys.argv[1:]]))
"""

USE = """
import asyncio
from pathlib import Path

import tmelink


async def main():
    async with tmelink.load(Path("good.conf")).run() as lab:
        n0 = lab["n0"]
        n0.send(bytes.fromhex("02" * 6 + "06" * 6 + "88b5" + "00" * 46))
        for _ in range(3):
            print((await n0.recv()).hex())


asyncio.run(main())
"""
