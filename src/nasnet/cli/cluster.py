"""`nasnet embed --on ray`: the bar, and what is said while machines come and go.

Called by the command `embed` only.
"""

from __future__ import annotations

from nasnet.cli.progress import download_progress, rows_progress
from nasnet.features.cluster import ClusterEvent, ClusterOptions, ClusterSummary, embed_on_cluster
from nasnet.features.embed import EmbedOptions

__all__ = ["run_on_cluster"]


def run_on_cluster(
    source: str,
    output: str,
    weights: str,
    options: EmbedOptions,
    cluster: ClusterOptions,
    *,
    quiet: bool,
) -> ClusterSummary:
    """Embed on a cluster, with a bar unless `quiet`."""
    if quiet:
        return embed_on_cluster(source, output, weights=weights, options=options, cluster=cluster)
    begun = False
    with download_progress() as on_download, rows_progress() as progress:

        def on_event(event: ClusterEvent) -> None:
            nonlocal begun
            if not begun:
                progress.begin(event.resumed)
                begun = True
            words = [f"{len(event.workers)} workers"]
            words += [f"{event.failures:,} failed"] if event.failures else []
            words += [f"{event.lost:,} ended early"] if event.lost else []
            progress.update(event.done, event.total, ", ".join(words))

        return embed_on_cluster(
            source,
            output,
            weights=weights,
            options=options,
            cluster=cluster,
            on_event=on_event,
            on_fetch=on_download,
        )
