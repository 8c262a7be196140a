"""A folder of pictures to search in: its feature set, kept in the user's cache, up to date."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from nasnet.errors import OutputError, SourceError
from nasnet.features import parquet
from nasnet.features.embed import EmbedEvent, EmbedOptions, embed_to_file
from nasnet.features.store import SinkOptions
from nasnet.features.store.output import open_output
from nasnet.hub.spec import ModuleSpec, load_module_spec
from nasnet.pictures.sources import open_source
from nasnet.serve.options import RECIPE, ServeOptions, check_extra
from nasnet.weights.fetch.cache import cache_root
from nasnet.weights.weights import fingerprint


def photo_index(
    folder: Path,
    options: ServeOptions,
    *,
    on_event: Callable[[EmbedEvent], None] | None = None,
) -> Path:
    """Compute the vectors of a folder's pictures that are not known yet.

    Args:
        folder: of pictures, with all below it.
        options: of the service: the first module's weights, recipe, padding and engine.
        on_event: told how far it is.

    Returns:
        The feature set's file. One a folder, weights and preprocessing; pictures that are new
        since the last time are added, those that failed are tried again, those that are gone are
        left out.

    Raises:
        MissingExtraError: the extra `serve` is not installed, so all that would be for nothing.
        SourceError: there is no picture in the folder, or none that can be read.
        OutputError: the cache cannot be written.
        FetchError: the weights cannot be had.
        WeightsError: they are no NASNet-A weights, or damaged.
    """
    check_extra()
    spec = load_module_spec(
        options.models[0].handle, padding=options.padding, fetch_options=options.fetch
    )
    output = cache_root(options.fetch.cache_dir) / "photos" / _name(folder, spec, options)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output.parent} cannot be made: {error.strerror or error}") from error
    done = embed_to_file(
        folder,
        output,
        weights=spec,
        options=EmbedOptions(
            recipe=options.recipe or RECIPE,
            padding=options.padding,
            engine=options.engine,
            sink=SinkOptions(mode="append"),
            fetch=options.fetch,
        ),
        on_event=on_event,
    )
    present = {item.id for item in open_source(folder)}
    if not _keep_present(output, present):
        why = "; ".join(f"{reason} ({count:,})" for reason, count in done.reasons)
        raise SourceError(f"{folder}: of its {len(present):,} pictures none can be read: {why}")
    return output


def _name(folder: Path, spec: ModuleSpec, options: ServeOptions) -> str:
    """All that makes vectors differ: a path may hold other weights the next time."""
    weights = spec.opened.weights
    what = (
        os.fspath(folder.resolve()),
        fingerprint(weights),
        weights.padding,
        options.recipe or RECIPE,
        options.engine.precision,
        *map(str, spec.image_size),
    )
    text = "\0".join(what).encode("utf-8", "surrogateescape")
    return f"{hashlib.sha256(text).hexdigest()[:24]}.parquet"


def _keep_present(output: Path, present: set[str]) -> bool:
    """Keep the rows of pictures that are there; whether any of them has a vector."""
    import pyarrow

    with parquet.reading(output) as file:
        rows = file.read(["id", "error"])
    kept = pyarrow.array([id in present for id in rows["id"].to_pylist()])
    if rows.num_rows > kept.true_count:
        with parquet.reading(output) as file:
            schema = parquet.schema_of(file)
            tables = list(parquet.tables(file, schema.names))
        table = pyarrow.concat_tables(tables).filter(kept)
        open_output(output, {}).write(table.schema, table.num_rows, iter([table]))
    return bool(rows.filter(kept)["error"].null_count)
