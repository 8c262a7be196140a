"""Ctrl-C and SIGTERM while a run is under way: asked between steps, so that a step stays whole."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Takes the signals while it is entered; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        """Take the signals; outside the main thread whoever runs that one decides."""
        self.asked = False
        try:
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._take)
        except ValueError:
            pass
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._before.items():
            # None: a handler that C installed, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
