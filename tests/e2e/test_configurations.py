"""What openvpn's own parser says of the configurations of `tests/configurations`, beside what tmelink says.

No file that openvpn takes is refused, but for one of `REASONS`.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.support.configurations import configurations, judged, prepare, written

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("unshare", "openvpn")]

SECONDS = 20
"""For openvpn to read a file."""

REASONS = {
    "another program would decide who may come in": "plugin|anybody could get in",
    "the private key is not in a file": "reads keys from files only|--management-external-key",
    "it waits for a management client": "--management-hold",
    "frames or packets would be changed on their way": "carries all VLANs|translates no addresses",
    "what it sends would not be safe": "--no-replay|needs --cipher",
}
"""Why tmelink refuses a file that openvpn takes: there are five reasons, and no other."""


def asked_openvpn(path: Path) -> tuple[str, list[str]]:
    """Whether openvpn takes a file, and its warnings: it names its version once all options are checked."""
    # In namespaces of its own: it reaches no network, and is gone with them, even where it becomes a daemon.
    program = ["unshare", "--net", "--pid", "--fork", "--kill-child", "openvpn"]
    process = subprocess.Popen(
        [*program, "--log", "/dev/stdout", "--config", path.name],
        cwd=path.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    taken = False
    assert process.stdout is not None
    for line in process.stdout:
        said.append(re.sub(r"^[0-9-]+ [0-9:]+ ", "", line.strip()))
        if taken := re.search(r" OpenVPN \d+\.\d+\S* \S+-linux", f" {said[-1]}") is not None:
            break
    process.kill()
    process.wait(SECONDS)
    process.stdout.close()
    if not taken:
        return "refused", [line for line in said if "rror" in line][:1] or said[-1:]
    warned = [line for line in said if re.match("WARNING|DEPRECATED|NOTE|Note", line)]
    return ("warned" if warned else "taken"), warned


def test_openvpn_takes_nothing_that_is_refused_here(tmp_path: Path) -> None:
    prepare(tmp_path)
    rows: list[tuple[str, str, str, str]] = []
    wrong: list[str] = []
    reasons: Counter[str] = Counter()
    for configuration in configurations():
        path = written(configuration, tmp_path)
        ours, ours_said = judged(path)
        theirs, theirs_said = asked_openvpn(path)
        said = f"{'; '.join(ours_said)[:100]} | {'; '.join(theirs_said)[:100]}"
        rows.append((str(configuration), ours, theirs, said))
        if ours == "refused" != theirs:
            found = [name for name, pattern in REASONS.items() if re.search(pattern, " ".join(ours_said))]
            reasons.update(found)
            if not found:
                wrong.append(str(configuration))
    width = max(len(row[0]) for row in rows)
    print("\n".join(f"{name:{width}} {ours:8} {theirs:8} {said}" for name, ours, theirs, said in rows))
    taken = [row for row in rows if row[2] != "refused"]
    print(f"of {len(rows)} files openvpn takes {len(taken)}, and tmelink refuses of these {dict(reasons)}")
    assert not wrong
    assert set(reasons) == set(REASONS)
