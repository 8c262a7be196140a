"""`nasnet classify`: what is on pictures, by the classifier's names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, replace
from json import dumps

from nasnet.cli.flags import File, Quiet, Source, Weights, check_file, command, failed
from nasnet.cli.terminal import Progress, download_progress, note, say, say_json, without_pandas
from nasnet.errors import InputError
from nasnet.features.classify import Classified, ClassifyOptions, classify as classify_pictures
from nasnet.features.embed import EmbedEvent
from nasnet.hub.spec import load_module_spec
from nasnet.pictures.sources import SourceOptions, open_source
from nasnet.system import write_whole
from nasnet.text import display_name
from nasnet.weights.opening import DEFAULT_CLASSIFIER

_ENDINGS = (".csv", ".jsonl", ".parquet")
# Of a table: name -> Arrow's type.
_COLUMNS = {
    "id": "string",
    "rank": "int32",
    "index": "int32",
    "name": "string",
    "probability": "float",
    "sure": "bool",
    "error": "string",
}


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
        output: also write a table: .csv, .jsonl or .parquet, one row for each picture and class.
        json: print one JSON object for each picture, one on a line.
        strict: exit with status 1 if any picture failed; otherwise only if all did.
        overwrite: replace a table that is there.
        quiet: no progress and no summary.
        options: how to classify.
    """
    without_pandas()
    if output is not None and output.suffix not in _ENDINGS:
        raise InputError(f"{output}: a table ends in {', '.join(_ENDINGS)}")
    check_file(output, overwrite=overwrite)
    # Before weights are downloaded; opened, it is what these options make of it.
    pictures = open_source(source, options=options.embed.source)
    options = replace(options, embed=replace(options.embed, source=SourceOptions()))
    kept: list[Classified] = []
    failures = count = unsure = 0
    least = 0.0
    notes: tuple[str, ...] = ()
    with download_progress() as on_download, Progress(not quiet) as progress:

        def on_event(event: EmbedEvent) -> None:
            nonlocal notes
            notes = event.notes
            if output is not None:
                progress.update("classifying", event.done, event.total)

        spec = load_module_spec(weights, on_event=on_download)
        for one in classify_pictures(pictures, weights=spec, options=options, on_event=on_event):
            count += 1
            failures += one.error is not None
            unsure += one.error is None and not one.sure
            least = one.min_confidence
            if output is not None:
                kept.append(one)
            else:
                say_json(_told(one)) if json else say(_text(one))
    if output is not None:
        write_whole(output, _table(kept, output.suffix))
        if not quiet:
            note(f"{output}: {len(kept):,} pictures, {failures:,} failed")
    if not quiet:
        known = spec.opened.weights
        note(f"weights: {known.described}")
        if unsure:
            note(
                f"{unsure:,} of {count:,} pictures have no class at or above {least:.0%}; "
                "--min-confidence 0 shows all guesses"
            )
        for text in notes:
            note(f"note: {text}")
    return failed(failures, count, strict=strict)


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


def _rows(kept: Iterable[Classified]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for one in kept:
        row = dict.fromkeys(_COLUMNS) | {"id": one.id}
        if one.error is not None:
            rows.append(row | {"error": one.error})
        for rank, guess in enumerate(one.guesses, 1):
            sure = guess.probability >= one.min_confidence
            rows.append(row | {"rank": rank, "sure": sure} | asdict(guess))
    return rows


def _table(kept: list[Classified], ending: str) -> bytes:
    rows = _rows(kept)
    if ending == ".jsonl":
        return "".join(dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if ending == ".csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(_COLUMNS))
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema(_COLUMNS)
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows, schema=schema), sink, write_page_checksum=True
    )
    return bytes(sink.getvalue())
