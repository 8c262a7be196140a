"""`nasnet fetch`: bring a module here for use without a network."""

from __future__ import annotations

from nasnet.cli.flags import Quiet, command
from nasnet.cli.terminal import download_progress, note, say
from nasnet.weights.fetch import FetchOptions
from nasnet.weights.opening import DEFAULT_HANDLE, open_weights


@command
def fetch(handle: str = DEFAULT_HANDLE, /, *, quiet: Quiet = False, options: FetchOptions) -> None:
    """Download a module, prove it whole, and keep it in the cache.

    HANDLE is a published one, such as google/imagenet/nasnet_mobile/feature_vector/3 (the
    default) or google/imagenet/nasnet_large/classification/3, with or without
    https://tfhub.dev/. Afterwards it opens without a network.

    TFHUB_CACHE_DIR names the cache, shared with tensorflow_hub; NASNET_MIRRORS base URLs to try
    first, separated by commas; NASNET_OFFLINE=1 forbids the network.

    Args:
        handle: what to fetch.
        quiet: the folder alone, without progress and notes.
        options: where to look.
    """
    with download_progress(not quiet) as on_event:
        opened = open_weights(handle, fetch_options=options, on_event=on_event)
    say(f"{opened.path}")
    if quiet:
        return
    for text in opened.notes:
        note(f"note: {text}")
    note(f"{opened.weights.source}: {opened.word}")
