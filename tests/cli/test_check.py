"""`enid check`: with a daemon and without one, and after one that was killed."""

import hashlib
import json
import subprocess

from support.daemon import ENID
from support.lab import Lab


def test_a_daemon_is_asked(daemon, papers):
    papers.instance(papers.network()[1])
    done = daemon.run("check")
    assert done.stdout.startswith("consistent: ")
    checked = daemon.json("check")
    assert checked["consistent"] and checked["findings"] == [] and checked["revision"] > 0


def test_the_endpoint_is_enough(daemon, tmp_path):
    command = [ENID, "--data", str(tmp_path), "--endpoint", daemon.url, "--json", "check"]
    assert json.loads(subprocess.run(command, capture_output=True).stdout)["consistent"]


def test_the_store_is_read_without_a_daemon(start_daemon):
    daemon = start_daemon("none")
    lab = Lab(daemon)
    lab.instance(lab.network()[1])
    revision = daemon.json("check")["revision"]
    daemon.stop()
    before = hashlib.sha256((daemon.data / "enid.redb").read_bytes()).digest()
    assert daemon.json("check") == {"consistent": True, "revision": revision, "regions": 1,
                                    "findings": []}
    after = hashlib.sha256((daemon.data / "enid.redb").read_bytes()).digest()
    assert before == after, "it was only read"


def test_the_store_of_a_killed_daemon(start_daemon):
    daemon = start_daemon("none")
    lab = Lab(daemon)
    lab.network()
    revision = daemon.json("check")["revision"]
    daemon.kill()
    done = daemon.run("--json", "check")
    assert json.loads(done.stdout)["revision"] == revision
    assert json.loads(done.stdout)["consistent"]
    daemon.start()
    assert daemon.json("check")["consistent"]


def test_no_store_is_a_failure(tmp_path):
    done = subprocess.run([ENID, "--data", str(tmp_path), "check"], capture_output=True, text=True)
    assert done.returncode == 1 and "no store" in done.stderr
