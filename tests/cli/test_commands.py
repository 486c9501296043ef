"""The command line as scripts use it: exit codes, `--json`, keys, and clear words on failure."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.daemon import ENID, Daemon, free_port
from support.errors import refused
from support.lab import Lab
from support.until import until

real_packets = pytest.mark.real_packets


def test_env_is_all_that_a_client_needs(daemon):
    script = f'eval "$({ENID} --data {daemon.data} env)" && exec "$@"'
    aws = [sys.executable, str(Path(sys.executable).with_name("aws")), "sts",
           "get-caller-identity", "--query", "Account", "--output", "text"]
    bare = {"PATH": os.environ["PATH"], "HOME": str(daemon.data)}
    done = subprocess.run(["sh", "-c", script, "sh", *aws], env=bare, capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout) == (0, "123456789012\n"), done.stderr
    names = {line.split("=")[0] for line in daemon.run("env").stdout.splitlines()}
    assert names == {"export AWS_ENDPOINT_URL", "export AWS_ACCESS_KEY_ID",
                     "export AWS_SECRET_ACCESS_KEY", "export AWS_DEFAULT_REGION",
                     "export AWS_DISABLE_HOST_PREFIX_INJECTION"}
    assert daemon.environment()["AWS_ENDPOINT_URL"] == daemon.url


def test_env_before_the_first_start(tmp_path):
    command = [ENID, "--data", tmp_path / "none", "env"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "enid serve" in done.stderr


@pytest.mark.parametrize("words", [
    [], ["--nonsense"], ["nonsense"], ["exec"], ["exec", "i-0", "--"], ["explain"],
    ["serve", "--datapath", "magic"], ["serve", "--listen", "here"], ["key"],
    ["key", "create", "--account", "12"],
])
def test_wrong_use_is_two(words):
    done = subprocess.run([ENID, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr and done.stdout == ""


def test_help_and_version_are_zero():
    for word in ("--help", "--version", "serve --help"):
        done = subprocess.run([ENID, *word.split()], capture_output=True, text=True)
        assert done.returncode == 0 and "enid" in done.stdout.lower()


def test_json_everywhere(daemon):
    for words in (["env"], ["key", "create"], ["doctor"]):
        done = daemon.run("--json", *words, check=False)
        assert isinstance(json.loads(done.stdout), dict), words
    assert daemon.run("doctor", check=False).stdout.count("\n") > 3


def test_nothing_to_verify_without_a_datapath(daemon):
    done = daemon.run("verify", check=False)
    assert done.returncode == 1 and "no datapath" in done.stderr


def test_commands_without_a_daemon(tmp_path):
    data = tmp_path / "data"
    for words in (["verify"], ["explain", "--from", "i-00000000000000001", "--to", "10.0.0.1",
                               "--port", "1"]):
        endpoint = f"http://127.0.0.1:{free_port()}"
        done = subprocess.run([ENID, "--data", data, "--endpoint", endpoint, *words],
                              capture_output=True, text=True)
        assert done.returncode == 1 and endpoint.removeprefix("http://") in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_keys_of_other_accounts(daemon, ec2):
    # Fails if resources are kept under the region alone.
    keys = daemon.json("key", "create", "--account", "000000000042")
    keys = {f"AWS_{name.upper().removeprefix('AWS_')}": value for name, value in keys.items()}
    other = daemon.client(keys=keys)
    assert daemon.client("sts", keys=keys).get_caller_identity()["Account"] == "000000000042"
    lab = Lab(daemon, ec2)
    vpc = lab.vpc()
    with refused("InvalidVpcID.NotFound"):
        other.describe_vpcs(VpcIds=[vpc])
    with refused("InvalidVpcID.NotFound"):
        other.delete_vpc(VpcId=vpc)
    theirs = other.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]
    assert other.describe_vpcs(VpcIds=[theirs["VpcId"]])["Vpcs"][0]["OwnerId"] == "000000000042"
    other.delete_vpc(VpcId=theirs["VpcId"])
    lab.close()


def test_secrets_are_the_owners_alone(daemon):
    keys = daemon.data / "keys.json"
    assert keys.stat().st_mode & 0o777 == 0o600
    assert daemon.data.stat().st_mode & 0o077 == 0
    secret = daemon.environment()["AWS_SECRET_ACCESS_KEY"]
    assert secret not in daemon.text()


def test_one_daemon_per_data_directory(start_daemon):
    daemon = start_daemon("none")
    second = [ENID, "--data", daemon.data, "serve", "--datapath", "none", "--listen",
              f"127.0.0.1:{free_port()}"]
    done = subprocess.run(second, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and str(daemon.data) in done.stderr
    assert daemon.is_healthy()


def test_a_port_that_is_taken(start_daemon):
    daemon = start_daemon("none")
    other = start_daemon("none", start=False)
    other.port = daemon.port
    done = subprocess.run(other.serve_command(), capture_output=True, text=True, timeout=10)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and str(daemon.port) in done.stderr


@pytest.mark.parametrize(("config", "words"), [
    ("[quotas]\nplanets = 8\n", "planets"), ("[quotas]\nvpcs = 'many'\n", "vpcs"),
    ("nonsense", "config.toml"), ("[quotas]\nrules_per_group = 900\n", "1000"),
])
def test_wrong_configuration(start_daemon, config, words):
    daemon = start_daemon("none", start=False, config=config)
    done = subprocess.run(daemon.serve_command(), capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and words in done.stderr
    assert not daemon.data.exists() or not any(daemon.data.iterdir())


def test_beyond_loopback_is_refused(tmp_path):
    done = subprocess.run([ENID, "--data", tmp_path / "data", "serve", "--datapath", "none",
                           "--listen", "0.0.0.0:0"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "TLS" in done.stderr


def test_state_lasts_over_a_restart(start_daemon):
    daemon = start_daemon("none")
    lab = Lab(daemon)
    vpc, subnet = lab.network()
    instance = lab.instance(subnet)
    daemon.stop()
    daemon.start()
    assert instance.describe()["State"]["Name"] == "running"
    assert instance.describe()["VpcId"] == vpc
    lab.close()


@real_packets
def test_without_root(tmp_path):
    """What a user without privileges meets: a clear refusal, or a daemon that enforces nothing."""
    public = tmp_path
    while public != public.parent:  # pytest makes its directories for their owner only.
        if public.stat().st_mode & 0o001 == 0:
            public.chmod(public.stat().st_mode | 0o011)
        public = public.parent
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(ENID, tmp_path / "enid")  # The build may lie where nobody else may look.
    os.chown(data, 65534, 65534)
    command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
               "--inh-caps=-all", str(tmp_path / "enid"), "--data", str(data), "serve",
               "--listen", f"127.0.0.1:{free_port()}", "--datapath"]
    done = subprocess.run([*command, "ebpf"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "privileges" in done.stderr and "enid doctor" in done.stderr
    with subprocess.Popen([*command, "auto"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        try:
            said = process.stderr.readline()
            assert "nothing is enforced" in said and "privileges" in said
            assert "nothing is enforced" in process.stdout.readline()
        finally:
            process.terminate()


@real_packets
def test_reset(start_daemon):
    """`POST /_enid/reset` forgets everything, kernel state included."""
    daemon = start_daemon("ebpf", ephemeral=True)
    for _ in range(2):
        lab = Lab(daemon)
        vpc, subnet = lab.network()
        instance = lab.instance(subnet)
        assert instance.exec("true").returncode == 0
        instance.agent.datagram(address="198.51.100.1", port=1, wait=False)
        assert instance.eni in daemon.run("--json", "flows").stdout
        instance.forget_agent()
        assert daemon.get("/_enid/reset", "POST")[0] == 200
        assert daemon.json("flows") == []
        assert daemon.devices() == []
        assert not os.path.exists(f"/run/netns/{instance.id}")
        with refused("InvalidVpcID.NotFound"):
            lab.ec2.describe_vpcs(VpcIds=[vpc])
        assert lab.ec2.describe_instances()["Reservations"] == []
        assert daemon.json("verify")["agree"]


def test_reset_is_for_ephemeral_daemons(daemon, start_daemon):
    assert daemon.get("/_enid/reset", "POST")[0] == 403
    ephemeral = start_daemon("none", ephemeral=True)
    vpc = ephemeral.client().create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    assert ephemeral.get("/_enid/reset", "GET")[0] in (404, 405)
    assert vpc in {one["VpcId"] for one in ephemeral.client().describe_vpcs()["Vpcs"]}
    ephemeral.stop()
    ephemeral.start()
    assert vpc not in {one["VpcId"] for one in ephemeral.client().describe_vpcs()["Vpcs"]}


@real_packets
def test_disk_full(tmp_path):
    """A full disk: a clear error, nothing half done, and the daemon goes on when there is room."""
    data = tmp_path / "data"
    data.mkdir()
    daemon = Daemon(tmp_path, "none")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", data], check=True)
    try:
        daemon.start()
        lab = Lab(daemon)
        vpc = lab.vpc()
        ballast = data / "ballast"
        with ballast.open("wb") as file:
            try:
                while True:
                    file.write(bytes(65536))
                    file.flush()
            except OSError:
                pass
        answered = []

        def refuses():
            try:
                answered.append(lab.group(vpc, f"g{len(answered)}" + "x" * 200))
            except lab.ec2.exceptions.ClientError as error:
                return error.response["Error"]
            return None

        error = until(refuses, "the disk is full", within=30)
        assert error["Code"] == "InsufficientStorage" and "space" in error["Message"]

        def groups():
            shown = lab.ec2.describe_security_groups(
                Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
            return {one["GroupId"] for one in shown if one["GroupName"] != "default"}

        assert groups() == set(answered)
        ballast.unlink()
        if daemon.process.poll() is not None:
            daemon.start()
        answered.append(lab.group(vpc, "after"))
        daemon.stop()
        daemon.start()
        assert groups() == set(answered), "what was answered is there, and nothing else"
        daemon.stop()
    finally:
        if daemon.process and daemon.process.poll() is None:
            daemon.kill()
        subprocess.run(["umount", data], check=True)
