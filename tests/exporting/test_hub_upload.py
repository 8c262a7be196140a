"""A module is uploaded by the Hub's real client to a stand-in on loopback, and read back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import nasnet
from nasnet.errors import OutputError
from nasnet.weights.module_folder import ModuleFolder, write_folder
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import fingerprint, seeded
from tests.support.hub_server import HubServer, hub_on_loopback

pytest.importorskip("huggingface_hub")
pytest.importorskip("torch")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_on_loopback(tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "mine"
    weights = replace(seeded(3, spec="cifar", num_classes=2), labels=("a cat", "a | dog"))
    write_folder(ModuleFolder(weights=weights, task="classification", height=32, width=48), folder)
    return folder


# The client's own, of httpx.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_what_is_uploaded_opens_by_its_name(
    hub: HubServer, module: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = nasnet.push_to_hub(module, "me/pets", private=True, about="Accuracy 61.0%.")
    assert address == f"{hub.url}/me/pets"
    assert hub.private == {"me/pets": True}
    assert len(hub.objects) == 1, "the weights went by Git LFS"
    opened = open_weights("hf-hub:me/pets")
    assert fingerprint(opened.weights) == fingerprint(open_weights(module).weights)
    assert opened.weights.labels == ("a cat", "a | dog")
    assert (opened.task, opened.image_size) == ("classification", (32, 48))
    card = hub.repositories["me/pets"]["README.md"].decode()
    assert card.startswith("---\nlibrary_name: nasnet\npipeline_tag: image-classification\n")
    for text in ("Accuracy 61.0%.", "Classes: a cat, a | dog.", "--weights hf-hub:me/pets"):
        assert text in card
    assert "More Information Needed" not in card
    assert capfd.readouterr() == ("", ""), "only the command line draws"


def test_who_may_not_write_is_told_in_one_line(
    hub: HubServer, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(OutputError, match=r"^me/pets cannot be uploaded .*HF_TOKEN$") as caught:
        nasnet.push_to_hub(module, "me/pets")
    assert "\n" not in str(caught.value)
    assert hub.repositories == {}
