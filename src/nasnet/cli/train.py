"""`nasnet train`: a network from scratch, by labels or by a teacher, on one machine or many.

Called by the command line only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nasnet.cli.training import TrainingProgress, data_options, dataset_options
from nasnet.errors import needs

__all__ = ["command"]


@click.command("train")
@click.argument("data")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for checkpoints, logs and, at the end, the module.",
)
@click.option(
    "--recipe",
    default="mobile",
    show_default=True,
    help="A recipe that comes with nasnet (mobile, cifar, builtin, builtin-live), or a TOML file.",
)
@click.option(
    "-w",
    "--weights",
    help="What to start from: a file, folder or handle of the recipe's network. Initial values if "
    "not given.",
)
@click.option("--device", help="cpu, cuda, ...; the recipe's if not given, or what there is.")
@click.option(
    "--precision",
    type=click.Choice(["f32", "bf16", "f16", "auto"]),
    help="Of the arithmetic; the recipe's if not given.  [auto: bf16 on a GPU, f32 elsewhere]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that make batches; one a core on a GPU, none (threads) on a CPU if not given.",
)
@click.option(
    "--cache-gb",
    type=click.FloatRange(min=0),
    help="Decoded pictures kept in memory, in GB; the recipe's (2) if not given.",
)
@click.option("--overwrite", is_flag=True, help="Start anew where a run is in the folder.")
@data_options
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
def command(
    data: str,
    out: Path,
    recipe: str,
    weights: str | None,
    device: str | None,
    precision: str | None,
    workers: int | None,
    cache_gb: float | None,
    overwrite: bool,
    label_column: str,
    column: str | None,
    validation: str | None,
    validation_fraction: float,
    seed: int,
    quiet: bool,
) -> int:
    """Train a network from scratch on the pictures in DATA.

    DATA is an image folder (DATA/class/picture.jpg), WebDataset shards, a CSV or Parquet table
    with a label column, or a Hugging Face dataset on disk; for a recipe with a teacher, any
    folder of pictures. A run that is stopped or killed goes on where it was when it is started
    again. Started by torchrun, all its processes share every batch:

    \b
    nasnet train photos/ -o run --recipe mobile
    torchrun --nproc-per-node 2 -m nasnet.cli train photos/ -o run
    """  # noqa: D301 - click wants the character itself
    import dataclasses

    needs("torch", extra="torch")
    from nasnet.train.from_scratch import train
    from nasnet.train.loop import joined
    from nasnet.train.recipe import read_recipe
    from nasnet.weights.opening import open_weights

    table = read_recipe(recipe)
    asked = {
        "device": device,
        "precision": precision,
        "workers": workers,
        "cache_gb": cache_gb,
    }
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    table = dataclasses.replace(table, train=dataclasses.replace(table.train, **given))
    options = dataset_options(label_column, column, validation, validation_fraction, seed)
    with joined() as replicas:
        shows = replicas.writes and not quiet
        try:
            with TrainingProgress(shows) as progress:
                summary = train(
                    data,
                    out,
                    table,
                    weights=open_weights(weights).weights if weights else None,
                    dataset=options,
                    overwrite=overwrite,
                    replicas=replicas,
                    on_event=progress.on_event,
                    on_answers=progress.on_answers,
                )
        except KeyboardInterrupt:
            if shows:
                click.echo(f"{out}: the same command goes on from here", err=True)
            raise
        if shows:
            result = summary.result
            if summary.failures:
                first = summary.failures[0]
                click.echo(
                    f"{len(summary.failures):,} pictures could not be read, such as {first.id}: "
                    f"{first.reason}",
                    err=True,
                )
            best = f", best epoch {result.best_epoch}" if result.history else ""
            click.echo(
                f"{out}: {summary.pictures:,} pictures, {len(result.history)} epochs{best}, "
                f"{result.seconds:,.0f} s",
                err=True,
            )
    return 0
