"""A daemon under test: its own data directory, port and keys; and proof that it leaves nothing."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import botocore.config

from support.until import SLOWNESS, until

ROOT = Path(__file__).resolve().parents[2]
ENID = os.environ.get("ENID_BIN") or str(ROOT / "target" / "release" / "enid")
REGION = "us-east-1"

# AWS's defaults of five of these per region would make tests wait for each other.
DEFAULT_CONFIG = """[quotas]
vpcs = 1000
addresses = 1000
internet_gateways = 1000
nat_gateways_per_zone = 1000
"""

# One for all: it reads the API models once.
_SESSION = boto3.session.Session()

_PINS = Path("/sys/fs/bpf/enid")
_NAMESPACES = Path("/run/netns")


class Daemon:
    """`enid serve` on a data directory, and the commands that speak to it."""

    def __init__(self, directory, datapath, config=DEFAULT_CONFIG, ephemeral=False):
        self.data = Path(directory) / "data"
        self.log = Path(directory) / "log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None
        self.datapath = datapath
        self._config = Path(directory) / "config.toml"
        self._config.write_text(config)
        self._ephemeral = ephemeral
        self._namespaces = namespaces()

    def serve_command(self):
        command = [ENID, "--data", str(self.data), "serve", "--listen", f"127.0.0.1:{self.port}",
                   "--datapath", self.datapath, "--config", str(self._config)]
        return command + (["--ephemeral"] if self._ephemeral else [])

    def start(self):
        # A daemon has to get by without what tests happen to have in their environment.
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("AWS_", "ENID_DATA", "ENID_ENDPOINT"))}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.serve_command(), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=environment)
        try:
            # It has a second's work to do, most of it in the verifier, and others work as well.
            until(self._is_ready, "the daemon answers", within=60)
        except BaseException:
            # What `down` cannot speak to it cannot end.
            self.kill()
            raise
        return self

    def _is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}: {self.text()}")
        return self.is_healthy()

    def is_healthy(self):
        try:
            return self.get("/_enid/health")[0] == 200
        except OSError:
            return False

    def assert_consistent(self):
        """`enid check`, of a daemon that runs."""
        if self.process is None or self.process.poll() is not None or not self.is_healthy():
            return
        checked = json.loads(self.get("/_enid/check")[2])
        assert checked["consistent"], checked["findings"]

    def get(self, path, method="GET", body=None, headers=None):
        """A plain HTTP request: status, headers, body."""
        request = urllib.request.Request(self.url + path, method=method, data=body,
                                         headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def text(self):
        """What the daemon has written so far."""
        return self.log.read_text(errors="replace")[-4000:]

    def kill(self):
        """Ends it as a crash does."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Asks it to end."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20 * SLOWNESS)
        assert code == 0, f"it ended with {code}: {self.text()}"

    def command(self, *words):
        return [ENID, "--data", str(self.data), *words]

    def run(self, *words, check=True, **options):
        """Runs a command on this daemon's data directory."""
        options = {"capture_output": True, "text": True, "timeout": 60 * SLOWNESS} | options
        done = subprocess.run(self.command(*words), **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{words} ended with {done.returncode}: {done.stderr}")
        return done

    def json(self, *words):
        return json.loads(self.run("--json", *words).stdout)

    def environment(self):
        """What `enid env` prints."""
        return self.json("env")

    def client(self, service="ec2", region=REGION, keys=None, **options):
        """A boto3 client that retries nothing: a first answer that fails is a failure."""
        exports = self.environment() | (keys or {})
        settings = {"retries": {"total_max_attempts": 1}, "max_pool_connections": 32} | options
        return _SESSION.client(
            service, region_name=region, endpoint_url=self.url,
            aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
            config=botocore.config.Config(**settings))

    def aws_environment(self):
        """The environment for the aws CLI: what `enid env` says and nothing of the user's own."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.data), "AWS_PAGER": "",
                "AWS_MAX_ATTEMPTS": "1"} | self.environment()

    def down(self):
        """Removes every trace from the host, and sees that none is left."""
        if self.process is None:
            return
        self.run("down")
        if self.process.poll() is None:
            self.process.wait(20 * SLOWNESS)
        assert self.traces() == []

    def mark(self):
        """What this daemon's devices, pins and processes carry."""
        home = self.data / "ephemeral" if self._ephemeral else self.data
        return hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:12]

    def devices(self):
        """The host's devices of interfaces that this daemon has made."""
        return [name for name, of in self._links() if of.startswith("eni-")]

    def services(self):
        """The host's devices that lead to the link-local services of a VPC."""
        return [name for name, of in self._links() if of.startswith("vpc-")]

    def gateway(self):
        """The two devices of its way to the outside."""
        return sorted(name for name, of in self._links() if of == "outside")

    def _links(self):
        mark = f"enid:{self.mark()}:"
        for device in Path("/sys/class/net").iterdir():
            try:
                alias = (device / "ifalias").read_text().strip()
            except OSError:
                continue
            if alias.startswith(mark):
                yield device.name, alias.removeprefix(mark)

    def _rules(self):
        """Routing rules of the host that name a device of this daemon."""
        own = f"enid{self.mark()[:8]}"
        listed = [subprocess.run(["ip", family, "rule"], capture_output=True, text=True).stdout
                  for family in ("-4", "-6")]
        return [rule for rule in "".join(listed).splitlines() if own in rule]

    def pins(self):
        return [str(path) for path in _PINS.glob(f"*{self.mark()}*")]

    def processes(self):
        """Processes that carry this daemon's mark or work on its data directory."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if self.mark().encode() in words or os.fsencode(self.data) in words:
                found.append(f"{entry.name}: {words.replace(bytes(1), b' ').decode()}")
        return found

    def mounts(self):
        """Where something is mounted below this daemon's data directory."""
        lines = Path("/proc/self/mounts").read_text().splitlines()
        return [line.split()[1] for line in lines if str(self.data) in line.split()[1]]

    def traces(self):
        """Everything of this daemon that the host still has, apart from its data directory."""
        mounts = self.mounts()
        left = [name for name in namespaces() - self._namespaces if self._owns(name)]
        links = [name for name, _ in self._links()] + self._rules()
        return links + self.pins() + self.processes() + mounts + sorted(left)

    def _owns(self, namespace):
        # Other daemons on this host may make namespaces meanwhile; the loopback's alias tells.
        path = str(_NAMESPACES / namespace)
        shown = subprocess.run(["nsenter", f"--net={path}", "ip", "link", "show", "lo"],
                               capture_output=True, text=True)
        return f"enid:{self.mark()}:" in shown.stdout


def namespaces():
    """The names of the host's network namespaces."""
    return {path.name for path in _NAMESPACES.iterdir()} if _NAMESPACES.is_dir() else set()


def free_port():
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        return any_socket.getsockname()[1]
