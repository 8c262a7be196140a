"""The collection as the page shows it: how far it is, pictures, near ones, copies, the map."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from nasnet.errors import InputError, NasnetError
from nasnet.features.index import (
    Copy,
    Found,
    Group,
    Index,
    classifier_of,
    found_rows,
    near_duplicates,
    nearest_of_class,
    nearest_to,
)
from nasnet.features.signatures import read_signed
from nasnet.serve.answers import JSON, Refusal, add_route, json_answer, overloaded
from nasnet.serve.options import NearestIndex
from nasnet.serve.photos import Drawn, State
from nasnet.serve.service import Service
from nasnet.weights.weights import Weights

Rows64 = npt.NDArray[np.int64]
WhereText = Annotated[
    str | None,
    Query(max_length=10_000, description="Only rows this is true of, such as price < 20."),
]
_LONGEST = 500  # characters of a refusal
_GROUPS = 200  # of copies in an answer, at most
_COPIES = 24  # of a group, at most
# The map is one file with its script and pictures in it; it may reach nothing at all.
_MAP_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
    "sandbox allow-scripts"
)


class Collection(BaseModel):
    """What there is to search in, and how far it is.

    Of a folder (`--photos`), `total` are its pictures, `done` those that have been looked at and
    `failures` those that cannot be read; `problem` says why. With `labels`, its pictures are found
    by the names of classes; `columns` are those that were kept of its source.
    """

    rows: int
    state: State
    done: int
    total: int
    failures: int
    seconds_left: float | None
    problem: str
    pictures: bool
    copies: bool
    map: Drawn
    labels: bool
    columns: list[str]


class Names(BaseModel):
    """Names of the classes by which pictures are found."""

    names: list[str]


class Rows(BaseModel):
    """Ids of some rows, in the order of the index, or of the folder of `--photos`."""

    rows: int
    ids: list[str]


class Near(BaseModel):
    """A row, and its cosine similarity; of a class, how likely it is, 0 to 1."""

    id: str
    score: float
    columns: dict[str, Any]


class NearRows(BaseModel):
    """The nearest rows of one, without itself, or those that show a class."""

    id: str
    neighbours: list[Near]


class Duplicate(BaseModel):
    """A picture of a group; `how` says what it is of the one that stays."""

    id: str
    how: str
    width: int
    height: int
    file_bytes: int


class Duplicates(BaseModel):
    """A picture, why it is the one to keep, and its copies."""

    stays: Duplicate
    why: str
    copies: list[Duplicate]


class Copies(BaseModel):
    """Groups of copies, the largest first: all in `groups` and `copies`, the first in `shown`."""

    groups: int
    copies: int
    shown: list[Duplicates]


def routes(service: Service) -> APIRouter:
    """The routes of the collection."""
    router = APIRouter(tags=["Collection"])
    copies = _Once(service)

    async def collection() -> Response:
        index = service.index
        rows = len(index) if index is not None else 0
        progress = service.photos.progress if service.photos else None
        if index is None and progress is None:
            raise Refusal(404, "no collection is served: start with --photos or --index")
        return json_answer(
            Collection(
                rows=rows,
                state=progress.state if progress else "done",
                done=progress.done if progress else rows,
                total=progress.total if progress else rows,
                failures=progress.failures if progress else 0,
                seconds_left=progress.seconds_left if progress else None,
                problem=progress.problem if progress else "",
                pictures=service.folder is not None,
                copies=copies.file() is not None,
                map=_map(service)[1],
                labels=bool(service.default.labels) and isinstance(index, Index),
                columns=index.kept_names if isinstance(index, Index) else [],
            )
        )

    async def names() -> Response:
        return json_answer(Names(names=[name for name in service.default.labels if name]))

    async def rows(
        start: Annotated[int, Query(ge=0)] = 0,
        step: Annotated[int, Query(ge=1, description="Every how many rows.")] = 1,
        count: Annotated[int, Query(ge=1, le=1000)] = 60,
        where: WhereText = None,
    ) -> Response:
        if where is not None:
            index = _index(service)
            found = await asyncio.to_thread(matching_rows, index, where)
            ids: Sequence[str] = [index.ids[row] for row in found]
        else:  # a folder's pictures can be seen before they have vectors
            ids = service.photos.shown if service.photos else _index(service).ids
        shown = list(ids[start : start + step * count : step])
        return json_answer(Rows(rows=len(ids), ids=shown))

    async def neighbours(
        id: Annotated[str | None, Query(min_length=1, description="A row.")] = None,
        label: Annotated[
            str | None, Query(min_length=1, max_length=200, description="Or the name of a class.")
        ] = None,
        k: Annotated[int, Query(ge=1, le=1000)] = 12,
        where: WhereText = None,
    ) -> Response:
        if (id is None) == (label is None):
            raise Refusal(400, "expected id or label, one of them")
        index = _index(service)
        if label is not None:
            weights = service.default.spec.opened.weights
            found = await asyncio.to_thread(_labelled, index, weights, label, k, where)
        else:
            found = await asyncio.to_thread(_near, index, str(id), k, where)
        return json_answer(found)

    async def duplicates() -> Response:
        return json_answer(await copies.found())

    async def map_() -> Response:
        file, state = _map(service)
        if file is None or state != "there":
            raise Refusal(404, "no map is served: start with --map FILE, or --photos FOLDER")
        try:
            data = await asyncio.to_thread(file.read_bytes)
        except OSError as error:
            raise Refusal(404, f"the map cannot be read: {error.strerror or 'gone'}") from None
        headers = {"Content-Security-Policy": _MAP_POLICY}
        return Response(data, media_type="text/html", headers=headers)

    for path, handler, about, answer, refusals in (
        ("/collection", collection, "What there is to search in", Collection, (404,)),
        ("/collection/names", names, "Names of classes to find pictures by", Names, ()),
        ("/collection/rows", rows, "Ids of the collection", Rows, (400, 404)),
        ("/neighbours", neighbours, "Nearest rows of a row or a class", NearRows, (400, 404)),
        ("/copies", duplicates, "Copies of the same picture", Copies, (404, 429)),
    ):
        add_route(router, path, handler, about, answers={JSON: answer}, refusals=refusals)
    router.add_api_route("/map", map_, include_in_schema=False, response_class=Response)
    return router


def _map(service: Service) -> tuple[Path | None, Drawn]:
    """The map's file, and whether it is there."""
    photos, given = service.photos, service.options.map
    if given is not None or photos is None:
        return given, "none" if given is None else "there"
    return photos.map, photos.drawn


def _index(service: Service) -> Index:
    if not isinstance(service.index, Index):
        raise Refusal(404, "no collection can be searched yet")
    return service.index


def _near(index: Index, id: str, k: int, where: str | None) -> NearRows:
    try:
        row = index.row(id)
    except InputError as error:
        raise Refusal(404, str(error)[:200]) from None
    among = None if where is None else matching_rows(index, where)
    found = nearest_to(index, index.vectors([row])[0], k, without=row, where=among)
    return _shown_rows(id, found)


def _labelled(index: Index, weights: Weights, label: str, k: int, where: str | None) -> NearRows:
    among = None if where is None else matching_rows(index, where)
    try:
        classifier = classifier_of(weights)
        rows, shares = nearest_of_class(index, classifier, label, k, where=among)
    except InputError as error:
        raise Refusal(404, str(error)[:_LONGEST]) from None
    name = classifier.names[classifier.place(label)]
    return _shown_rows(name, found_rows(index, rows, shares))


def _shown_rows(id: str, found: Sequence[Found]) -> NearRows:
    near = [Near(id=one.id, score=one.score, columns=one.columns) for one in found]
    return NearRows(id=id, neighbours=near)


def matching_rows(index: NearestIndex | None, where: str) -> Rows64:
    """The rows that a condition of a request is true of.

    Raises:
        Refusal: it cannot be read, or the index knows no columns.
    """
    if not isinstance(index, Index):
        raise Refusal(400, "this index knows no columns")
    try:
        return index.matching(where)
    except InputError as error:
        raise Refusal(400, str(error)[:_LONGEST]) from None


class _Once:
    """The copies of the collection, found when first asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = asyncio.Lock()
        self._found: Copies | None = None

    def file(self) -> Path | None:
        """The feature set, once it is whole; of an index's folder there are no signatures."""
        photos, index = self._service.photos, self._service.options.index
        if photos is not None:
            return photos.output if photos.progress.state == "done" else None
        return index if index is not None and index.is_file() else None

    async def found(self) -> Copies:
        file = self.file()
        if file is None:
            raise Refusal(404, "copies are known of a feature set that is whole")
        if self._found is None:
            if self._lock.locked():
                raise overloaded("copies are being looked for: try again", seconds=2)
            async with self._lock:
                self._found = await asyncio.to_thread(_copies, file)
        return self._found


def _copies(file: Path) -> Copies:
    try:
        signed = read_signed(file)
        groups = near_duplicates(signed) if not len(signed.lacking) else []
    except NasnetError as error:
        raise Refusal(404, f"copies cannot be looked for: {error}") from None
    return Copies(
        groups=len(groups),
        copies=sum(len(group.copies) for group in groups),
        shown=[_shown(group) for group in groups[:_GROUPS]],
    )


def _shown(group: Group) -> Duplicates:
    def one(copy: Copy) -> Duplicate:
        return Duplicate(
            id=copy.id,
            how=copy.how,
            width=copy.width,
            height=copy.height,
            file_bytes=copy.file_bytes,
        )

    return Duplicates(
        stays=one(group.stays), why=group.why, copies=[one(copy) for copy in group.copies[:_COPIES]]
    )
