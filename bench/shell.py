"""Running commands, and undoing what was set up, in reverse, whatever happens."""

import contextlib
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Where set-up puts the programs that it unpacks.
TOOLS = Path(os.environ.get("ENID_TOOLS") or Path.home() / ".cache/enid/tools")


class Failed(Exception):
    """A command did not do what the bench needs."""


def sh(command, stdin=None, check=True):
    """Runs a command given as one string of words; returns what it printed."""
    done = subprocess.run(command.split(), input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise Failed(f"{command}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def quiet(command):
    """A clean-up step: its failure must not keep the next one from running."""
    sh(command, check=False)


def unique(name):
    """A name that no other run of the bench uses."""
    return f"bench{os.getpid()}-{name}"


@contextlib.contextmanager
def process(argv, **options):
    """A process that is gone when the block ends."""
    child = subprocess.Popen(argv, **options)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream:
                stream.close()
