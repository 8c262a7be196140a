"""`nasnet serve`: modules behind an HTTP service and a web page.

Called by the command line only.
"""

from __future__ import annotations

import os
import warnings
import webbrowser
from dataclasses import replace
from pathlib import Path

import click

from nasnet.cli.progress import rows_progress
from nasnet.compute.engine import ENGINES, PRECISIONS, EngineOptions, Precision
from nasnet.features.embed import EmbedEvent
from nasnet.network.plan import PADDINGS, Borders
from nasnet.pictures.recipes import RECIPES
from nasnet.serve import Limits, ModelChoice, ServeEvent, ServeOptions, photo_index, serve
from nasnet.weights.opening import DEFAULT_HANDLE

__all__ = ["command"]

_DEFAULTS = Limits()
_PATH = click.Path(path_type=Path, exists=True)
_COUNT = click.IntRange(1)


@click.command("serve")
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="[NAME=]HANDLE",
    help="A published handle, a path, or seeded:N; once for each module.  "
    f"[default: {DEFAULT_HANDLE}]",
)
@click.option(
    "--index",
    type=_PATH,
    help="Vectors of the first module (nasnet embed), for nearest neighbours.",
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder the index was made of, so that neighbours are shown.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder to find similar pictures in: --index and --pictures in one. Its vectors are "
    "kept in the cache; the next time only new pictures are computed.",
)
@click.option(
    "--map",
    "map_",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An HTML map to show.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with the key that clients must send; or set NASNET_API_KEY.",
)
@click.option("--allow-anyone", is_flag=True, help="Listen beyond this machine without a key.")
@click.option(
    "--allowed-host", "allowed_hosts", multiple=True, help="A name clients may call it by."
)
@click.option(
    "--recipe",
    default="photo",
    show_default=True,
    help=f"How pictures become pixels: {', '.join(RECIPES)}.",
)
@click.option(
    "--padding",
    type=click.Choice(PADDINGS),
    help="Whose border pixels, as of nasnet embed; what the weights say if not given.",
)
@click.option("--engine", type=click.Choice(list(ENGINES)), default="openvino", show_default=True)
@click.option("--device", default="CPU", show_default=True, help="As the engine calls it.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="f32", show_default=True)
@click.option("--threads", type=_COUNT, help="Cores to use; all that are given to us.")
@click.option(
    "--batch", type=click.IntRange(1, 4096), help="Pictures in one run; 4, on a GPU by torch 64."
)
@click.option("--compile", is_flag=True, help="By torch: fuse kernels, which takes a minute first.")
@click.option(
    "--queue", type=_COUNT, default=_DEFAULTS.queue, show_default=True, help="Pictures waiting."
)
@click.option(
    "--max-pictures",
    type=_COUNT,
    default=_DEFAULTS.pictures,
    show_default=True,
    help="In one request.",
)
@click.option(
    "--max-body",
    type=_COUNT,
    default=_DEFAULTS.body_bytes >> 20,
    show_default=True,
    help="Of one request, in MiB.",
)
@click.option(
    "--max-megapixels",
    type=_COUNT,
    default=_DEFAULTS.picture_pixels // 1_000_000,
    show_default=True,
    help="Of one picture.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=_DEFAULTS.compute_seconds,
    show_default=True,
    help="Seconds until an answer is there; after that, 429.",
)
@click.option(
    "--body-timeout",
    type=click.FloatRange(0, min_open=True),
    default=_DEFAULTS.body_seconds,
    show_default=True,
    help="Seconds until a request is there; after that, 408.",
)
@click.option("--open", "open_", is_flag=True, help="Open the page in a browser.")
@click.option("-v", "--verbose", is_flag=True, help="A line for every request.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors of the service.")
def command(
    models: tuple[str, ...],
    index: Path | None,
    pictures: Path | None,
    photos: Path | None,
    map_: Path | None,
    host: str,
    port: int,
    api_key_file: Path | None,
    allow_anyone: bool,
    allowed_hosts: tuple[str, ...],
    recipe: str,
    padding: Borders | None,
    engine: str,
    device: str,
    precision: Precision,
    threads: int | None,
    batch: int | None,
    compile: bool,
    queue: int,
    max_pictures: int,
    max_body: int,
    max_megapixels: int,
    timeout: float,
    body_timeout: float,
    open_: bool,
    verbose: bool,
    quiet: bool,
) -> None:
    """Serve modules over HTTP, with a web page at /.

    Clients of TensorFlow Serving (POST /v1/models/NAME:predict) and of the Open Inference
    Protocol (POST /v2/models/NAME/infer) work as they are; files go to POST /embed, /classify,
    /search and /similarity. /docs lists it all.

    \b
    nasnet serve -m builtin --photos ~/photos --open
    nasnet serve -m mine=./finetuned -m nasnet=seeded:7
    nasnet serve --index features.parquet --pictures ~/photos
    NASNET_API_KEY=... nasnet serve --host 0.0.0.0
    """  # noqa: D301 - click wants the character itself
    limits = Limits(
        queue=max(queue, max_pictures),
        pictures=max_pictures,
        body_bytes=max_body << 20,
        bodies_bytes=max(_DEFAULTS.bodies_bytes, 2 * max_body << 20),
        picture_pixels=max_megapixels * 1_000_000,
        header_seconds=min(body_timeout, _DEFAULTS.header_seconds),
        body_seconds=body_timeout,
        compute_seconds=timeout,
    )
    options = ServeOptions(
        models=tuple(_choice(text) for text in models) or (ModelChoice(),),
        host=host,
        port=port,
        api_key=_key(api_key_file),
        allow_anyone=allow_anyone,
        allowed_hosts=allowed_hosts,
        recipe=recipe,
        padding=padding,
        engine=EngineOptions(
            engine=engine,
            device=device,
            precision=precision,
            threads=threads,
            batch=batch,
            compile=compile,
        ),
        index=index,
        pictures=pictures,
        map=map_,
        limits=limits,
    )

    def on_event(event: ServeEvent) -> None:
        if event.kind == "fault" or (not quiet and (verbose or event.kind != "request")):
            click.echo(event.text, err=True)
        if event.kind == "ready" and open_:
            webbrowser.open(event.url)

    if photos is not None:
        if index is not None or pictures is not None:
            raise click.UsageError("--photos stands for --index and --pictures: give it alone")
        options = replace(options, index=_photo_index(photos, options, quiet), pictures=photos)
    # Pillow warns of damaged files in words of their own; clients would write our log with them.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    serve(options, on_event=on_event)


def _photo_index(photos: Path, options: ServeOptions, quiet: bool) -> Path:
    if quiet:
        return photo_index(photos, options)
    with rows_progress() as progress:

        def on_event(event: EmbedEvent) -> None:
            failed = f"{event.failures:,} failed" if event.failures else ""
            progress.update(event.done, event.total, failed)

        return photo_index(photos, options, on_event=on_event)


def _choice(text: str) -> ModelChoice:
    """`name=handle`, or a handle alone; a handle may have a `=` of its own behind a slash."""
    name, equals, handle = text.partition("=")
    if equals and "/" not in name and ":" not in name:
        return ModelChoice(name=name, handle=handle)
    return ModelChoice(handle=text)


def _key(file: Path | None) -> str | None:
    """Never from the command line itself, where every user of the machine could read it."""
    if file is not None:
        return file.read_text(encoding="utf-8").strip()
    return os.environ.get("NASNET_API_KEY") or None
