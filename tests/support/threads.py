"""Run the same work in several threads at once; for the tests of what claims to bear it."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["at_once"]


def at_once(*works: Callable[[], object]) -> None:
    """Start all, wait for all."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
