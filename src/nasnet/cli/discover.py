"""`nasnet discover`: searches for cells; a stopped search can be resumed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nasnet.cli.flags import Folder, Quiet, command
from nasnet.cli.terminal import Progress, continuable, download_progress, duration, note, say
from nasnet.pictures.sources import DatasetOptions
from nasnet.train.discover.options import DiscoverOptions

if TYPE_CHECKING:
    from nasnet.train.discover.progress import DiscoverEvent


@command
def discover(
    data: str,
    /,
    *,
    output: Folder,
    overwrite: bool = False,
    quiet: Quiet = False,
    options: DiscoverOptions,
    dataset: DatasetOptions,
) -> None:
    """Search for cells on the labelled pictures in DATA.

    Small networks of many cells are trained, the best of them again and longer, and the best of
    these once more and larger. A test part of the data stays closed. A run that was stopped or
    killed goes on when it is started again, and loses only the trainings that were under way:

        nasnet discover photos/ -o run --hours 3 --jobs 2
        nasnet train photos/ -o trained --network run/best.toml

    The folder holds discover.toml (what the run is), trials.jsonl (a line for each training),
    table.parquet (the same as a table), best.toml (the network that was found), front.toml (at
    three budgets) and report.html.

    Args:
        data: the pictures, as nasnet train takes them.
        output: folder of the run.
        overwrite: start anew where another run is in the folder.
        quiet: no progress and no summary.
        options: how.
        dataset: how the pictures are read.
    """
    from nasnet.train.discover.run import discover as search

    with (
        continuable(output, not quiet, overwrite=overwrite),
        Progress(not quiet) as progress,
        download_progress(not quiet) as on_download,
    ):

        def on_progress(event: DiscoverEvent) -> None:
            told = []
            if event.best is not None:
                told.append(f"best {event.best:.4f}")
            if event.random is not None:
                told.append(f"random search {event.random:.4f}")
            if event.seconds_left:
                told.append(f"about {duration(event.seconds_left)} of training left")
            what = ("trainings", "the best quarter again", "the best five")[event.fidelity]
            extra = ", ".join(told)
            progress.update(what, event.done, event.planned, unit="trainings", extra=extra)

        found = search(
            data,
            output,
            options,
            dataset=dataset,
            overwrite=overwrite,
            on_fetch=on_download,
            on_pictures=partial(progress.on_done, "pictures"),
            on_progress=on_progress,
        )
    if not quiet:
        note(f"{output}: {len(found.records)} trainings; see report.html")
        note(found.verdict)
        if found.choice:
            note(found.choice)
        say(str(output / "best.toml"))
