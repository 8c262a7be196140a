"""`nasnet classify`: what is on pictures, by the classifier's names.

Called by the command line only.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

import click

from nasnet.cli.options import SIZE, Size
from nasnet.cli.progress import download_progress, rows_progress
from nasnet.compute.engine import ENGINES, PRECISIONS, EngineOptions, Precision
from nasnet.errors import InputError
from nasnet.features.classify import Classified, ClassifyOptions, classify
from nasnet.features.embed import EmbedEvent, EmbedOptions
from nasnet.hub.spec import load_module_spec
from nasnet.pictures.sources import SourceOptions
from nasnet.system import write_whole
from nasnet.weights.opening import DEFAULT_CLASSIFIER

__all__ = ["command"]

_ENDINGS = (".csv", ".jsonl", ".parquet")


@click.command("classify")
@click.argument("source")
@click.option("-w", "--weights", default=DEFAULT_CLASSIFIER, show_default=True, help="With a head.")
@click.option("-k", "--top", default=5, show_default=True, type=click.IntRange(1), help="Classes.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a table as well: .csv, .jsonl or .parquet, one row a picture and class.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a picture, a line each.")
@click.option("--recipe", default="photo", show_default=True, help="How pictures become pixels.")
@click.option("--size", type=SIZE, help="Bring pictures to this size (224, or HEIGHTxWIDTH).")
@click.option("--engine", type=click.Choice(list(ENGINES)), default="openvino", show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), default="f32", show_default=True)
@click.option("--column", help="In a Parquet or Arrow source: the column with the pictures.")
@click.option("--strict", is_flag=True, help="Exit with status 2 if any picture failed.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
def command(
    source: str,
    weights: str,
    top: int,
    output: Path | None,
    as_json: bool,
    recipe: str,
    size: Size | None,
    engine: str,
    precision: Precision,
    column: str | None,
    strict: bool,
    quiet: bool,
) -> int:
    """Name what is on every picture in SOURCE, which is anything `nasnet embed` takes.

    WEIGHTS are a classification module, builtin, or the folder `nasnet finetune` wrote, whose
    classes are then the ones given.

    \b
    nasnet classify photo.jpg --weights builtin
    nasnet classify ~/photos --weights mine -o labels.csv
    """  # noqa: D301 - click wants the character itself
    if output is not None and output.suffix not in _ENDINGS:
        raise InputError(f"{output}: a table ends in {', '.join(_ENDINGS)}")
    options = ClassifyOptions(
        top=top,
        embed=EmbedOptions(
            recipe=recipe,
            size=size,
            engine=EngineOptions(engine=engine, precision=precision),
            source=SourceOptions(column=column),
        ),
    )
    kept: list[Classified] = []
    failures = 0
    with download_progress() as on_download, rows_progress() as progress:

        def on_event(event: EmbedEvent) -> None:
            if not quiet and output is not None:
                progress.update(event.done, event.total)

        spec = load_module_spec(weights, on_event=on_download)
        for one in classify(source, weights=spec, options=options, on_event=on_event):
            failures += one.error is not None
            if output is not None:
                kept.append(one)
            else:
                click.echo(_json(one) if as_json else _text(one))
    if output is not None:
        write_whole(output, _table(kept, output.suffix))
        click.echo(f"{output}: {len(kept):,} pictures, {failures:,} failed", err=True)
    if not quiet:
        known = spec.opened.weights
        click.echo(f"weights: {known.source} ({known.status})", err=True)
    return 2 if strict and failures else 0


def _json(one: Classified) -> str:
    guesses = [
        {"index": g.index, "name": g.name, "probability": round(g.probability, 6)}
        for g in one.guesses
    ]
    told = {"id": one.id, "classes": guesses} if one.error is None else {"id": one.id}
    return json.dumps(told | ({"error": one.error} if one.error else {}), ensure_ascii=False)


def _text(one: Classified) -> str:
    if one.error is not None:
        return f"{one.id}: {one.error}"
    lines = [f"  {guess.probability:6.1%}  {guess.name}" for guess in one.guesses]
    return "\n".join([one.id, *lines])


def _rows(kept: Iterable[Classified]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for one in kept:
        if one.error is not None:
            rows.append(_row(one.id, error=one.error))
        rows += [
            _row(one.id, rank, guess.index, guess.name, guess.probability)
            for rank, guess in enumerate(one.guesses, 1)
        ]
    return rows


def _row(
    id: str,
    rank: int | None = None,
    index: int | None = None,
    name: str | None = None,
    probability: float | None = None,
    error: str | None = None,
) -> dict[str, object]:
    return {
        "id": id,
        "rank": rank,
        "index": index,
        "name": name,
        "probability": probability,
        "error": error,
    }


def _table(kept: list[Classified], ending: str) -> bytes:
    rows = _rows(kept)
    if ending == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if ending == ".csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(_row("")))
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema(
        {
            "id": pyarrow.string(),
            "rank": pyarrow.int32(),
            "index": pyarrow.int32(),
            "name": pyarrow.string(),
            "probability": pyarrow.float32(),
            "error": pyarrow.string(),
        }
    )
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), sink)
    return bytes(sink.getvalue())
