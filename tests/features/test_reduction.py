"""Vectors of length 1, of fewer dimensions and of fewer bits, from the run to the search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

import nasnet
from nasnet.errors import InputError, OutputError
from nasnet.features import parquet
from nasnet.features.feature_set import feature_schema
from nasnet.features.reduction import decode_projection, fit, quantized, unit
from nasnet.features.store import Batch, SinkOptions, open_sink
from nasnet.features.store.form import read_projection
from tests.support.cli import invoke
from tests.support.pictures import jpeg
from tests.support.sink_rows import META

WIDE = 24  # dimensions as they are computed, in the tests without a network
FORMS: list[dict[str, object]] = [
    {"normalize": True},
    {"vector_dtype": "int8"},
    {"pca": 6},
    {"pca": 6, "normalize": True, "vector_dtype": "float16"},
    {"pca": 6, "vector_dtype": "int8"},
]


def made_vectors(start: int, end: int) -> npt.NDArray[np.float32]:
    """Rows that vary most in some directions, as features do; each by its number alone."""
    axes = np.random.default_rng(5).normal(size=(WIDE, WIDE))
    rows = [
        np.random.default_rng(n).normal(size=WIDE) / (1 + np.arange(WIDE))
        for n in range(start, end)
    ]
    return np.asarray(np.stack(rows) @ axes + 3, np.float32)


def write(output: Path, start: int, end: int, **options: object) -> None:
    sink = open_sink(
        output,
        meta=META,
        dimensions=WIDE,
        options=SinkOptions(part_rows=16, **options),  # type: ignore[arg-type]
    )
    try:
        for first in range(start + sink.resume_at, end, 5):
            last = min(first + 5, end)
            sizes = np.ones(last - first, np.int32)
            sink.write(
                Batch(
                    ids=[f"{n}.jpg" for n in range(first, last)],
                    vectors=made_vectors(first, last),
                    widths=sizes,
                    heights=sizes,
                    errors=["bad" if n % 7 == 3 else None for n in range(first, last)],
                )
            )
        sink.finish()
    finally:
        sink.close()


def expected(start: int, end: int, file: Path, options: dict[str, object]) -> npt.NDArray[Any]:
    vectors = made_vectors(start, end)
    if "pca" in options:
        vectors = read_projection(file)(vectors)
    if options.get("normalize") or options.get("vector_dtype") == "int8":
        vectors = unit(vectors)
    vectors[[n % 7 == 3 for n in range(start, end)]] = np.nan
    return vectors


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".npy"])
@pytest.mark.parametrize("options", FORMS, ids=str)
def test_a_set_of_any_form_is_written_read_added_to_and_merged(
    suffix: str, options: dict[str, object], tmp_path: Path
) -> None:
    output, other = tmp_path / f"x{suffix}", tmp_path / f"y{suffix}"
    write(output, 0, 40, **options)
    found = nasnet.read_features(output)
    limit = 0.02 if options.get("vector_dtype") == "int8" else 1e-3
    np.testing.assert_allclose(found.vectors, expected(0, 40, output, options), atol=limit)
    before = found.vectors.copy()
    write(output, 40, 50, mode="append")  # in the form that is there
    found = nasnet.read_features(output)
    np.testing.assert_array_equal(found.vectors[:40], before)
    np.testing.assert_allclose(found.vectors, expected(0, 50, output, options), atol=limit)
    taken = {**options, "pca": output} if "pca" in options else options
    write(other, 50, 60, **taken)
    nasnet.merge([output, other], tmp_path / f"z{suffix}")
    whole = nasnet.read_features(tmp_path / f"z{suffix}")
    assert whole.meta.projection == found.meta.projection
    np.testing.assert_array_equal(whole.vectors[:50], found.vectors)
    np.testing.assert_allclose(whole.vectors[50:], expected(50, 60, output, options), atol=limit)


def test_a_run_that_was_stopped_is_continued_and_may_be_given_another_projection(
    tmp_path: Path,
) -> None:
    options = SinkOptions(part_rows=8, pca=6)
    sink = open_sink(tmp_path / "x.parquet", meta=META, dimensions=WIDE, options=options)
    sizes = np.ones(20, np.int32)
    sink.write(
        Batch(
            ids=[f"{n}.jpg" for n in range(20)],
            vectors=made_vectors(0, 20),
            widths=sizes,
            heights=sizes,
            errors=["bad" if n % 7 == 3 else None for n in range(20)],
        )
    )
    sink.close()
    write(tmp_path / "x.parquet", 0, 40, pca=4)
    write(tmp_path / "whole.parquet", 0, 40, pca=4)
    one, other = (nasnet.read_features(tmp_path / f"{name}.parquet") for name in ("x", "whole"))
    assert one.meta.projection == other.meta.projection
    np.testing.assert_array_equal(one.vectors, other.vectors)


def test_a_set_is_made_smaller_by_merge_and_no_picture_is_read_again(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", 0, 40)
    write(tmp_path / "y.parquet", 0, 40, pca=6, vector_dtype="int8")
    nasnet.merge([tmp_path / "x.parquet"], tmp_path / "z.parquet", pca=6, vector_dtype="int8")
    one, other = (nasnet.read_features(tmp_path / f"{name}.parquet") for name in "yz")
    assert one.meta.projection == other.meta.projection
    np.testing.assert_array_equal(one.vectors, other.vectors)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    small, plain = tmp_path / "small.parquet", tmp_path / "plain.parquet"
    write(small, 0, 40, pca=6)
    write(plain, 0, 40)
    for pca in (0, WIDE):
        with pytest.raises(InputError, match=f"--pca {pca}: vectors have {WIDE} dimensions"):
            write(tmp_path / "x.parquet", 0, 40, pca=pca)
    with pytest.raises(InputError, match="17 vectors are too few for 18 dimensions"):
        write(tmp_path / "x.parquet", 0, 20, pca=18)
    with pytest.raises(InputError, match="it has no projection"):
        write(tmp_path / "x.parquet", 0, 40, pca=plain)
    with pytest.raises(OutputError, match=r"was made with pca 6 .*, this run asks for pca 5"):
        write(small, 40, 50, mode="append", pca=5)
    with pytest.raises(OutputError, match="was made with all dimensions, this run asks for pca 5"):
        write(plain, 40, 50, mode="append", pca=5)
    with pytest.raises(OutputError, match="was made without --normalize"):
        write(plain, 40, 50, mode="append", normalize=True)
    with pytest.raises(OutputError, match=r"has vectors of float\[24\], this run makes int8\[24\]"):
        write(plain, 40, 50, mode="append", vector_dtype="int8")
    with pytest.raises(OutputError, match=r"projection is pca 6 .* in one and none in the other"):
        nasnet.merge([small, plain], tmp_path / "x.parquet")
    with pytest.raises(OutputError, match="has a projection already"):
        nasnet.merge([small], tmp_path / "x.parquet", pca=3)
    options, given = nasnet.EmbedOptions(sink=SinkOptions(pca=5)), [b""] * 3
    with pytest.raises(InputError, match="needs more than 5 pictures, and there are 3"):
        nasnet.embed_to_file(given, tmp_path / "x.parquet", weights="seeded:7", options=options)


def test_a_projection_keeps_neighbours_and_comes_back_from_its_text() -> None:
    vectors = made_vectors(0, 200)
    made = fit([vectors[:90], vectors[90:]], 12)
    again = decode_projection(made.encode())
    assert again.name == made.name
    np.testing.assert_array_equal(again(vectors), made(vectors))
    near = [
        np.argsort(-unit(v) @ unit(v).T, axis=1)[:, 1]
        for v in (unit(vectors) - unit(vectors).mean(0), made(vectors))
    ]
    assert (near[0] == near[1]).mean() > 0.6, "12 of 24 dimensions hold most of the variance"
    for text in ("", "no base64!", made.encode()[:-40]):
        with pytest.raises(ValueError, match="its projection is damaged"):
            decode_projection(text)


def test_8_bits_keep_directions() -> None:
    vectors = made_vectors(0, 50)
    found = unit(quantized(vectors).astype(np.float32))
    assert (found * unit(vectors)).sum(axis=1).min() > 0.9995


def test_projections_are_no_burden_for_who_reads_the_schema(tmp_path: Path) -> None:
    """Arrow's note in the file, which readers parse first, does not hold it a second time."""
    schema = feature_schema(WIDE, META)
    schema = schema.with_metadata({**schema.metadata, b"nasnet.projection_data": b"x" * 700_000})
    parquet.write(tmp_path / "x.parquet", schema, iter([]))
    with pq.ParquetFile(tmp_path / "x.parquet") as file:
        written = file.metadata.metadata
    assert len(written[b"nasnet.projection_data"]) == 700_000
    assert len(written[b"ARROW:schema"]) < 8000


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(12):
        (folder / f"{seed:02}.jpg").write_bytes(jpeg(seed=seed))
    return folder


def test_pictures_are_searched_in_a_small_set_by_every_command(photos: Path) -> None:
    run = photos.parent
    small = run / "small.parquet"
    flags = ("-w", "seeded:7", "--size", "48", "-q")
    done = invoke("embed", photos, "-o", small, "--pca", "8", "--vector-dtype", "int8", *flags)
    assert done.exit_code == 0, done.stderr
    for command in (
        ("search", small, photos / "03.jpg", "-k", "2"),
        ("index", small, "-o", run / "i"),
        ("search", run / "i", photos / "03.jpg", "-k", "2"),
        ("embed", photos, "-o", run / "full.parquet", *flags),
        ("search", small, "--vectors", run / "full.parquet", "-k", "1"),
        ("index", run / "full.parquet", "-o", run / "i", "--append"),
        ("check-vectors", small, run / "full.parquet"),
        ("dedup", small),
        ("outliers", small, "-n", "3"),
        ("map", small, "-o", run / "m.html", "--method", "pca", "--colour", "none"),
        ("embed", photos, "-o", small, "--append", *flags),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, (command, done.stdout, done.stderr)
        if command[0] == "search" and photos / "03.jpg" in command:
            assert "03.jpg" in done.stdout.splitlines()[1]


def test_pictures_computed_again_are_projected_before_they_are_compared(photos: Path) -> None:
    small = photos.parent / "again.parquet"
    sink = SinkOptions(pca=8, vector_dtype="int8")
    options = nasnet.EmbedOptions(size=(48, 48), sink=sink)
    nasnet.embed_to_file(photos, small, weights="seeded:7", options=options)
    stored = nasnet.read_stored(small)
    ways = {"recipes": ("photo",), "paddings": ("slim",)}
    [fit] = nasnet.find_recipe(stored, photos, "seeded:7", **ways)  # type: ignore[arg-type]
    assert fit.smallest > stored.same
