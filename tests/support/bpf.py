"""Makes the kernel refuse changes of a pinned map, as it does when it lacks memory."""

import ctypes
import os
import platform
import struct
from pathlib import Path

_SYSCALL = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_OBJ_GET = 7
_MAP_FREEZE = 22


def freeze(daemon, name):
    """From now on nobody but the programs can write the daemon's map. There is no way back."""
    for root in daemon.pins():
        for pin in Path(root).glob(f"*/maps/{name}"):
            path = ctypes.create_string_buffer(os.fsencode(pin))
            fd = _bpf(_OBJ_GET, struct.pack("=QII", ctypes.addressof(path), 0, 0))
            _bpf(_MAP_FREEZE, struct.pack("=I", fd))
            os.close(fd)
            return
    raise AssertionError(f"{name} is not pinned")


def _bpf(command, attribute):
    libc = ctypes.CDLL(None, use_errno=True)
    memory = ctypes.create_string_buffer(attribute, len(attribute))
    result = libc.syscall(_SYSCALL, command, memory, len(attribute))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}")
    return result
