"""`nasnet compare`: networks under one protocol, judged on the test part of the data."""

from __future__ import annotations

from functools import partial

from nasnet.cli.flags import Folder, Quiet, UsageError, command
from nasnet.cli.terminal import Progress, continuable, download_progress, note, say
from nasnet.pictures.sources import DatasetOptions
from nasnet.train.discover.comparing import CompareOptions


@command
def compare(
    *arguments: str,
    output: Folder,
    overwrite: bool = False,
    quiet: Quiet = False,
    options: CompareOptions,
    dataset: DatasetOptions,
) -> None:
    """Train the networks A B ... alike on DATA, and compare them on its test part.

    A network is a file (run/best.toml), a code, or a preset's name. All see the same pictures in
    the same order, seed by seed, so differences are paired: mean, standard deviation and the
    one-sided 95 % bound are told, with the milliseconds of one picture. The others are compared
    with the first. This command alone opens the test part. One that was stopped or killed goes
    on when it is started again; more --seeds may be asked for later:

        nasnet compare mobile run/best.toml photos/ --size 64 --seeds 8 -o cmp

    Args:
        arguments: the networks, and at the end the pictures.
        output: folder for results and page.
        overwrite: start anew where another comparison is in the folder.
        quiet: no progress; the verdict alone.
        options: how.
        dataset: how the pictures are read.
    """
    from nasnet.train.discover.comparing import compare as judged
    from nasnet.weights.networks import network_of

    if len(arguments) < 3:
        raise UsageError("name two networks or more, and then the pictures")
    *networks, data = arguments
    if len(set(networks)) < len(networks):
        raise UsageError("a network is named twice")
    with (
        continuable(output, not quiet, overwrite=overwrite),
        download_progress(not quiet) as on_download,
        Progress(not quiet) as progress,
    ):
        found = judged(
            {name: network_of(name) for name in networks},
            data,
            output,
            options,
            dataset=dataset,
            overwrite=overwrite,
            on_fetch=on_download,
            on_note=note,
            on_pictures=partial(progress.on_done, "pictures"),
            on_training=partial(progress.on_done, "comparison", unit="trainings"),
        )
    for sentence in found.verdicts:
        say(sentence)
