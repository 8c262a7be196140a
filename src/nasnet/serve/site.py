"""The web page and what it shows: its files, small pictures of the index, the map, the API.

Nothing that is served from here makes a browser ask any other host.
"""

from __future__ import annotations

import asyncio
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from nasnet.errors import InputError, PictureError
from nasnet.features.index import Index
from nasnet.features.page import render
from nasnet.pictures import recipes
from nasnet.pictures.decode import Decoding
from nasnet.pictures.resize import pillow_within
from nasnet.pictures.sources import path_of_id
from nasnet.pictures.thumbnails import jpeg_of
from nasnet.serve.answers import BINARY, Refusal, add_route, overloaded
from nasnet.serve.pictures import check_picture
from nasnet.serve.service import Service

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; media-src blob:; frame-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_ASSETS = {
    "page.js": "text/javascript",
    "server.js": "text/javascript",
    "picking.js": "text/javascript",
    "showing.js": "text/javascript",
    "collection.js": "text/javascript",
    "base.css": "text/css",
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
        service.pages_sent += 1
        # The policy comes as a header, which may say more than a page's own.
        text = render("service.html", {"policy": "", "title": "nasnet: find similar pictures"})
        return Response(text, media_type="text/html", headers={"Cache-Control": "no-cache"})

    async def asset(name: str) -> Response:
        if name not in _ASSETS:
            raise Refusal(404, "no such file")
        return _file(name, _ASSETS[name])

    async def picture(id: Annotated[str, Query(min_length=1)]) -> Response:
        nonlocal waiting
        if service.folder is None:
            raise Refusal(404, "no pictures are served: start with --photos or --pictures")
        if waiting >= _WAITING:
            raise overloaded("too many small pictures are waiting: try again", seconds=1)
        waiting += 1
        try:
            async with turns:
                data = await asyncio.to_thread(_small, service, id)
                service.small_sent += 1
        finally:
            waiting -= 1
        headers = {"Cache-Control": "private, max-age=3600"}
        return Response(data, media_type="image/jpeg", headers=headers)

    add_route(
        router,
        "/picture",
        picture,
        "A picture of the index, made small",
        answers={"image/jpeg": BINARY},
        refusals=(400, 404, 429),
    )
    for path, handler in (
        ("/", page),
        ("/assets/{name}", asset),
    ):
        router.add_api_route(path, handler, include_in_schema=False, response_class=Response)
    return router


def _file(name: str, media_type: str) -> Response:
    folder = "pages" if name == "base.css" else "web"
    data = resources.files("nasnet").joinpath("data", folder, name).read_bytes()
    return Response(data, media_type=media_type, headers={"Cache-Control": "no-cache"})


def _small(service: Service, id: str) -> bytes:
    """A picture of the folder as a small JPEG, upright.

    Raises:
        Refusal: 404, it is not there, not in the folder, hidden, or no picture.
    """
    from PIL import Image

    missing = Refusal(404, "no such picture")
    root, index = service.folder, service.index
    assert root is not None
    try:
        # A folder that nobody named but the index shows what is in the index, and nothing else.
        if service.options.folder is None and isinstance(index, Index):
            index.row(id)
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
    except (OSError, ValueError, InputError, PictureError):
        raise missing from None
    return jpeg_of(Image.fromarray(pillow_within(decoded.pixels, _SMALL)), quality=85)


def docs_page(document: dict[str, Any]) -> str:
    """The page of a document of OpenAPI 3.1."""
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            group = (route.get("tags") or ["Others"])[0]
            groups.setdefault(group, []).append((path, method, route))
    info = document["info"]
    values = {"policy": "", "title": info["title"], "version": info["version"], "groups": groups}
    return render("docs.html", values)
