"""`nasnet serve`: modules behind an HTTP service and a web page."""

from __future__ import annotations

import warnings
import webbrowser
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from nasnet.cli.flags import Quiet, command
from nasnet.cli.terminal import note, without_pandas
from nasnet.features.index import meta_of_index
from nasnet.features.own_weights import own_weights
from nasnet.serve import ModelChoice, ServeEvent, ServeOptions, serve as serve_forever


@command
def serve(
    *,
    weights: Annotated[tuple[str, ...], Parameter(alias="-w")] = (),
    open_: Annotated[bool, Parameter(name="--open")] = False,
    verbose: Annotated[bool, Parameter(alias="-v")] = False,
    quiet: Quiet = False,
    options: ServeOptions,
) -> None:
    """Serve modules over HTTP, with a web page at /.

    Clients of TensorFlow Serving (POST /v1/models/NAME:predict) and of the Open Inference
    Protocol (POST /v2/models/NAME/infer) work as they are; files go to POST /embed, /classify,
    /search and /similarity. /docs lists it all.

        nasnet serve -w builtin --photos ~/photos --open
        nasnet serve -w mine=./finetuned -w nasnet=seeded:7
        nasnet serve --index features.parquet --pictures ~/photos
        NASNET_API_KEY=... nasnet serve --host 0.0.0.0

    Args:
        weights: [NAME=]HANDLE: a published handle, a path, builtin or seeded:N; once for each
            module. Those that --index was made with, if not given.
        open_: open the page in a browser.
        verbose: a line for every request.
        quiet: only errors of the service.
        options: what to serve, and how.
    """
    without_pandas()
    if weights:
        options = replace(options, models=tuple(_choice(text) for text in weights))
    if options.index is not None:
        made = meta_of_index(options.index)
        if not weights and made.weights_status in ("modified", "unknown"):
            own_weights(made, fetch=options.fetch)  # refused before anything is loaded
        options = replace(
            options,
            models=options.models if weights else (ModelChoice(handle=made.module),),
            recipe=options.recipe or made.recipe,
            padding=options.padding or ("keras" if made.padding == "keras" else "slim"),
        )

    limits = options.limits
    # Limits that follow from those people set.
    limits = replace(
        limits,
        bodies_bytes=max(limits.bodies_bytes, 2 * limits.body_bytes),
        header_seconds=min(limits.header_seconds, limits.body_seconds),
    )
    options = replace(options, limits=limits)

    def on_event(event: ServeEvent) -> None:
        if event.kind == "fault" or (not quiet and (verbose or event.kind != "request")):
            note(event.text)
        if event.kind == "listening" and open_:
            webbrowser.open(event.url)

    # Pillow warns of damaged files in words of their own; clients would write our log with them.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    serve_forever(options, on_event=on_event)


def _choice(text: str) -> ModelChoice:
    """`name=handle`, or a handle alone; a handle may have a `=` of its own behind a slash."""
    name, equals, handle = text.partition("=")
    if equals and "/" not in name and ":" not in name:
        return ModelChoice(name=name, handle=handle)
    return ModelChoice(handle=text)
