"""`nasnet finetune`: labelled pictures become a module of one's own classes."""

from __future__ import annotations

from dataclasses import replace

from nasnet.cli.flags import Folder, Quiet, Weights, command
from nasnet.cli.recipe_flags import RecipeChanges
from nasnet.cli.terminal import Progress, continuable, download_progress, note, say
from nasnet.train.finetune import finetune as finetune_module
from nasnet.train.finetune_options import FinetuneOptions, FinetuneSummary
from nasnet.train.metrics import table as score_table
from nasnet.train.recipe_files import read_recipe
from nasnet.weights.opening import DEFAULT_HANDLE


@command
def finetune(
    data: str,
    /,
    *,
    output: Folder,
    weights: Weights = DEFAULT_HANDLE,
    recipe: str = "finetune",
    quiet: Quiet = False,
    options: FinetuneOptions,
    changes: RecipeChanges,
    push_to_hub: str | None = None,
    private: bool = False,
) -> None:
    """Make a module of the classes of the pictures in DATA.

    DATA is an image folder (DATA/class/picture.jpg, perhaps below train/ and val/), a CSV,
    Parquet or Arrow table with a label column, a Hugging Face dataset on disk, WebDataset shards,
    or hf://datasets/USER/NAME of any of these (extra nasnet[hf]). The folder --output becomes a
    module that `nasnet embed`, `nasnet evaluate` and `nasnet.Module` load, with a report to look at
    in report/report.html. A run that was stopped or killed continues when it is started again.

        nasnet finetune photos/ -o mine
        nasnet finetune table.csv --label-column species -o mine --mode full --epochs 20
        nasnet finetune hf://datasets/USER/NAME -o mine

    Args:
        data: labelled pictures.
        output: folder for the module, the report, logs and checkpoints.
        weights: what to start from: a published handle, a file, or seeded:N (untrained).
        recipe: how all layers are trained: one that comes with nasnet (finetune, mobile, cifar),
            or a TOML file, as for nasnet train.
        quiet: no progress and no summary.
        options: how to tune.
        changes: of the recipe.
        push_to_hub: upload the module to the Hugging Face Hub, as USER/NAME (extra nasnet[hf]);
            `hf auth login` or HF_TOKEN says who you are.
        private: make that repository private.
    """
    if push_to_hub is not None:
        from nasnet.exporting.hub_upload import check_login, push_to_hub as upload

        check_login(push_to_hub)
    table = read_recipe(recipe, changes)
    dataset = replace(options.dataset, seed=table.train.seed)
    options = replace(options, recipe=table, dataset=dataset)
    with (
        continuable(output, not quiet, overwrite=options.overwrite),
        download_progress(not quiet) as on_download,
        Progress(not quiet) as progress,
    ):
        summary = finetune_module(
            data,
            output,
            weights=weights,
            options=options,
            on_fetch=on_download,
            on_event=progress.on_finetune,
            on_train=progress.on_event,
        )
    if not quiet:
        _report(summary)
    if push_to_hub is not None:
        scores = summary.evaluation.scores
        address = upload(
            summary.folder,
            push_to_hub,
            private=private,
            about=f"Accuracy {scores.top1:.1%} on {scores.count:,} validation pictures, after "
            f"training on {summary.train:,}.",
        )
        if not quiet:
            note(f"uploaded: {address}")


def _report(summary: FinetuneSummary) -> None:
    say(score_table(summary.evaluation.scores))
    for text in summary.notes:
        note(f"note: {text}")
    scores = summary.evaluation.scores
    note(
        f"{summary.folder}: {scores.top1:.1%} on {scores.count:,} validation pictures (head alone "
        f"{summary.head_accuracy:.1%}), trained on {summary.train:,}, {summary.seconds:,.0f} s"
    )
    note(f"weights: {summary.evaluation.weights}")
    if summary.report is not None:
        note(f"report: {summary.report}")
