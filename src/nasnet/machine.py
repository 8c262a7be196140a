"""What this machine gives us: the cores we may use, counted as the scheduler and cgroups see them.

Called by the engines and the pipeline when the user names no number.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["usable_cores"]

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = (
    Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
    Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)


def usable_cores() -> int:
    """Cores this process may use: affinity mask and container quota, whichever is smaller."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _container_quota()
    return max(1, min(cores, quota)) if quota else max(1, cores)


def _container_quota() -> int | None:
    """Whole cores of the cgroup's quota (Linux `cpu.max`, or v1's two files), if one is set."""
    try:
        limit, period = _CGROUP_V2.read_text().split()
    except (OSError, ValueError):
        try:
            limit, period = (path.read_text().strip() for path in _CGROUP_V1)
        except OSError:
            return None
    if not limit.isdigit() or not period.isdigit() or int(period) == 0:
        return None  # "max", or -1 in version 1: no limit
    return -(-int(limit) // int(period))
