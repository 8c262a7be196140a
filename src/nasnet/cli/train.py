"""`nasnet train`: a network from scratch, by labels or by a teacher, on one machine or many."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from nasnet.cli.flags import Folder, Quiet, command
from nasnet.cli.recipe_flags import RecipeChanges
from nasnet.cli.terminal import Progress, continuable, download_progress, note
from nasnet.errors import needs
from nasnet.pictures.sources import DatasetOptions
from nasnet.pictures.sources.examples import several


@command
def train(
    data: str,
    /,
    *,
    output: Folder,
    recipe: str = "mobile",
    weights: Annotated[str | None, Parameter(alias="-w")] = None,
    overwrite: bool = False,
    quiet: Quiet = False,
    options: DatasetOptions,
    changes: RecipeChanges,
) -> None:
    """Train a network from scratch on the pictures in DATA.

    DATA is an image folder (DATA/class/picture.jpg), WebDataset shards, a CSV or Parquet table
    with a label column, a Hugging Face dataset on disk, or hf://datasets/USER/NAME of any of these;
    for a recipe with a teacher, any folder of pictures. A run that was stopped or killed continues
    when it is started again. Started by torchrun, all its processes share every batch:

        nasnet train photos/ -o run --recipe mobile
        torchrun --nproc-per-node 2 -m nasnet train photos/ -o run

    Args:
        data: the pictures.
        output: folder for checkpoints, logs and, at the end, the module.
        recipe: one that comes with nasnet (mobile, cifar, finetune, builtin, builtin-live,
            builtin-joined), or a TOML file.
        weights: what to start from: a file, folder or handle of the recipe's network; initial
            values if not given.
        overwrite: start anew where a run is in the folder.
        quiet: no progress and no summary.
        options: how the pictures are read.
        changes: of the recipe.
    """
    needs("torch", extra="torch")
    from nasnet.train.from_scratch import train as train_network
    from nasnet.train.loop import joined
    from nasnet.train.recipe_files import read_recipe
    from nasnet.weights.opening import open_weights

    table = read_recipe(recipe, changes)
    with joined() as replicas:
        shows = replicas.writes and not quiet
        with (
            continuable(output, shows, overwrite=overwrite),
            download_progress(shows) as on_download,
            Progress(shows) as progress,
        ):
            opened = open_weights(weights, on_event=on_download) if weights else None
            summary = train_network(
                data,
                output,
                table,
                weights=opened.weights if opened else None,
                dataset=replace(options, seed=table.train.seed),
                overwrite=overwrite,
                replicas=replicas,
                on_fetch=on_download,
                on_event=progress.on_event,
                on_answers=lambda event: progress.on_done("teacher", event.done, event.total),
            )
        if shows:
            result = summary.result
            if summary.failures:
                first = summary.failures[0]
                failed = several(len(summary.failures), "picture")
                note(f"{failed} could not be read, such as {first.id}: {first.reason}")
            best = f", best epoch {result.best_epoch}" if result.history else ""
            note(
                f"{output}: {several(summary.pictures, 'picture')}, "
                f"{several(len(result.history), 'epoch')}{best}, {result.seconds:,.0f} s"
            )
