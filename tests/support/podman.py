"""Podman with a configuration, images and state of its own, for one test file."""

import json
import os
import shutil
import subprocess

from support.cni import PLUGIN

IMAGE = "localhost/busybox:test"
_APPLETS = ("httpd", "nc", "ping", "sh", "sleep")


class Podman:
    """An engine that knows networks of a daemon, and nothing else of this host."""

    def __init__(self, directory):
        self._directory = directory
        self._networks = directory / "networks"
        self._networks.mkdir()
        # Runtimes find plugins by name, and look at nothing else in the directory.
        plugins = directory / "plugins"
        plugins.mkdir()
        (plugins / "enid-cni").symlink_to(os.path.abspath(PLUGIN))
        configuration = directory / "containers.conf"
        configuration.write_text(f"""
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"
[network]
network_backend = "cni"
network_config_dir = "{self._networks}"
cni_plugin_dirs = ["{plugins}"]
""")
        self._environment = os.environ | {"CONTAINERS_CONF": str(configuration),
                                          "TMPDIR": str(directory)}
        self._import()

    def network(self, name, daemon, subnet, group):
        """A network whose containers are in a subnet with a group."""
        plugin = {"type": "enid-cni", "data": str(daemon.data), "subnet": subnet,
                  "securityGroups": [group], "capabilities": {"ips": True}}
        config = {"cniVersion": "1.0.0", "name": name, "plugins": [plugin]}
        (self._networks / f"{name}.conflist").write_text(json.dumps(config))

    def run(self, *words, check=True):
        state = [f"--{name}={self._directory / name}" for name in ("root", "runroot", "tmpdir")]
        done = subprocess.run(["podman", *state, "--storage-driver=vfs", *words],
                              env=self._environment, capture_output=True, text=True, timeout=120)
        if check and done.returncode != 0:
            raise AssertionError(f"podman {words} ended with {done.returncode}: {done.stderr}")
        return done

    def start(self, name, network, *words):
        """A container that waits, and its address."""
        self.run("run", "-d", "--name", name, "--network", network, *words, IMAGE, "sleep", "600")
        return self.address(name)

    def address(self, name):
        [container] = json.loads(self.run("inspect", name).stdout)
        [network] = container["NetworkSettings"]["Networks"].values()
        return network["IPAddress"]

    def exec(self, name, *words, check=True):
        return self.run("exec", name, *words, check=check)

    def close_containers(self):
        self.run("rm", "--all", "--force", "--time", "0")

    def _import(self):
        """An image of one program, made here: no registry is asked."""
        root = self._directory / "image"
        (root / "bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", root / "bin" / "busybox")
        for applet in _APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
        for name in ("dev", "etc", "proc", "sys", "tmp", "www"):
            (root / name).mkdir()
        (root / "www" / "index.html").write_text("hello")
        archive = self._directory / "image.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        self.run("import", str(archive), IMAGE)
