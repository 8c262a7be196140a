"""How often something can be done in a second: of the clock, and of all cores' work.

Called in the peers' processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Rate", "rate_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How much was done in a second.

    Attributes:
        wall: by the clock.
        core: in a second of one core's work, all threads of the process counted. Neighbours on a
            shared machine disturb this one less; idle cores it does not see.
    """

    wall: float
    core: float


def rate_of(do: Callable[[], object], amount: float, seconds: float) -> Rate:
    """Do something again and again, at least twice.

    Args:
        do: what; warm already.
        amount: how much is done each time.
        seconds: when no new one begins any more.
    """
    done, work, start = 0.0, time.process_time(), time.perf_counter()
    while time.perf_counter() - start < seconds or done < 2 * amount:
        do()
        done += amount
    wall, core = time.perf_counter() - start, time.process_time() - work
    return Rate(wall=done / wall, core=done / max(core, 1e-9))
