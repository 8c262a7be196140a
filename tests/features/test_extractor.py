"""One object from weights to vectors: used alone, by threads, and carried to other processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nasnet
from nasnet.errors import InputError, PictureError, SignatureError, SourceError
from nasnet.pictures.signature import SIGNATURE_BYTES
from nasnet.pictures.sources import Item
from nasnet.weights.weights import Weights, fingerprint
from tests.support.cli import invoke
from tests.support.pictures import encoded, jpeg, pixels

SMALL = (48, 48)


@pytest.fixture(scope="module")
def extractor() -> nasnet.Extractor:
    return nasnet.Extractor("seeded:7", size=SMALL)


def test_fewer_pictures_than_a_batch_are_computed_without_padding(
    extractor: nasnet.Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [jpeg(seed=seed) for seed in range(5)]
    calls: list[tuple[int, bool]] = []
    infer = extractor.engine.infer

    def told(images: Any, endpoints: tuple[str, ...], *, alone: bool) -> Any:
        calls.append((len(images), alone))
        return infer(images, endpoints, alone=alone)

    monkeypatch.setattr(extractor.engine, "infer", told)
    three = extractor.embed(few[:3])
    assert calls == [(1, True)] * 3
    five = extractor.embed(few)
    assert sorted(calls[3:]) == [(1, False), (4, False)]  # what is left goes as the others do
    np.testing.assert_array_equal(three, five[:3])


def test_vectors_are_those_of_embed(extractor: nasnet.Extractor, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(seed=1))
    mixed = [tmp_path / "a.jpg", jpeg(seed=2), pixels()]
    found = extractor.embed(mixed)
    assert found.shape == (3, extractor.dimensions) == (3, 1056)
    assert found.dtype == np.float32
    table = nasnet.embed(mixed, weights="seeded:7", options=nasnet.EmbedOptions(size=SMALL))
    np.testing.assert_array_equal(found, np.array(table["vector"].to_pylist(), np.float32))


def test_anything_that_is_a_picture_is_taken_in_one_list(
    extractor: nasnet.Extractor, tmp_path: Path
) -> None:
    file, data = tmp_path / "a.png", encoded(pixels(), "PNG")
    file.write_bytes(data)
    given = [file, str(file), file.as_uri(), data, Image.open(file), pixels(), bytearray(data)]
    expected = extractor.embed([pixels()])
    np.testing.assert_array_equal(extractor.embed(given), np.repeat(expected, len(given), axis=0))
    for alone in (*given, np.stack([pixels()]), iter([data]), {"a": data}):
        np.testing.assert_array_equal(extractor.embed(alone), expected)


def test_no_pictures_are_no_vectors_but_an_empty_folder_is_a_mistake(
    extractor: nasnet.Extractor, tmp_path: Path
) -> None:
    assert extractor.embed([]).shape == (0, 1056)
    with pytest.raises(SourceError, match="no pictures"):
        extractor.embed(tmp_path)


def test_any_batch_size_gives_the_same_vectors_of_length_1_if_asked(
    extractor: nasnet.Extractor, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [jpeg(seed=seed) for seed in range(5)]
    expected = extractor.embed(given)
    found = extractor.embed(given, batch_size=3, normalize=True, progress=True)
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected / lengths, atol=1e-6)
    assert "embedding" in capsys.readouterr().err
    with pytest.raises(InputError, match="batch_size starts at 1"):
        extractor.embed(given, batch_size=0)


def test_signatures_are_made_only_where_they_are_kept(extractor: nasnet.Extractor) -> None:
    items = [Item("a", jpeg)]
    (plain,), (signed,) = extractor.batches(items), extractor.batches(items, signed=True)
    assert list(plain.signatures) == [None]
    assert [len(one or b"") for one in signed.signatures] == [SIGNATURE_BYTES]
    np.testing.assert_array_equal(plain.vectors, signed.vectors)


def test_a_picture_that_cannot_be_read_is_named_or_a_row_of_nan(
    extractor: nasnet.Extractor,
) -> None:
    given = [("good", jpeg()), ("bad", b"text")]
    with pytest.raises(PictureError, match=r"^bad: not a picture"):
        extractor.embed(given)
    found = extractor.embed(given, on_error="nan")
    assert np.isnan(found[1]).all()
    assert not np.isnan(found[0]).any()
    with pytest.raises(InputError, match="on_error"):
        extractor.embed(given, on_error="skip")  # type: ignore[arg-type]


def test_threads_share_one_engine(extractor: nasnet.Extractor) -> None:
    with nasnet.Extractor("seeded:7", size=SMALL) as fresh, ThreadPoolExecutor(8) as threads:
        engines = set(threads.map(lambda _: id(fresh.engine), range(8)))
    assert len(engines) == 1


def test_it_travels_without_its_engine_and_computes_the_same(
    extractor: nasnet.Extractor,
) -> None:
    before = extractor.embed([jpeg()])
    carried = pickle.loads(pickle.dumps(extractor))
    np.testing.assert_array_equal(carried.embed([jpeg()]), before)
    assert carried.meta("x").weights_fingerprint == extractor.meta("x").weights_fingerprint


def test_closed_it_makes_another_engine(extractor: nasnet.Extractor) -> None:
    with nasnet.Extractor("seeded:7", size=SMALL) as one:
        before = one.embed([jpeg()])
    np.testing.assert_array_equal(one.embed([jpeg()]), before)
    one.close()


def test_weights_in_memory_and_module_specs_are_taken_as_they_are(mobile: Weights) -> None:
    by_arrays = nasnet.Extractor(mobile, size=SMALL)
    assert by_arrays.meta("x").weights_fingerprint == fingerprint(mobile)
    spec = nasnet.load_module_spec("seeded:7", image_size=(64, 40))
    by_spec = nasnet.Extractor(spec)
    assert (by_spec.height, by_spec.width) == (64, 40)
    assert nasnet.Extractor(mobile).height == 224


def test_what_cannot_be_computed_is_refused_at_once() -> None:
    with pytest.raises(SignatureError, match="Cell_99"):
        nasnet.Extractor("seeded:7", endpoint="Cell_99")
    with pytest.raises(InputError, match="nope"):
        nasnet.Extractor("seeded:7", recipe="nope")
    with pytest.raises(InputError, match="32"):
        nasnet.Extractor("seeded:7", size=(8, 8))
    with pytest.raises(InputError, match="height and width"):
        nasnet.Extractor("seeded:7", size=64)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="decode_threads"):
        nasnet.Extractor("seeded:7", decode_threads=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_an_extractor_that_was_used_works_in_a_forked_process() -> None:
    """OpenVINO's threads are not in the child, where its compiled models wait for them for ever."""
    code = textwrap.dedent("""
        import os, signal
        import numpy as np
        import nasnet
        picture = np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3)
        extractor = nasnet.Extractor("seeded:7", size=(48, 48))
        before = extractor.embed([picture])
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends it, where it hangs
            same = np.array_equal(extractor.embed([picture]), before)
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert np.array_equal(extractor.embed([picture]), before)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_largest_picture_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(pixels(60, 80), "PNG"))
    for limit, fits in ((4800, True), (4799, False)):
        with nasnet.Extractor("seeded:7", size=SMALL, picture_pixels=limit) as made:
            assert made.meta("x").recipe_text == nasnet.Extractor("seeded:7").meta("x").recipe_text
            if fits:
                assert made.embed(tmp_path).shape == (1, 1056)
            else:
                with pytest.raises(PictureError, match=r"too large: 80x60 is more than 0\.004799"):
                    made.embed(tmp_path)
    with pytest.raises(InputError, match="starts at 1"):
        nasnet.Extractor("seeded:7", picture_pixels=0)
    file = tmp_path / "f.parquet"
    common = ["embed", str(tmp_path), "-o", str(file), "-w", "seeded:7", "--size", "48"]
    done = invoke(*common, "--max-megapixels", "0.004")
    assert "1 x too large: 80x60 is more than 0.004 megapixels" in done.stderr
    assert invoke(*common, "--overwrite").exit_code == 0
