"""Fixtures of the end-to-end tests.

They speak to the `enid` binary only from outside: its command line, its endpoint, and packets
between instances. `ENID_BIN` names another binary than the release build. Real packets need root
and what `enid doctor` lists; without it those tests are skipped, but never in CI.
"""

import functools
import os
import subprocess
from pathlib import Path

import pytest

from support.daemon import ENID, Daemon
from support.lab import Lab
from support.network import Network
from support.outside import Internet
from support.until import SLOWNESS


def pytest_collection_modifyitems(items):
    for item in items:
        if {"wired", "lab"} & set(item.fixturenames):
            item.add_marker(pytest.mark.real_packets)


def pytest_runtest_setup(item):
    missing = _missing() if item.get_closest_marker("real_packets") else None
    if missing:
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)


# Daemons that tests have started, until they are brought down.
_daemons = []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item):
    """After each test, while what it made is still there: is what is stored consistent?"""
    for daemon in _daemons:
        daemon.assert_consistent()


@functools.cache
def _missing():
    """What this host lacks for real packets."""
    if os.geteuid() != 0:
        return "real packets need root"
    doctor = subprocess.run([ENID, "doctor"], capture_output=True, text=True)
    return doctor.stdout if doctor.returncode != 0 else None


@pytest.fixture(scope="session", autouse=True)
def _binary():
    if not Path(ENID).exists():
        pytest.exit(f"{ENID} is missing: make build", returncode=1)


@pytest.fixture
def start_daemon(tmp_path):
    """Starts daemons of the test's own: `start_daemon(datapath, config=…, ephemeral=…)`."""
    daemons = []

    def start(datapath, start=True, **options):
        directory = tmp_path / str(len(daemons))
        directory.mkdir()
        daemon = Daemon(directory, datapath, **options)
        daemons.append(daemon)
        _daemons.append(daemon)
        return daemon.start() if start else daemon

    yield start
    _end(daemons)


def _breadth(fixture_name, config):
    """In emulation a daemon takes as long to start as many tests do."""
    return "session" if SLOWNESS > 1 else "module"


@pytest.fixture(scope=_breadth)
def wired(tmp_path_factory):
    """A daemon with the real datapath, for all tests of a file."""
    yield from _module_daemon(tmp_path_factory, "ebpf")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A daemon without a datapath, for all tests of a file."""
    yield from _module_daemon(tmp_path_factory, "none")


@pytest.fixture
def lab(wired):
    """A laboratory on the file's daemon. No two tests share anything in it."""
    lab = Lab(wired)
    yield lab
    lab.close()


@pytest.fixture
def network(lab):
    """Routes, network ACLs and peering connections in the laboratory; they go before it does."""
    network = Network(lab)
    yield network
    network.close()


@pytest.fixture
def internet(lab):
    """Somebody outside of every VPC."""
    internet = Internet()
    yield internet
    internet.close()


@pytest.fixture(scope="module")
def ec2(daemon):
    return daemon.client()


@pytest.fixture
def papers(daemon, ec2):
    """A laboratory whose instances carry no packets."""
    lab = Lab(daemon, ec2)
    yield lab
    lab.close()


def _module_daemon(factory, datapath):
    daemon = Daemon(factory.mktemp(datapath), datapath)
    _daemons.append(daemon)
    try:
        yield daemon.start()
    finally:
        _end([daemon])


def _end(daemons):
    failures = []
    for daemon in daemons:
        _daemons.remove(daemon)
        try:
            daemon.down()
        except Exception as error:  # Every daemon has to be brought down, whatever one says.
            failures.append(f"{error}; its log: {daemon.text() if daemon.log.exists() else ''}")
    assert not failures, "\n".join(failures)
