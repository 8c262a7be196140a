"""Work that is begun before its result is asked for."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def drawn_ahead(begun: Iterator[T], ahead: int) -> Iterator[T]:
    """What an iterator gives, so many drawn early: each is work that starts when it is drawn."""
    waiting = deque(islice(begun, ahead))
    for one in begun:
        waiting.append(one)
        yield waiting.popleft()
    yield from waiting
