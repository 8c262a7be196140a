"""Feature sets joined into one: in order, once, and only what belongs together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest

import nasnet
from nasnet import EmbedOptions, EngineOptions, SourceOptions
from nasnet.errors import OutputError
from nasnet.features.feature_set import FeatureMeta, read_meta
from nasnet.features.store import Batch, SinkOptions, open_sink
from nasnet.features.store.merge import merge
from tests.support.cli import invoke
from tests.support.pictures import jpeg

META = FeatureMeta(
    module="seeded:7",
    weights_fingerprint="0123456789abcdef",
    weights_status="untrained",
    network="nasnet_mobile",
    endpoint="global_pool",
    recipe="photo/1",
    recipe_text="as it is",
    size="48x48",
    precision="f32",
    engine="openvino, CPU",
    source="photos",
    version="0.1.0",
    created="2026-01-01T00:00:00+00:00",
)


def write(path: Path, ids: list[str], meta: FeatureMeta = META, dtype: str = "float32") -> Path:
    options = SinkOptions(part_rows=3, vector_dtype="float16" if dtype == "float16" else "float32")
    sink = open_sink(path, meta=meta, dimensions=4, options=options)
    for start in range(0, len(ids), 2):
        some = ids[start : start + 2]
        values = [[float(sum(id.encode())) % 512] * 4 for id in some]
        sink.write(
            Batch(
                ids=some,
                vectors=np.array(values, np.float32),
                widths=np.full(len(some), 8, np.int32),
                heights=np.full(len(some), 6, np.int32),
                errors=["broken" if id.endswith("x") else None for id in some],
            )
        )
    sink.finish()
    return path


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}{'x' if number % 4 == 3 else ''}" for number in range(count)]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".npy"])
@pytest.mark.parametrize("into", [".parquet", ".arrow", ".npy"])
def test_sets_follow_each_other_in_every_format(
    suffix: str, into: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [write(tmp_path / f"{one}{suffix}", names(one, 7)) for one in "ba"]
    done = merge(parts, tmp_path / f"all{into}", progress=True)
    assert "100%" in capsys.readouterr().err
    assert (done.rows, done.failures) == (14, 2)
    whole = nasnet.read_features(tmp_path / f"all{into}")
    apart = [nasnet.read_features(part) for part in parts]
    assert whole.ids == names("b", 7) + names("a", 7)
    assert whole.errors == apart[0].errors + apart[1].errors
    np.testing.assert_array_equal(whole.vectors, np.concatenate([one.vectors for one in apart]))
    assert whole.meta == META
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def shards(folder: Path, count: int) -> list[Path]:
    return [
        write(
            folder / f"s{number}.parquet",
            names(f"{number}-", 3),
            replace(META, source=f"photos, shard {number} of {count}", engine=f"e{number % 2}"),
        )
        for number in range(count)
    ]


def test_shards_are_put_in_order_and_all_must_be_there(tmp_path: Path) -> None:
    parts = shards(tmp_path, 11)
    done = merge(sorted(parts, key=str), tmp_path / "all.parquet")  # s10 comes before s2
    assert done.parts == tuple(map(str, parts))
    whole = nasnet.read_features(tmp_path / "all.parquet")
    assert whole.ids == [id for number in range(11) for id in names(f"{number}-", 3)]
    assert (whole.meta.source, whole.meta.engine) == ("photos", "e0; e1")
    with pytest.raises(OutputError, match=r"photos, shard 3 of 11 is missing \(1 of 11 are\)"):
        merge([*parts[:3], *parts[4:]], tmp_path / "less.parquet")
    with pytest.raises(OutputError, match="are both of photos, shard 0 of 11"):
        merge([*parts, write(tmp_path / "again.npy", ["n"], read_meta(parts[0]))], "more.parquet")
    assert not (tmp_path / "less.parquet").exists()


@pytest.mark.parametrize("at_once", [1 << 24, 5])
def test_an_id_that_comes_twice_is_refused(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasnet.features.store.merge._HASHES", at_once)
    one, two = write(tmp_path / "1.npy", names("a", 9)), write(tmp_path / "2.npy", ["b", "a5"])
    with pytest.raises(OutputError, match=r"'a5' is in .*1\.npy and in .*2\.npy"):
        merge([one, two], tmp_path / "all.parquet")
    done = merge([one, two], tmp_path / "all.npy", keep_duplicates=True)
    assert done.rows == 11
    twice = write(tmp_path / "3.npy", ["b", "c", "b"])
    with pytest.raises(OutputError, match=r"'b' is twice in .*3\.npy"):
        merge([twice], tmp_path / "all.parquet")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weights_fingerprint": "f" * 16}, "weights fingerprint is 0123456789abcdef in one"),
        ({"recipe": "tf2-hub/1"}, "recipe is photo/1 in one"),
        ({"precision": "bf16"}, "precision is f32 in one and bf16"),
        ({"padding": "keras"}, "padding is slim in one"),
        ({"size": "224x224"}, "size is 48x48 in one"),
    ],
)
def test_sets_that_do_not_belong_together_are_refused(
    change: dict[str, str], text: str, tmp_path: Path
) -> None:
    one = write(tmp_path / "1.parquet", ["a"])
    two = write(tmp_path / "2.parquet", ["b"], replace(META, **change))
    with pytest.raises(OutputError, match=text):
        merge([one, two], tmp_path / "all.parquet")


def test_what_cannot_be_joined_is_named(tmp_path: Path) -> None:
    one = write(tmp_path / "1.parquet", ["a"])
    half = write(tmp_path / "2.parquet", ["b"], dtype="float16")
    output = tmp_path / "all.parquet"
    with pytest.raises(OutputError, match="same --vector-dtype"):
        merge([one, half], output)
    with pytest.raises(OutputError, match=r"nowhere\.npy is not there"):
        merge([one, tmp_path / "nowhere.npy"], output)
    (tmp_path / "3.npy.parts").mkdir()
    with pytest.raises(OutputError, match=r"3\.npy is not finished"):
        merge([tmp_path / "3.npy"], output)
    with pytest.raises(OutputError, match="neither a feature set"):
        merge([tmp_path], output)
    with pytest.raises(OutputError, match="the ending of the name says the format"):
        merge([one], tmp_path / "all.csv")
    with pytest.raises(OutputError, match="nothing to merge"):
        merge([], output)
    with pytest.raises(OutputError, match=r"1\.parquet is there already"):
        merge([one], one)
    with pytest.raises(OutputError, match="no folder"):
        merge([one], tmp_path / "none" / "x.npy")
    assert sorted(nasnet.read_features(one).ids) == ["a"]
    assert merge([one], one, overwrite=True).rows == 1
    assert merge([half], output).rows == 1
    assert pyarrow.parquet.read_schema(output).field("vector").type.value_type == "halffloat"


def test_shards_of_real_runs_joined_by_the_command_are_the_whole_run(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(11):
        (photos / f"{number:02d}.jpg").write_bytes(b"broken" if number == 4 else jpeg(seed=number))
    engine = EngineOptions(threads=1, batch_size=2)
    for index in range(3):
        options = EmbedOptions(size=(48, 48), engine=engine, source=SourceOptions(shard=(index, 3)))
        output = tmp_path / f"{index}.parquet"
        nasnet.embed_to_file(photos, output, weights="seeded:7", options=options)
    whole = tmp_path / "whole.parquet"
    options = EmbedOptions(size=(48, 48), engine=engine)
    nasnet.embed_to_file(photos, whole, weights="seeded:7", options=options)
    parts = [str(tmp_path / f"{index}.parquet") for index in (2, 0, 1)]
    done = invoke("merge", *parts, "-o", str(tmp_path / "all.parquet"))
    assert done.exit_code == 0, done.output
    assert "11 rows of 3 parts, 1 failed" in done.stderr
    one, other = nasnet.read_features(whole), nasnet.read_features(tmp_path / "all.parquet")
    assert (one.ids, one.errors) == (other.ids, other.errors)
    np.testing.assert_array_equal(one.vectors, other.vectors)
    assert one.meta.source == other.meta.source
