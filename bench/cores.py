"""How many cores the whole machine is busy with: both ends, what is between them and the kernel alike."""

import os
import time

# Where /proc/stat has what is not work: idle, waiting for a disk, and another machine's turn.
NOT_WORK = (3, 4, 7)


class Meter:
    """Counts from when it is made.

    What is left of the interval when idle time is taken away: the kernel measures idle time, whereas
    busy time is what its clock happens to find at each tick.
    """

    def __init__(self):
        self.began = time.monotonic()
        self.rested = rested()

    def busy(self):
        """Cores busy on average so far."""
        took = time.monotonic() - self.began
        return os.cpu_count() - (rested() - self.rested) / took


def rested():
    """Seconds of all cores together in which nothing was done for this machine."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = file.readline().split()[1:]
    return sum(int(ticks[index]) for index in NOT_WORK) / os.sysconf("SC_CLK_TCK")
