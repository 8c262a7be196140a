"""`nasnet embed`: a folder of pictures becomes a table of vectors.

Called by the command line only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from nasnet.cli.cluster import run_on_cluster
from nasnet.cli.options import SIZE, Size, averages_option
from nasnet.cli.progress import download_progress, rows_progress
from nasnet.compute.engine import ENGINES, PRECISIONS, EngineOptions, Precision
from nasnet.features.cluster import ClusterOptions, ClusterSummary
from nasnet.features.contact_sheet import SheetOptions, write_contact_sheet
from nasnet.features.embed import EmbedEvent, EmbedOptions, EmbedSummary, embed_to_file
from nasnet.features.feature_set import read_features
from nasnet.features.store import SinkOptions
from nasnet.network.plan import PADDINGS, Borders
from nasnet.pictures.recipes import RECIPES
from nasnet.pictures.sources import SourceOptions
from nasnet.weights.opening import DEFAULT_HANDLE, Averages

__all__ = ["command"]

_STATUS = {
    "genuine": "the published weights, bit for bit",
    "builtin": "the package's own, not Google's",
    "untrained": "UNTRAINED: these vectors mean nothing",
    "modified": "not the published weights: untrained or modified",
    "unknown": "no fingerprints to compare with",
}


@click.command("embed")
@click.argument("source")
@click.option(
    "-o",
    "--output",
    required=True,
    help="The file to write: .parquet, .arrow, or .npy (with ids beside it); on a cluster also a "
    "URL, or a folder of parts.",
)
@click.option(
    "-w",
    "--weights",
    default=DEFAULT_HANDLE,
    show_default=True,
    help="A published handle, builtin (the package's own), a checkpoint, module or safetensors "
    "file, or seeded:N (untrained).",
)
@click.option(
    "--recipe",
    default="photo",
    show_default=True,
    help=f"How pictures become pixels: {', '.join(RECIPES)}. The version may be left out.",
)
@click.option("--size", type=SIZE, help="Bring pictures to this size (224, or HEIGHTxWIDTH).")
@click.option(
    "--endpoint",
    default="global_pool",
    show_default=True,
    help="Which vector: global_pool (the features), Logits, Predictions, or a cell's mean.",
)
@click.option(
    "--overwrite", "mode", flag_value="overwrite", help="Replace an output that is there."
)
@click.option(
    "--append",
    "mode",
    flag_value="append",
    help="Keep the vectors of an output that is there; add new pictures, retry failed ones.",
)
@click.option(
    "--vector-dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="How vectors are stored; float16 halves the file and keeps three digits.",
)
@click.option("--strict", is_flag=True, help="Exit with status 2 if any picture failed.")
@click.option(
    "--engine",
    type=click.Choice([*ENGINES, "ray"]),
    default="openvino",
    show_default=True,
    help="What computes; ray is short for openvino with --on ray.",
)
@click.option(
    "--on",
    type=click.Choice(["here", "ray"]),
    default="here",
    help="Where: on this machine, or on all machines of a Ray cluster (extra nasnet[ray]), the one "
    "that RAY_ADDRESS names; the source and the output must be where all see them.",
)
@click.option("--worker-cores", type=click.IntRange(1), help="With ray: cores of one worker.")
@click.option("--shard-rows", type=click.IntRange(1), help="With ray: pictures in one part.")
@click.option("--device", default="CPU", show_default=True, help="As the engine calls it.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="f32",
    show_default=True,
    help="f32 is exact; bf16 and f16 are faster where the device has them; auto takes the fastest.",
)
@click.option("--threads", type=click.IntRange(1), help="Cores to use; all that are given to us.")
@click.option(
    "--batch", type=click.IntRange(1, 4096), help="Pictures in one run; 4, on a GPU by torch 64."
)
@click.option("--compile", is_flag=True, help="By torch: fuse kernels, which takes a minute first.")
@averages_option
@click.option(
    "--padding",
    type=click.Choice(PADDINGS),
    help="Whose border pixels: slim, or keras for the very numbers of keras.applications; what the "
    "weights say, as a rule slim, if not given.",
)
@click.option("--column", help="In a Parquet or Arrow source: the column with the pictures.")
@click.option("--id-column", help="In a Parquet or Arrow source: the column with the ids.")
@click.option(
    "--all-files", is_flag=True, help="In a folder: not only files that look like pictures."
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Only the I-th (from 0) of N parts of the source; see nasnet merge.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write an HTML page to look at as well: pictures beside their nearest neighbours.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
def command(
    source: str,
    output: str,
    weights: str,
    recipe: str,
    size: Size | None,
    endpoint: str,
    mode: Literal["overwrite", "append"] | None,
    vector_dtype: Literal["float32", "float16"],
    strict: bool,
    engine: str,
    on: str,
    worker_cores: int | None,
    shard_rows: int | None,
    device: str,
    precision: Precision,
    threads: int | None,
    batch: int | None,
    compile: bool,
    averages: Averages,
    padding: Borders | None,
    column: str | None,
    id_column: str | None,
    all_files: bool,
    shard: str | None,
    page: Path | None,
    quiet: bool,
) -> int:
    """Compute the vector of every picture in SOURCE and write them as one table.

    SOURCE is a folder (with all below it), a picture, a glob in quotes, a .txt list of paths or
    URLs, - for such a list on standard input, a .tar, .tar.gz or .zip archive, a Parquet or Arrow
    table with a column of encoded pictures, a URL, or samples: (photographs that come with the
    extra nasnet[samples]).

    One row a picture, in order: id, vector, width, height, and error, the reason why there is no
    vector. A run that is stopped or killed goes on where it was when it is started again.

    \b
    nasnet embed ~/photos -o features.parquet --page neighbours.html
    nasnet embed 'scans/**/*.tif' -o scans.npy --precision bf16
    nasnet embed 's3://bucket/*.tar' -o s3://bucket/features --engine ray
    find . -name '*.jpg' | nasnet embed - -o features.parquet --append
    """  # noqa: D301 - click wants the character itself
    if page is not None and source == "-":
        raise click.BadParameter(
            "standard input cannot be read a second time for its pictures; write the list to a "
            ".txt file and name that",
            param_hint="--page",
        )
    on_cluster = on == "ray" or engine == "ray"
    if page is not None and on_cluster and ("://" in output or not Path(output).suffix):
        raise click.BadParameter("it needs a finished file on this machine", param_hint="--page")
    if page is not None and not page.parent.is_dir():
        raise click.BadParameter(f"no folder {page.parent}", param_hint="--page")
    options = EmbedOptions(
        recipe=recipe,
        size=size,
        endpoint=endpoint,
        averages=averages,
        padding=padding,
        engine=EngineOptions(
            engine="openvino" if engine == "ray" else engine,
            device=device,
            precision=precision,
            threads=threads,
            batch=batch,
            compile=compile,
        ),
        source=SourceOptions(
            column=column, id_column=id_column, all_files=all_files, shard=_shard(shard)
        ),
        sink=SinkOptions(mode=mode or "resume", vector_dtype=vector_dtype),
    )
    summary: EmbedSummary | ClusterSummary
    if on_cluster:
        spread = ClusterOptions(worker_cores=worker_cores, shard_rows=shard_rows)
        summary = run_on_cluster(source, output, weights, options, spread, quiet=quiet)
    elif quiet:
        summary = embed_to_file(source, output, weights=weights, options=options)
    else:
        with download_progress() as on_download, rows_progress() as progress:

            def on_event(event: EmbedEvent) -> None:
                if event.done == event.resumed:
                    progress.begin(event.resumed)
                failed = f"{event.failures:,} failed" if event.failures else ""
                progress.update(event.done, event.total, failed)

            summary = embed_to_file(
                source,
                output,
                weights=weights,
                options=options,
                on_event=on_event,
                on_fetch=on_download,
            )
    if not quiet:
        _report(summary)
    if page is not None:
        _write_page(source, summary, page, options.source, quiet=quiet)
    if strict and summary.failures:
        return 2
    return 0


def _write_page(
    source: str,
    summary: EmbedSummary | ClusterSummary,
    page: Path,
    reading: SourceOptions,
    *,
    quiet: bool,
) -> None:
    shown = write_contact_sheet(
        read_features(summary.output), source, page, options=SheetOptions(source=reading)
    )
    if not quiet:
        click.echo(f"{page}: {shown} pictures and their nearest neighbours", err=True)


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 0, 1
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit()):
        raise click.BadParameter(
            f"{text!r} is no shard; write I/N, such as 0/8", param_hint="--shard"
        )
    return int(index), int(count)


def _report(summary: EmbedSummary | ClusterSummary) -> None:
    """What was done, for people; on standard error, like the progress before it."""
    rate = (summary.rows - summary.resumed) / max(summary.seconds, 1e-9)
    lines = [
        f"{summary.output}: {summary.rows:,} rows, {summary.rows - summary.failures:,} vectors, "
        f"{summary.failures:,} failed; {summary.seconds:.1f} s, {rate:,.1f} pictures/s",
        f"weights: {summary.weights} ({_STATUS.get(summary.status, summary.status)})",
        f"recipe: {summary.recipe}; engine: {summary.engine}",
    ]
    if isinstance(summary, ClusterSummary):
        lost = f"; {summary.lost} ended early, and others took over" if summary.lost else ""
        lines.append(f"workers: {summary.workers}; shards: {summary.shards:,}{lost}")
    if summary.resumed:
        lines.insert(1, f"continued after {summary.resumed:,} rows of an earlier run")
    lines += [f"note: {note}" for note in summary.notes]
    if summary.reasons:
        lines.append("the most frequent failures:")
        lines += [f"  {count:,} x {reason}" for reason, count in summary.reasons]
    for line in lines:
        click.echo(line, err=True)
