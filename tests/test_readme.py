"""Every command of the README's tour, in order, in one shell."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.daemon import ENID, ROOT

pytestmark = pytest.mark.real_packets


def tour():
    """The commands of all blocks marked ```sh tour, continued lines joined."""
    blocks = re.findall(r"^```sh tour\n(.*?)^```", (ROOT / "README.md").read_text(),
                        re.MULTILINE | re.DOTALL)
    return "".join(blocks).replace("\\\n", " ").splitlines()


def test_tour(start_daemon, tmp_path):
    # Fails if any command of the tour fails, `! command` if it succeeds.
    commands = [line for line in tour() if line.strip() and not line.startswith("#")]
    assert len(commands) > 10
    daemon = start_daemon("ebpf")
    path = tmp_path / "bin"
    path.mkdir()
    (path / "enid").symlink_to(ENID)
    (path / "aws").symlink_to(Path(sys.executable).with_name("aws"))
    script = ["set -o pipefail"]
    for number, command in enumerate(commands):
        script.append(f"{command} || {{ echo 'command {number} failed' >&2; exit 1; }}")
    environment = {"PATH": f"{path}:{os.environ['PATH']}", "HOME": str(tmp_path),
                   "AWS_PAGER": "", "ENID_DATA": str(daemon.data)}
    done = subprocess.run(["bash", "-c", "\n".join(script)], env=environment, timeout=120,
                          capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{list(enumerate(commands))}"
    assert "10.0.1.10" in done.stdout
