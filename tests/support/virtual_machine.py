"""A guest of QEMU on a tap that Enid hands out: Debian's kernel, a shell, and nothing set up.

It knows nothing of its network but what DHCP and the metadata tell it. Commands go to it through a serial
port of their own; what its kernel says goes to a file.
"""

import os
import select
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

from support import machine

# Emulated, and beside everything else that a test run does.
_BOOT_S = 120
_COMMAND_S = 60

_MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
            "virtio-rng", "failover", "net_failover", "virtio_net"]
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules); do insmod /$module.ko || echo $module cannot be loaded; done
ip link set lo up
stty -F /dev/ttyS1 raw -echo
echo ready >/dev/ttyS1
exec setsid sh -c 'while read -r line; do eval "$line" </dev/null; printf "\\n=%d\\n" $?; done' </dev/ttyS1 >/dev/ttyS1 2>&1
"""
# What udhcpc runs when it has an address.
_LEASE = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add $ip/$mask dev $interface
ip link set $interface mtu $mtu
ip route add default via $router
echo "search $domain" >/etc/resolv.conf
for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
"""
# What goes over a connection that stays open while there is no answer: some servers take an end of what is
# asked for an end of the interest in it.
_ASK = """#!/bin/sh
cat /tmp/request
cat >/tmp/answer
"""


class VirtualMachine:
    """A guest that has booted."""

    def __init__(self, interface):
        """On the tap of an interface, as `enid --json tap` describes it."""
        self._own = tempfile.TemporaryDirectory(prefix="enid-guest-")
        own = Path(self._own.name)
        self._log = own / "console"
        (own / "initramfs").write_bytes(self._initramfs())
        tap = f"tap,id=tap,ifname={interface['device']},script=no,downscript=no"
        # `timeout` ends it even if nobody else does.
        command = ["timeout", "--signal=KILL", "900",
                   *machine.machine_arguments(cpus=1, memory_mb=256, console=f"file:{self._log}"),
                   "-serial", "stdio", "-kernel", machine.KERNEL / "vmlinuz",
                   "-initrd", own / "initramfs", "-append", machine.COMMAND_LINE,
                   "-netdev", tap, "-device", f"virtio-net-pci,netdev=tap,mac={interface['mac']}"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT)
        self._read = b""
        try:
            self._until(b"ready\n", _BOOT_S)
        except BaseException:
            self.close()
            raise

    def close(self):
        self._process.terminate()
        self._process.wait()
        self._own.cleanup()

    def run(self, line, within=_COMMAND_S):
        """Runs a line of shell. Its exit code and output."""
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()
        output = self._until(b"\n=", within)
        code = self._until(b"\n", within)
        return int(code), output.decode(errors="replace")

    def ask_dhcp(self):
        """Gets an address, and the rest that goes with it; whether there was one."""
        ask = "ip link set eth0 up; udhcpc -i eth0 -n -q -f -t 10 -s /lease -O mtu"
        code, said = self.run(ask)
        return code == 0, said

    def get(self, path, *headers, method="GET", host="169.254.169.254"):
        """An HTTP request from within, by hand: the body of the answer."""
        request = "\r\n".join([f"{method} {path} HTTP/1.0", f"Host: {host}", *headers, "", ""])
        text = shlex.quote(request.encode("unicode_escape").decode())
        _, answer = self.run(f"printf %b {text} >/tmp/request; nc {host} 80 -e /ask; cat /tmp/answer")
        head, _, body = answer.partition("\n\n")
        assert " 200 " in head.partition("\n")[0], answer
        return body

    def _until(self, end, within):
        limit = time.monotonic() + within
        while end not in self._read:
            left = limit - time.monotonic()
            ready = left > 0 and select.select([self._process.stdout], [], [], left)[0]
            data = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not data:
                console = self._log.read_text(errors="replace") if self._log.exists() else ""
                raise AssertionError(f"no {end!r} from the guest: {self._read!r}\n{console[-3000:]}")
            self._read += data.replace(b"\r", b"")
        found, _, self._read = self._read.partition(end)
        return found

    @staticmethod
    def _initramfs():
        modules = {f"{name}.ko": (0o644, (machine.KERNEL / f"{name}.ko").read_bytes())
                   for name in _MODULES}
        files = {"init": (0o755, _INIT.encode()), "lease": (0o755, _LEASE.encode()),
                 "ask": (0o755, _ASK.encode()),
                 "modules": (0o644, " ".join(_MODULES).encode()),
                 "bin/busybox": (0o755, machine.BUSYBOX.read_bytes())}
        return machine.archive(files | modules, ["bin", "dev", "etc", "proc", "sys", "tmp"])
