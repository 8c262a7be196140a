"""The plain routes: `/embed`, `/classify`, `/search`, `/similarity`, for files as they are.

Of several pictures each has a result or a reason; a single bad one is refused.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from nasnet.features.index import Index
from nasnet.features.store import Batch, record_batch
from nasnet.serve.answers import (
    BINARY,
    JSON,
    OCTETS,
    Refusal,
    add_route,
    json_answer,
    of_reason,
    overloaded,
    render_json,
)
from nasnet.serve.batching import Computed
from nasnet.serve.bodies import beside, files_of, read_body, while_there
from nasnet.serve.collection import WhereText, matching_rows
from nasnet.serve.service import Model, Service, softmax

Floats = npt.NDArray[np.float32]
Format = Literal["json", "npy", "arrow"]
Row = TypeVar("Row", bound=BaseModel)
_FORMATS: dict[Format, str] = {
    "json": JSON,
    "npy": "application/x-npy",
    "arrow": "application/vnd.apache.arrow.stream",
}
_MANY = 8  # pictures; answers about more are written in a thread, beside the event loop
_FORM = {"type": "object", "properties": {"files": {"type": "array", "items": BINARY}}}
_FILES = {"multipart/form-data": _FORM, OCTETS: BINARY, "image/jpeg": BINARY, "image/png": BINARY}
_ModelName = Annotated[str | None, Query(description="A module by name; the first if left out.")]


class Vector(BaseModel):
    """A picture's vector, or why there is none; width and height of the upright picture."""

    id: str
    vector: list[float] | None
    width: int | None
    height: int | None
    error: str | None


class Results(BaseModel, Generic[Row]):
    """What came of each picture of a request."""

    model: str
    results: list[Row]


class Embedded(BaseModel):
    """Vectors, and what they can be compared with: others of which all this is the same."""

    model: str
    weights: str
    weights_status: str
    weights_fingerprint: str
    endpoint: str
    recipe: str
    size: str
    padding: str
    results: list[Vector]


class Class(BaseModel):
    """A class, how likely it is, and whether that is enough to tell people."""

    index: int
    label: str
    probability: float
    sure: bool


class Classes(BaseModel):
    """A picture's likeliest classes, or why there are none."""

    id: str
    classes: list[Class] | None
    error: str | None


class Neighbour(BaseModel):
    """A row of the index, its cosine similarity, and the columns kept of its source."""

    id: str
    score: float
    columns: dict[str, Any] = {}


class Neighbours(BaseModel):
    """A picture's nearest neighbours, or why there are none."""

    id: str
    neighbours: list[Neighbour] | None
    error: str | None


class Similarity(BaseModel):
    """How similar two pictures' vectors are: their cosine, and their Euclidean distance."""

    model: str
    ids: list[str]
    cosine: float
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """Pictures of a request, and what came of them."""

    model: Model
    ids: list[str]
    found: list[Computed]

    @property
    def rows(self) -> list[tuple[str, Computed]]:
        return list(zip(self.ids, self.found, strict=True))

    @property
    def good(self) -> list[int]:
        return [place for place, one in enumerate(self.found) if one.error is None]

    def vectors(self) -> Floats:
        """Features, NaN where there are none."""
        width = self.model.extractor.dimensions
        vectors: Floats = np.full((len(self.found), width), np.nan, np.float32)
        for place in self.good:
            vectors[place] = self.found[place].outputs["global_pool"]
        return vectors

    def check_all(self) -> None:
        """Refuse a picture that could not be computed."""
        for id, one in self.rows:
            if one.error is not None:
                raise of_reason(id[:80] or "picture", one.error)


def routes(service: Service) -> APIRouter:
    """The plain routes."""
    router = APIRouter(tags=["Pictures"])

    async def embed(
        request: Request,
        model: _ModelName = None,
        format: Annotated[
            Format | None, Query(description="What to answer; else as the header Accept says.")
        ] = None,
    ) -> Response:
        kind = format or _accepted(request)
        done = await _compute(request, service, service.model(model))
        return await _written(lambda: _embedded(done, kind), _FORMATS[kind], done)

    async def classify(
        request: Request,
        model: _ModelName = None,
        top: Annotated[int, Query(ge=1, le=1001, description="How many classes.")] = 5,
    ) -> Response:
        found = service.model(model)
        if not found.labels:
            raise Refusal(404, f"{found.name} has no classifier")
        done = await _compute(request, service, found)
        return await _written(lambda: _classified(done, top), JSON, done)

    async def search(
        request: Request,
        k: Annotated[int, Query(ge=1, le=1000, description="How many neighbours.")] = 12,
        where: WhereText = None,
    ) -> Response:
        if service.index is None:
            if service.photos is not None and service.photos.progress.state != "failed":
                raise overloaded("the collection's first vectors are on their way", seconds=2)
            raise Refusal(404, "no index is served: start with --photos or --index")
        among = None
        if where is not None:  # before a picture is computed for nothing
            among = await asyncio.to_thread(matching_rows, service.index, where)
        done = await _compute(request, service, service.default)
        data = await asyncio.to_thread(_neighbours, done, service, k, among)
        return Response(data, media_type=JSON)

    async def similarity(request: Request, model: _ModelName = None) -> Response:
        done = await _compute(request, service, service.model(model))
        if len(done.found) != 2:
            raise Refusal(400, f"expected two pictures in a form, found {len(done.found)}")
        done.check_all()
        return json_answer(_similarity(done))

    add_route(
        router,
        "/embed",
        embed,
        "Vectors of pictures",
        takes=_FILES,
        answers={JSON: Embedded, _FORMATS["npy"]: BINARY, _FORMATS["arrow"]: BINARY},
    )
    about = "The likeliest classes of pictures, where the module has a classifier"
    likely = {JSON: Results[Classes]}
    add_route(router, "/classify", classify, about, takes=_FILES, answers=likely)
    about = "Nearest neighbours of pictures, where there is an index"
    near = {JSON: Results[Neighbours]}
    add_route(router, "/search", search, about, takes=_FILES, answers=near)
    about = "How similar two pictures are"
    two = {"multipart/form-data": _FORM}
    add_route(router, "/similarity", similarity, about, takes=two, answers={JSON: Similarity})
    return router


async def _compute(request: Request, service: Service, model: Model) -> _Done:
    """Read a request's pictures and compute them.

    Raises:
        Refusal: there are none, or not one can be decoded.
    """
    with service.holding() as held:
        body = await read_body(request, service, held)
        kind = request.headers.get("content-type", "").strip()
        ids, pictures = await beside(
            service, len(body), lambda: _pictures(kind, body, most=service.limits.pictures)
        )
        found = await while_there(request, model.compute(pictures))
        done = _Done(model=model, ids=ids, found=found)
    if not done.good:
        done.check_all()
    return done


def _pictures(kind: str, body: bytes, *, most: int) -> tuple[list[str], list[bytes]]:
    if not kind.lower().startswith("multipart/form-data"):
        if not body:
            raise Refusal(400, "no picture: send a file as the body, or files in a form")
        return [""], [body]
    files = files_of(body, kind, most=most)
    if not files:
        raise Refusal(400, "no file in the form")
    ids = [file.name or f"file {number}" for number, file in enumerate(files)]
    return ids, [file.data for file in files]


def _accepted(request: Request) -> Format:
    accepted = request.headers.get("accept", "")
    return next((name for name, kind in _FORMATS.items() if kind in accepted), "json")


async def _written(write: Callable[[], bytes], media_type: str, done: _Done) -> Response:
    data = await asyncio.to_thread(write) if len(done.found) > _MANY else write()
    return Response(data, media_type=media_type)


def _embedded(done: _Done, kind: Format) -> bytes:
    if kind == "npy":
        buffer = io.BytesIO()
        np.save(buffer, done.vectors(), allow_pickle=False)
        return buffer.getvalue()
    if kind == "arrow":
        return _arrow(done)
    meta = done.model.meta
    results = [
        Vector(
            id=id,
            vector=None if one.error else one.outputs["global_pool"].tolist(),
            width=one.width or None,
            height=one.height or None,
            error=one.error,
        )
        for id, one in done.rows
    ]
    return render_json(
        Embedded(
            model=done.model.name,
            weights=meta.module,
            weights_status=meta.weights_status,
            weights_fingerprint=meta.weights_fingerprint,
            endpoint=meta.endpoint,
            recipe=meta.recipe,
            size=meta.size,
            padding=meta.padding,
            results=results,
        )
    )


def _arrow(done: _Done) -> bytes:
    """The table `nasnet embed` writes, as an Arrow stream."""
    import pyarrow

    batch = Batch(
        ids=done.ids,
        vectors=done.vectors(),
        widths=np.array([one.width for one in done.found], np.int32),
        heights=np.array([one.height for one in done.found], np.int32),
        errors=[one.error for one in done.found],
    )
    schema = done.model.schema
    buffer = io.BytesIO()
    with pyarrow.ipc.new_stream(buffer, schema) as stream:
        stream.write_batch(record_batch(batch, schema))
    return buffer.getvalue()


def _classified(done: _Done, top: int) -> bytes:
    labels = done.model.labels
    least = done.model.spec.opened.weights.min_confidence
    results = []
    for id, one in done.rows:
        classes = None
        if one.error is None:
            shares = softmax(one.outputs["Logits"])
            best = np.argsort(-shares, kind="stable")[:top].tolist()
            classes = [
                Class(
                    index=index,
                    label=labels[index],
                    probability=float(shares[index]),
                    sure=bool(shares[index] >= least),
                )
                for index in best
            ]
        results.append(Classes(id=id, classes=classes, error=one.error))
    return render_json(Results(model=done.model.name, results=results))


def _neighbours(
    done: _Done, service: Service, k: int, among: npt.NDArray[np.int64] | None
) -> bytes:
    index = service.index
    assert index is not None
    vectors, k = done.vectors()[done.good], min(k, len(index))
    if isinstance(index, Index):
        rows, scores = index.nearest(vectors, k, where=among)
        ids = [[index.ids[row] for row in some] for some in rows]
        columns = [index.kept(some) for some in rows]
    else:
        ids, scores = index.search(vectors, k)
        columns = [[{} for _ in some] for some in ids]
    found = iter(zip(ids, scores.tolist(), columns, strict=True))
    results = []
    for id, one in done.rows:
        neighbours = None
        if one.error is None:
            neighbours = [
                Neighbour(id=near, score=score, columns=kept)
                for near, score, kept in zip(*next(found), strict=True)
            ]
        results.append(Neighbours(id=id, neighbours=neighbours, error=one.error))
    return render_json(Results(model=done.model.name, results=results))


def _similarity(done: _Done) -> Similarity:
    one, other = done.vectors().astype(np.float64)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return Similarity(
        model=done.model.name,
        ids=done.ids,
        cosine=float(one @ other) / max(lengths, 1e-12),
        distance=float(np.linalg.norm(one - other)),
    )
