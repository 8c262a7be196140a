"""`nasnet fetch`: bring a module here for use without a network.

Called by the command line only.
"""

from __future__ import annotations

import click

from nasnet.cli.progress import download_progress
from nasnet.weights.opening import DEFAULT_HANDLE, open_weights

__all__ = ["command"]


@click.command("fetch")
@click.argument("handle", default=DEFAULT_HANDLE)
def command(handle: str) -> None:
    """Download a module, prove it whole, and keep it in the cache.

    HANDLE is a published one, such as google/imagenet/nasnet_mobile/feature_vector/3 (the
    default) or google/imagenet/nasnet_large/classification/3, with or without
    https://tfhub.dev/. Afterwards it opens without a network.

    \b
    TFHUB_CACHE_DIR  the cache, shared with tensorflow_hub
    NASNET_MIRRORS   base URLs to try first, separated by commas
    NASNET_OFFLINE   1: never use the network
    """  # noqa: D301 - click wants the character itself
    with download_progress() as on_event:
        opened = open_weights(handle, on_event=on_event)
    click.echo(f"{opened.path}")
    for note in opened.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{opened.weights.source}: {opened.verdict.word}", err=True)
