"""A stand-in of the Hugging Face Hub on loopback: the routes of its HTTP API that its client uses.

Repositories are dictionaries of files. Large files come by Git LFS, small ones within the commit,
as on the real Hub; a token is asked for where something is written.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest

from tests.support.http_server import Loopback

TOKEN = "hf_of_a_test"
_COMMIT = "7" * 40
_LARGE = 1 << 20
_API = r"/api/(models|datasets)/(\w+/\w+)"


@contextmanager
def hub_on_loopback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The server, and the Hub's own client speaking to it, with its cache below a folder."""
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(folder / "token"))
    # Xet speaks to hosts of its own; without it large files go by Git LFS.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


class HubServer(Loopback):
    """The server; a context manager."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.datasets: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.refused: set[str] = set()  # files that cannot be had
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._read(self)

            def do_HEAD(self) -> None:
                hub._read(self)

            def do_POST(self) -> None:
                hub._write(self, _body(self))

            def do_PUT(self) -> None:
                self.do_POST()

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _read(self, handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.partition("?")
        self.asked.append(path)
        if path == "/api/whoami-v2":
            known = handler.headers.get("Authorization") == f"Bearer {TOKEN}"
            _send(handler, 200 if known else 401, {"name": "me", "type": "user", "orgs": []})
        elif found := re.fullmatch(_API + r"(?:/revision/[\w%]+)?", path):
            if (files := self._files(found[1], found[2])) is None:
                _send(handler, 404, {"error": "Repository not found"}, code="RepoNotFound")
                return
            listing = [{"rfilename": name} for name in files]
            _send(handler, 200, {"id": found[2], "sha": _COMMIT, "siblings": listing})
        elif found := re.fullmatch(_API + r"/tree/\w+(?:/(.+))?", path):
            every = _entries(self._files(found[1], found[2]) or {})
            above = f"{unquote(found[3])}/" if found[3] else ""
            below = [one for one in every if one["path"].startswith(above)]
            if "recursive=true" not in query.lower():
                below = [one for one in below if "/" not in one["path"].removeprefix(above)]
            _send(handler, 200, below)
        elif found := re.fullmatch(r"/(?:(datasets)/)?(\w+/\w+)/resolve/\w+/(.+)", path):
            files = self._files(found[1], found[2]) or {}
            if unquote(found[3]) in self.refused:
                _send(handler, 403, {"error": "Forbidden"})
                return
            _send(handler, 200, files[unquote(found[3])])
        else:
            _send(handler, 404, {"error": path})

    def _files(self, kind: str | None, name: str) -> dict[str, bytes] | None:
        return (self.datasets if kind == "datasets" else self.repositories).get(name)

    def _write(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        path = handler.path.partition("?")[0]
        if found := re.fullmatch(r"/lfs/(\w+)", path):
            self.objects[found[1]] = body
            _send(handler, 200, {})
            return
        if found := re.fullmatch(_API + r"/paths-info/\w+", path):
            asked = parse_qs(body.decode()).get("paths", [])
            every = _entries(self._files(found[1], found[2]) or {})
            _send(handler, 200, [one for one in every if one["path"] in asked])
            return
        if path == "/api/validate-yaml":
            front = json.loads(body)["content"].split("---")[1]
            errors = [] if "pipeline_tag: image-" in front else [{"message": "no pipeline_tag"}]
            _send(handler, 200, {"errors": errors, "warnings": []})
        elif handler.headers.get("Authorization") != f"Bearer {TOKEN}":
            _send(handler, 401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            hidden = asked.get("private") or asked.get("visibility") == "private"
            self.private.setdefault(name, bool(hidden))
            self.repositories.setdefault(name, {})
            _send(handler, 200, {"url": f"{self.url}/{name}", "name": name})
        elif re.fullmatch(r"/api/models/\w+/\w+/preupload/main", path):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] > _LARGE else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            _send(handler, 200, {"files": files})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            _send(handler, 200, {"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/api/models/(\w+/\w+)/commit/main", path):
            self._commit(self.repositories[found[1]], body)
            address = f"{self.url}/{found[1]}/commit/{_COMMIT}"
            _send(handler, 200, {"success": True, "commitOid": _COMMIT, "commitUrl": address})
        else:
            _send(handler, 404, {"error": path})

    def _commit(self, files: dict[str, bytes], body: bytes) -> None:
        for line in body.splitlines():
            one: Mapping[str, Any] = json.loads(line)
            value = one["value"]
            if one["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif one["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]


def _entries(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Files and the folders above them."""
    above = {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, 9)}
    folders = [{"type": "directory", "path": name, "oid": _COMMIT} for name in above - set(files)]
    found = [
        {"type": "file", "path": name, "size": len(data), "oid": _COMMIT}
        for name, data in files.items()
    ]
    return sorted(folders + found, key=lambda one: str(one["path"]))


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def _send(handler: BaseHTTPRequestHandler, status: int, answer: object, *, code: str = "") -> None:
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    handler.send_response(status)
    kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(data)))
    handler.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
    handler.send_header("X-Repo-Commit", _COMMIT)
    if code:
        handler.send_header("X-Error-Code", code)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(data)
