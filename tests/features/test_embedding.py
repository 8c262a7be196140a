from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import nasnet
from nasnet import EmbedOptions, EngineOptions, Module
from nasnet.errors import InputError, OutputError, SignatureError, SourceError
from nasnet.features.arrow import vectors_of
from nasnet.pictures.recipes import get_recipe, prepare
from tests.support.pictures import jpeg, pixels

WEIGHTS = "seeded:7"
SMALL = EmbedOptions(size=(48, 48), engine=EngineOptions(batch_size=3))


def mixed(count: int = 20) -> list[tuple[str, bytes]]:
    """Pictures with a broken one at every fifth place."""
    return [(f"{n}", b"broken" if n % 5 == 4 else jpeg(seed=n)) for n in range(count)]


def test_one_picture_in_one_row_out_in_order() -> None:
    table = nasnet.embed(mixed(), weights=WEIGHTS, options=SMALL)
    names = ["id", "vector", "width", "height", "error", "file_bytes", "signature"]
    assert table.column_names == names
    assert table["id"].to_pylist() == [str(n) for n in range(20)]
    failed = [error is not None for error in table["error"].to_pylist()]
    assert failed == [n % 5 == 4 for n in range(20)]
    assert table["vector"].null_count == table["width"].null_count == 4
    assert table["height"].to_pylist()[0] == 60
    sizes = [None if bad else len(data) for bad, (_, data) in zip(failed, mixed(), strict=True)]
    assert table["file_bytes"].to_pylist() == sizes
    signatures = table["signature"].to_pylist()
    assert [one is None for one in signatures] == failed
    assert len(set(signatures)) == 17, "one a picture, none for the broken"
    assert str(table.schema.field("vector").type) == "fixed_size_list<item: float>[1056]"


def test_vectors_are_those_of_the_module() -> None:
    table = nasnet.embed(mixed(7), weights=WEIGHTS, options=SMALL)
    recipe = get_recipe("photo")
    images = np.stack(
        [prepare(data, recipe, 48, 48).pixels for _, data in mixed(7) if data != b"broken"]
    )
    expected = Module(WEIGHTS, image_size=(48, 48))(images)
    found = vectors_of(table)
    np.testing.assert_allclose(found[~np.isnan(found[:, 0])], expected, rtol=1e-4, atol=1e-5)


def test_metadata_say_what_made_the_vectors() -> None:
    table = nasnet.embed(mixed(1), weights=WEIGHTS, options=SMALL)
    meta = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert meta["nasnet.module"] == WEIGHTS
    assert meta["nasnet.weights_status"] == "untrained"
    assert meta["nasnet.recipe"] == "photo/1"
    assert meta["nasnet.size"] == "48x48"
    assert meta["nasnet.version"] == nasnet.__version__
    assert len(meta["nasnet.weights_fingerprint"]) == 16


@pytest.mark.parametrize(("endpoint", "width"), [("Logits", 1001), ("Cell_3", 264)])
def test_other_endpoints_can_be_the_vector(endpoint: str, width: int) -> None:
    options = EmbedOptions(size=(48, 48), endpoint=endpoint)
    table = nasnet.embed(mixed(2), weights=WEIGHTS, options=options)
    assert table.schema.field("vector").type.list_size == width
    found = Module(WEIGHTS, image_size=(48, 48)).endpoints(
        np.stack([prepare(data, get_recipe("photo"), 48, 48).pixels for _, data in mixed(2)]),
        [endpoint],
    )[endpoint]
    expected = found.mean(axis=(1, 2)) if found.ndim == 4 else found
    np.testing.assert_allclose(vectors_of(table), expected, rtol=1e-4, atol=1e-4)


def test_all_pictures_may_fail() -> None:
    table = nasnet.embed([b"x"] * 200, weights=WEIGHTS, options=SMALL)
    assert table.num_rows == table["vector"].null_count == 200


def test_batches_come_while_the_source_still_runs() -> None:
    taken: list[int] = []

    def endless() -> Iterator[npt.NDArray[np.uint8]]:
        for number in range(10**9):
            taken.append(number)
            yield pixels(48, 48, seed=number % 3)

    batches = nasnet.embed_batches(endless(), weights=WEIGHTS, options=SMALL)
    rows = sum(next(batches).num_rows for _ in range(20))
    batches.close()
    assert rows == 60
    assert len(taken) < 150, "what is read ahead is bounded"
    assert not [t for t in threading.enumerate() if t.name.startswith(("decode", "infer"))]


def test_events_count_up_to_the_end() -> None:
    events: list[nasnet.EmbedEvent] = []
    nasnet.embed(mixed(), weights=WEIGHTS, options=SMALL, on_event=events.append)
    assert (events[0].done, events[0].total) == (0, 20)
    assert (events[-1].done, events[-1].failures) == (20, 4)


def test_a_files_run_continues_after_a_source_that_broke(tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    options = EmbedOptions(
        size=(48, 48), engine=EngineOptions(batch_size=3), sink=nasnet.SinkOptions(part_rows=4)
    )

    class Breaking(list[tuple[str, bytes]]):
        def __iter__(self) -> Iterator[tuple[str, bytes]]:
            for index, entry in enumerate(super().__iter__()):
                if index == 60:
                    raise SourceError("the archive is damaged")
                yield entry

    with pytest.raises(SourceError, match="damaged"):
        nasnet.embed_to_file(Breaking(mixed(80)), output, weights=WEIGHTS, options=options)
    assert not output.exists()

    class Whole(list[tuple[str, bytes]]):
        pass

    Whole.__name__ = "Breaking"  # the same source, by its name
    summary = nasnet.embed_to_file(Whole(mixed(80)), output, weights=WEIGHTS, options=options)
    assert summary.resumed > 0
    assert (summary.rows, summary.failures) == (80, 16)
    assert nasnet.read_features(output).ids == [str(n) for n in range(80)]


def test_a_changed_source_is_noticed(tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    sink = nasnet.SinkOptions(part_rows=2)
    options = EmbedOptions(size=(48, 48), engine=EngineOptions(batch_size=2), sink=sink)

    def run(ids: str, stop_at: int | None = None) -> None:
        seen = 0

        def on_event(event: nasnet.EmbedEvent) -> None:
            nonlocal seen
            seen = event.done
            if stop_at is not None and seen >= stop_at:
                raise KeyboardInterrupt

        source = [(id, jpeg(seed=1)) for id in ids]
        nasnet.embed_to_file(source, output, weights=WEIGHTS, options=options, on_event=on_event)

    with pytest.raises(KeyboardInterrupt):
        run("abcdefgh", stop_at=4)
    with pytest.raises(SourceError, match="row 1 was 'b', now it is 'x'"):
        run("axcdefgh")
    run("abcdefgh")
    assert nasnet.read_features(output).ids == list("abcdefgh")


def test_mistakes_are_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="no endpoint 'Cell_77'"):
        nasnet.embed(mixed(1), weights=WEIGHTS, options=EmbedOptions(endpoint="Cell_77"))
    with pytest.raises(InputError, match="no recipe 'best'"):
        nasnet.embed(mixed(1), weights=WEIGHTS, options=EmbedOptions(recipe="best"))
    with pytest.raises(InputError, match="32 px at least"):
        nasnet.embed(mixed(1), weights=WEIGHTS, options=EmbedOptions(size=(16, 16)))


def test_a_place_that_cannot_be_written_is_told_before_weights_are_asked_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "there.parquet").touch()
    for name, told in (
        ("x", "the ending of the name says the format"),
        ("there.parquet", "is there already"),
        ("no/x.parquet", "no folder"),
    ):
        with pytest.raises(OutputError, match=told):
            nasnet.embed_to_file(mixed(1), tmp_path / name, weights="no/such/weights")
    assert [one.name for one in tmp_path.iterdir()] == ["there.parquet"]
    with pytest.raises(InputError, match="no mode 'w'"):
        nasnet.SinkOptions(mode="w")  # type: ignore[arg-type]


def test_a_modules_spec_serves_as_weights() -> None:
    spec = nasnet.load_module_spec("seeded:7", image_size=(64, 48))
    table = nasnet.embed(mixed(1), weights=spec)
    assert table.schema.metadata[b"nasnet.size"] == b"64x48"


def test_long_calls_log_and_draw_a_bar_when_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(seed=number))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    options = nasnet.EmbedOptions(size=(32, 32))
    with caplog.at_level("INFO", logger="nasnet"):
        nasnet.embed(tmp_path, weights="seeded:7", options=options)
    told = [one.getMessage() for one in caplog.records if one.name.startswith("nasnet.features")]
    assert told == [
        f"{tmp_path}: embedding: 0 of 4, 0 failed",
        f"{tmp_path}: done: 4 of 4, 1 failed",
    ]
    assert capsys.readouterr().err == ""
    nasnet.embed(tmp_path, weights="seeded:7", options=options, progress=True)
    assert "embedding" in capsys.readouterr().err
    ways = nasnet.ClassifyOptions(embed=options)
    assert (
        len(list(nasnet.classify(tmp_path, weights="seeded:7", options=ways, progress=True))) == 4
    )
    assert "100%" in capsys.readouterr().err
