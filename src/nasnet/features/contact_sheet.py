"""A page to look at: pictures of a feature set, each beside those whose vectors are nearest.

One HTML file that needs nothing from outside.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasnet.errors import InputError
from nasnet.features.feature_set import FeatureMeta, Features
from nasnet.features.index.neighbours import nearest_of_rows, unit
from nasnet.pictures.sources import SourceOptions
from nasnet.pictures.thumbnails import thumbnails
from nasnet.system import write_whole
from nasnet.text import display_name

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STATUS = {
    "untrained": "The weights are untrained: which pictures are near means nothing.",
    "builtin": "The weights are the package's own, builtin, not Google's.",
}


def write_contact_sheet(
    features: Features,
    pictures: Any,  # noqa: ANN401
    path: str | os.PathLike[str],
    *,
    count: int = 60,
    neighbours: int = 5,
    side: int = 160,
    reading: SourceOptions | None = None,
) -> int:
    """Write the page.

    Args:
        features: the vectors.
        pictures: the source they were computed from; read again, for what is shown.
        path: the HTML file.
        count: pictures with a row of their own, at most; evenly spread over the set.
        neighbours: shown beside each, the nearest by cosine.
        side: longest side of a picture on the page, in pixels.
        reading: how the source is read; as when the vectors were computed.

    Returns:
        How many pictures have a row on the page.

    Raises:
        InputError: fewer than two pictures have a vector.
        SourceError: the source cannot be read.
        OutputError: the page cannot be written.
    """
    if min(count, neighbours, side) < 1:
        raise InputError(
            f"a page needs count, neighbours and side from 1, found {count}, {neighbours}, {side}"
        )
    good = np.array([row for row, error in enumerate(features.errors) if error is None], np.int64)
    if len(good) < 2:
        raise InputError(
            f"{len(good)} of {len(features.ids)} pictures have a vector: a page of neighbours "
            "needs two"
        )
    shown = np.unique(np.linspace(0, len(good) - 1, count).round().astype(np.int64))
    rows, cosines = nearest_of_rows(unit(features.vectors[good]), shown, neighbours)
    ids = [features.ids[row] for row in good]
    images = thumbnails(
        pictures,
        {ids[row] for row in {*shown.tolist(), *rows.ravel().tolist()}},
        recipe=features.meta.recipe,
        side=side,
        source=reading,
    )
    on_page = [
        SheetRow(
            id=ids[query],
            image=images.get(ids[query], ""),
            near=tuple((ids[row], float(cosine)) for row, cosine in zip(*pair, strict=True)),
        )
        for query, *pair in zip(shown, rows, cosines, strict=True)
    ]
    write_rows(on_page, images, features.meta, path, count=len(good))
    return len(on_page)


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRow:
    """A picture and those that were found for it.

    Attributes:
        id: of the picture.
        image: it, small, as a data URL; empty if it cannot be shown.
        near: (id, cosine) of the others, the nearest first.
    """

    id: str
    image: str
    near: tuple[tuple[str, float], ...]


def write_rows(
    rows: Sequence[SheetRow],
    images: Mapping[str, str],
    meta: FeatureMeta,
    path: str | os.PathLike[str],
    *,
    count: int,
    title: str = "Nearest pictures",
) -> None:
    """Write a page of rows.

    Args:
        rows: what is on it.
        images: small pictures of what was found, by id, as data URLs.
        meta: of the vectors that were compared.
        path: the HTML file.
        count: how many pictures were looked through.
        title: of the page.

    Raises:
        OutputError: it cannot be written.
    """
    parts = [_row(row, images) for row in rows]
    write_whole(Path(path), _page(meta, parts, count, title).encode())


def _row(row: SheetRow, images: Mapping[str, str]) -> str:
    others = "".join(
        f"<li>{_figure(other, images.get(other, ''))}"
        f"<meter min='0' max='1' value='{max(cosine, 0):.3f}' "
        f"aria-label='cosine'></meter><span>{cosine:.3f}</span></li>"
        for other, cosine in row.near
    )
    return (
        f"<article><div class='query'>{_figure(row.id, row.image)}</div>"
        f"<ol aria-label='nearest to {_text(row.id)}'>{others}</ol></article>"
    )


def _figure(id: str, data: str) -> str:
    name = _text(id)
    shown = f"<img src='{data}' alt='{name}'>" if data else "<div class='blank'>not readable</div>"
    return f"<figure>{shown}<figcaption title='{name}'>{name}</figcaption></figure>"


def _text(value: str) -> str:
    """Text from outside, fit for one line and for any place in HTML."""
    return html.escape(display_name(value), quote=True)


_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--panel:#f3f5f8;--ink:#1a212c;--muted:#525d6b;
 --line:#d3d9e1;--mark:#0a63ad;--warn:#b5470a}
@media (prefers-color-scheme:dark){:root{--paper:#14181e;--panel:#1e242d;--ink:#e7ebf0;
 --muted:#a6b0bc;--line:#3a4450;--mark:#64b5f2;--warn:#f29a55}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem;max-width:76rem;background:var(--paper);color:var(--ink);
 font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
h1{font-size:1.6rem;margin:0 0 .5rem}
p{margin:.25rem 0;color:var(--muted);overflow-wrap:anywhere}
.warn{color:var(--warn);font-weight:600}
article{display:grid;grid-template-columns:11rem minmax(0,1fr);gap:1rem;align-items:start;
 padding:1rem 0;border-bottom:1px solid var(--line)}
ol{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:.75rem;
 list-style:none;margin:0;padding:0}
li{font-size:.85rem;color:var(--muted);font-variant-numeric:tabular-nums}
figure{margin:0}
img,.blank{display:block;width:100%;aspect-ratio:1;object-fit:cover;border-radius:.4rem;
 background:var(--panel)}
.query img{outline:3px solid var(--mark);outline-offset:-3px}
.blank{display:flex;align-items:center;justify-content:center}
figcaption{font-size:.85rem;color:var(--muted);white-space:nowrap;overflow:hidden;
 text-overflow:ellipsis}
.query figcaption{color:var(--ink);font-weight:600}
meter{width:60%;height:.7rem;margin-right:.4rem}
@media (max-width:40rem){article{grid-template-columns:minmax(0,1fr)}.query{max-width:11rem}
 ol{grid-template-columns:repeat(3,minmax(0,1fr));gap:.5rem}}
"""


def _page(meta: FeatureMeta, parts: Sequence[str], count: int, title: str) -> str:
    warning = _STATUS.get(meta.weights_status, "")
    facts = (
        f"{count:,} pictures of {meta.source}; weights {meta.module} ({meta.weights_status}, "
        f"fingerprint {meta.weights_fingerprint}); {meta.network}, {meta.endpoint}, "
        f"recipe {meta.recipe}, {meta.size} px, {meta.precision}"
    )
    return "\n".join(
        (
            "<!doctype html>",
            "<html lang='en'>",
            "<head>",
            "<meta charset='utf-8'>",
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>{_text(title)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            f"<h1>{_text(title)}</h1>",
            f"<p>{_text(facts)}</p>",
            *([f"<p class='warn'>{_text(warning)}</p>"] if warning else []),
            "<p>On the left a picture, beside it those whose vectors are nearest, with the cosine "
            "of the angle between the two.</p>",
            "<main>",
            *parts,
            "</main>",
            "</body>",
            "</html>",
            "",
        )
    )
