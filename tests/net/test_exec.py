"""`enid exec`: a command inside an instance, as if it were called here."""

import os
import pty
import signal
import subprocess

import pytest

from support.until import until


@pytest.fixture
def instance(lab):
    _, subnet = lab.network()
    return lab.instance(subnet)


@pytest.mark.parametrize("code", [0, 1, 2, 42, 255])
def test_exit_code_is_the_commands(instance, code):
    assert instance.exec("sh", "-c", f"exit {code}", check=False).returncode == code


def test_streams_pass_through(instance):
    # Fails if output is mixed, bytes are lost, or the end of the input does not arrive.
    data = os.urandom(300_000)
    done = instance.exec("sh", "-c", "cat; echo aside >&2", input=data, text=False)
    assert done.stdout == data
    assert done.stderr == b"aside\n"


def test_words_arrive_as_they_are(instance):
    done = instance.exec("printf", "%s|", "a b", "", "*", "--json", "ü\n")
    assert done.stdout == "a b||*|--json|ü\n|"


def test_death_by_signal_is_told(instance):
    assert instance.exec("sh", "-c", "kill -9 $$", check=False).returncode == 128 + 9


def test_signals_reach_the_command(lab, instance):
    # Fails if the command goes on when its caller is told to end.
    script = "trap 'echo ending; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    command = lab.daemon.command("exec", instance.id, "--", "sh", "-c", script)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "ending\n"
        assert process.wait(5) == 7


def test_terminal_is_passed_through(lab, instance):
    # Fails if the command has no terminal when the caller has one, or has one when not.
    assert instance.exec("test", "-t", "0", check=False, stdin=subprocess.DEVNULL).returncode == 1
    ours, theirs = pty.openpty()
    script = "tty; stty size; read a; echo got $a"
    command = lab.daemon.command("exec", instance.id, "--", "sh", "-c", script)
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = bytearray()

        def read(what):
            def has():
                shown.extend(os.read(ours, 4096))
                return what in shown
            until(has, f"{what!r} in {bytes(shown)!r}")

        read(b"/dev/pts/")
        os.write(ours, b"typed\n")
        read(b"got typed")
        assert process.wait(5) == 0
    os.close(ours)


def test_what_cannot_be_run(lab, instance):
    assert instance.exec("no-such-command", check=False).returncode == 127
    unknown = lab.daemon.run("exec", "i-00000000000000001", "--", "true", check=False)
    assert unknown.returncode not in (0, 2) and "i-00000000000000001" in unknown.stderr
    malformed = lab.daemon.run("exec", "web", "--", "true", check=False)
    assert malformed.returncode == 2 and '"web"' in malformed.stderr
    assert lab.daemon.run("exec", instance.id, check=False).returncode == 2
