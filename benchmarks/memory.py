"""How much memory this process takes, as Linux counts it."""

from pathlib import Path
from typing import Literal


def memory_bytes(field: Literal["VmRSS", "VmHWM"]) -> int:
    """Return what is resident now (VmRSS), or the most that ever was (VmHWM).

    Unlike getrusage's peak, not that of the process which forked this one.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise AssertionError(f"no {field} in /proc/self/status")
