"""`hf-hub:USER/NAME`: a repository of the Hub, by its real client, from a stand-in on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import nasnet
from nasnet.errors import FetchError, WeightsError
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import fingerprint, seeded
from tests.support.http_server import Answer, HttpServer

pytest.importorskip("huggingface_hub")
pytest.importorskip("torch")
COMMIT = "5" * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hub") / "mine"
    options = nasnet.ExportOptions(
        to="huggingface", size=(64, 96), output="classifier", verify=False
    )
    nasnet.export("seeded:7", out, options=options)
    return out


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    """A Hub with one repository: the answers that its client asks for, with their headers."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    files = sorted(path.name for path in folder.iterdir())
    with HttpServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        listing = {"id": "me/mine", "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}
        for revision in ("main", "v1"):
            url = f"/api/models/me/mine/revision/{revision}"
            server.put(url, json.dumps(listing).encode())
        tree = [
            {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": "0" * 40}
            for name in files
        ]
        url = f"/api/models/me/mine/tree/{COMMIT}?recursive=true&expand=false"
        server.put(url, json.dumps(tree).encode())
        for name in files:
            answer = Answer(headers={"X-Repo-Commit": COMMIT})
            url = f"/me/mine/resolve/{COMMIT}/{name}"
            server.put(url, (folder / name).read_bytes(), always=answer)
        yield server


@pytest.mark.parametrize("name", ["hf-hub:me/mine", "hf-hub:me/mine@v1"])
def test_a_repository_opens_as_the_folder_it_is(
    hub: HttpServer, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = open_weights(name)
    assert opened.image_size == (64, 96)
    assert opened.format == "Hugging Face folder"
    assert fingerprint(opened.weights) == fingerprint(seeded(7))
    asked = len(hub.requests)
    assert not any(request.path.endswith("README.md") for request in hub.requests)
    again = open_weights(name, fetch_options=nasnet.FetchOptions(offline=True))
    assert again.image_size == (64, 96)
    assert capfd.readouterr() == ("", ""), "only the command line draws"
    assert len(hub.requests) == asked, "offline, what was downloaded is enough"


def test_what_cannot_be_had_is_one_line(hub: HttpServer) -> None:
    offline = nasnet.FetchOptions(offline=True)
    with pytest.raises(
        FetchError, match=r"^hf-hub:me/mine cannot be had from the Hugging Face Hub"
    ):
        open_weights("hf-hub:me/mine", fetch_options=offline)
    with pytest.raises(FetchError, match=r"^hf-hub:me/none cannot be had"):
        open_weights("hf-hub:me/none")
    with pytest.raises(FetchError, match=r"write hf-hub:USER/NAME"):
        open_weights("hf-hub:a/b/c")


def test_the_configuration_is_checked(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert open_weights(tmp_path).image_size == (64, 96)
    good = json.loads((folder / "config.json").read_text())
    wrongs = ({"image_size": "wide"}, {"task": "poetry"}, {"padding": 3}, {"labels": "{"})
    for wrong in (*wrongs, {"labels": "[" * 100_000}):
        table = good | {"nasnet": good["nasnet"] | wrong}
        (tmp_path / "config.json").write_text(json.dumps(table))
        with pytest.raises(WeightsError, match=r"config\.json: damaged"):
            open_weights(tmp_path)
