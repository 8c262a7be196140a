"""`nasnet finetune`: labelled pictures become a module of one's own classes.

Called by the command line only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import click

from nasnet.cli.options import SIZE, Size
from nasnet.cli.training import TrainingProgress, data_options, dataset_options
from nasnet.pictures.augment import PRESETS
from nasnet.train.finetune import finetune
from nasnet.train.finetune_options import FinetuneOptions, FinetuneSummary, FullOptions
from nasnet.train.head import HeadOptions
from nasnet.train.metrics import table
from nasnet.weights.opening import DEFAULT_HANDLE

__all__ = ["command"]

_FULL = FullOptions()


@click.command("finetune")
@click.argument("data")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the module, the report, logs and checkpoints.",
)
@click.option(
    "-w",
    "--weights",
    default=DEFAULT_HANDLE,
    show_default=True,
    help="What to start from: a published handle, a file, or seeded:N (untrained).",
)
@click.option(
    "--mode",
    type=click.Choice(["head", "full"]),
    default="head",
    show_default=True,
    help="head: features once, then a logistic head. full: then all layers as well.",
)
@click.option("--recipe", default="photo", show_default=True, help="How pictures become pixels.")
@click.option("--size", type=SIZE, help="Bring pictures to this size (224, or HEIGHTxWIDTH).")
@click.option("--class-weights", is_flag=True, help="Weigh classes by how rare they are.")
@click.option("--regularization", type=float, help="C of the head; tried out if not given.")
@click.option("--epochs", type=click.IntRange(1), default=_FULL.epochs, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=_FULL.batch, show_default=True)
@click.option(
    "--optimizer",
    type=click.Choice(["adamw", "rmsprop", "sgd"]),
    default=_FULL.optimizer,
    show_default=True,
)
@click.option(
    "--learning-rate", type=float, default=_FULL.rate, show_default=True, help="Peak, of the head."
)
@click.option(
    "--layer-decay",
    type=float,
    default=_FULL.layer_decay,
    show_default=True,
    help="Rate of each cell as a share of that of the cell after it.",
)
@click.option("--weight-decay", type=float, default=_FULL.weight_decay, show_default=True)
@click.option(
    "--schedule",
    type=click.Choice(["cosine", "exponential", "constant"]),
    default=_FULL.schedule,
    show_default=True,
)
@click.option(
    "--augment", type=click.Choice(list(PRESETS)), default=_FULL.augment, show_default=True
)
@click.option("--label-smoothing", type=float, default=_FULL.smoothing, show_default=True)
@click.option("--mixup", type=float, default=_FULL.mixup, show_default=True)
@click.option("--ema", type=float, default=_FULL.ema, show_default=True)
@click.option("--clip", type=float, default=_FULL.clip, show_default=True)
@click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["f32", "bf16", "f16", "auto"]),
    default="f32",
    show_default=True,
    help="Of training all layers; auto is bf16 on a GPU, f32 elsewhere.",
)
@click.option(
    "--batch-norm",
    type=click.Choice(["moving", "batch"]),
    default=_FULL.batch_norm,
    show_default=True,
    help="moving: averages stay as they are, safe with few pictures. batch: they move.",
)
@click.option("--batch-norm-momentum", type=float, default=0.99, show_default=True)
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Epochs without improvement after which to stop; 0 for never.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, ...")
@click.option("--overwrite", is_flag=True, help="Start anew where a run is in the folder.")
@data_options
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
def command(
    data: str,
    out: Path,
    weights: str,
    mode: str,
    recipe: str,
    size: Size | None,
    class_weights: bool,
    regularization: float | None,
    epochs: int,
    batch: int,
    optimizer: str,
    learning_rate: float,
    layer_decay: float,
    weight_decay: float,
    schedule: str,
    augment: str,
    label_smoothing: float,
    mixup: float,
    ema: float,
    clip: float,
    accumulate: int,
    precision: str,
    batch_norm: str,
    batch_norm_momentum: float,
    patience: int,
    device: str,
    overwrite: bool,
    label_column: str,
    column: str | None,
    validation: str | None,
    validation_fraction: float,
    seed: int,
    quiet: bool,
) -> int:
    """Make a module of the classes of the pictures in DATA.

    DATA is an image folder (DATA/class/picture.jpg, perhaps below train/ and val/), a CSV,
    Parquet or Arrow table with a label column, a Hugging Face dataset on disk, or WebDataset
    shards. The folder --out becomes a module that `nasnet embed`, `nasnet evaluate` and
    `nasnet.Module` load, with a report to look at in report/report.html. A run that is stopped
    or killed goes on where it was when it is started again.

    \b
    nasnet finetune photos/ -o mine
    nasnet finetune table.csv --label-column species -o mine --mode full --epochs 20
    """  # noqa: D301 - click wants the character itself
    full = FullOptions(
        epochs=epochs,
        batch=batch,
        optimizer=cast(Literal["adamw", "rmsprop", "sgd"], optimizer),
        rate=learning_rate,
        layer_decay=layer_decay,
        weight_decay=weight_decay,
        schedule=cast(Literal["cosine", "exponential", "constant"], schedule),
        augment=augment,
        smoothing=label_smoothing,
        mixup=mixup,
        ema=ema,
        clip=clip,
        accumulate=accumulate,
        precision=cast(Literal["f32", "bf16", "f16", "auto"], precision),
        batch_norm=cast(Literal["batch", "moving"], batch_norm),
        batch_norm_momentum=batch_norm_momentum,
        patience=patience,
        device=device,
    )
    options = FinetuneOptions(
        mode=cast(Literal["head", "full"], mode),
        recipe=recipe,
        size=size,
        class_weights=class_weights,
        head=HeadOptions(c=regularization),
        full=full,
        seed=seed,
        dataset=dataset_options(label_column, column, validation, validation_fraction, seed),
        overwrite=overwrite,
    )
    with TrainingProgress(not quiet) as progress:
        summary = finetune(
            data,
            out,
            weights=weights,
            options=options,
            on_event=progress.on_finetune,
            on_train=progress.on_event,
        )
    if not quiet:
        _report(summary)
    return 0


def _report(summary: FinetuneSummary) -> None:
    click.echo(table(summary.evaluation.scores))
    for note in summary.notes:
        click.echo(f"note: {note}", err=True)
    scores = summary.evaluation.scores
    click.echo(
        f"{summary.folder}: {scores.top1:.1%} on {scores.count:,} validation pictures (head alone "
        f"{summary.head_accuracy:.1%}), trained on {summary.train:,}, {summary.seconds:,.0f} s",
        err=True,
    )
    click.echo(f"weights: {summary.evaluation.weights}", err=True)
    if summary.report is not None:
        click.echo(f"report: {summary.report}", err=True)
