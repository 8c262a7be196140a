"""Weights are written in every format that has a writer, and read back before they appear."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import nasnet
from nasnet.errors import InputError, OutputError, WeightsError
from nasnet.exporting.convert import convert
from nasnet.exporting.outputs import key_for
from nasnet.weights.classes import with_classes
from nasnet.weights.formats.writers import FORMATS
from nasnet.weights.opening import open_path
from nasnet.weights.weights import Weights, fingerprint, seeded, write_safetensors
from tests.support.cli import invoke
from tests.support.weight_files import make


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("key", FORMATS)
def test_every_format_comes_back_bit_for_bit(folder: Path, mobile: Weights, key: str) -> None:
    done = convert("seeded:7", folder / "out", to=key, classes=1000)
    back = open_path(folder / "out").weights
    assert done.fingerprint == fingerprint(back) == fingerprint(with_classes(mobile, 1000)[0])
    assert done.largest_difference == 0
    left = [file.name for file in folder.iterdir() if not file.name.startswith("out")]
    assert not left, "something was left behind"


def test_a_chain_through_all_formats_ends_where_it_began(folder: Path) -> None:
    """Each reader behind each writer once: what the last file holds is what the first one held."""
    first = seeded(5, num_classes=1000)
    path = make("keras .h5", folder / "begin", first)
    for number, key in enumerate(("tensornets", *FORMATS)):
        after = folder / str(number)
        convert(path, after, to=key)
        path = after
    assert fingerprint(open_path(path).weights) == fingerprint(first)


def test_a_files_name_tells_the_format() -> None:
    for name, key in (
        ("a.safetensors", "safetensors"),
        ("model.ckpt", "checkpoint"),
        ("NASNet-mobile.h5", "keras-h5"),
        ("my.weights.h5", "keras-weights"),
        ("nasnetamobile.pth", "cadene"),
        ("nasnet.npz", "tensornets"),
    ):
        assert key_for(Path(name), FORMATS, what="format") == key
    with pytest.raises(InputError, match=r"out\.bin: its name does not tell the format"):
        key_for(Path("out.bin"), FORMATS, what="format")


def test_the_background_class_goes_and_comes(mobile: Weights) -> None:
    without, note = with_classes(mobile, 1000)
    assert "index 0 of 1001" in note
    kernel = "final_layer/FC/weights"
    np.testing.assert_array_equal(without.arrays[kernel], mobile.arrays[kernel][:, 1:])
    back, note = with_classes(without, 1001)
    assert "never wins" in note
    np.testing.assert_array_equal(back.arrays[kernel][:, 1:], without.arrays[kernel])
    assert not back.arrays[kernel][:, 0].any()
    features = np.random.default_rng(0).random((4, 1056)).astype(np.float32)

    def probabilities(weights: Weights) -> np.ndarray:
        logits = features @ weights.arrays[kernel] + weights.arrays["final_layer/FC/biases"]
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))

    found, expected = probabilities(back), probabilities(without)
    assert found[:, 0].max() < 1e-30
    # Not to the bit: NumPy's product of 1001 columns may add up in another order than of 1000.
    np.testing.assert_allclose(found[:, 1:], expected, rtol=2e-6)


def test_labels_move_with_the_classes() -> None:
    labels = tuple(f"n{number:08}" for number in range(1000))
    weights = seeded(1, num_classes=1000)
    labelled = Weights(
        spec="mobile", num_classes=1000, arrays=weights.arrays, source="x", labels=labels
    )
    with_background, _ = with_classes(labelled, 1001)
    assert with_background.labels == ("background", *labels)
    assert with_classes(with_background, 1000)[0].labels == labels
    assert with_classes(labelled, 0)[0].num_classes == 0


def test_other_classes_are_not_made_up(folder: Path) -> None:
    write_safetensors(seeded(1, num_classes=5), folder / "five.safetensors")
    with pytest.raises(InputError, match="has 5 classes: only ImageNet's 1000 become 1001"):
        convert(folder / "five.safetensors", folder / "a.safetensors", classes=1001)
    done = convert(folder / "five.safetensors", folder / "a.h5")
    assert done.weights.num_classes == 5, "classes of one's own stay as they are"
    with pytest.raises(InputError, match="no names for nasnet_cifar"):
        convert("seeded:7@cifar", folder / "c.h5", classes=0)
    assert sorted(file.name for file in folder.iterdir()) == ["a.h5", "five.safetensors"]


def test_padding_is_kept_where_there_is_a_place_for_it(folder: Path) -> None:
    done = convert("seeded:7", folder / "k.safetensors", padding="keras")
    assert open_path(folder / "k.safetensors").weights.padding == "keras"
    assert done.weights.padding == "keras"
    assert nasnet.Module(folder / "k.safetensors").spec.opened.weights.padding == "keras"
    other = convert(folder / "k.safetensors", folder / "m.ckpt")
    assert any("padding=keras is not written" in note for note in other.notes)


def test_the_size_of_the_pictures_is_kept_where_there_is_a_place_for_it(folder: Path) -> None:
    """Weights fine-tuned on small pictures would judge large ones, and nobody would be told."""
    nasnet.Module("seeded:7", image_size=(64, 96)).export(folder / "module")
    module, packed = folder / "module", folder / "packed.safetensors"
    convert(module, folder / "converted.safetensors")
    assert invoke("weights", "pack", str(module), "-o", str(packed)).exit_code == 0
    options = nasnet.ExportOptions(verify=False)
    nasnet.export(module, folder / "exported.safetensors", options=options)
    for file in ("converted", "packed", "exported"):
        spec = nasnet.load_module_spec(folder / f"{file}.safetensors")
        assert spec.image_size == (64, 96), file
        extractor = nasnet.Extractor(spec.opened.weights)
        assert (extractor.height, extractor.width) == (64, 96)
    convert(packed, folder / "again.safetensors")
    assert nasnet.load_module_spec(folder / "again.safetensors").image_size == (64, 96)
    done = convert(packed, folder / "m.ckpt")
    assert any("the size of its pictures, 64x96, is not written" in note for note in done.notes)
    # other sizes that somebody asks for are written, the network's own is not
    nasnet.Module(packed, image_size=(32, 32)).export(folder / "small")
    assert nasnet.load_module_spec(folder / "small").image_size == (32, 32)


@pytest.mark.parametrize("size", ["", "64", "64x", "axb", "64x64x3", "16x16", "9999x64", "-64x64"])
def test_a_size_that_is_none_is_damage(folder: Path, mobile: Weights, size: str) -> None:
    from safetensors.numpy import save_file

    file = folder / "w.safetensors"
    metadata = {"format": "nasnet-1", "spec": "mobile", "image_size": size}
    save_file(dict(mobile.arrays), file, metadata=metadata)
    with pytest.raises(WeightsError, match=r"w\.safetensors: its image_size"):
        open_path(file)


def test_nothing_is_replaced_unasked(folder: Path) -> None:
    (folder / "a.h5").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.h5 exists"):
        convert("seeded:7", folder / "a.h5")
    assert (folder / "a.h5").read_text() == "mine"
    (folder / "m.ckpt.index").write_text("mine")
    with pytest.raises(OutputError, match=r"m\.ckpt\.index exists"):
        convert("seeded:7", folder / "m.ckpt")
    with pytest.raises(OutputError, match="is a folder"):
        convert("seeded:7", folder, to="safetensors")
    convert("seeded:7", folder / "a.h5", overwrite=True)
    assert open_path(folder / "a.h5").weights.num_classes == 1000


def test_a_place_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        convert("seeded:7", folder / "file" / "a.safetensors")


def test_a_difference_in_what_was_written_keeps_the_file_from_appearing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "nasnet.exporting.convert.open_path",
        lambda path: type("Opened", (), {"weights": seeded(8)}),
    )
    with pytest.raises(WeightsError, match=r"reads back with a difference of .*: nothing was kept"):
        convert("seeded:7", folder / "a.safetensors")
    assert not list(folder.iterdir())


def test_the_command_tells_what_it_did(folder: Path) -> None:
    source = make("cadene safetensors", folder, seeded(7, num_classes=1000))
    out = folder / "nasnet.safetensors"
    said = invoke("convert", str(source), str(out), "--classes", "1001", "--json")
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout)
    assert "Cadene" in report["read"]
    assert report["network"].startswith("nasnet_mobile, 1001 classes, 1,126 tensors")
    assert any("its bias -100" in note for note in report["note"])
    assert open_path(out).weights.num_classes == 1001
    told = invoke("convert", "builtin", folder / "builtin.safetensors").stdout
    assert "status       builtin\n" in told
    help_text = invoke("convert", "--help").stdout
    assert all(key in help_text for key in FORMATS)
