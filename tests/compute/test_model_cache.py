"""Compiled models on disk: used where they are whole and ours, and never the cause of an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nasnet.compute import engine, model_cache
from nasnet.compute.engine import EngineOptions
from nasnet.weights.weights import Weights
from tests.support.golden import golden_weights

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "nasnet" / "compiled"


def _vectors(weights: Weights, options: EngineOptions | None = None) -> np.ndarray:
    made = engine.create(weights, options)
    found = engine.run(made, IMAGES, ("global_pool",))["global_pool"]
    made.close()
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.exists() else []


def test_the_second_start_reads_what_the_first_compiled(mobile: Weights, folder: Path) -> None:
    expected = _vectors(mobile, EngineOptions(model_cache=False))
    assert _files(folder) == []
    np.testing.assert_array_equal(_vectors(mobile), expected)
    [kept] = _files(folder)
    written = kept.read_bytes(), kept.stat().st_ino
    code = (
        "import sys, numpy as np\n"
        "from nasnet.compute import engine\n"
        "from nasnet.weights.weights import seeded\n"
        "images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)\n"
        "found = engine.run(engine.create(seeded(7)), images, ('global_pool',))['global_pool']\n"
        "assert 'onnx' not in sys.modules, 'a graph was built'\n"
        "sys.stdout.buffer.write(found.tobytes())\n"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert again.stdout == expected.tobytes()
    assert (kept.read_bytes(), kept.stat().st_ino) == written


def test_a_damaged_file_is_compiled_anew(mobile: Weights, folder: Path) -> None:
    expected = _vectors(mobile)
    [kept] = _files(folder)
    good = kept.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 4
    for damaged in (b"", good[:9], good[:-1], bytes(flipped), good + b"x"):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(_vectors(mobile), expected)
        assert kept.stat().st_size > 1_000_000
        assert model_cache.read(kept) is not None


def test_what_openvino_refuses_is_compiled_anew(mobile: Weights, folder: Path) -> None:
    expected = _vectors(mobile)
    [kept] = _files(folder)
    model_cache.write(kept, b"no model, but whole")
    np.testing.assert_array_equal(_vectors(mobile), expected)
    assert kept.stat().st_size > 1_000_000


@pytest.mark.skipif(os.name != "posix", reason="rights of folders")
def test_a_folder_that_others_may_write_to_is_not_used(mobile: Weights, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o770)
    _vectors(mobile)
    assert _files(folder) == []
    folder.chmod(0o700)
    _vectors(mobile)
    [kept] = _files(folder)
    folder.chmod(0o702)
    assert model_cache.read(kept) is None


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    mobile: Weights, folder: Path
) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_bytes(b"a file where the folder should be")
    assert _vectors(mobile).shape == (3, 1056)


def test_other_weights_sizes_and_options_are_other_models(mobile: Weights, folder: Path) -> None:
    keep = [_vectors(mobile), _vectors(golden_weights("cifar"))]
    assert len(_files(folder)) == 2
    _vectors(mobile, EngineOptions(threads=1))
    assert len(_files(folder)) == 3 if (os.cpu_count() or 1) > 1 else 2
    np.testing.assert_array_equal(_vectors(mobile), keep[0])


def test_the_least_recently_used_leave_when_there_are_too_many(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_cache, "_MOST_BYTES", 350)
    places = [model_cache.place_of({"number": number}) for number in range(4)]
    for age, place in enumerate(places[:3]):
        model_cache.write(place, bytes(90))
        os.utime(place, (1e9 + age, 1e9 + age))
    assert model_cache.read(places[0]) == bytes(90)  # used just now: places[1] is oldest
    model_cache.write(places[3], bytes(90))
    assert [place for place in places if place.exists()] == [places[0], places[2], places[3]]
