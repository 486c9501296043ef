"""What is pinned, past the daemon: what maps count, how the kernel comes to refuse changes of them, and
what the verification of programs took."""

import ctypes
import os
import platform
import struct
from pathlib import Path

_SYSCALL = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_MAP_LOOKUP = 1
_OBJ_GET = 7
_OBJ_GET_INFO = 15
_MAP_FREEZE = 22
_REASONS = Path(__file__).resolve().parents[2] / "docs" / "reasons.md"


def reasons():
    """The labels of all reasons of drops by their numbers, as the documentation lists them."""
    lines = [line.split("|") for line in _REASONS.read_text().splitlines()]
    cells = [[cell.strip() for cell in line] for line in lines if len(line) == 5]
    return {int(number): label.strip("`") for _, number, label, *_ in cells if number.isdigit()}


def drops(daemon):
    """How many packets were dropped for each reason since the datapath was loaded, by its label."""
    fd = _open(daemon, "reasons")
    cpus = Path("/sys/devices/system/cpu/possible").read_text().strip()
    counts = ctypes.create_string_buffer(8 * (int(cpus.split("-")[-1]) + 1))
    key = ctypes.c_uint32()
    found = {}
    for number, label in reasons().items():
        key.value = number
        _bpf(_MAP_LOOKUP, struct.pack("=IIQQQ", fd, 0, ctypes.addressof(key),
                                      ctypes.addressof(counts), 0))
        found[label] = sum(struct.unpack(f"={len(counts) // 8}Q", counts))
    os.close(fd)
    return found


def freeze(daemon, name):
    """From now on nobody but the programs can write the daemon's map. There is no way back."""
    fd = _open(daemon, name)
    _bpf(_MAP_FREEZE, struct.pack("=I", fd))
    os.close(fd)


def _open(daemon, name):
    for root in daemon.pins():
        for pin in Path(root).glob(f"*/maps/{name}"):
            return _open_pin(pin)
    raise AssertionError(f"{name} is not pinned")


def verified_instructions(daemon):
    """How many instructions of each program the kernel's verifier looked at."""
    counts = {}
    for root in daemon.pins():
        for pin in Path(root).glob("*/programs/*/*"):
            fd = _open_pin(pin)
            info = ctypes.create_string_buffer(_INFO_SIZE)
            _bpf(_OBJ_GET_INFO, struct.pack("=IIQ", fd, _INFO_SIZE, ctypes.addressof(info)))
            os.close(fd)
            counts[pin.name], = struct.unpack_from("=I", info, _INFO_VERIFIED)
    return counts


# `struct bpf_prog_info` up to `verified_insns`.
_INFO_VERIFIED = 216
_INFO_SIZE = 220


def _open_pin(pin):
    path = ctypes.create_string_buffer(os.fsencode(pin))
    return _bpf(_OBJ_GET, struct.pack("=QII", ctypes.addressof(path), 0, 0))


def _bpf(command, attribute):
    libc = ctypes.CDLL(None, use_errno=True)
    memory = ctypes.create_string_buffer(attribute, len(attribute))
    result = libc.syscall(_SYSCALL, command, memory, len(attribute))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}")
    return result
