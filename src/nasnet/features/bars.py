"""Bars on standard error, for those who ask for them in Python; a library draws none unasked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnStep = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and of how much, where that is known."""


@contextmanager
def stage_bars(shown: bool) -> Iterator[OnStep]:
    """A bar for each thing that is done, if they are to be shown."""
    if not shown:
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    with Progress(console=Console(stderr=True)) as drawn:
        tasks: dict[str, TaskID] = {}

        def end() -> None:
            """Of what nobody could count, the end is here as soon as another thing is done."""
            for task in drawn.tasks:
                if task.total is None:
                    drawn.update(task.id, total=1, completed=1)

        def step(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                end()
                tasks[what] = drawn.add_task(what, total=None)
            drawn.update(tasks[what], completed=done, total=total)

        yield step
        end()


@contextmanager
def progress_bar(total: int | None, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar of an embedding that grows by how many are done, if it is to be shown."""
    done = 0
    with stage_bars(shown) as step:

        def advance(more: int) -> None:
            nonlocal done
            done += more
            step("embedding", done, total)

        advance(0)
        yield advance
