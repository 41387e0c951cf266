"""How much of the machine other processes used while something was measured.

Two threads on two cores that are also compiling measure the scheduler: an engine
whose threads spin at barriers falls to a twentieth of its speed. So the share of
the CPUs taken by others (or stolen by the hypervisor) is reported with the
figures, and the start of a measurement can be put off until it is low.
"""

import os
import time

TICKS = os.sysconf("SC_CLK_TCK")
QUIET = 0.05    # share of all CPUs that others may take from a figure worth quoting
SAMPLE_S = 2.0  # long enough to see a compiler between two of its processes


class Watch:
    """Starts now; processes started and waited for since then count as our own."""

    def __init__(self):
        self.begin = self._read()

    @staticmethod
    def _read():
        with open("/proc/stat", encoding="ascii") as stat:
            user, nice, system, idle, iowait, irq, softirq, steal = map(
                int, stat.readline().split()[1:9]
            )
        own = os.times()
        busy = user + nice + system + irq + softirq + steal
        return (busy / TICKS, (busy + idle + iowait) / TICKS,
                own.user + own.system + own.children_user + own.children_system)

    def others(self):
        """Share of all CPU time since the start, 0 to 1, that was not ours."""
        busy, total, own = (now - then for now, then in zip(self._read(), self.begin))
        return max(0.0, busy - own) / total if total else 0.0


def wait(limit_s):
    """Returns once the machine is quiet, at the latest after `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        watch = Watch()
        time.sleep(SAMPLE_S)
        if watch.others() < QUIET:
            return
