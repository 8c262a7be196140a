"""`nasnet classify`: what is on pictures, by the classifier's names."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from nasnet.cli.flags import File, Quiet, Source, Weights, check_file, command, failed
from nasnet.cli.terminal import (
    Progress,
    continuable,
    download_progress,
    note,
    say,
    say_json,
    without_pandas,
)
from nasnet.features.classify import Classified, ClassifyOptions, classify as classify_pictures
from nasnet.features.embed import EmbedEvent
from nasnet.features.label_table import ClassifySummary, check_ending, classify_to_file
from nasnet.hub.spec import ModuleSpec, load_module_spec
from nasnet.pictures.sources import Source as PictureSource, SourceOptions, open_source
from nasnet.text import display_name
from nasnet.weights.opening import DEFAULT_CLASSIFIER


@command
def classify(
    source: Source,
    /,
    *,
    weights: Weights = DEFAULT_CLASSIFIER,
    output: File | None = None,
    json: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    quiet: Quiet = False,
    options: ClassifyOptions,
) -> int:
    """Name what is on every picture in SOURCE, which is anything `nasnet embed` takes.

    WEIGHTS are a classification module, builtin, or a folder that `nasnet finetune` wrote, with its
    own classes. If no class reaches the limit of confidence (--min-confidence, or what the weights
    say), the text says "not sure"; JSON and tables always have all numbers.

        nasnet classify photo.jpg --weights builtin
        nasnet classify ~/photos --weights mine -o labels.csv

    Args:
        source: where the pictures are.
        weights: weights of a network with a classifier: a published handle, a file or folder, or
            builtin.
        output: write a table instead: .csv, .jsonl or .parquet, one row for each picture and class.
            A run that was stopped or killed continues when it is started again.
        json: print one JSON object for each picture, one on a line.
        strict: exit with status 1 if any picture failed; otherwise only if all did.
        overwrite: replace a table that is there.
        quiet: no progress and no summary.
        options: how to classify.
    """
    without_pandas()
    if output is not None:
        check_ending(output)
    check_file(output, overwrite=overwrite, read=[source])
    # Before weights are downloaded; opened, it is what these options make of it.
    pictures = open_source(source, options=options.embed.source)
    options = replace(options, embed=replace(options.embed, source=SourceOptions()))
    with download_progress() as on_download, Progress(not quiet) as progress:
        spec = load_module_spec(weights, on_event=on_download)
        if output is None:
            done = _print(pictures, spec, options, as_json=json)
        else:
            # Nothing continues where the table that is to be replaced stays in the way.
            shows = not quiet and not output.exists()
            with continuable(output, shows, overwrite=overwrite):
                done = classify_to_file(
                    pictures,
                    output,
                    weights=spec,
                    options=options,
                    overwrite=overwrite,
                    on_event=partial(_show, progress),
                )
    if not quiet:
        if output is not None:
            note(f"{output}: {done.rows:,} pictures, {done.failures:,} failed")
        if done.resumed:
            note(f"continued after {done.resumed:,} pictures of an earlier run")
        note(f"weights: {spec.opened.weights.described}")
        if done.unsure:
            note(
                f"{done.unsure:,} of {done.rows:,} pictures have no class at or above "
                f"{done.min_confidence:.0%}; --min-confidence 0 shows all guesses"
            )
        for text in done.notes:
            note(f"note: {text}")
    return failed(done.failures, done.rows, strict=strict)


def _show(progress: Progress, event: EmbedEvent) -> None:
    progress.update("classifying", event.done, event.total)


def _print(
    pictures: PictureSource, spec: ModuleSpec, options: ClassifyOptions, *, as_json: bool
) -> ClassifySummary:
    """Print each picture as it is done."""
    failures = count = unsure = 0
    least = 0.0
    for one in classify_pictures(pictures, weights=spec, options=options):
        count += 1
        failures += one.error is not None
        unsure += one.error is None and not one.sure
        least = one.min_confidence
        say_json(_told(one)) if as_json else say(_text(one))
    return ClassifySummary(
        rows=count,
        failures=failures,
        unsure=unsure,
        min_confidence=least,
        resumed=0,
        notes=pictures.notes,
    )


def _told(one: Classified) -> dict[str, object]:
    guesses = [
        {
            "index": g.index,
            "name": g.name,
            "probability": round(g.probability, 6),
            "sure": g.probability >= one.min_confidence,
        }
        for g in one.guesses
    ]
    return {"id": one.id} | ({"error": one.error} if one.error else {"classes": guesses})


def _text(one: Classified) -> str:
    if one.error is not None:
        return f"{display_name(one.id)}: {one.error}"
    if not one.sure:
        best = one.guesses[0].probability
        lines = [f"  not sure: no class has {one.min_confidence:.0%}, the first has {best:.0%}"]
        return "\n".join([display_name(one.id), *lines])
    shown = [guess for guess in one.guesses if guess.probability >= one.min_confidence]
    lines = [f"  {guess.probability:6.1%}  {display_name(guess.name)}" for guess in shown]
    return "\n".join([display_name(one.id), *lines])
