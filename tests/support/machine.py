"""Another machine, with another kernel, over this host's files.

    python tests/support/machine.py -- CMD ...    runs a command there, in the present directory

QEMU boots Debian's kernel in software emulation, in some five seconds. The machine's root is this host's,
read-only, below an overlay in its memory: a command finds the same programs and files, and whatever it
changes is gone afterwards. It has no network, and ends with its command, or is ended when its time is up.

`cargo xtask setup --tests` gets the kernel and the modules, in the order in which they have to be loaded.
"""

import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(os.environ.get("ENID_TOOLS") or Path.home() / ".cache/enid/tools")
KERNEL = TOOLS / "linux-6.1"
BUSYBOX = Path("/bin/busybox")
QEMU = "qemu-system-x86_64"


def missing():
    """What this host lacks for such a machine; None if nothing."""
    for path in (KERNEL / "vmlinuz", KERNEL / "modules", BUSYBOX):
        if not path.exists():
            return f"{path} is missing: cargo xtask setup --tests"
    return None if shutil.which(QEMU) else f"{QEMU} is missing: cargo xtask setup --tests"


def run(command, within, directory=".", environment=None, out=None):
    """Runs a command there, with `within` seconds for all of it. Its exit code and what came by the
    serial port: its output, and what the kernel had to say. `out` gets a copy of that as it comes."""
    command = [str(word) for word in command]
    variables = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root"),
                 **(environment or {})}
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    script = f"{exports}cd {shlex.quote(os.path.abspath(directory))} && {shlex.join(command)}\n"
    with tempfile.TemporaryDirectory(prefix="enid-machine-") as own:
        own = Path(own)
        (own / "share").mkdir()
        (own / "initramfs").write_bytes(_initramfs(script))
        arguments = [
            *machine_arguments(cpus=2, memory_mb=2048),
            "-kernel", KERNEL / "vmlinuz", "-initrd", own / "initramfs", "-append", COMMAND_LINE,
            *_shared("root", "/", "on"), *_shared("share", own / "share", "off"),
        ]
        text = _until_off(arguments, within, out)
        status = own / "share" / "status"
        if not status.exists():
            raise AssertionError(f"the machine ended before its command did:\n{text[-4000:]}")
        return int(status.read_text()), text


def machine_arguments(cpus, memory_mb, console="stdio"):
    """How QEMU is called for any machine of the tests: nothing in it that is not asked for."""
    return [QEMU, "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-smp", str(cpus),
            "-m", str(memory_mb), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-serial", console, "-device", "virtio-rng-pci"]


# A panic is a reboot at once, which QEMU takes for the end. An emulated processor may stand still for a
# while where the host is busy, which is nothing to complain of; and what only costs time is left out.
COMMAND_LINE = ("console=ttyS0 quiet panic=-1 audit=0 init_on_alloc=0 mitigations=off no5lvl nokaslr "
                "no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1")


def _shared(tag, path, readonly):
    return ("-fsdev", f"local,id={tag},path={path},security_model=none,readonly={readonly},"
            "multidevs=remap", "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}")


def _until_off(arguments, within, out):
    # Whatever becomes of the caller, `timeout` ends the machine when its time is up.
    process = subprocess.Popen(["timeout", "--signal=KILL", str(within), *arguments],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.decode(errors="replace").replace("\r", ""))
            if out:
                out.write(lines[-1])
                out.flush()
        code = process.wait()
    finally:
        process.terminate()  # A signal to `timeout` goes on to the machine.
        process.wait()
    text = "".join(lines)
    assert code not in _KILLED, f"the machine was not done within {within} s:\n{text[-4000:]}"
    return text


# `timeout` ends as its command does, or says so.
_KILLED = (-9, 128 + 9)


def _initramfs(script):
    """The first file system: it loads the modules, puts the root together and goes over to it."""
    modules = (KERNEL / "modules").read_text().split()
    load = "".join(f"insmod /{name}.ko || echo {name} cannot be loaded\n" for name in modules)
    files = {
        "init": (0o755, (_INIT_HEAD + load + _INIT_REST).encode()),
        "next": (0o755, _NEXT.encode()),
        "command": (0o644, script.encode()),
        "bin/busybox": (0o755, BUSYBOX.read_bytes()),
    }
    files |= {f"{name}.ko": (0o644, (KERNEL / f"{name}.ko").read_bytes()) for name in modules}
    return archive(files, ["bin", "dev", "proc", "lower", "upper", "root"])


_INIT_HEAD = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
"""
_INIT_REST = """
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=65536 root /lower
mount -t tmpfs tmpfs /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /root
mount -t tmpfs -o mode=755 tmpfs /root/run
mkdir /root/run/machine /root/run/machine/share
mount -t 9p -o trans=virtio,version=9p2000.L,msize=65536 share /root/run/machine/share
cp /bin/busybox /next /command /root/run/machine
umount /proc
exec switch_root /root /run/machine/busybox sh /run/machine/next
"""
_NEXT = """
b=/run/machine/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t bpf bpf /sys/fs/bpf
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
$b mount -t devtmpfs dev /dev
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
$b mount -t tmpfs tmpfs /dev/shm
# No overlay takes its upper layer from another one, and what is run may lie below /tmp itself.
$b mkdir -m 1777 /run/machine/tmp
export TMPDIR=/run/machine/tmp
$b ip link set lo up
$b sh /run/machine/command </dev/null
echo $? >/run/machine/share/status
$b poweroff -f
"""


def archive(files, directories):
    """A cpio archive as the kernel takes it, with a console to talk to. `files` are names with modes
    and contents."""
    entries = [(name, stat.S_IFDIR | 0o755, b"", (0, 0)) for name in directories]
    entries.append(("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)))
    entries += [(name, stat.S_IFREG | mode, data, (0, 0)) for name, (mode, data) in files.items()]
    packed = bytearray()
    for number, (name, mode, data, device) in enumerate([*entries, ("TRAILER!!!", 0, b"", (0, 0))]):
        path = name.encode() + b"\0"
        header = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        packed += b"070701" + b"".join(b"%08X" % field for field in header) + path
        packed += bytes(-len(packed) % 4) + data
        packed += bytes(-len(packed) % 4)
    return bytes(packed)


if __name__ == "__main__":
    if missing():
        sys.exit(missing())
    code, _ = run(sys.argv[sys.argv.index("--") + 1:], within=3600, out=sys.stdout,
                  environment={name: value for name, value in os.environ.items()
                               if name.startswith(("ENID_", "CI"))})
    sys.exit(code)
