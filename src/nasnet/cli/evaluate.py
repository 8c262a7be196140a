"""`nasnet evaluate`: how good a classification module is on labelled pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nasnet.cli.flags import Quiet, check_free, command
from nasnet.cli.terminal import Progress, download_progress, note, say, say_json
from nasnet.train.evaluate import EvaluateOptions, Evaluation, evaluate as evaluate_module
from nasnet.train.metrics import as_dict, table


@command
def evaluate(
    module: str,
    data: str,
    /,
    *,
    limit: int = 30,
    json: bool = False,
    report: Path | None = None,
    overwrite: bool = False,
    quiet: Quiet = False,
    options: EvaluateOptions,
) -> None:
    """Judge MODULE, which has a classifier, on the labelled pictures in DATA.

    Top-1 and top-5 accuracy, precision and recall of each class, and calibration. DATA is what
    `nasnet finetune` takes; classes are matched by name.

        nasnet evaluate mine/ other_photos/

    Args:
        module: what `nasnet finetune` wrote, or another module with a classifier.
        data: labelled pictures.
        limit: rows of the table of classes.
        json: everything as JSON on standard output.
        report: folder for a page to look at: confusion, calibration, the worst mistakes.
        overwrite: replace a report that is there.
        quiet: no progress.
        options: how to judge.
    """
    check_free(None if report is None else report / "report.html", overwrite=overwrite)
    with download_progress(not quiet) as on_download, Progress(not quiet) as progress:
        found = evaluate_module(
            module,
            data,
            options=options,
            on_fetch=on_download,
            on_done=partial(progress.on_done, "evaluating"),
        )
    _tell(found, limit=limit, as_json=json)
    if report is not None:
        note(f"report: {_write(found, data, report)}")


def _tell(found: Evaluation, *, limit: int, as_json: bool) -> None:
    if as_json:
        failures = [{"id": id, "reason": reason} for id, reason in found.failures]
        told = {"weights": found.weights, "scores": as_dict(found.scores), "failures": failures}
        say_json(told, indent=1)
    else:
        say(table(found.scores, limit=limit))
    note(f"weights: {found.weights}")
    for text in found.notes:
        note(f"note: {text}")
    if found.failures:
        id, reason = found.failures[0]
        note(f"{len(found.failures):,} pictures cannot be read, such as {id}: {reason}")


def _write(found: Evaluation, data: str, folder: Path) -> Path:
    from nasnet.train.report import Report, write_report

    report = Report(
        title=f"Evaluation on {Path(data).name or data}",
        facts=(("Data", data), ("Weights", found.weights), ("Pictures", f"{found.scores.count:,}")),
        history=(),
        scores=found.scores,
        mistakes=found.mistakes,
        notes=found.notes,
    )
    return write_report(report, folder)[0]
