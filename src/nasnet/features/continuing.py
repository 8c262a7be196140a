"""What a run that was stopped still has to do, of a source that may have changed since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from nasnet.errors import SourceError
from nasnet.features.store import Sink
from nasnet.pictures.sources import Item


class SourceChangedError(SourceError):
    """A run that was stopped finds other pictures, or the same in another order."""


def lacking(items: Iterator[Item], sink: Sink) -> Iterator[Item]:
    """What an earlier run has not done, in whatever order the source is now.

    What is gone since stays, as all that was ever appended does. The ids of the rows that are safe
    are held in memory.
    """
    done = Counter(id for id, _ in sink.committed())
    for item in items:
        if done[item.id] > 0:
            done[item.id] -= 1
        else:
            yield item


def after_committed(items: Iterator[Item], sink: Sink) -> Iterator[Item]:
    """Pass over what an earlier run did, making sure that it is the same.

    Raises:
        SourceChangedError: it is not.
    """
    for number, (id, _) in enumerate(sink.committed()):
        item = next(items, None)
        if item is None or item.id != id:
            found = "the end" if item is None else repr(item.id)
            keep = "" if sink.output.exists() else "--sync keeps what still holds, "
            raise SourceChangedError(
                f"the source has changed since the run began: row {number} was {id!r}, "
                f"now it is {found}; {keep}--overwrite starts anew"
            )
    yield from items
