"""`nasnet embed`: a folder of pictures becomes a table of vectors, here or on a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from nasnet.cli.flags import PAGE, Quiet, Source, UsageError, Weights, check_file, command, failed
from nasnet.cli.terminal import Progress, continuable, download_progress, note, without_pandas
from nasnet.features.cluster.options import ClusterEvent, ClusterOptions, ClusterSummary
from nasnet.features.embed import EmbedEvent, EmbedOptions, EmbedSummary, embed_to_file
from nasnet.features.feature_set import read_features
from nasnet.features.store import Mode
from nasnet.weights.opening import DEFAULT_HANDLE

_STATUS = {
    "genuine": "the published weights, bit for bit",
    "builtin": "the package's own, not Google's",
    "untrained": "UNTRAINED: these vectors mean nothing",
    "modified": "not the published weights: untrained or modified",
    "unknown": "no fingerprints to compare with",
}


@command
def embed(
    source: Source,
    /,
    *,
    output: Annotated[str, Parameter(alias="-o")],
    weights: Weights = DEFAULT_HANDLE,
    overwrite: bool = False,
    append: bool = False,
    sync: bool = False,
    page: Path | None = None,
    strict: bool = False,
    on: Literal["here", "ray"] = "here",
    quiet: Quiet = False,
    options: EmbedOptions,
    cluster: ClusterOptions,
) -> int:
    """Compute the vector of every picture in SOURCE and write them as one table.

    SOURCE is a folder (with all below it), a picture, a glob in quotes, a .txt list of paths or
    URLs, - for such a list on standard input, a .tar, .tar.gz or .zip archive, a Parquet or Arrow
    table with a column of encoded pictures, a URL, or samples: (84 views of 14 photographs, which
    come with the extra nasnet[samples]).

    One row for each picture, in order: id, vector, width, height, error (the reason why there is no
    vector), file_bytes, and signature, from which `nasnet dedup` finds copies. A run that was
    stopped or killed continues when it is started again.

        nasnet embed ~/photos -o features.parquet --page neighbours.html
        nasnet embed 'scans/**/*.tif' -o scans.npy --precision bf16
        nasnet embed 's3://bucket/*.tar' -o s3://bucket/features --on ray
        find . -name '*.jpg' | nasnet embed - -o features.parquet --append

    Args:
        source: where the pictures are.
        output: The file to write: .parquet, .arrow, or .npy (with ids beside it); on a cluster
            also a URL, or a folder of parts.
        weights: A published handle, builtin (the package's own), a checkpoint, module or
            safetensors file, or seeded:N (untrained).
        overwrite: Replace an output and a page that are there.
        append: Keep the vectors of an output that is there; add new pictures, retry failed ones.
        sync: As --append; also compute changed pictures again (another size, or written since), and
            remove those that are gone.
        page: Also write an HTML page that shows the pictures beside their nearest neighbours.
        strict: Exit with status 1 if any picture failed; otherwise only if all did.
        on: here: on this machine; ray: on all machines of the Ray cluster that RAY_ADDRESS names
            (extra nasnet[ray]). All machines must see the source and the output.
        quiet: No progress and no summary.
        options: how to compute.
        cluster: how to share the work.
    """
    without_pandas()
    if overwrite + append + sync > 1:
        raise UsageError("give only one of --overwrite, --append and --sync")
    if page is not None:
        _check_page(page, source, output, on_cluster=on == "ray")
        # The page of a set that is added to is made anew.
        check_file(page, overwrite=overwrite or append or sync, endings=PAGE)
    mode: Mode = "overwrite" if overwrite else "append" if append else "sync" if sync else "resume"
    options = replace(options, sink=replace(options.sink, mode=mode))
    summary: EmbedSummary | ClusterSummary
    with continuable(output, not quiet, overwrite=overwrite):
        if on == "ray":
            summary = _embed_on_cluster(source, output, weights, options, cluster, quiet=quiet)
        else:
            summary = _embed_here(source, output, weights, options, quiet=quiet)
    if not quiet:
        _report(summary, mode)
    if page is not None and summary.failures == summary.rows:
        note(f"{page} is not written: no picture has a vector")
    elif page is not None:
        from nasnet.features.contact_sheet import write_contact_sheet
        from nasnet.features.signatures import read_signed

        shown = write_contact_sheet(
            read_features(summary.output),
            source,
            page,
            reading=options.source,
            signed=read_signed(summary.output),
        )
        if not quiet:
            what = "1 picture" if shown == 1 else f"{shown} pictures and their nearest neighbours"
            note(f"{page}: {what}")
    return failed(summary.failures, summary.rows, strict=strict)


def _check_page(page: Path, source: str, output: str, *, on_cluster: bool) -> None:
    if source == "-":
        raise UsageError(
            "--page: standard input cannot be read a second time for its pictures; write the list "
            "to a .txt file and name that"
        )
    if on_cluster and ("://" in output or not Path(output).suffix):
        raise UsageError("--page needs a finished file on this machine")


def _embed_here(
    source: str, output: str, weights: str, options: EmbedOptions, *, quiet: bool
) -> EmbedSummary:
    with download_progress(not quiet) as on_download, Progress(not quiet) as progress:

        def on_event(event: EmbedEvent) -> None:
            failed = f"{event.failures:,} failed" if event.failures else ""
            progress.update("embedding", event.done, event.total, extra=failed)

        return embed_to_file(
            source,
            output,
            weights=weights,
            options=options,
            on_event=on_event,
            on_fetch=on_download,
        )


def _embed_on_cluster(
    source: str,
    output: str,
    weights: str,
    options: EmbedOptions,
    cluster: ClusterOptions,
    *,
    quiet: bool,
) -> ClusterSummary:
    from nasnet.features.cluster.running import embed_on_cluster

    with download_progress(not quiet) as on_download, Progress(not quiet) as progress:

        def on_event(event: ClusterEvent) -> None:
            words = [f"{len(event.workers)} workers"]
            words += [f"{event.failures:,} failed"] if event.failures else []
            words += [f"{event.retried:,} begun again"] if event.retried else []
            progress.update("embedding", event.done, event.total, extra=", ".join(words))

        return embed_on_cluster(
            source,
            output,
            weights=weights,
            options=options,
            cluster=cluster,
            on_event=on_event,
            on_fetch=on_download,
        )


def _report(summary: EmbedSummary | ClusterSummary, mode: Mode) -> None:
    from nasnet.pictures.sources.examples import several

    here = summary if isinstance(summary, EmbedSummary) else None
    computed = summary.rows - summary.resumed if here is None else here.computed
    rate = computed / max(summary.seconds, 1e-9)
    note(
        f"{summary.output}: {several(summary.rows, 'row')}, "
        f"{several(summary.rows - summary.failures, 'vector')}, {summary.failures:,} failed; "
        f"{summary.seconds:.1f} s, {rate:,.1f} pictures/s"
    )
    if summary.resumed:
        note(f"continued after {summary.resumed:,} rows of an earlier run")
    if here is not None and mode == "append":
        before = summary.rows - summary.resumed - computed
        note(f"{computed:,} new or tried again, {before:,} as they were")
    if here is not None and mode == "sync":
        note(
            f"{here.added:,} new, {here.changed:,} changed, {here.removed:,} gone, "
            f"{here.rows - here.added - here.changed:,} as they were"
        )
    note(f"weights: {summary.weights} ({_STATUS.get(summary.status, summary.status)})")
    note(f"recipe: {summary.recipe}; engine: {summary.engine}")
    if isinstance(summary, ClusterSummary):
        again = f"; {summary.retried:,} begun again" if summary.retried else ""
        note(f"workers: {summary.workers}; shards: {summary.shards:,}{again}")
    for text in summary.notes:
        note(f"note: {text}")
    if summary.reasons:
        note("the most frequent failures:")
    for reason, count in summary.reasons:
        note(f"  {count:,} x {reason}")
