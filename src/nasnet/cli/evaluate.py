"""`nasnet evaluate`: how good a classification module is on labelled pictures.

Called by the command line only.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from nasnet.cli.options import SIZE, Size
from nasnet.cli.training import TrainingProgress
from nasnet.compute.engine import ENGINES, PRECISIONS, EngineOptions, Precision
from nasnet.pictures.labelled import DatasetOptions
from nasnet.train.evaluate import EvaluateOptions, Evaluation, evaluate
from nasnet.train.metrics import as_dict, table

__all__ = ["command"]


@click.command("evaluate")
@click.argument("module")
@click.argument("data")
@click.option("--recipe", default="photo", show_default=True, help="How pictures become pixels.")
@click.option("--size", type=SIZE, help="Bring pictures to this size (224, or HEIGHTxWIDTH).")
@click.option("--engine", type=click.Choice(list(ENGINES)), default="openvino", show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), default="f32", show_default=True)
@click.option("--label-column", default="label", show_default=True, help="Of a table.")
@click.option("--column", help="Of a table: the column with the pictures.")
@click.option("--limit", default=30, show_default=True, help="Rows of the table of classes.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on standard output.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for a page to look at: confusion, calibration, the worst mistakes.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    module: str,
    data: str,
    recipe: str,
    size: Size | None,
    engine: str,
    precision: Precision,
    label_column: str,
    column: str | None,
    limit: int,
    as_json: bool,
    report: Path | None,
    quiet: bool,
) -> int:
    """Judge MODULE, which has a classifier, on the labelled pictures in DATA.

    Top-1 and top-5 accuracy, precision and recall of each class, and calibration. DATA is what
    `nasnet finetune` takes; classes are matched by name.

    \b
    nasnet evaluate mine/ other_photos/
    """  # noqa: D301 - click wants the character itself
    options = EvaluateOptions(
        recipe=recipe,
        size=size,
        engine=EngineOptions(engine=engine, precision=precision),
        dataset=DatasetOptions(label_column=label_column, column=column),
    )
    with TrainingProgress(not quiet) as progress:
        found = evaluate(
            module,
            data,
            options=options,
            on_done=lambda done, total: progress.on_done("evaluating", done, total),
        )
    _tell(found, limit=limit, as_json=as_json)
    if report is not None:
        click.echo(f"report: {_write(found, data, report)}", err=True)
    return 0


def _tell(found: Evaluation, *, limit: int, as_json: bool) -> None:
    if as_json:
        failures = [{"id": id, "reason": reason} for id, reason in found.failures]
        told = {"weights": found.weights, "scores": as_dict(found.scores), "failures": failures}
        click.echo(json.dumps(told, ensure_ascii=False, indent=1))
    else:
        click.echo(table(found.scores, limit=limit))
    click.echo(f"weights: {found.weights}", err=True)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    if found.failures:
        id, reason = found.failures[0]
        click.echo(
            f"{len(found.failures):,} pictures cannot be read, such as {id}: {reason}", err=True
        )


def _write(found: Evaluation, data: str, folder: Path) -> Path:
    from nasnet.train.report import Report, write_report

    report = Report(
        title="Evaluation",
        facts=(("Data", data), ("Weights", found.weights), ("Pictures", f"{found.scores.count:,}")),
        history=(),
        scores=found.scores,
        mistakes=found.mistakes,
        notes=found.notes,
    )
    return write_report(report, folder)[0]
