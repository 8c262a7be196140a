"""A hundred and more wrong files: one line that names the cause, nothing run, nothing written."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nasnet import cli
from nasnet.errors import NasnetError
from nasnet.weights import layouts
from nasnet.weights.opening import open_path
from nasnet.weights.weights import Weights, seeded
from tests.support.weight_files import KINDS, NEAR, graph_def

RAN = "something_ran"
ALL = {**KINDS, **NEAR}


class Evil:
    """What a pickle can do: anything. This one would make a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {RAN}",)


@pytest.fixture(scope="module")
def features() -> Weights:
    return seeded(7, num_classes=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, features: Weights) -> Iterator[Any]:
    """Good files by kind, made when first asked for, as bytes by their names."""
    root = tmp_path_factory.mktemp("good")
    made: dict[str, tuple[str, dict[str, bytes]]] = {}

    def good(kind: str) -> tuple[str, dict[str, bytes]]:
        if kind not in made:
            path = ALL[kind](root, features)
            found = [file for file in sorted(root.rglob("*")) if file.is_file()]
            content = {str(file.relative_to(root)): file.read_bytes() for file in found}
            made[kind] = str(path.relative_to(root)), content
            for file in found:
                file.unlink()
        return made[kind]

    yield good
    shutil.rmtree(root)


def refused(
    folder: Path, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """Run `nasnet convert` on a wrong file; its one line."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(folder / "cache"))
    out = folder / "out"
    out.mkdir()
    monkeypatch.setattr(sys, "argv", ["nasnet", "convert", str(path), str(out / "w.safetensors")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr()
    assert stopped.value.code == 1, said
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("nasnet: ")
    assert "Traceback" not in said.err
    assert not said.out
    assert not list(out.iterdir()), "a partial output"
    assert not (folder / RAN).exists(), "something ran"
    return lines[0]


def spread(content: Mapping[str, bytes], folder: Path) -> None:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)


CUT = [
    *("safetensors", "checkpoint", "keras .h5", "keras .weights.h5", "keras .keras"),
    *("cadene .pth", "cadene .pth, old format", "cadene safetensors", "tensornets .npz"),
    *("keras SavedModel", "tfjs", "frozen graph", "frozen graph with names", "mindcv .ckpt"),
]


@pytest.mark.parametrize("share", [0.002, 0.5, 0.97])
@pytest.mark.parametrize("kind", CUT)
def test_truncated(
    files: Any,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    share: float,
) -> None:
    start, content = files(kind)
    largest = max(content, key=lambda name: len(content[name]))
    cut = content[largest][: int(len(content[largest]) * share)]
    spread({**content, largest: cut}, folder / "wrong")
    line = refused(folder, folder / "wrong" / start, capsys, monkeypatch)
    assert "wrong" in line


# Of formats with checksums every byte counts; of the others, those of their tables.
FLIPPED = {
    "checkpoint": (0.1, 0.6, 0.9),
    "keras .keras": (0.001, 0.5, 0.999),
    "cadene .pth": (0.0005, 0.5, 0.999),
    "cadene .pth, old format": (0.00001, 0.0002, 0.001),
    "safetensors": (0.0, 0.00005, 0.001),
    "cadene safetensors": (0.0, 0.00005, 0.001),
    "keras .h5": (0.0, 0.0000005, 0.000002),
    "tensornets .npz": (0.3, 0.6, 0.9),
    "tfjs": (0.0, 0.0005, 0.5),
    "frozen graph with names": (0.0, 0.0000001, 0.0000003),
}


@pytest.mark.parametrize(
    ("kind", "share"), [(kind, share) for kind, shares in FLIPPED.items() for share in shares]
)
def test_flipped_bytes(
    files: Any,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    share: float,
) -> None:
    start, content = files(kind)
    name = "model.json" if kind == "tfjs" else max(content, key=lambda name: len(content[name]))
    data = bytearray(content[name])
    position = int(len(data) * share)
    for number in range(position, min(position + 4, len(data))):
        data[number] ^= 0xFF
    spread({**content, name: bytes(data)}, folder / "wrong")
    refused(folder, folder / "wrong" / start, capsys, monkeypatch)


def changed(weights: Weights, change: Callable[[dict[str, Any]], None]) -> Weights:
    arrays = dict(weights.arrays)
    change(arrays)
    return Weights(spec="mobile", num_classes=0, arrays=arrays, source="")


def npz(arrays: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def torch_state(arrays: Mapping[str, Any], *, new: bool = True) -> bytes:
    import torch

    file = io.BytesIO()
    state = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}
    torch.save(state, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


def _first(arrays: Mapping[str, Any], end: str) -> str:
    return next(name for name in arrays if name.endswith(end))


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {}


def change(said: str) -> Callable[[Callable[[dict[str, Any]], None]], None]:
    def keep(function: Callable[[dict[str, Any]], None]) -> None:
        CHANGES[function.__name__] = function, said

    return keep


@change("is missing")
def one_is_missing(arrays: dict[str, Any]) -> None:
    arrays.pop(sorted(arrays)[500])


@change("is missing")
def most_are_missing(arrays: dict[str, Any]) -> None:
    for name in sorted(arrays)[:-20]:
        arrays.pop(name)


@change("names of another network")
def nothing_is_known(arrays: dict[str, Any]) -> None:
    values = list(arrays.values())[:30]
    arrays.clear()
    arrays.update({f"layer{number}.weight": value for number, value in enumerate(values)})


@change("holds no |it is empty")
def nothing_is_there(arrays: dict[str, Any]) -> None:
    arrays.clear()


@change("has shape")
def a_shape_is_turned(arrays: dict[str, Any]) -> None:
    name = next(name for name, a in arrays.items() if a.ndim == 4 and len(set(a.shape)) > 1)
    sides = arrays[name].shape
    one, other = next((i, j) for i in range(4) for j in range(i) if sides[i] != sides[j])
    arrays[name] = np.ascontiguousarray(arrays[name].swapaxes(one, other))


@change("has shape")
def an_axis_is_lost(arrays: dict[str, Any]) -> None:
    name = next(name for name, a in arrays.items() if a.ndim == 4)
    arrays[name] = arrays[name].reshape(-1)


@change("expected float32")
def a_type_is_wrong(arrays: dict[str, Any]) -> None:
    name = next(name for name, a in arrays.items() if a.ndim == 4)
    arrays[name] = arrays[name].astype(np.int32)


@change("not a finite number")
def a_value_is_no_number(arrays: dict[str, Any]) -> None:
    name = next(name for name, a in arrays.items() if a.ndim == 4)
    arrays[name] = np.full_like(arrays[name], np.nan)


@change("negative variance")
def a_variance_is_negative(arrays: dict[str, Any]) -> None:
    name = next(n for n in arrays if n.endswith(("moving_variance", "running_var")))
    arrays[name] = -arrays[name]


@pytest.mark.parametrize("kind", ["npz", "pth", "old pth", "safetensors"])
@pytest.mark.parametrize("name", CHANGES)
def test_not_the_networks_tensors(
    features: Weights,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    name: str,
) -> None:
    arrays = layouts.arrays_in(features, "cadene" if kind != "npz" else "keras")
    make_wrong, said = CHANGES[name]
    make_wrong(arrays)
    if kind == "safetensors":
        from safetensors.numpy import save

        data = save(arrays)
    else:
        data = npz(arrays) if kind == "npz" else torch_state(arrays, new=kind == "pth")
    (folder / "wrong.bin").write_bytes(data)
    line = refused(folder, folder / "wrong.bin", capsys, monkeypatch)
    assert "wrong.bin" in line
    # An integer in safetensors is passed over, as what it is named could be anything's.
    passed_over = kind == "safetensors" and name == "a_type_is_wrong"
    assert passed_over or re.search(said, line), line


def zipped(members: Mapping[str, bytes], *, pack: bool = False) -> bytes:
    file = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if pack else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def evil_torch() -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"conv0.conv.weight": Evil()}, file)
    return file.getvalue()


def evil_old_torch() -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"a": Evil()}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def object_npz(value: Any) -> bytes:
    values = np.empty(1, dtype=object)
    values[0] = value
    file = io.BytesIO()
    np.savez(file, names=["a"], values=values)
    return file.getvalue()


def climbing_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo(f"../{RAN}")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    return file.getvalue()


def linked_h5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("stem_conv1")
        group.attrs["weight_names"] = np.array([b"stem_conv1/kernel:0"])
        group["stem_conv1"] = h5py.ExternalLink("/etc/passwd", "/")


def virtual_h5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("stem_conv1/stem_conv1")
        file["stem_conv1"].attrs["weight_names"] = np.array([b"stem_conv1/kernel:0"])
        layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(4,))
        group.create_virtual_dataset("kernel:0", layout)


def huge_h5(path: Path) -> None:
    """A dataset of a terabyte, none of it stored."""
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("stem_conv1")
        group.attrs["weight_names"] = np.array([b"stem_conv1/kernel:0"])
        group.create_dataset("stem_conv1/kernel:0", shape=(1 << 38,), dtype="f4", chunks=(1 << 16,))


def tfjs_model(**changes: Any) -> bytes:
    weight = {"name": "stem_conv1/kernel", "shape": [3, 3, 3, 32], "dtype": "float32"}
    group = {"paths": ["a.bin"], "weights": [{**weight, **changes.pop("weight", {})}], **changes}
    return json.dumps({"modelTopology": {}, "weightsManifest": [group]}).encode()


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "not a module or weight file"),
    "a text": (lambda: b"These are not the weights you are looking for.\n", "not a module or w"),
    "a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "not a module or weight file"),
    "zeros": (lambda: bytes(4096), ""),
    "noise": (lambda: np.random.default_rng(0).bytes(4096), ""),
    "json": (lambda: b'{"a": [1, 2, 3]}', "not a module or weight file"),
    "html": (lambda: b"<!DOCTYPE html><html>404</html>", "not a module or weight file"),
    "a pickle with code": (lambda: pickle.dumps(Evil()), "bare Python pickle"),
    "a pickle of protocol 0": (lambda: pickle.dumps(Evil(), 0), "not a module or weight file"),
    "pth with code": (evil_torch, "which is not part of a weight file"),
    "old pth with code": (evil_old_torch, "which is not part of a weight file"),
    "npz with code": (lambda: object_npz(Evil()), "which is not part of a weight file"),
    "npz of one thing": (lambda: object_npz({"a": 1}), ""),
    "npy with code in a zip": (
        lambda: zipped({"a.npy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, "
                        b"'shape': (1,), }" + b" " * 60 + b"\n" + pickle.dumps(Evil())}),
        "",
    ),
    "pth without storages": (
        lambda: zipped({"x/data.pkl": pickle.dumps({"a": 1})}),
        "it holds no tensors",
    ),
    "pth of a list": (lambda: zipped({"x/data.pkl": pickle.dumps([1])}), "holds no state dict"),
    "pth with two pickles": (
        lambda: zipped({"x/data.pkl": b"", "y/data.pkl": b""}),
        "2 members data.pkl",
    ),
    "TorchScript": (
        lambda: zipped({"x/data.pkl": b"N.", "x/constants.pkl": b""}),
        "TorchScript program",
    ),
    "pth of a big-endian machine": (
        lambda: zipped({"x/data.pkl": b"N.", "x/byteorder": b"big"}),
        "big-endian",
    ),
    "a zip that climbs": (lambda: zipped({f"../{RAN}": b"x"}), "holds no weights"),
    "a pth that climbs": (
        lambda: zipped({f"../{RAN}": b"x", "x/data.pkl": pickle.dumps({"a": 1})}),
        "",
    ),
    "a keras archive that climbs": (
        lambda: zipped({"/etc/model.weights.h5": b"x", "config.json": b"{}"}),
        "model.weights.h5 is missing",
    ),
    "a keras archive without HDF5": (
        lambda: zipped({"model.weights.h5": b"x" * 99, "config.json": b"{}"}),
        "not an HDF5 file",
    ),
    "a keras archive without JSON": (
        lambda: zipped({"model.weights.h5": b"x" * 99, "config.json": b"{"}),
        "no readable JSON",
    ),
    "a zip of nothing": (lambda: zipped({}) + b"", ""),
    "a zip bomb": (lambda: zipped({"a.npy": bytes(80 << 20)}, pack=True), "unfolds to"),
    "half a zip": (lambda: zipped({"a.npy": bytes(4096)})[:2000], "damaged zip archive"),
    "an h5 of nothing but its mark": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(200), "HDF5"),
    "a TFLite of nothing but its mark": (lambda: b"\x1c\0\0\0TFL3" + bytes(40), "TFLite"),
    "a TFLite that points outside": (
        lambda: struct.pack("<I", 1 << 30) + b"TFL3" + bytes(40),
        "damaged TFLite model",
    ),
    "a graph without a network": (
        lambda: b"\x0a\x0b\x0a\x01x\x12\x06Conv2D" * 3,
        "no first convolution",
    ),
    "safetensors with a header of lies": (
        lambda: (1 << 20).to_bytes(8, "little") + b'{"conv0/weights": 1',
        "safetensors",
    ),
    "safetensors that overlap their end": (
        lambda: (lambda head: len(head).to_bytes(8, "little") + head)(
            b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'
        ),
        "reaches beyond its end",
    ),
    "tfjs without its shard": (tfjs_model, "a.bin: No such file"),
    "tfjs that climbs": (lambda: tfjs_model(paths=["../../etc/passwd"]), "outside of the folder"),
    "tfjs of an absolute path": (lambda: tfjs_model(paths=["/etc/passwd"]), "outside of the"),
    "tfjs of no group": (
        lambda: b'{"weightsManifest": 3, "x": "weights", "y": "paths", "weights": "paths"}',
        "no weightsManifest",
    ),
    "tfjs of an unknown type": (
        lambda: tfjs_model(paths=[], weight={"dtype": "complex512"}),
        "",
    ),
    "tfjs of a negative shape": (
        lambda: tfjs_model(weight={"shape": [-1]}, paths=["wrong.bin"]),
        "which is none",
    ),
    "tfjs of a vast shape": (
        lambda: tfjs_model(weight={"shape": [1 << 40, 1 << 40]}, paths=["wrong.bin"]),
        "which is none",
    ),
    "JSON without end": (lambda: b'{"weights":"paths"' + b"[" * 100_000, "no readable JSON"),
    "a tar that climbs": (climbing_tar, ""),
}  # fmt: skip
HDF5: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link into another file": (linked_h5, "leads into another file: refused"),
    "numbers in another file": (virtual_h5, "in another file: refused"),
    "a terabyte of nothing": (huge_h5, "more than weights do"),
}


@pytest.mark.parametrize("name", WRONG)
def test_something_else(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make_wrong, said = WRONG[name]
    path = folder / ("wrong.tar.gz" if "tar" in name.split() else "wrong.bin")
    path.write_bytes(make_wrong())
    line = refused(folder, path, capsys, monkeypatch)
    assert "wrong" in line
    assert said in line, line
    assert not (folder.parent / RAN).exists()


@pytest.mark.parametrize("name", HDF5)
def test_an_hdf5_file_that_reaches_out(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make_wrong, said = HDF5[name]
    make_wrong(folder / "wrong.h5")
    assert said in refused(folder, folder / "wrong.h5", capsys, monkeypatch)


def test_there_are_a_hundred_and_more() -> None:
    flipped = sum(len(shares) for shares in FLIPPED.values())
    assert 3 * len(CUT) + flipped + 4 * len(CHANGES) + len(WRONG) + len(HDF5) >= 100


# -- noise: whatever the bytes are, there is one reason and an end


def never_breaks(path: Path) -> None:
    said = "it opens"
    try:
        open_path(path, partial=True)
    except NasnetError as error:
        said = str(error)
    assert said
    assert "\n" not in said


FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# What stands at the beginning of each format: the rest is noise.
HEADS = [
    *(b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x1c\0\0\0TFL3", b"\x0a\x08\x0a\x01x\x12\x03Add"),
    *(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x01.", b"\x80\x02}"),
    *(b'{"weightsManifest":[{"weights":', b"\x40\0\0\0\0\0\0\0{", b""),
]


@FUZZ
@given(st.sampled_from(HEADS), st.binary(max_size=400))
def test_noise_behind_every_head(tmp_path: Path, head: bytes, noise: bytes) -> None:
    (tmp_path / "noise").write_bytes(head + noise)
    never_breaks(tmp_path / "noise")


@pytest.fixture(scope="module")
def small(features: Weights) -> dict[str, bytes]:
    """Files of a few tensors that a fuzzer can chew on."""
    cadene, keras = (layouts.arrays_in(features, layout) for layout in ("cadene", "keras"))
    some = {key: cadene[key] for key in list(cadene)[:12]}
    keras_some = {key: keras[key] for key in list(keras)[:12]}
    values = np.empty(3, dtype=object)
    values[:] = list(some.values())[:3]
    tensornets = io.BytesIO()
    np.savez(tensornets, names=list(some)[:3], values=values)
    from safetensors.numpy import save

    return {
        "pth": torch_state(some),
        "old pth": torch_state(some, new=False),
        "npz": npz({key.replace("/", "_"): array for key, array in keras_some.items()}),
        "tensornets": tensornets.getvalue(),
        "safetensors": save(some),
        "graph": graph_def(features)[:20_000],
    }


@FUZZ
@given(st.data())
def test_flipped_cut_and_repeated(tmp_path: Path, small: dict[str, bytes], data: Any) -> None:
    kind = data.draw(st.sampled_from(sorted(small)))
    content = bytearray(small[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        what = data.draw(st.sampled_from(["flip", "cut", "repeat", "number"]))
        if what == "flip":
            content[position] ^= 1 << data.draw(st.integers(0, 7))
        elif what == "cut":
            del content[position : position + data.draw(st.integers(1, 64))]
        elif what == "repeat":
            content[position:position] = content[position : position + 16]
        else:
            content[position : position + 4] = b"\xff\xff\xff\x7f"
        if not content:
            break
    (tmp_path / "fuzzed").write_bytes(content)
    never_breaks(tmp_path / "fuzzed")


def test_a_names_table_takes_any_names(small: dict[str, bytes]) -> None:
    assert layouts.recognise([]) is None
    assert layouts.recognise(["/", "//", ":0", "a/b:0", "conv0/weights"]) is None
