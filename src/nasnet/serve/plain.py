"""The plain routes: `/embed`, `/classify`, `/search`, `/similarity`, for files as they are.

Of several pictures each has a result or a reason; a single bad one is refused.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from nasnet.serve import openapi
from nasnet.serve.batching import Computed
from nasnet.serve.bodies import files_of, read_body, render_json
from nasnet.serve.refusals import Refusal, of_reason
from nasnet.serve.service import Held, Model, Service, softmax

_JSON = "application/json"
_NPY = "application/x-npy"
_ARROW = "application/vnd.apache.arrow.stream"
_FORMATS = {"json": _JSON, "npy": _NPY, "arrow": _ARROW}
_MANY = 8  # pictures; answers about more are written in a thread, beside the event loop
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """Pictures of a request, and what came of them."""

    model: Model
    ids: list[str]
    found: list[Computed]

    @property
    def good(self) -> list[int]:
        return [place for place, one in enumerate(self.found) if one.error is None]

    def vectors(self) -> Floats:
        """Features, NaN where there are none."""
        vectors: Floats = np.full((len(self.found), self.model.dimensions), np.nan, np.float32)
        for place in self.good:
            vectors[place] = self.found[place].outputs["global_pool"]
        return vectors


def routes(service: Service) -> APIRouter:
    """The plain routes."""
    router = APIRouter(tags=["Pictures"])

    async def embed(request: Request) -> Response:
        kind = _format(request)
        with service.holding() as held:
            done = await _compute(request, service, held)
            return await _written(lambda: _embedded(done, kind), _FORMATS[kind], done)

    async def classify(request: Request) -> Response:
        top = _count(request, "top", 5, 1001)
        with service.holding() as held:
            done = await _compute(request, service, held, classifies=True)
            return await _written(lambda: _classified(done, top), _JSON, done)

    async def search(request: Request) -> Response:
        k = _count(request, "k", 12, 1000)
        if service.index is None:
            raise Refusal(404, "no index is served: start with --index")
        with service.holding() as held:
            done = await _compute(request, service, held, named=False)
            data = await asyncio.to_thread(_neighbours, done, service, k)
            return Response(data, media_type=_JSON)

    async def similarity(request: Request) -> Response:
        with service.holding() as held:
            done = await _compute(request, service, held)
            if len(done.found) != 2:
                raise Refusal(400, f"expected two pictures in a form, found {len(done.found)}")
            _all_good(done)
            return Response(render_json(_alike(done)), media_type=_JSON)

    add = openapi.adder(router)
    add("/embed", "POST", embed, openapi.EMBED)
    add("/classify", "POST", classify, openapi.CLASSIFY)
    add("/search", "POST", search, openapi.SEARCH)
    add("/similarity", "POST", similarity, openapi.SIMILARITY)
    return router


async def _compute(
    request: Request,
    service: Service,
    held: Held,
    *,
    classifies: bool = False,
    named: bool = True,
) -> _Done:
    """Read a request's pictures and compute them.

    Raises:
        Refusal: there are none, or not one can be decoded.
    """
    model = service.model(request.query_params.get("model") if named else None)
    if classifies and not model.labels:
        raise Refusal(404, f"{model.name} has no classifier")
    body = await read_body(request, service, held)
    ids, pictures = _pictures(request, body, service)
    found = await model.compute(pictures)
    done = _Done(model=model, ids=ids, found=found)
    if not done.good:
        _all_good(done)
    return done


def _pictures(request: Request, body: bytes, service: Service) -> tuple[list[str], list[bytes]]:
    kind = request.headers.get("content-type", "")
    if not kind.strip().lower().startswith("multipart/form-data"):
        if not body:
            raise Refusal(400, "no picture: send a file as the body, or files in a form")
        return [""], [body]
    files = files_of(body, kind, most=service.limits.pictures)
    if not files:
        raise Refusal(400, "no file in the form")
    ids = [file.name or f"file {number}" for number, file in enumerate(files)]
    return ids, [file.data for file in files]


def _all_good(done: _Done) -> None:
    for id, one in zip(done.ids, done.found, strict=True):
        if one.error is not None:
            raise of_reason(id[:80] or "picture", one.error)


def _count(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= most):
        raise Refusal(400, f"{name}: expected 1 to {most}, found {text[:20]!r}")
    return int(text)


def _format(request: Request) -> str:
    name = request.query_params.get("format")
    if name is not None:
        if name not in _FORMATS:
            raise Refusal(400, f"format: {name[:20]!r}; there are {', '.join(_FORMATS)}")
        return name
    accepted = request.headers.get("accept", "")
    return next((name for name, kind in _FORMATS.items() if kind in accepted), "json")


async def _written(write: Callable[[], bytes], media_type: str, done: _Done) -> Response:
    data = await asyncio.to_thread(write) if len(done.found) > _MANY else write()
    return Response(data, media_type=media_type)


def _embedded(done: _Done, kind: str) -> bytes:
    if kind == "npy":
        buffer = io.BytesIO()
        np.save(buffer, done.vectors(), allow_pickle=False)
        return buffer.getvalue()
    if kind == "arrow":
        return _arrow(done)
    model = done.model
    meta = model.meta
    space = {
        "weights": meta.module,
        "weights_status": meta.weights_status,
        "weights_fingerprint": meta.weights_fingerprint,
        "endpoint": meta.endpoint,
        "recipe": meta.recipe,
        "size": meta.size,
        "padding": meta.padding,
    }
    results = [
        {
            "id": id,
            "vector": None if one.error else one.outputs["global_pool"].tolist(),
            "width": one.width or None,
            "height": one.height or None,
            "error": one.error,
        }
        for id, one in zip(done.ids, done.found, strict=True)
    ]
    return render_json({"model": model.name, **space, "results": results})


def _arrow(done: _Done) -> bytes:
    """The table `nasnet embed` writes, as an Arrow stream."""
    import pyarrow

    from nasnet.features.store import Batch, record_batch

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
    results = []
    for id, one in zip(done.ids, done.found, strict=True):
        classes = None
        if one.error is None:
            shares = softmax(one.outputs["Logits"])
            best = np.argsort(-shares, kind="stable")[:top].tolist()
            classes = [
                {"index": index, "label": labels[index], "probability": float(shares[index])}
                for index in best
            ]
        results.append({"id": id, "classes": classes, "error": one.error})
    return render_json({"model": done.model.name, "results": results})


def _neighbours(done: _Done, service: Service, k: int) -> bytes:
    assert service.index is not None
    good = done.good
    ids, scores = service.index.search(done.vectors()[good], min(k, len(service.index)))
    rows = dict(zip(good, zip(ids, scores.tolist(), strict=True), strict=True))
    results = [
        {
            "id": id,
            "neighbours": _paired(*rows[place]) if place in rows else None,
            "error": one.error,
        }
        for place, (id, one) in enumerate(zip(done.ids, done.found, strict=True))
    ]
    return render_json({"model": done.model.name, "results": results})


def _paired(ids: Sequence[str], scores: Sequence[float]) -> list[dict[str, object]]:
    return [{"id": id, "score": score} for id, score in zip(ids, scores, strict=True)]


def _alike(done: _Done) -> dict[str, object]:
    one, other = done.vectors().astype(np.float64)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return {
        "model": done.model.name,
        "ids": done.ids,
        "cosine": float(one @ other) / max(lengths, 1e-12),
        "distance": float(np.linalg.norm(one - other)),
    }
