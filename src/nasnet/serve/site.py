"""The web page and what it shows: its files, small pictures of the index, the map, the API.

Nothing that is served from here makes a browser ask any other host.
"""

from __future__ import annotations

import asyncio
import html
import io
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from nasnet.errors import PictureError
from nasnet.pictures import recipes
from nasnet.pictures.decode import Decoding
from nasnet.pictures.resize import pillow_bilinear
from nasnet.pictures.sources import path_of_id
from nasnet.serve import openapi
from nasnet.serve.pictures import check_picture
from nasnet.serve.refusals import Refusal, overloaded
from nasnet.serve.service import Service

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; media-src blob:; frame-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# The map is one file with its script and pictures in it; it may reach nothing at all.
_MAP_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
    "sandbox allow-scripts"
)
_ASSETS = {
    "page.js": "text/javascript",
    "server.js": "text/javascript",
    "picking.js": "text/javascript",
    "showing.js": "text/javascript",
    "theme.css": "text/css",
    "page.css": "text/css",
    "picking.css": "text/css",
    "docs.css": "text/css",
    "icon.svg": "image/svg+xml",
}
_SMALL = 320  # pixels, the longer side of a small picture
_AT_ONCE = 2  # small pictures made at the same time
_WAITING = 128


def routes(service: Service) -> APIRouter:
    """The routes of the page."""
    router = APIRouter(tags=["Page"])
    turns = asyncio.Semaphore(_AT_ONCE)
    waiting = 0

    async def page() -> Response:
        return _file("index.html", "text/html")

    async def asset(name: str) -> Response:
        if name not in _ASSETS:
            raise Refusal(404, "no such file")
        return _file(name, _ASSETS[name])

    async def picture(id: str) -> Response:
        nonlocal waiting
        if service.options.pictures is None:
            raise Refusal(404, "no pictures are served: start with --pictures FOLDER")
        if waiting >= _WAITING:
            raise overloaded("too many small pictures are waiting: try again", seconds=1)
        waiting += 1
        try:
            async with turns:
                data = await asyncio.to_thread(_small, service, id)
        finally:
            waiting -= 1
        headers = {"Cache-Control": "private, max-age=3600"}
        return Response(data, media_type="image/jpeg", headers=headers)

    async def map_() -> Response:
        if service.options.map is None:
            raise Refusal(404, "no map is served: start with --map FILE")
        try:
            data = await asyncio.to_thread(service.options.map.read_bytes)
        except OSError as error:
            raise Refusal(404, f"the map cannot be read: {error.strerror or 'gone'}") from None
        headers = {"Content-Security-Policy": _MAP_POLICY}
        return Response(data, media_type="text/html", headers=headers)

    add = openapi.adder(router)
    add("/picture", "GET", picture, openapi.PICTURE)
    for path, handler in (
        ("/", page),
        ("/assets/{name}", asset),
        ("/map", map_),
    ):
        router.add_api_route(path, handler, include_in_schema=False, response_class=Response)
    return router


def _file(name: str, media_type: str) -> Response:
    data = resources.files("nasnet").joinpath("data", "web", name).read_bytes()
    return Response(data, media_type=media_type, headers={"Cache-Control": "no-cache"})


def _small(service: Service, id: str) -> bytes:
    """A picture of the folder as a small JPEG, upright.

    Raises:
        Refusal: 404, it is not there, not in the folder, hidden, or no picture.
    """
    from PIL import Image

    missing = Refusal(404, "no such picture")
    root = service.options.pictures
    assert root is not None
    try:
        # As they were listed: what lies in the folder, by a symbolic link too, and is not hidden.
        inside = Path(path_of_id(id))
        file = root / inside
        if inside.anchor or any(part.startswith(".") for part in inside.parts):
            raise missing
        if not file.is_file() or file.stat().st_size > service.limits.body_bytes:
            raise missing
        data = file.read_bytes()
        check_picture(data, service.limits.picture_pixels)
        decoded = recipes.open_picture(data, Decoding(shrink=1), target=(_SMALL, _SMALL))
    except (OSError, ValueError, PictureError):
        raise missing from None
    share = min(_SMALL / max(decoded.pixels.shape[:2]), 1.0)
    height, width = (max(round(side * share), 1) for side in decoded.pixels.shape[:2])
    buffer = io.BytesIO()
    Image.fromarray(pillow_bilinear(decoded.pixels, height, width)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def docs_page(document: dict[str, Any]) -> str:
    """The page.

    Args:
        document: as OpenAPI 3.1 has it.
    """
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            group = (route.get("tags") or ["Others"])[0]
            groups.setdefault(group, []).append(_route(path, method, route))
    title = html.escape(document["info"]["title"])
    sections = "".join(
        f"<section><h2>{html.escape(group)}</h2>{''.join(parts)}</section>"
        for group, parts in groups.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title>"
        '<link rel="icon" href="/assets/icon.svg">'
        '<link rel="stylesheet" href="/assets/theme.css">'
        '<link rel="stylesheet" href="/assets/docs.css">'
        f"</head><body><header><h1>{title}</h1>"
        f"<p>Version {html.escape(document['info']['version'])}. "
        '<a href="/">The page</a> · <a href="/openapi.json">openapi.json</a></p></header>'
        f"<main>{sections}</main></body></html>"
    )


def _route(path: str, method: str, route: dict[str, Any]) -> str:
    rows = [
        f"<tr><th scope=row><code>{html.escape(one['name'])}</code></th>"
        f"<td>{one['in']}</td><td>{html.escape(one.get('description', ''))}</td></tr>"
        for one in route.get("parameters", [])
    ]
    table = f"<table><tbody>{''.join(rows)}</tbody></table>" if rows else ""
    takes = ", ".join(
        f"<code>{html.escape(kind)}</code>"
        for kind in route.get("requestBody", {}).get("content", {})
    )
    gives = ", ".join(
        f"<code>{html.escape(kind)}</code>"
        for kind in route["responses"].get("200", {}).get("content", {})
    )
    statuses = ", ".join(status for status in route["responses"] if status != "200")
    facts = [("Takes", takes), ("Gives", gives), ("Else", statuses)]
    text = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts if value)
    return (
        f"<article><h3><span>{method.upper()}</span> <code>{html.escape(path)}</code></h3>"
        f"<p>{html.escape(route.get('summary', ''))}</p>{table}<dl>{text}</dl></article>"
    )
