"""Runs one command and prints what it took, as JSON: a program of its own, run as a script.

The kernel counts a process's peak memory from before its exec, when it still was a copy of whoever
started it. So commands are started from here, an interpreter with next to nothing loaded, and not
from `benchmarks.peers`; peaks below this one's own (`floor`) cannot be told.
"""

import json
import os
import resource
import sys
import time


def main(command: list[str]) -> None:
    """Runs `command` without input and output; its standard error stays ours."""
    quiet = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    ]
    busy = busy_seconds()
    begun = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begun
    busy = busy_seconds() - busy
    cpu = usage.ru_utime + usage.ru_stime
    measured = {
        "code": os.waitstatus_to_exitcode(status),
        "wall": wall,
        "cpu": cpu,
        "others": max(0.0, busy - cpu),
        # Linux counts in KiB.
        "peak": usage.ru_maxrss * 1024,
        "floor": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(measured))


def busy_seconds() -> float:
    """Processor time that all processors have spent on anything, in steps of about 10 ms."""
    try:
        with open("/proc/stat") as file:
            times = [int(ticks) for ticks in file.readline().split()[1:9]]
    except OSError:
        return 0.0
    idle, iowait = times[3:5]
    return (sum(times) - idle - iowait) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(sys.argv[1:])
