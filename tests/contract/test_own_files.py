"""Files of our own formats, damaged: each reader names the file in one line, or makes it anew."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import nasnet
from nasnet.errors import NasnetError
from nasnet.features.store.formats import FORMATS
from nasnet.features.store.manifest import Manifest, decode_manifest
from nasnet.train.loop.checkpoint import read_checkpoint, write_checkpoint
from nasnet.train.recipe_files import read_recipe
from nasnet.weights.fetch import cache
from nasnet.weights.module_folder import DESCRIPTION, ModuleFolder, write_folder
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import seeded
from tests.support.cli import invoke
from tests.support.feature_sets import META, features, table_of

DEEP = 100_000
TEXTS: Mapping[str, bytes] = {
    "nothing": b"",
    "a list": b"[]",
    "a number": b"7",
    "nothing in it": b"{}",
    "half of it": b'{"format": ',
    "no UTF-8": b'{"format": "\xff\xfe"}',
    "lists in lists": b"[" * DEEP + b"]" * DEEP,
    "tables in tables": b'{"format":' * DEEP + b"1" + b"}" * DEEP,
    "lists in lists that Python can read": b'{"format":' + b"[" * 400 + b"]" * 400 + b"}",
    "TOML of lists in lists": b"format = " + b"[" * DEEP + b"]" * DEEP,
    "TOML of tables in tables": b".".join([b"a"] * DEEP) + b" = 1",
    "a number without end": b'{"format": Infinity, "dimensions": Infinity, "rows": 1e999}',
    "a vast number": b'{"format": ' + b"9" * 5000 + b"}",
}


def _index(folder: Path) -> Path:
    nasnet.build_index(features(50), folder / "i")
    return folder / "i"


def index_contents(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = _index(folder)
    return path / "index.json", lambda: nasnet.open_index(path)


def index_ids(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = _index(folder)
    return next(path.glob("*.parquet")), lambda: nasnet.open_index(path)


def index_vectors(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = _index(folder)
    return next(path.glob("*.npy")), lambda: nasnet.open_index(path)


def index_lists(folder: Path) -> tuple[Path, Callable[[], object]]:
    pytest.importorskip("faiss")
    nasnet.build_index(features(400), folder / "i", kind="ivf")
    path = folder / "i"
    return next(path.glob("*.faiss")), lambda: nasnet.open_index(path).nearest(features(1).vectors)


def _set(folder: Path, suffix: str) -> Path:
    found = features(20)
    path = folder / f"x{suffix}"
    table = table_of(found)
    FORMATS[suffix].write(path, table.schema, 20, iter([table]))
    return path


def set_of(suffix: str, beside: str = "") -> Callable[[Path], tuple[Path, Callable[[], object]]]:
    def made(folder: Path) -> tuple[Path, Callable[[], object]]:
        path = _set(folder, suffix)
        return path.with_suffix(beside or suffix), lambda: nasnet.read_features(path)

    return made


def module(folder: Path) -> tuple[Path, Callable[[], object]]:
    weights = seeded(4, spec="cifar")
    write_folder(
        ModuleFolder(weights=weights, task="classification", height=40, width=48), folder / "m"
    )
    return folder / "m" / DESCRIPTION, lambda: open_weights(folder / "m")


def module_weights(folder: Path) -> tuple[Path, Callable[[], object]]:
    module(folder)
    return folder / "m" / "weights.safetensors", lambda: open_weights(folder / "m")


def recipe(folder: Path) -> tuple[Path, Callable[[], object]]:
    return folder / "my.toml", lambda: read_recipe(folder / "my.toml")


def manifest(folder: Path) -> tuple[Path, Callable[[], object]]:
    file = folder / "manifest.json"
    file.write_bytes(Manifest(meta=META, vector="float[16]").encode())
    return file, lambda: decode_manifest(file.read_bytes(), str(file), "use --overwrite")


def checkpoint(folder: Path) -> tuple[Path, Callable[[], object]]:
    torch = pytest.importorskip("torch")
    file = folder / "checkpoint.safetensors"
    write_checkpoint(file, {"model/x": torch.zeros(3)}, {"epoch": 1})
    return file, lambda: read_checkpoint(file)


OURS: Mapping[str, Callable[[Path], tuple[Path, Callable[[], object]]]] = {
    "an index's contents": index_contents,
    "an index's ids": index_ids,
    "an index's vectors": index_vectors,
    "an index's lists": index_lists,
    "a Parquet set": set_of(".parquet"),
    "an Arrow set": set_of(".arrow"),
    "an array": set_of(".npy"),
    "an array's ids": set_of(".npy", ".ids.jsonl"),
    "an array's description": set_of(".npy", ".json"),
    "a module": module,
    "a module's weights": module_weights,
    "a recipe": recipe,
    "a checkpoint": checkpoint,
}


def refused(read: Callable[[], object], file: Path) -> str:
    """The one line in which it is refused."""
    with pytest.raises(NasnetError) as found:
        read()
    line = str(found.value)
    assert str(file) in line
    assert "\n" not in line
    assert len(line) < 2100
    return line


@pytest.mark.parametrize("name", [*OURS, "a manifest"])
def test_what_is_no_such_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    file, read = {**OURS, "a manifest": manifest}[name](tmp_path)
    for text in TEXTS.values():
        file.write_bytes(text)
        refused(read, file)


@pytest.mark.parametrize(
    "name", sorted(OURS.keys() - {"a module"})
)  # is then none: a folder of weights
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_in_its_place_is_not_waited_for(name: str, tmp_path: Path) -> None:
    file, read = OURS[name](tmp_path)
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    refused(read, file)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("parts", [], "an index of no rows"),
        ("parts", [{"name": "../x", "rows": 3}], "names no file of this folder"),
        ("parts", [{"name": "x", "rows": 0}], "a part of 0 rows"),
        ("parts", [{"name": "x"}], "the key 'rows' is missing"),
        ("parts", {"name": "x"}, "is not a list"),
        ("dimensions", float("inf"), "inf is not an integer"),
        ("dimensions", "16", "'16' is not an integer"),
        ("kind", "magic", "is none of 'auto', 'exact', 'ivf'"),
        ("meta", {}, "the key 'module' is missing"),
        ("approximate", {"file": "x", "rows": 9, "probes": 0, "recall": 1.0}, "search opens 0"),
        ("approximate", {"file": "x", "rows": 99, "probes": 1, "recall": 1.0}, "lists of more"),
        ("approximate", {"file": "x", "rows": 9, "probes": 1, "recall": 10**400}, "not a finite"),
        ("more", 1, "no key 'more'"),
    ],
)
def test_an_index_of_other_values_is_refused(
    key: str, value: Any, said: str, tmp_path: Path
) -> None:
    file, read = index_contents(tmp_path)
    table = {**json.loads(file.read_text()), key: value}
    del table["crc32"]
    table["crc32"] = zlib.crc32(json.dumps(table).encode())
    file.write_text(json.dumps(table))
    assert said in refused(read, file)
    done = invoke("search", file.parent, "--id", "000001.jpg")
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr


def test_an_array_that_claims_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    file, read = set_of(".npy")(tmp_path)
    with file.open("wb") as out:
        header = {"descr": "<f4", "fortran_order": False, "shape": (50, 1 << 62)}
        np.lib.format.write_array_header_1_0(out, header)
    assert "are more than the file has" in refused(read, file)


def test_offsets_that_lead_out_of_the_file_are_refused(tmp_path: Path) -> None:
    file, read = set_of(".arrow")(tmp_path)
    data = file.read_bytes()
    offsets = np.arange(0, 10 * 21, 10, dtype="<i4")  # of 20 ids of 10 letters
    assert data.count(offsets.tobytes()) == 1
    file.write_bytes(data.replace(offsets.tobytes(), (offsets * 10**6).astype("<i4").tobytes()))
    refused(read, file)


def test_columns_of_other_names_and_types_are_refused(tmp_path: Path) -> None:
    for suffix in (".parquet", ".arrow"):
        file, read = set_of(suffix)(tmp_path)
        data = file.read_bytes()
        file.write_bytes(data.replace(b"height", b"h\x9eight"))
        if suffix == ".arrow":
            refused(read, file)
    table = pyarrow.table({"id": [1], "vector": [[0.5]], "error": ["x"]})
    numbers = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array([1, 2]), 2)
    for one in (
        table,
        table.set_column(1, "vector", numbers),
        table.set_column(0, "id", pyarrow.array(["a"])).set_column(1, "vector", numbers),
    ):
        pyarrow.parquet.write_table(one, tmp_path / "x.parquet")
        with pytest.raises(NasnetError, match="no column of vectors with an id and an error each"):
            nasnet.read_features(tmp_path / "x.parquet")


def test_metadata_of_others_may_be_of_any_bytes(tmp_path: Path) -> None:
    path = _set(tmp_path, ".parquet")
    table = pyarrow.parquet.read_table(path)
    odd = {**table.schema.metadata, b"\xff\xfe": b"\xff", b"nasnet.\xff": b"\xff"}
    pyarrow.parquet.write_table(table.replace_schema_metadata(odd), path)
    assert nasnet.read_features(path).meta == META


def test_a_folder_of_the_cache_whose_list_is_damaged_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for text in TEXTS.values():
        if text != b"{}":
            (tmp_path / "m.files.json").write_bytes(text)
            assert "cannot be read" in cache.changes(tmp_path / "m")


def test_a_configuration_file_that_is_none_is_a_mistake_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nasnet.toml"
    monkeypatch.setenv("NASNET_CONFIG", str(file))
    for damage, text in TEXTS.items():
        file.write_bytes(text)
        done = invoke("info")
        assert done.exit_code == (0 if damage == "nothing" else 2), damage
        assert done.stderr.count("\n") == done.exit_code / 2
