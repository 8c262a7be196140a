"""The cache is shared with the real tensorflow-hub: each finds what the other has put there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nasnet.weights.fetch import FetchEvent, FetchOptions, fetch
from tests.support.fetching import ARCHIVE, HANDLE, MODULE, TARBALL, files, verify
from tests.support.http_server import Answer, HttpServer

Resolve = Callable[[str], str]
pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore"),  # TensorFlow's own imports warn
]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Resolve:
    """tensorflow-hub's handle -> folder, its cache in `tmp_path`."""
    hub = pytest.importorskip("tensorflow_hub")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NASNET_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    found: Resolve = hub.resolve
    return found


def test_tensorflow_hub_finds_what_was_fetched_here(resolve: Resolve) -> None:
    with HttpServer() as server:
        server.put(TARBALL, ARCHIVE)
        ours = fetch(HANDLE, options=FetchOptions(mirrors=(server.url,)), verify=verify)
        assert resolve(HANDLE) == str(ours.path)  # no network: the real host is out of reach


def test_what_tensorflow_hub_fetched_is_found_here(resolve: Resolve) -> None:
    with HttpServer() as server:
        server.put("/publisher/module/1?tf-hub-format=compressed", ARCHIVE)
        handle = f"{server.url}/publisher/module/1"
        theirs = resolve(handle)
        found = fetch(handle, options=FetchOptions(offline=True), verify=verify)
    assert (str(found.path), found.origin) == (theirs, "cache")
    assert files(found.path) == MODULE


def test_its_lock_is_respected_while_it_downloads(resolve: Resolve, tmp_path: Path) -> None:
    release = threading.Event()
    path = "/publisher/module/1?tf-hub-format=compressed"
    waits: list[FetchEvent] = []

    def watch(event: FetchEvent) -> None:
        waits.append(event)
        release.set()

    with HttpServer() as server:
        server.put(path, ARCHIVE, always=Answer(hold=release))
        handle = f"{server.url}/publisher/module/1"
        theirs = threading.Thread(target=resolve, args=(handle,))
        theirs.start()
        while theirs.is_alive() and not list(tmp_path.glob("*.lock")):
            time.sleep(0.005)
        options = FetchOptions(lock_poll_s=0.02)
        found = fetch(handle, options=options, verify=verify, on_event=watch)
        theirs.join()
        assert found.origin == "cache"
        assert waits[0].kind == "wait"
        assert server.gets(path) == 1
