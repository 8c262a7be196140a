"""Fetching: the whole life of a handle against a real HTTP server that misbehaves."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from nasnet.errors import FetchError, WeightsError
from nasnet.weights import genuine
from nasnet.weights.fetch import Fetched, FetchEvent, FetchOptions, cache, fetch, handles
from nasnet.weights.fetch.handles import parse_handle
from nasnet.weights.formats.writers import FORMATS
from nasnet.weights.module_folder import ModuleFolder, write_folder
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import fingerprint, seeded
from tests.support.fetching import (
    ARCHIVE,
    COMPRESSED,
    HANDLE,
    MODULE,
    PATH,
    SHA1,
    SLIM,
    TARBALL,
    archive,
    files,
    pack,
    verify,
)
from tests.support.http_server import Answer, HttpServer
from tests.support.weight_files import table_of


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the user, a temporary folder of its own, and no way out of this machine."""
    for name in list(os.environ):
        if name.startswith(("TFHUB_", "NASNET_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    # whatever is not on loopback is asked of a proxy that is not there
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def options(server: HttpServer, tmp_path: Path) -> FetchOptions:
    return FetchOptions(
        cache_dir=tmp_path / "cache",
        mirrors=(server.url,),
        timeout_s=5,
        backoff_s=0.01,
        lock_stale_s=1,
        lock_poll_s=0.02,
    )


def cached(tmp_path: Path) -> list[str]:
    """What lies in the cache, the names shortened."""
    names = (path.name for path in (tmp_path / "cache").iterdir())
    return sorted(name.replace(SHA1, "3") for name in names)


IN_PLACE = ["3", "3.descriptor.txt", "3.files.json"]


# ---- the usual life


def test_a_handle_is_downloaded_once_and_then_found(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    server.put(TARBALL, ARCHIVE)
    events: list[FetchEvent] = []
    found = fetch("nasnet_mobile", options=options, verify=verify, on_event=events.append)
    assert found == Fetched(
        path=tmp_path / "cache" / SHA1,
        handle=parse_handle(HANDLE),
        origin=server.url + TARBALL,
        note="",
    )
    assert files(found.path) == MODULE
    assert cached(tmp_path) == IN_PLACE
    kinds = [event.kind for event in events]
    assert [kind for kind in kinds if kind != "progress"] == ["start", "unpack", "verify", "done"]
    last = [event for event in events if event.kind == "progress"][-1]
    assert (last.done_bytes, last.total_bytes) == (len(ARCHIVE), len(ARCHIVE))

    for spelling in ("nasnet_mobile", HANDLE, f"{HANDLE}/", "tfhub.dev" + PATH):
        again = fetch(spelling, options=options, verify=verify)
        assert (again.path, again.origin) == (found.path, "cache")
    assert len(server.requests) == 1


def test_the_descriptor_reads_as_the_originals_and_names_the_archive(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    server.put(TARBALL, ARCHIVE)
    fetch(HANDLE, options=options, verify=verify)
    lines = (tmp_path / "cache" / f"{SHA1}.descriptor.txt").read_text().splitlines()
    assert lines[0] == f"Module: {HANDLE}"
    assert lines[1].startswith("Download Time: 20")
    assert lines[2] == f"Downloader Hostname: {socket.gethostname()} (PID:{os.getpid()})"
    assert lines[4] == f"Archive SHA-256: {hashlib.sha256(ARCHIVE).hexdigest()}"


def test_the_compressed_hub_protocol_and_redirects_are_followed(
    server: HttpServer, options: FetchOptions
) -> None:
    server.put(COMPRESSED, b"", always=Answer(status=302, location="/elsewhere/3"))
    server.put("/elsewhere/3", ARCHIVE)
    found = fetch(HANDLE, options=options, verify=verify)
    assert files(found.path) == MODULE
    assert [request.path for request in server.requests] == [TARBALL, COMPRESSED, "/elsewhere/3"]


def test_mirrors_and_offline_come_from_the_environment_too(
    server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(f"/hub{TARBALL}", ARCHIVE)
    monkeypatch.setenv("NASNET_MIRRORS", f"{server.url}/none/, {server.url}/hub")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "shared"))
    assert fetch(HANDLE, verify=verify).path == tmp_path / "shared" / SHA1
    count = len(server.requests)
    monkeypatch.setenv("NASNET_OFFLINE", "1")
    assert fetch(HANDLE, verify=verify).origin == "cache"
    with pytest.raises(FetchError, match="offline"):
        fetch("nasnet_large", verify=verify)
    assert len(server.requests) == count


def test_tf2_handles_share_the_weights_of_version_3_and_say_so(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    server.put(TARBALL, ARCHIVE)
    found = fetch("nasnet_mobile/feature_vector/5", options=options, verify=verify)
    assert found.path == tmp_path / "cache" / SHA1
    assert found.handle is not None
    assert found.handle.version == 5
    assert "is a TF2 SavedModel" in found.note
    first = fetch("nasnet_mobile/feature_vector/1", options=options, verify=verify)
    assert (first.path, first.origin) == (found.path, "cache")
    assert "feature_vector/3, the same checkpoint" in first.note


def test_version_4_asks_for_the_files_of_version_3(
    server: HttpServer, options: FetchOptions
) -> None:
    server.put(TARBALL, ARCHIVE)
    fetch("nasnet_mobile/feature_vector/4", options=options, verify=verify)
    assert [request.path for request in server.requests] == [TARBALL]


# ---- servers that fail


def test_a_refusal_is_not_repeated_and_the_next_mirror_is_asked(
    server: HttpServer, options: FetchOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(TARBALL, b"", always=Answer(status=403))
    server.put(f"/second{TARBALL}", ARCHIVE)
    monkeypatch.setenv("NASNET_MIRRORS", f"{server.url}/second")
    found = fetch(HANDLE, options=options, verify=verify)
    assert found.origin == f"{server.url}/second{TARBALL}"
    assert server.gets(TARBALL) == 1


def test_server_errors_and_resets_are_tried_again(
    server: HttpServer, options: FetchOptions
) -> None:
    busy = Answer(status=503, headers={"Retry-After": "0"})
    server.put(TARBALL, ARCHIVE, script=[busy, Answer(status=500), Answer(reset_after=0)])
    assert fetch(HANDLE, options=options, verify=verify).origin == server.url + TARBALL
    assert server.gets(TARBALL) == 4


@pytest.mark.parametrize("kind", ["cut_after", "reset_after"])
def test_a_broken_connection_is_gone_on_from_where_it_broke(
    server: HttpServer, options: FetchOptions, kind: str
) -> None:
    breaks = [Answer(**{kind: 100_000}) for _ in range(9)]  # type: ignore[arg-type]
    server.put(TARBALL, ARCHIVE, script=breaks)
    events: list[FetchEvent] = []
    found = fetch(HANDLE, options=options, verify=verify, on_event=events.append)
    assert files(found.path) == MODULE
    ranges = [request.headers.get("Range") for request in server.requests]
    if kind == "cut_after":
        assert ranges[:4] == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]
    assert all(request.headers.get("If-Range") for request in server.requests[1:])
    assert {event.kind for event in events} >= {"retry"}


@pytest.mark.parametrize(
    "headers",
    [{"ETag": None}, {"ETag": 'W/"weak"'}, {"Accept-Ranges": "none"}, {"Content-Length": None}],
)
def test_without_a_safe_way_to_resume_it_starts_anew(
    server: HttpServer, options: FetchOptions, headers: dict[str, str | None]
) -> None:
    broken = Answer(reset_after=150_000, headers=headers)
    server.put(TARBALL, ARCHIVE, script=[broken], always=Answer(headers=headers))
    found = fetch(HANDLE, options=options, verify=verify)
    assert files(found.path) == MODULE
    assert [request.headers.get("Range") for request in server.requests] == [None, None]


def test_a_file_that_changed_between_two_pieces_is_not_mixed(
    server: HttpServer, options: FetchOptions
) -> None:
    server.put(TARBALL, pack({"old": os.urandom(200_000)}), always=Answer(cut_after=100_000))

    def change(event: FetchEvent) -> None:
        if event.kind == "retry":
            server.put(TARBALL, ARCHIVE)

    found = fetch(HANDLE, options=options, verify=verify, on_event=change)
    assert files(found.path) == MODULE
    assert server.gets(TARBALL) == 2


def test_a_server_that_mixes_up_ranges_is_asked_for_the_whole(
    server: HttpServer, options: FetchOptions
) -> None:
    # an answer of status 206 that speaks of other bytes than were asked for
    odd = Answer(headers={"Content-Range": f"bytes 0-1/{len(ARCHIVE)}"})
    server.put(TARBALL, ARCHIVE, script=[Answer(cut_after=9_000), odd])
    assert files(fetch(HANDLE, options=options, verify=verify).path) == MODULE
    assert [request.headers.get("Range") for request in server.requests][2] is None


def test_pieces_that_do_not_make_an_archive_are_fetched_once_more_in_one_piece(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    server.put(TARBALL, ARCHIVE, always=Answer(cut_after=100_000))
    with pytest.raises(FetchError, match=r"of [0-9,]+ bytes"):
        fetch(HANDLE, options=_with(options, retries=0), verify=verify)
    (part,) = (tmp_path / "cache").glob("*.partial.tmp/*.part")
    part.write_bytes(b"x" * 50_000)  # the same length of something else
    server.put(TARBALL, ARCHIVE)
    assert files(fetch(HANDLE, options=options, verify=verify).path) == MODULE
    assert [r.headers.get("Range") for r in server.requests if r.path == TARBALL] == [
        None,
        "bytes=50000-",
        None,
    ]
    assert cached(tmp_path) == IN_PLACE


def test_a_server_that_always_cuts_is_given_up(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    always = Answer(cut_after=1000, headers={"ETag": None})
    server.put(TARBALL, ARCHIVE, always=always)
    with pytest.raises(FetchError, match=r"the connection ended at 1,000 of [0-9,]+ bytes"):
        fetch(HANDLE, options=options, verify=verify)
    assert server.gets(TARBALL) == 1 + options.retries + 1  # the first one brought something
    assert cached(tmp_path) == []


def test_a_silent_server_is_left(server: HttpServer, options: FetchOptions) -> None:
    release = threading.Event()
    server.put(TARBALL, ARCHIVE, always=Answer(hold=release))
    server.put(COMPRESSED, ARCHIVE)
    quick = _with(options, timeout_s=0.3, retries=1)
    found = fetch(HANDLE, options=quick, verify=verify)
    assert found.origin == server.url + COMPRESSED
    assert server.gets(TARBALL) == 2
    release.set()


def test_a_server_that_only_trickles_is_left(server: HttpServer, options: FetchOptions) -> None:
    server.put(TARBALL, ARCHIVE, always=Answer(chunk=50, pause_s=0.02))
    server.put(COMPRESSED, ARCHIVE)
    events: list[FetchEvent] = []
    quick = _with(options, timeout_s=0.3, retries=1, min_bytes_s=1_000_000)
    found = fetch(HANDLE, options=quick, verify=verify, on_event=events.append)
    assert found.origin == server.url + COMPRESSED
    assert server.gets(TARBALL) == 2
    assert any(re.fullmatch(r"only [\d,]+ bytes in 0 s", event.text) for event in events)


def test_a_download_has_an_end_and_the_next_call_goes_on(
    server: HttpServer, options: FetchOptions
) -> None:
    server.put(TARBALL, ARCHIVE, script=[Answer(chunk=20_000, pause_s=0.1)])
    short = _with(options, total_s=0.5, min_bytes_s=1)
    with pytest.raises(FetchError, match=r"not complete after 0 s, [\d,]+ bytes are here: the sam"):
        fetch(HANDLE, options=short, verify=verify)
    assert fetch(HANDLE, options=options, verify=verify).origin == server.url + TARBALL
    assert "Range" in server.requests[-1].headers


@pytest.mark.parametrize(
    ("location", "refused"),
    [
        ("http://localhost:9/x", True),
        ("http://127.0.0.1:9/x", True),
        ("http://[::1]:9/x", True),
        ("http://[::ffff:10.0.0.1]/x", True),
        ("http://169.254.169.254/latest/meta-data", True),
        ("http://10.1.2.3/x", True),
        ("http://192.168.0.1/x", True),
        ("http://100.64.0.1/x", True),
        ("http://0.0.0.0:9/x", True),
        ("http://2130706433/x", True),  # 127.0.0.1 as one number
        ("http://8.8.8.8/x", False),
    ],
)
def test_a_server_outside_cannot_send_us_to_machines_within(
    server: HttpServer,
    options: FetchOptions,
    location: str,
    refused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By way of a proxy, so that the server outside is a real one of ours."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    outside = "http://8.8.4.4/weights.npz"
    server.put(outside, b"", script=[Answer(status=302, location=location)])
    once = _with(options, retries=0)
    with pytest.raises(FetchError) as caught:
        fetch(outside, options=once, verify=verify)
    assert ("a machine of the network within, which is refused" in str(caught.value)) == refused
    assert (len(server.requests) == 1) == refused


def test_what_lacks_a_part_or_is_another_network_does_not_enter_the_cache(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    cifar = seeded(1, spec="cifar")
    arrays = {name: np.array(array) for name, array in cifar.arrays.items()}
    gone = next(iter(arrays))
    del arrays[gone]
    lacking = server.put("/lacking.safetensors", save(arrays))
    for _ in range(2):
        with pytest.raises(FetchError, match=gone):
            open_weights(lacking, partial=True, fetch_options=options)
    write_folder(
        ModuleFolder(weights=cifar, task="feature_vector", height=32, width=32), tmp_path / "m"
    )
    server.put(TARBALL, archive(tmp_path / "m"))
    for _ in range(2):
        with pytest.raises(FetchError, match="holds nasnet_cifar, not nasnet_mobile"):
            open_weights(HANDLE, fetch_options=options)
    assert server.gets(TARBALL) == 2  # nothing stayed that would be taken as good


def test_what_is_too_large_is_not_downloaded(server: HttpServer, options: FetchOptions) -> None:
    small = _with(options, max_bytes=1000)
    server.put(TARBALL, ARCHIVE)
    server.put(COMPRESSED, ARCHIVE, always=Answer(headers={"Content-Length": None}))
    with pytest.raises(FetchError) as caught:
        fetch(HANDLE, options=small, verify=verify)
    assert f"{len(ARCHIVE):,} bytes are more than the limit of 1,000" in str(caught.value)
    assert "larger than the limit of 1,000" in str(caught.value)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_redirects_leave_http_never(
    server: HttpServer, options: FetchOptions, location: str
) -> None:
    server.put(TARBALL, b"", always=Answer(status=302, location=location))
    with pytest.raises(FetchError, match=f"{location}.*(refused|not allowed)"):
        fetch(HANDLE, options=options, verify=verify)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody signed, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes a certificate with the openssl command, which is not here")
    key, pem = tmp_path / "key.pem", tmp_path / "certificate.pem"
    arguments = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    )
    arguments += f" -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {pem}"
    subprocess.run([openssl, *arguments.split()], check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + key.read_bytes())
    return pem


def test_certificates_are_checked_whatever_the_environment_says(
    options: FetchOptions, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFHUB_DISABLE_CERT_VALIDATION", "true")
    with HttpServer(certificate=certificate) as server:
        url = server.put("/x.tar.gz", ARCHIVE)
        with pytest.raises(FetchError, match=r"certificate is not trusted.*SSL_CERT_FILE"):
            fetch(url, options=options, verify=verify)
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(url, options=options, verify=verify).origin == url


def test_a_redirect_from_https_to_http_is_refused(
    server: HttpServer, options: FetchOptions, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    target = server.put("/x.tar.gz", ARCHIVE)
    with HttpServer(certificate=certificate) as secure:
        url = secure.put("/x.tgz", b"", always=Answer(status=302, location=target))
        with pytest.raises(FetchError, match=f"redirected to {target}, which is refused"):
            fetch(url, options=options, verify=verify)
    assert server.requests == []


# ---- content that is not what it should be


@pytest.mark.parametrize(
    ("data", "headers", "reason"),
    [
        (ARCHIVE[:-1000], {}, "not a whole tar, tar.gz or zip archive"),
        (pack({"../../evil": b"1"}), {}, r"has '\.\.' in its path"),
        (pack({"readme": b"1"}), {}, "3.tar.gz: no module in it"),
        (b"<html>", {"Content-Type": "text/html; charset=utf-8"}, "a web page, not a file"),
    ],
)
def test_bad_content_never_enters_the_cache(
    server: HttpServer,
    options: FetchOptions,
    tmp_path: Path,
    data: bytes,
    headers: dict[str, str | None],
    reason: str,
) -> None:
    server.put(TARBALL, data, always=Answer(headers=headers))
    with pytest.raises(FetchError, match=reason):
        fetch(HANDLE, options=options, verify=verify)
    assert cached(tmp_path) == []
    server.put(COMPRESSED, ARCHIVE)
    assert fetch(HANDLE, options=options, verify=verify).origin == server.url + COMPRESSED


def test_a_slim_tarball_with_the_wrong_md5_is_refused(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    server.put(SLIM, ARCHIVE)
    with pytest.raises(FetchError) as caught:
        fetch(HANDLE, options=options, verify=verify)
    md5 = hashlib.md5(ARCHIVE).hexdigest()
    assert f"{SLIM}: its md5 is {md5}, expected 7777886f3de3d733d3a6bf8b80e63555" in str(
        caught.value
    )
    assert cached(tmp_path) == []


@pytest.mark.parametrize("published", [True, False])
def test_kerass_file_is_one_more_source_of_the_published_numbers(
    server: HttpServer,
    options: FetchOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    published: bool,
) -> None:
    """Believed by its md5 and its tensors both: Keras did not publish the module."""
    weights = seeded(1, num_classes=0)
    table = table_of(seeded(1 if published else 2).arrays)
    monkeypatch.setattr(genuine, "published_table", lambda spec: table)
    name, _ = handles._KERAS["mobile"]
    FORMATS["keras-h5"].write(weights, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    md5 = hashlib.md5(data).hexdigest()
    monkeypatch.setattr(handles, "_KERAS", {"mobile": (name, md5)})
    server.put(f"/{name}", data)
    if published:
        opened = open_weights(HANDLE, fetch_options=options)
        assert fingerprint(opened.weights) == fingerprint(weights)
        assert (opened.weights.status, opened.weights.source) == ("genuine", HANDLE)
        assert opened.weights.padding == "slim"
        assert f"the weights come from Keras applications' {name}" in opened.notes[-1]
    else:
        with pytest.raises(FetchError, match=f"{name} does not hold the published weights"):
            open_weights(HANDLE, fetch_options=options)
        assert cached(tmp_path) == []


def test_kerass_file_is_not_downloaded_where_nothing_can_open_it(
    server: HttpServer, options: FetchOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = handles._KERAS["mobile"]
    server.put(f"/{name}", b"never asked for")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(FetchError, match=rf"{name}: h5py is not installed.*nasnet\[keras\]"):
        fetch(HANDLE, options=options, verify=verify)
    assert server.gets(f"/{name}") == 0


def test_a_url_can_be_pinned(server: HttpServer, options: FetchOptions) -> None:
    url = server.put("/x.tar.gz", ARCHIVE)
    with pytest.raises(FetchError, match="its sha256 is"):
        fetch(f"{url}#sha256={'0' * 64}", options=options, verify=verify)
    pinned = f"{url}#sha256={hashlib.sha256(ARCHIVE).hexdigest()}"
    assert files(fetch(pinned, options=options, verify=verify).path) == MODULE


# ---- the cache


def _damage(folder: Path, how: str) -> None:
    data = folder / "variables/variables.data-00000-of-00001"
    if how == "pruned":
        data.unlink()
    elif how == "cut":
        data.write_bytes(data.read_bytes()[:-1])
    elif how == "flipped":
        content = data.read_bytes()
        data.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "more":
        (folder / "model.ckpt.index").write_bytes(b"1")
    else:
        folder.with_name(f"{folder.name}.files.json").write_text("{")


@pytest.mark.parametrize("how", ["pruned", "cut", "flipped", "more", "manifest"])
def test_a_cache_that_was_changed_is_fetched_anew_or_named_when_offline(
    server: HttpServer, options: FetchOptions, tmp_path: Path, how: str
) -> None:
    server.put(TARBALL, ARCHIVE)
    folder = fetch(HANDLE, options=options, verify=verify).path
    (folder / ".DS_Store").write_bytes(b"what a file browser leaves does not count")
    assert fetch(HANDLE, options=options, verify=verify).origin == "cache"
    _damage(folder, how)
    with pytest.raises(FetchError, match=rf"{folder}: .*(since|list of files)"):
        fetch(HANDLE, options=_with(options, offline=True), verify=verify)
    assert server.gets(TARBALL) == 1
    again = fetch(HANDLE, options=options, verify=verify)
    assert again.origin == server.url + TARBALL
    assert files(again.path) == MODULE
    assert cached(tmp_path) == IN_PLACE


def test_a_folder_of_tensorflow_hub_is_taken_after_a_look(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    folder = tmp_path / "cache" / SHA1
    folder.mkdir(parents=True)
    server.put(TARBALL, ARCHIVE)
    assert fetch(HANDLE, options=options, verify=verify).origin != "cache"  # it was empty
    shutil.rmtree(tmp_path / "cache")
    shutil.copytree(_module(tmp_path), folder)
    assert fetch(HANDLE, options=options, verify=verify).origin == "cache"
    (folder / "tfhub_module.pb").unlink()  # as a cleaner of old files would
    assert fetch(HANDLE, options=options, verify=verify).origin == server.url + TARBALL


def test_the_handle_as_it_was_written_names_a_folder_too(
    options: FetchOptions, tmp_path: Path
) -> None:
    text = "http://tfhub.dev/google/imagenet/nasnet_mobile/feature_vector/3/"
    folder = cache.folder_for(tmp_path / "cache", text)
    shutil.copytree(_module(tmp_path), folder)
    assert fetch(text, options=_with(options, offline=True), verify=verify).path == folder


def test_tensorflow_hubs_default_folder_is_read_and_never_written(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    theirs = tmp_path / "tmp" / "tfhub_modules" / SHA1
    shutil.copytree(_module(tmp_path), theirs)
    found = fetch(HANDLE, options=options, verify=verify)
    assert (found.path, found.origin) == (theirs, "cache")
    (theirs / "tfhub_module.pb").unlink()
    server.put(TARBALL, ARCHIVE)
    assert fetch(HANDLE, options=options, verify=verify).path == tmp_path / "cache" / SHA1
    assert [path.name for path in theirs.parent.iterdir()] == [SHA1]


def test_the_cache_lies_where_users_and_platforms_want_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache.cache_root(None) == tmp_path / ".cache/nasnet"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_root(None) == tmp_path / "xdg/nasnet"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.cache_root(None) == tmp_path / "Library/Caches/nasnet"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache.cache_root(None) == tmp_path / "local/nasnet/Cache"
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "chosen"))
    assert cache.cache_root(None) == tmp_path / "chosen"
    assert cache.cache_root(tmp_path / "own") == tmp_path / "own"


def test_a_cache_that_cannot_be_written_is_named(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    server.put(TARBALL, ARCHIVE)
    with pytest.raises(FetchError, match=rf"cannot use the cache folder {tmp_path / 'cache'}"):
        fetch(HANDLE, options=options, verify=verify)


# ---- more than one process

CHILD = """
import sys
from pathlib import Path
from nasnet.weights.fetch import FetchOptions, fetch

def verify(path):
    if not (path / "tfhub_module.pb").is_file():
        raise ValueError("no module")

options = FetchOptions(cache_dir=Path(sys.argv[2]), mirrors=(sys.argv[1],), lock_poll_s=0.02,
                       backoff_s=0.01)
show = lambda event: print(event.kind, event.done_bytes, flush=True)
print("origin", fetch(sys.argv[3], options=options, verify=verify, on_event=show).origin)
"""


def _child(server: HttpServer, tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, server.url, str(tmp_path / "cache"), HANDLE],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_start_together_download_once(server: HttpServer, tmp_path: Path) -> None:
    release = threading.Event()
    server.put(TARBALL, ARCHIVE, script=[Answer(hold=release)])
    children = [_child(server, tmp_path) for _ in range(3)]
    lines: list[str] = []
    for child in children:  # until each of them is either downloading or waiting
        assert child.stdout is not None
        lines.append(child.stdout.readline().split()[0])
    assert sorted(lines) == ["start", "wait", "wait"]
    release.set()
    output = [child.communicate(timeout=20)[0] for child in children]
    origins = sorted(text.split("origin ")[1].strip() for text in output)
    assert origins == ["cache", "cache", server.url + TARBALL]
    assert len(server.requests) == 1
    assert cached(tmp_path) == IN_PLACE


def test_threads_that_start_together_download_once(
    server: HttpServer, options: FetchOptions
) -> None:
    server.put(TARBALL, ARCHIVE, always=Answer(chunk=50_000, pause_s=0.02))
    found: list[Fetched] = []

    def work() -> None:
        found.append(fetch(HANDLE, options=options, verify=verify))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({item.path for item in found}) == 1
    assert sorted(item.origin for item in found)[:3] == ["cache"] * 3
    assert len(server.requests) == 1


def test_a_process_killed_in_the_middle_leaves_a_beginning_that_the_next_goes_on_from(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    server.put(TARBALL, ARCHIVE, script=[Answer(chunk=20_000, pause_s=0.05)])
    child = _child(server, tmp_path)
    assert child.stdout is not None
    while int((line := child.stdout.readline()).split()[1]) < 40_000:
        assert line
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert any(name.endswith(".lock") for name in cached(tmp_path))
    assert not (tmp_path / "cache" / SHA1).exists()
    patient = _with(options, lock_stale_s=600)  # the holder is seen to be dead long before that
    found = fetch(HANDLE, options=patient, verify=verify)
    assert files(found.path) == MODULE
    _, second = server.requests
    start = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert start >= 40_000
    assert cached(tmp_path) == IN_PLACE


def _foreign_lock(tmp_path: Path) -> Path:
    """The lock of tensorflow-hub on another machine, and what it is working on."""
    work = tmp_path / "cache" / f"{SHA1}.{'ab' * 16}.tmp"
    work.mkdir(parents=True)
    (tmp_path / "cache" / f"{SHA1}.lock").write_text(f"some.other.host.77.{'ab' * 16}")
    return work


def test_an_abandoned_lock_of_another_machine_is_taken_over(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    (_foreign_lock(tmp_path) / "saved_model.pb").write_bytes(b"half")
    server.put(TARBALL, ARCHIVE)
    began = time.monotonic()
    found = fetch(HANDLE, options=_with(options, lock_stale_s=0.3), verify=verify)
    assert time.monotonic() - began >= 0.3
    assert files(found.path) == MODULE
    assert cached(tmp_path) == IN_PLACE


def test_a_dead_process_is_relieved_by_one_of_many(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "cache").mkdir()
    lock = tmp_path / "cache" / f"{SHA1}.lock"
    lock.write_text(f"{socket.gethostname()}.{dead.pid}.{'cd' * 16}")
    guard = tmp_path / "cache" / f"{SHA1}.lock.guard"  # another one died in relieving it
    guard.write_bytes(b"")
    os.utime(guard, (0, 0))
    server.put(TARBALL, ARCHIVE, always=Answer(chunk=50_000, pause_s=0.01))
    origins: list[str] = []

    def work() -> None:
        patient = _with(options, lock_stale_s=600)
        origins.append(fetch(HANDLE, options=patient, verify=verify).origin)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(origins) == ["cache"] * 5 + [server.url + TARBALL]
    assert len(server.requests) == 1
    assert cached(tmp_path) == IN_PLACE


def test_a_growing_download_of_another_machine_is_waited_for(
    options: FetchOptions, tmp_path: Path
) -> None:
    work = _foreign_lock(tmp_path)
    waits: list[FetchEvent] = []

    def theirs() -> None:
        for number in range(6):
            (work / str(number)).write_bytes(b"x" * 1000)
            time.sleep(0.1)
        shutil.rmtree(work)
        shutil.copytree(_module(tmp_path), tmp_path / "cache" / SHA1)
        (tmp_path / "cache" / f"{SHA1}.lock").unlink()

    thread = threading.Thread(target=theirs)
    thread.start()
    patience = _with(options, lock_stale_s=0.4)
    found = fetch(HANDLE, options=patience, verify=verify, on_event=waits.append)
    thread.join()
    assert found.origin == "cache"
    assert max(event.done_bytes for event in waits if event.kind == "wait") >= 2000


def test_an_interrupt_leaves_nothing_behind(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    server.put(TARBALL, ARCHIVE)

    def interrupt(event: FetchEvent) -> None:
        if event.kind == "progress":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(HANDLE, options=options, verify=verify, on_event=interrupt)
    assert cached(tmp_path) == []


def test_a_download_that_failed_is_gone_on_with_by_the_next_run(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    server.put(TARBALL, ARCHIVE, script=[Answer(cut_after=123_456)])
    once = _with(options, retries=0)
    with pytest.raises(FetchError):
        fetch(HANDLE, options=once, verify=verify)
    assert fetch(HANDLE, options=once, verify=verify).origin == server.url + TARBALL
    ranges = [r.headers.get("Range") for r in server.requests if r.path == TARBALL]
    assert ranges == [None, "bytes=123456-"]
    assert cached(tmp_path) == IN_PLACE


# ---- nothing to be had


def test_offline_one_error_says_what_was_tried_and_how_to_go_on(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    with pytest.raises(FetchError) as caught:
        fetch("nasnet_mobile", options=_with(options, offline=True), verify=verify)
    text = str(caught.value)
    assert "offline" in text
    assert f"{HANDLE}?tf-hub-format=compressed\n    into the folder {tmp_path}/cache/{SHA1}" in text
    assert "nasnet-a_mobile_04_10_2017.tar.gz (md5 7777886f3de3d733d3a6bf8b80e63555)" in text
    assert "give its path" in text
    assert "--weights builtin" in text
    assert "--weights seeded:7" in text
    assert server.requests == []
    # and following the advice helps
    shutil.copytree(_module(tmp_path), tmp_path / "cache" / SHA1)
    assert fetch("nasnet_mobile", options=_with(options, offline=True), verify=verify).note == ""


def test_when_all_fails_each_source_is_listed_with_its_reason(
    server: HttpServer, options: FetchOptions
) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(HANDLE, options=options, verify=verify)
    lines = str(caught.value).splitlines()
    tried = [line.strip() for line in lines[2 : lines.index(next(x for x in lines if "hand" in x))]]
    keras = "/NASNet-mobile-no-top.h5"
    assert tried[:4] == [
        f"{server.url}{path}: HTTP 404 Not Found" for path in (TARBALL, COMPRESSED, SLIM, keras)
    ]
    public = ["https://tfhub.dev", "https://storage.googleapis.com", "https://gcs.tensorflow"]
    for line, beginning in zip(tried[4:7], public, strict=True):
        assert line.startswith(beginning)
        assert "Connection refused" in line
    for line, name in zip(tried[7:9], (SLIM, keras), strict=True):
        assert f"{name}: not asked, its host could not be reached" in line
    assert tried[9].startswith("https://www.kaggle.com/models/google/nasnet/tensorFlow1/mobile")


def test_kaggle_is_asked_last_through_its_own_package(
    options: FetchOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def model_download(handle: str) -> str:
        asked.append(handle)
        return str(_module(tmp_path))

    # the real one speaks to Kaggle alone; this has the one function of it that is used
    kagglehub = types.ModuleType("kagglehub")
    monkeypatch.setattr(kagglehub, "model_download", model_download, raising=False)
    monkeypatch.setitem(sys.modules, "kagglehub", kagglehub)
    found = fetch("nasnet_large", options=options, verify=verify)
    assert asked == ["google/nasnet/tensorFlow1/large-feature-vector"]
    assert found.origin == f"https://www.kaggle.com/models/{asked[0]}"
    assert files(found.path) == MODULE
    assert found.path != cache.folder_for(tmp_path / "cache", HANDLE)
    again = fetch("nasnet_large", options=_with(options, offline=True), verify=verify)
    assert again.path == found.path


def test_reading_in_place_is_refused_in_words(
    options: FetchOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFHUB_MODEL_LOAD_FORMAT", "UNCOMPRESSED")
    with pytest.raises(FetchError, match="TFHUB_MODEL_LOAD_FORMAT=UNCOMPRESSED"):
        fetch(HANDLE, options=options, verify=verify)


# ---- paths and other URLs


def _module(tmp_path: Path) -> Path:
    folder = tmp_path / "module"
    for name, data in MODULE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_existing_paths_win_over_everything(
    options: FetchOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _module(tmp_path)
    expected = Fetched(path=folder, handle=None, origin="path", note="")
    assert fetch(folder, options=options, verify=verify) == expected
    assert fetch(folder.as_uri(), options=options, verify=verify) == expected
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "nasnet_mobile")
    named = fetch("nasnet_mobile", options=options, verify=verify)
    assert (named.path, named.origin) == (Path("nasnet_mobile"), "path")
    assert not (tmp_path / "cache").exists()


def test_checkpoint_prefixes_and_weight_files_are_paths(
    options: FetchOptions, tmp_path: Path
) -> None:
    seen: list[Path] = []
    (tmp_path / "model.ckpt.index").write_bytes(b"1")
    (tmp_path / "w.safetensors").write_bytes(b"1")
    for name in ("model.ckpt", "w.safetensors"):
        found = fetch(tmp_path / name, options=options, verify=seen.append)
        assert found.path == tmp_path / name
    assert seen == [tmp_path / "model.ckpt", tmp_path / "w.safetensors"]


def test_what_verify_says_of_a_users_folder_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no module in it"):
        fetch(tmp_path, verify=verify)


def test_an_archive_of_the_users_is_unpacked_once_for_each_content(
    options: FetchOptions, tmp_path: Path
) -> None:
    wrapped = pack({f"my_module/{name}": data for name, data in MODULE.items()})
    archive = tmp_path / "module.tar.gz"
    archive.write_bytes(wrapped)
    looks: list[Path] = []

    def look(path: Path) -> None:
        looks.append(path)
        verify(path)

    first = fetch(archive, options=options, verify=look)
    assert first.origin == "path"
    assert first.path.name == "my_module"
    assert files(first.path) == MODULE
    archive.rename(tmp_path / "other.tgz")
    assert fetch(tmp_path / "other.tgz", options=options, verify=look).path == first.path
    assert len(looks) == 1
    archive.write_bytes(ARCHIVE)
    assert fetch(archive, options=options, verify=look).path != first.path
    archive.write_bytes(ARCHIVE[:5000])
    with pytest.raises(FetchError, match=r"module\.tar\.gz: not a whole"):
        fetch(archive, options=options, verify=look)


def test_any_url_of_an_archive_is_fetched_into_its_own_folder(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    url = server.put("/some/where.tgz", ARCHIVE)
    found = fetch(url, options=options, verify=verify)
    assert (found.handle, found.origin) == (None, url)
    assert found.path.name == hashlib.sha1(url.encode()).hexdigest()
    assert fetch(url, options=_with(options, offline=True), verify=verify).origin == "cache"
    server.put("/publisher/module/1?tf-hub-format=compressed", ARCHIVE)
    module = f"{server.url}/publisher/module/1"
    found = fetch(module, options=options, verify=verify)
    assert found.path.name == hashlib.sha1(module.encode()).hexdigest()


def test_a_weight_file_is_fetched_as_it_is(server: HttpServer, options: FetchOptions) -> None:
    url = server.put("/w/nasnet.safetensors?download=1", b"weights")

    def look(path: Path) -> None:
        assert path.read_bytes() == b"weights"

    for origin in (url, "cache"):
        found = fetch(url, options=options, verify=look)
        assert (found.path.name, found.origin) == ("nasnet.safetensors", origin)


@pytest.mark.parametrize("text", ["", "no/such/folder", "nasnet", "x" * 5000, "a\0b", "ftp://h/x"])
def test_what_is_nothing_is_said_to_be_nothing(text: str, options: FetchOptions) -> None:
    with pytest.raises(FetchError, match=r"not an existing file.*nasnet_mobile, nasnet_large"):
        fetch(text, options=options, verify=verify)


def test_a_missing_file_url_is_named(options: FetchOptions, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="there is no"):
        fetch((tmp_path / "none.tar.gz").as_uri(), options=options, verify=verify)


def test_the_manifest_lists_names_sizes_and_digests(
    server: HttpServer, options: FetchOptions, tmp_path: Path
) -> None:
    server.put(TARBALL, ARCHIVE)
    fetch(HANDLE, options=options, verify=verify)
    manifest = json.loads((tmp_path / "cache" / f"{SHA1}.files.json").read_text())
    assert manifest == {
        name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in MODULE.items()
    }


def _with(options: FetchOptions, **changes: float) -> FetchOptions:
    return replace(options, **changes)  # type: ignore[arg-type]
