"""The oldest kernel that Enid runs on, Debian 12's: other tests, run in a machine that has it.

There are no tcx links before Linux 6.6: the programs are held by filters, which `ENID_ATTACH=tc` gives
on any kernel.
"""

import os

import pytest

from support import machine
from support.daemon import ENID, ROOT

# Emulation is some twenty times slower than the host, and the host may be busy: a minute and a half on an
# idle one with two processors.
WITHIN_S = 1800
SLOWNESS = "8"

SLICE = [
    # The verifier takes the programs.
    "tests/net/test_programs.py",
    # Groups let pass and stop.
    "tests/net/test_two_gates.py::test_both_gates_decide[other subnet]",
    # Addresses are translated, by a NAT gateway and one to one; `kill -9` cuts nothing.
    "tests/net/test_nat_gateways.py::test_out_through_one_address_and_not_in",
    "tests/net/test_public_addresses.py::test_a_killed_daemon_cuts_nothing",
    # Copies go through filters as well, and what stands for several packets arrives as these.
    "tests/net/test_mirroring.py::test_what_it_sends_and_gets_is_copied",
    "tests/net/test_mirroring.py::test_bulk_arrives_as_packets_of_the_wire[True]",
    "tests/net/test_capture.py::test_dropped_packets_say_why_and_where",
    # `down` leaves nothing.
    "tests/fault/test_down.py::test_down_after_a_crash",
]


@pytest.fixture(autouse=True)
def _present():
    if missing := machine.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)


def test_packets_obey_there_as_well():
    # Fails if a program needs what that kernel has not, or is put on devices in a way that it has not.
    command = [ROOT / ".venv/bin/python", "-m", "pytest", "--quiet", "--color=no", "-rP",
               "--durations=8", *SLICE]
    environment = {"CI": "true", "ENID_BIN": os.path.abspath(ENID), "ENID_SLOWNESS": SLOWNESS}
    code, text = machine.run(command, WITHIN_S, directory=ROOT, environment=environment)
    print(text)
    assert code == 0, text[-6000:]
    assert "verified by Linux 6.1." in text


def test_the_doctor_says_which_hooks_there_are():
    code, text = machine.run([os.path.abspath(ENID), "doctor"], 120, directory=ROOT)
    assert code == 0, text
    assert "tc filters" in text


def test_a_machine_ends_with_its_command_or_its_time():
    # Fails if a failure in the machine is taken for success, or a machine outlives its test.
    code, text = machine.run(["sh", "-c", "echo $((6 * 7)); exit 3"], 120)
    assert (code, "42\n" in text) == (3, True)
    with pytest.raises(AssertionError, match="not done within"):
        machine.run(["sleep", "1000"], 20)
