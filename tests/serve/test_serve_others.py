"""What one client sends does not hold up the others: where it is worked on, and whose turn it is.

No test here measures time; `python -m benchmarks.hostile` does.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pydantic_core
import pytest

from nasnet.compute.engine import EngineOptions
from nasnet.errors import PictureError
from nasnet.features.extractor import Extractor
from nasnet.pictures.recipes import Prepared
from nasnet.serve import ModelChoice, ServeOptions, create_app
from nasnet.serve.answers import Refusal
from nasnet.serve.batching import Batcher, Computed, Lane
from nasnet.serve.metrics import Metrics
from nasnet.serve.numbers import parse_json
from tests.support import pictures
from tests.support.serving import PATIENT, Serving, form

SEEDED = ModelChoice(handle="seeded:7", name="nasnet")
JPEG = pictures.jpeg()
LARGE = b"large"
SMALL = b"small"
BLACK = np.zeros((32, 32, 3), np.uint8)


class Sums:
    """An engine whose vectors are the sums of the pixels."""

    name, device, precision = "sums", "CPU", "f32"
    batch, streams, apart = 2, 1, True

    def __init__(self) -> None:
        self.computed = 0

    def infer(
        self, images: Any, endpoints: tuple[str, ...], *, alone: bool
    ) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
        self.computed += len(images)
        return {name: images.sum((1, 2, 3), np.float32)[:, None] for name in endpoints}

    def close(self) -> None:
        pass


class Held:
    """A batcher whose decoding stands still, of some pictures, until it is let go."""

    def __init__(self, *held: bytes, threads: int = 2) -> None:
        self._held = held
        self.go = threading.Event()
        self.begun: list[bytes] = []
        self.engine = Sums()
        self.lane = Lane(engine=self.engine, few=self.engine, endpoints=("global_pool",))
        self.batcher = Batcher(
            self._prepare,
            pixels=lambda data: 10_000_000 if data.startswith(LARGE) else 1,
            streams=1,
            decode_threads=threads,
            queue=100,
            linger_seconds=0.001,
            watch=Metrics().of_model("sums"),
        )

    def _prepare(self, data: bytes) -> Prepared:
        self.begun.append(data)
        if data.startswith(self._held):
            assert self.go.wait(PATIENT)
        if data.endswith(b"broken"):
            raise PictureError("broken")
        return Prepared(pixels=BLACK, width=1, height=1)

    def ask(self, *data: bytes) -> asyncio.Task[list[Computed]]:
        return asyncio.ensure_future(self.batcher.compute(data, self.lane, seconds=PATIENT))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENT):
            while len(self.begun) < count:
                await asyncio.sleep(0.001)


def test_a_small_picture_is_computed_while_large_ones_are_unpacked() -> None:
    held = Held(LARGE)

    async def clients() -> None:
        large = [held.ask(LARGE, LARGE) for _ in range(8)]
        await held.until(1)
        found = await held.ask(SMALL)
        assert found[0].outputs["global_pool"] == 0
        assert held.begun.count(LARGE) == 1  # one at a time: memory is bounded
        held.go.set()
        for one in large:
            assert [found.error for found in await one] == [None, None]

    asyncio.run(clients())
    held.batcher.close()


class Streams(Sums):
    """The same with two streams; it tells of its calls."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch, self.streams = batch, 2
        self.calls: list[tuple[int, bool]] = []

    def infer(
        self, images: Any, endpoints: tuple[str, ...], *, alone: bool
    ) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
        self.calls.append((len(images), alone))
        return super().infer(images, endpoints, alone=alone)


def test_one_picture_takes_all_cores_few_a_stream_each_and_many_share_batches() -> None:
    engine, few = Streams(4), Streams(1)
    lane = Lane(engine=engine, few=few, endpoints=("global_pool",))
    batcher = Batcher(
        lambda data: Prepared(pixels=BLACK, width=1, height=1),
        pixels=len,
        streams=2,
        decode_threads=2,
        queue=100,
        linger_seconds=PATIENT,
        watch=Metrics().of_model("sums"),
    )

    async def ask(count: int) -> None:
        await batcher.compute([SMALL] * count, lane, seconds=PATIENT)

    asyncio.run(ask(1))
    assert (engine.calls, few.calls) == ([(1, True)], [])
    asyncio.run(ask(4))
    assert (engine.calls[1:], few.calls) == ([], [(1, False)] * 4)
    asyncio.run(ask(16))
    assert (engine.calls[1:], few.calls[4:]) == ([(4, False)] * 4, [])
    batcher.close()


def test_requests_take_turns_at_decoding() -> None:
    held = Held(b"first", threads=1)

    async def clients() -> None:
        many = held.ask(b"first", *[b"other"] * 20, b"broken")
        await held.until(1)
        few = held.ask(SMALL)
        await asyncio.sleep(0)
        held.go.set()
        assert (await few)[0].error is None
        assert [found.error for found in await many] == [None] * 21 + ["broken"]

    asyncio.run(clients())
    held.batcher.close()
    assert held.begun[:3] == [b"first", SMALL, b"other"]


def test_what_nobody_waits_for_is_neither_decoded_nor_computed() -> None:
    held = Held(SMALL)

    async def clients() -> None:
        gone = held.ask(*[SMALL] * 20)
        await held.until(2)
        assert held.batcher.waiting == 20
        gone.cancel()
        await asyncio.wait([gone])
        assert held.batcher.waiting == 2  # those that are being decoded
        held.go.set()

    asyncio.run(clients())
    held.batcher.close()
    assert (len(held.begun), held.engine.computed, held.batcher.waiting) == (2, 0, 0)


def test_pictures_of_a_client_that_hung_up_are_let_go() -> None:
    app, service = create_app(
        ServeOptions(models=(SEEDED,), port=0, engine=EngineOptions(threads=1))
    )
    body, kind = form(*[JPEG] * 32)
    messages: list[dict[str, object]] = [{"type": "http.request", "body": body}]
    sent: list[Any] = []

    async def receive() -> dict[str, object]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/embed",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", kind.encode())],
        "http_version": "1.1",
    }
    try:
        asyncio.run(app(scope, receive, send))
    finally:
        service.close()
    text = service.metrics.text().decode()
    assert 'nasnet_pictures_waiting{model="nasnet"} 0.0' in text
    assert 'nasnet_pictures_total{model="nasnet",outcome="computed"} 0.0' in text
    assert "nasnet_request_bytes 0.0" in text


@pytest.fixture(scope="module")
def service() -> Iterator[Serving]:
    with Serving(ServeOptions(models=(SEEDED,), port=0)) as running:
        yield running
        assert running.faults() == []


def test_the_event_loop_does_nothing_that_takes_long(
    service: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So `/healthz` is answered at once, whatever others ask for."""
    work: list[tuple[str, int]] = []  # what was done in the event loop, to how many bytes

    def watch(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def watched(*args: Any, **named: Any) -> Any:
            found = real(*args, **named)
            if "run" in threading.current_thread().name:
                sizes = [len(one) for one in (*args, found) if isinstance(one, bytes)]
                work.append((name, max(sizes, default=0)))
            return found

        monkeypatch.setattr(owner, name, watched)

    for module, name in (
        (pydantic_core, "from_json"),
        (pydantic_core, "to_json"),
        (binascii, "a2b_base64"),
    ):
        watch(module, name)
    watch(Extractor, "prepare")
    body, kind = form(*[JPEG] * 16)
    encoded = {"b64": base64.b64encode(pictures.jpeg(400, 300)).decode()}
    numbers = np.zeros((224, 224, 3)).tolist()
    predict = "/v1/models/nasnet:predict"
    tensor = {"name": "images", "datatype": "FP32", "shape": [1, 224, 224, 3], "data": numbers}
    many = {**tensor, "datatype": "BYTES", "shape": [32], "data": [encoded["b64"]] * 32}
    inner = "image_feature_vector"
    for path, sent, headers in (
        ("/embed", body, {"Content-Type": kind}),
        ("/classify?top=1001", body, {"Content-Type": kind}),
        (predict, {"instances": [encoded] * 16}, {}),
        (predict, {"instances": [numbers]}, {}),
        (predict, {"signature_name": inner, "instances": [encoded]}, {}),
        ("/v2/models/nasnet/infer", {"inputs": [tensor]}, {}),
        ("/v2/models/nasnet/infer", {"inputs": [many]}, {}),
    ):
        data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        answer = service.ask("POST", path, data, headers)
        assert answer.status == 200, (path, answer.data[:200])
    assert [one for one in work if one[1] > 64 << 10] == []
    assert "prepare" not in {name for name, _ in work}
    assert work  # it is watched: small answers are written there


PICTURE = np.random.default_rng(0).random((40, 30, 3))


@pytest.mark.parametrize("layout", [{}, {"indent": 1}, {"separators": (",", ":")}])
def test_long_lists_of_numbers_become_arrays(layout: Any) -> None:
    value = {
        "signature_name": "default",
        "instances": [{"images": PICTURE.tolist()}, {"images": (PICTURE * 9).tolist()}],
        "inputs": [PICTURE.tolist()] * 3,
        "data": PICTURE.ravel().tolist(),
        "tokens": [[float("nan"), float("inf"), -float("inf")]] * 50,
        "short": [[1, 2], [3]],
    }
    found = parse_json(b"\xef\xbb\xbf" + json.dumps(value, **layout).encode())
    assert found["signature_name"] == "default"
    assert found["short"] == [[1, 2], [3]]
    for place, factor in enumerate((1, 9)):
        row = found["instances"][place]["images"]
        assert np.array_equal(row, (PICTURE * factor).astype(np.float32))
    assert np.array_equal(found["inputs"], np.stack([PICTURE] * 3).astype(np.float32))
    assert np.array_equal(found["data"], PICTURE.ravel().astype(np.float32))
    expected = np.array(value["tokens"], np.float32)
    assert np.array_equal(found["tokens"], expected, equal_nan=True)


ROWS = "[1,2]," * 100


@pytest.mark.parametrize(
    "text",
    [
        f"[{ROWS}[1]]",
        f"[{ROWS}[1,2,3]]",
        f"[{ROWS}1]",
        f"[{ROWS}[[1,2]]]",
        f"[{ROWS}[1 2,3]]",
        f"[{ROWS}[1,]]",
        f"[{ROWS}[,1]]",
        f"[{ROWS}]",
        f"[{ROWS}[1,1.2.3]]",
        f"[{ROWS}[1,\u00e9]]",
        f"[{ROWS}[1,2]",
        f"[{ROWS}[1,2]]]",
        f"[[{ROWS}[1,2]]",
        f"[{ROWS}[1,Nan]x]",
        "[" * 1000 + "]" * 1000,
        "[" * 1_000_000,
        "[[" + "[]," * 100_000 + "[]]]",
        "[" + "{}," * 60_000 + "{}]",
        "[" + '"",' * 60_000 + '""]',
        "{" + ",".join(f'"{key}":0' for key in range(60_000)) + "}",
    ],
    ids=lambda text: f"{text[:8]}...{text[-12:]}",
)
def test_lists_that_are_none_or_hold_too_much_are_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = pydantic_core.from_json

    def small(data: bytes) -> Any:
        assert sum(map(data.count, (b",", b"[", b"{"))) <= 50_000
        return parse(data)

    monkeypatch.setattr(pydantic_core, "from_json", small)
    with pytest.raises(Refusal) as refused:
        parse_json(b'{"instances":%s}' % text.encode())
    assert refused.value.status == 400


def test_base64_may_be_broken_into_lines_and_json_have_a_byte_order_mark(service: Serving) -> None:
    plain = base64.b64encode(JPEG).decode()
    predict = "/v1/models/nasnet:predict"
    expected = service.post(predict, {"instances": [{"b64": plain}]}).json
    for text in (
        base64.encodebytes(JPEG).decode(),
        plain + "\n",
        base64.encodebytes(JPEG).decode().replace("\n", "\r\n"),
        base64.urlsafe_b64encode(JPEG).decode().rstrip("="),
    ):
        assert service.post(predict, {"instances": [{"b64": text}]}).json == expected
    body = b"\xef\xbb\xbf" + json.dumps({"instances": [{"b64": plain}]}).encode()
    assert service.post(predict, body).json == expected
