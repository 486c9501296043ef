"""What a soak has seen: what went well is counted, what did not is kept with its moment."""

import collections
import threading
import time


class Judge:
    """Shared by all threads of a soak."""

    def __init__(self):
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self.seen = collections.Counter()
        self.violations = []

    def count(self, what, number=1):
        with self._lock:
            self.seen[what] += number

    def violation(self, what):
        with self._lock:
            self.violations.append(f"{time.monotonic() - self._start:.1f} s: {what}")

    def expect(self, holds, what):
        if not holds:
            self.violation(what)
        return holds
