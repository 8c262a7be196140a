"""Requests that mean no good, made from a seed: each is bytes to be sent as they are.

hostile(7)  # always the same request
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

from tests.support import pictures
from tests.support.serving import form

__all__ = ["bomb", "hostile", "request"]

_PREDICT = "/v1/models/nasnet:predict"
_INFER = "/v2/models/nasnet/infer"
_FILES = ("/embed", "/classify", "/search", "/similarity")
_METHODS = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "post", "HEAD")
_PICTURES = tuple(
    pictures.encoded(pictures.pixels(seed=seed), format)
    for seed, format in enumerate(("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"))
)
_GOOD = (
    json.dumps({"instances": [{"b64": base64.b64encode(_PICTURES[0]).decode()}]}).encode(),
    json.dumps(
        {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": ["aGFsbG8="]}]}
    ).encode(),
)


def request(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """A request, with what it needs to be understood unless `headers` say otherwise."""
    named = {
        "Host": "127.0.0.1",
        "Connection": "close",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape") + body


def bomb(side: int) -> bytes:
    """A PNG of some bytes that says it has `side` by `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def hostile(seed: int) -> bytes:
    """A request out of the families below."""
    dice = random.Random(seed)
    return dice.choice(_FAMILIES)(dice)


def _mutated(dice: random.Random, data: bytes) -> bytes:
    """Bytes flipped, put in, taken out, or cut off."""
    found = bytearray(data)
    for _ in range(dice.randint(1, 12)):
        place = dice.randrange(len(found) + 1)
        match dice.randrange(4):
            case 0 if place < len(found):
                found[place] = dice.randrange(256)
            case 1:
                found[place:place] = dice.randbytes(dice.randint(1, 8))
            case 2:
                del found[place : place + dice.randint(1, 30)]
            case _ if dice.random() < 0.2:
                del found[place:]
    return bytes(found)


def _anything(dice: random.Random, depth: int = 0) -> Any:
    plain: list[Any] = [None, True, -1, 0, 2**70, 1e308, float("nan"), "", "images", "\0", "😀", []]
    if depth > 3 or dice.random() < 0.5:
        return dice.choice(plain)
    if dice.random() < 0.5:
        return [_anything(dice, depth + 1) for _ in range(dice.randint(0, 4))]
    keys = ("b64", "images", "name", "data", "shape", "datatype", "parameters", "x")
    return {dice.choice(keys): _anything(dice, depth + 1) for _ in range(dice.randint(0, 4))}


def _broken_json(dice: random.Random) -> bytes:
    path = dice.choice((_PREDICT, _INFER))
    return request("POST", path, _mutated(dice, dice.choice(_GOOD)))


def _wrong_types(dice: random.Random) -> bytes:
    predict = dice.random() < 0.5
    keys = ("instances", "inputs", "signature_name") if predict else ("inputs", "outputs", "id")
    body = {key: _anything(dice) for key in keys if dice.random() < 0.7}
    path = _PREDICT if predict else _INFER
    return request("POST", path, json.dumps(dice.choice((body, _anything(dice)))).encode())


def _wrong_method(dice: random.Random) -> bytes:
    path = dice.choice((_PREDICT, _INFER, *_FILES, "/session"))
    return request(dice.choice(_METHODS), path, b"hallo")


def _wrong_path(dice: random.Random) -> bytes:
    path = dice.choice(
        (
            "/v1/models/",
            "/v1/models/nasnet/versions/99999999999999999999:predict",
            "/v1/models/%00:predict",
            "/v2/models/../infer",
            "/picture?id=../../etc/passwd",
            "/picture?id=%00",
            "/assets/../page.js",
            "/assets/%2e%2e%2fpage.js",
            "/" + "a" * dice.randint(1, 3000),
            "/" + "%ff" * 20,
            "//evil.example/",
        )
    )
    return request(dice.choice(("GET", "POST")), path, b"x")


def _damaged_picture(dice: random.Random) -> bytes:
    data = _mutated(dice, dice.choice(_PICTURES))
    return request("POST", dice.choice(_FILES), data, {"Content-Type": "image/jpeg"})


def _huge_picture(dice: random.Random) -> bytes:
    return request("POST", dice.choice(_FILES[:2]), bomb(dice.choice((20_000, 2**31 - 1))))


def _damaged_form(dice: random.Random) -> bytes:
    body, kind = form(*(b"x" * dice.randint(0, 50) for _ in range(dice.randint(0, 90))))
    kind = dice.choice((kind, "multipart/form-data", kind[:-3], "multipart/form-data; boundary="))
    return request("POST", dice.choice(_FILES), _mutated(dice, body), {"Content-Type": kind})


def _packed(dice: random.Random) -> bytes:
    body = gzip.compress(bytes(dice.choice((10, 100, 50_000_000))), 1)
    if dice.random() < 0.5:
        body = _mutated(dice, body[:2000])
    coding = dice.choice(("gzip", "deflate", "br", "gzip, gzip"))
    return request("POST", _PREDICT, body, {"Content-Encoding": coding})


def _wrong_headers(dice: random.Random) -> bytes:
    header, value = dice.choice(
        (
            ("Content-Length", "-5"),
            ("Content-Length", "99999999999999999999"),
            ("Content-Length", "5, 6"),
            ("Transfer-Encoding", "gzip"),
            ("Host", "evil.example"),
            ("Origin", "https://evil.example"),
            ("Cookie", "a" * 100_000),
            ("Inference-Header-Content-Length", "-1"),
            ("Inference-Header-Content-Length", "9" * 30),
        )
    )
    return request("POST", _INFER, b"hallo", {header: value})


def _wrong_query(dice: random.Random) -> bytes:
    query = dice.choice(("top=0", "top=-1", "top=1e9", "top=" + "9" * 99, "top=%00", "model=%ff"))
    return request("POST", f"/classify?{query}", _PICTURES[0])


def _no_http(dice: random.Random) -> bytes:
    return dice.choice(
        (
            dice.randbytes(dice.randint(4, 400)) + b"\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(100) + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        )
    )


_FAMILIES: tuple[Callable[[random.Random], bytes], ...] = (
    _broken_json,
    _wrong_types,
    _wrong_method,
    _wrong_path,
    _damaged_picture,
    _huge_picture,
    _damaged_form,
    _packed,
    _wrong_headers,
    _wrong_query,
    _no_http,
)
