"""The service under load and when it is told to stop; as a process, and within one."""

from __future__ import annotations

import base64
import hashlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasnet
from nasnet.errors import InputError
from nasnet.serve import Limits, ModelChoice, ServeOptions, create_app, serve
from tests.support import pictures
from tests.support.serving import PATIENT, Answered, Serving, ask, form, served_process

SEEDED = ModelChoice(handle="seeded:7", name="nasnet")
JPEG = pictures.jpeg()
# Where a request is held open while other things happen, no time-out of the service may end it.
UNHURRIED = Limits(body_seconds=PATIENT, grace_seconds=PATIENT)


def eventually(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENT
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def test_too_much_at_once_is_told_when_to_come_again() -> None:
    limits = Limits(queue=4, pictures=4)
    body, kind = form(*[JPEG] * 4)
    with (
        Serving(ServeOptions(models=(SEEDED,), port=0, limits=limits)) as service,
        ThreadPoolExecutor(8) as clients,
    ):

        def post(_: object) -> Answered:
            return service.post("/embed", body, Content_Type=kind)

        found: list[Answered] = []
        while {one.status for one in found} != {200, 429}:
            assert len(found) < 1600, "never too much at once"
            found += clients.map(post, range(16))
        refused = [one for one in found if one.status == 429]
        assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
        assert "waiting" in refused[0].error
        # What was refused left nothing behind.
        eventually(lambda: post(None).status == 200)  # an answer may come before its place is free
        assert "nasnet_request_bytes 0.0" in service.get("/metrics").data.decode()
        assert service.faults() == []


def test_all_bodies_together_are_bounded() -> None:
    limits = replace(UNHURRIED, body_bytes=1 << 20, bodies_bytes=1 << 20)
    with Serving(ServeOptions(models=(SEEDED,), port=0, limits=limits)) as service:
        head = b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
        with socket.create_connection(("127.0.0.1", service.port), PATIENT) as other:
            other.sendall(head + bytes(900_000))
            held = "nasnet_request_bytes 900000.0"
            eventually(lambda: held in service.get("/metrics").data.decode())
            answer = service.post("/embed", bytes(900_000))
            assert answer.status == 429
            assert answer.headers["retry-after"] == "1"
        eventually(lambda: "nasnet_request_bytes 0.0" in service.get("/metrics").data.decode())
        assert service.post("/embed", JPEG).status == 200


def test_what_takes_too_long_is_given_up() -> None:
    limits = Limits(compute_seconds=0.001)
    with Serving(ServeOptions(models=(SEEDED,), port=0, limits=limits)) as service:
        answer = service.post("/embed", JPEG)
        assert answer.status == 429
        assert "not computed within 0.001 s" in answer.error
        waiting = 'nasnet_pictures_waiting{model="nasnet"} 0.0'
        eventually(lambda: waiting in service.get("/metrics").data.decode())
        assert service.faults() == []


def test_health_is_told_at_once_beside_clients_that_want_json() -> None:
    """Bounds are generous: on a busy machine of two cores the slowest took 0.1 s."""
    busy = 4.0  # seconds
    with served_process("-w", "nasnet=seeded:7") as running, ThreadPoolExecutor(16) as clients:
        deadline = time.monotonic() + busy

        def post(_: object) -> int:
            answered = 0
            while time.monotonic() < deadline:
                assert ask(running.port, "POST", "/embed?format=json", JPEG).status == 200
                answered += 1
            return answered

        load = clients.map(post, range(16))
        took = []
        while time.monotonic() < deadline:
            begun = time.monotonic()
            assert ask(running.port, "GET", "/healthz").status == 200
            took.append(time.monotonic() - begun)
            time.sleep(0.02)
        assert sum(load) > 0
    assert sorted(took)[len(took) // 2] < 0.25
    assert max(took) < 2.0


def test_options_of_a_service_need_no_extra() -> None:
    code = (
        "import sys, nasnet.serve; print([name for name in ('fastapi', 'pydantic', 'uvicorn', "
        "'prometheus_client', 'python_multipart') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"


def test_what_is_constant_is_worked_out_before_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    black = np.zeros((5, 224, 224, 3))
    encoded = [{"b64": base64.b64encode(JPEG).decode()}]
    with Serving(ServeOptions(models=(SEEDED,), port=0)) as service:
        # Hardly anyone asks for inner endpoints: they are compiled once they are asked for.
        inner = [
            {"instances": one, "signature_name": "image_feature_vector"}
            for one in (encoded, black[:1].tolist())
        ]
        for request in inner:
            assert service.post("/v1/models/nasnet:predict", request).status == 200

        def never(*_: object) -> None:
            raise AssertionError("worked out for a request")

        # All weights are read for a fingerprint; with it the loop stands still for everybody.
        monkeypatch.setattr(hashlib, "sha256", never)
        monkeypatch.setattr("nasnet.compute.engine.program_of", never)
        for format in ("json", "npy", "arrow"):
            assert service.post(f"/embed?format={format}", JPEG).status == 200
        assert service.post("/classify", JPEG).status == 200
        # Compiled before it was ready: what takes numbers as well as what takes pictures.
        monkeypatch.setattr("nasnet.compute.openvino_engine.fingerprint", never)
        for count in (1, 5):
            numbers = {"instances": black[:count].tolist()}
            assert service.post("/v1/models/nasnet:predict", numbers).status == 200
        for request in inner:
            assert service.post("/v1/models/nasnet:predict", request).status == 200
        assert service.faults() == []


def test_a_process_told_to_stop_finishes_what_it_took() -> None:
    body, kind = form(*[JPEG] * 64)
    with (
        served_process("-w", "nasnet=seeded:7", "--timeout", str(PATIENT)) as running,
        ThreadPoolExecutor(1) as client,
    ):
        taken = client.submit(
            ask, running.port, "POST", "/embed?format=npy", body, {"Content-Type": kind}
        )
        none = 'nasnet_pictures_waiting{model="nasnet"} 0.0'
        eventually(
            lambda: none not in ask(running.port, "GET", "/metrics").data.decode() or taken.done()
        )
        running.popen.send_signal(signal.SIGTERM)
        answer = taken.result(PATIENT)
        assert answer.status == 200
        assert len(answer.data) == 128 + 64 * 1056 * 4
        assert running.popen.wait(PATIENT) == 0
        with pytest.raises(OSError, match=r"refused|reset"):
            ask(running.port, "GET", "/healthz")
    assert running.said[-1] == "stopped; all that was taken is done\n"


def test_a_request_half_sent_when_it_is_told_to_stop_is_answered() -> None:
    with Serving(ServeOptions(models=(SEEDED,), port=0, limits=UNHURRIED)) as service:
        head = b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(JPEG)
        ready = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", service.port), PATIENT) as taken:
            taken.sendall(head + JPEG[:100])
            eventually(
                lambda: "nasnet_request_bytes 100.0" in service.get("/metrics").data.decode()
            )
            service.told_to_stop()
            eventually(lambda: service.events[-1].kind == "stopping")
            taken.sendall(JPEG[100:] + ready)
            received = b""
            while piece := taken.recv(65536):
                received += piece
        assert received.startswith(b"HTTP/1.1 200")
        service.stop()
        assert [one.kind for one in service.events[-2:]] == ["request", "stopped"]
        assert service.faults() == []


def test_two_modules_cannot_have_one_name() -> None:
    options = ServeOptions(models=(SEEDED, ModelChoice(handle="seeded:8", name="nasnet")), port=0)
    with pytest.raises(InputError, match="name=handle"):
        serve(options)


def test_the_application_alone_runs_in_any_server() -> None:
    import asyncio

    app, service = create_app(ServeOptions(models=(SEEDED,), port=0))
    sent: list[Any] = []

    async def ask_app() -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": JPEG, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/embed",
            "raw_path": b"/embed",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "http_version": "1.1",
        }
        await app(scope, receive, send)

    try:
        asyncio.run(ask_app())
    finally:
        service.close()
    assert sent[0]["status"] == 200


def test_an_index_brings_its_weights_and_its_preprocessing(tmp_path: Path) -> None:
    options = nasnet.EmbedOptions(recipe="tf1-hub", padding="keras")
    features = tmp_path / "f.parquet"
    nasnet.embed_to_file([("a", JPEG)], features, weights="seeded:7", options=options)
    with served_process("--index", str(features)) as running:
        answer = ask(running.port, "POST", "/search", JPEG)
        maps = Path(f"/proc/{running.popen.pid}/maps")
        loaded = maps.read_text() if maps.exists() else ""
    assert answer.status == 200, answer.data
    assert "/pandas/" not in loaded, "it takes half a second of the start"
    assert b'"a"' in answer.data
