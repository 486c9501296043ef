"""The host's end of the agent that runs inside an instance."""

import json
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

from support.until import SLOWNESS

_SOURCE = Path(__file__).with_name("guest_agent.py").read_text()
# Instances see the host's root file system: the interpreter of the tests is there as well.
_INTERPRETER = os.path.realpath(sys.executable)
_PATIENCE_S = 15 * SLOWNESS


class Agent:
    """One agent. Its functions, see `guest_agent`, are methods here."""

    def __init__(self, command):
        self._process = subprocess.Popen(
            [*command, _INTERPRETER, "-I", "-S", "-u", "-c", _SOURCE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._numbers = iter(range(1 << 62))
        self._pending = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def start(self, do, **arguments):
        """Begins something; the future has its result."""
        future = Future()
        with self._lock:
            number = next(self._numbers)
            self._pending[number] = future
            request = json.dumps({"id": number, "do": do, **arguments})
            try:
                self._process.stdin.write(request + "\n")
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                self._end()
        return future

    def __getattr__(self, do):
        if do.startswith("_"):
            raise AttributeError(do)
        return lambda **arguments: self.start(do, **arguments).result(_PATIENCE_S)

    def close(self):
        """Ends it by the end of its input, as it is meant to."""
        self._process.stdin.close()
        self._process.wait(_PATIENCE_S)

    def _read(self):
        for line in self._process.stdout:
            answer = json.loads(line)
            with self._lock:
                future = self._pending.pop(answer["id"])
            if "error" in answer:
                future.set_exception(AssertionError(answer["error"]))
            else:
                future.set_result(answer["result"])
        with self._lock:
            self._end()

    def _end(self):
        why = queue.SimpleQueue()
        threading.Thread(target=lambda: why.put(self._process.stderr.read()), daemon=True).start()
        try:
            text = why.get(timeout=1).strip()
        except queue.Empty:
            text = ""
        for future in self._pending.values():
            future.set_exception(AssertionError(f"the agent has ended: {text}"))
        self._pending.clear()
