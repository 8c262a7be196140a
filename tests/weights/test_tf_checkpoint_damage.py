from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nasnet.errors import WeightsError
from nasnet.weights.formats import protobuf, tf_checkpoint
from nasnet.weights.formats.tf_checkpoint.sstable import crc32c, mask
from tests.support.checkpoint_files import (
    DATA,
    HEADER,
    INDEX,
    assert_same,
    copy_small,
    entry,
    file,
    read_everything,
    write_index,
)
from tests.support.golden_seed import small_tensors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_small(tmp_path)
    return tmp_path


@pytest.mark.parametrize("end", [INDEX, DATA])
def test_truncation_anywhere_is_detected(folder: Path, end: str) -> None:
    content = file(folder / "m", end).read_bytes()
    for length in range(0, len(content), 5 if end == INDEX else 11):
        file(folder / "m", end).write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"/m"):
            read_everything(folder / "m")


@pytest.mark.parametrize("end", [INDEX, DATA])
def test_a_flipped_bit_anywhere_is_detected_or_harmless(folder: Path, end: str) -> None:
    content = file(folder / "m", end).read_bytes()
    detected = 0
    positions = range(0, len(content), 1 if end == INDEX else 4)
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        file(folder / "m", end).write_bytes(damaged)
        try:
            assert_same(read_everything(folder / "m"), small_tensors())
        except WeightsError:
            detected += 1
    # Only the padding of the footer and the empty metaindex mean nothing.
    assert detected >= len(positions) - (60 if end == INDEX else 0)


def test_a_damaged_tensor_is_named_and_the_others_stay_readable(folder: Path) -> None:
    checkpoint = tf_checkpoint.open_checkpoint(folder)
    damaged = bytearray(file(folder / "m", DATA).read_bytes())
    damaged[checkpoint.entries["scalar"].offset] ^= 0x40
    file(folder / "m", DATA).write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"/m: tensor scalar: .* checksum"):
        tf_checkpoint.read_tensor(checkpoint, "scalar")
    assert tf_checkpoint.read_tensor(checkpoint, "scalar", verify=False).shape == ()
    assert tf_checkpoint.read_tensor(checkpoint, "numbers/int8").shape == (3, 4)


def test_a_missing_data_file_is_named(folder: Path) -> None:
    file(folder / "m", DATA).unlink()
    with pytest.raises(WeightsError, match=r"scalar: .*m\.data-00000-of-00001 is missing"):
        tf_checkpoint.read_tensor(tf_checkpoint.open_checkpoint(folder), "scalar")


def test_an_unknown_tensor_gets_a_suggestion(folder: Path) -> None:
    with pytest.raises(WeightsError, match="no tensor scaler among its 19; did you mean scalar"):
        tf_checkpoint.read_tensor(tf_checkpoint.open_checkpoint(folder), "scaler")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "no checkpoint header"),
        (b"\x08\x01\x10\x01", "big-endian"),
        (b"\x08\x01\x1a\x04\x08\x02\x10\x02", "newer reader"),
        (b"\x08\x00", "claims 0 data files"),
        (b"\x08\xff", "number"),
    ],
)
def test_a_header_that_cannot_be_served_is_refused(
    tmp_path: Path, header: bytes | None, words: str
) -> None:
    prefix = write_index(tmp_path, (b"v", entry()), header=header)
    with pytest.raises(WeightsError, match=rf"m\.index: .*{words}"):
        tf_checkpoint.open_checkpoint(prefix)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (entry(size=8), r"float32 of shape \[\] takes 4 bytes, but it has 8"),
        (entry(shape=(1 << 25, 1 << 30), size=4), "takes 144115188075855872 bytes"),
        (entry(shape=(0, 1 << 62), size=0), "absurd"),
        (entry(shape=(1 << 40, 1 << 40), size=4), "absurd"),
        (entry(shape=(1,) * 33), "33 axes"),
        (entry(shape=(-1,)), "left open"),
        (entry(shape=(-5,)), "negative"),
        (entry(offset=-4), "bytes at -4"),
        (entry(dtype=7, size=-1), "-1 bytes"),
        (entry(shard=1), "data file 1 of 1"),
        (entry(shard=-1), "data file -1 of 1"),
        (b"\x12\x02\x18\x01", "left open"),
        (b"\x0a\x00", "bytes where a number"),
        (b"\x08", "within a number"),
    ],
)
def test_an_impossible_entry_is_refused_by_name(tmp_path: Path, value: bytes, words: str) -> None:
    prefix = write_index(tmp_path, (b"bad/v", value))
    with pytest.raises(WeightsError, match=rf"m\.index: tensor bad/v: .*{words}"):
        tf_checkpoint.open_checkpoint(prefix)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (entry(dtype=20, size=8), "its type, resource, has no NumPy array"),
        (entry(dtype=24, size=8), "its type, type 24, has no NumPy array"),
        (entry(offset=1 << 62), "reach beyond the 8 bytes"),
        (entry(dtype=7, shape=(1 << 50,), size=8), "strings cannot lie in 8 bytes"),
        (entry(dtype=7, shape=(1,), size=8), "its strings take"),
        (entry(dtype=7, shape=(1,), size=1), "its strings take|within a number"),
    ],
)
def test_a_tensor_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, value: bytes, words: str
) -> None:
    prefix = write_index(tmp_path, (b"v", value))
    file(prefix, DATA).write_bytes(bytes(8))
    checkpoint = tf_checkpoint.open_checkpoint(prefix)
    with pytest.raises(WeightsError, match=f"tensor v: .*{words}"):
        tf_checkpoint.read_tensor(checkpoint, "v")


def test_overlapping_tensors_are_refused(tmp_path: Path) -> None:
    prefix = write_index(tmp_path, (b"v", entry(size=4)), (b"w", entry(size=4, offset=3)))
    with pytest.raises(WeightsError, match="v and w overlap"):
        tf_checkpoint.open_checkpoint(prefix)


def extent(start: int, length: int) -> bytes:
    return protobuf.encode_bytes(
        1, protobuf.encode_integer(1, start) + protobuf.encode_integer(2, length)
    )


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        ([(0, 2)], "do not add up"),
        ([(0, 2), (0, 2)], "do not add up"),
        ([(0, 3), (2, 1)], "overlap"),
        ([(0, 2), (2, 3)], "reaches beyond"),
        ([(-1, 5)], "reaches beyond"),
        ([(0, 1), (1, 3)], r"slice \[\(1, 3\)\] is missing"),
        ([(0, 2), (2, 2)], r"slice \[\(0, 2\)\] is float32 of shape \[1\]"),
    ],
)
def test_slices_that_do_not_make_a_whole_are_refused(
    tmp_path: Path, slices: list[tuple[int, int]], words: str
) -> None:
    whole = entry(shape=(4,), size=0) + b"".join(
        protobuf.encode_bytes(7, extent(*place)) for place in slices
    )
    crc = mask(crc32c(memoryview(bytes(12))))
    short = mask(crc32c(memoryview(bytes(4))))
    prefix = write_index(
        tmp_path,
        (b"\0v\0\1\1\1\x80\x81", entry(shape=(1,), crc=short)),
        (b"\0v\0\1\1\1\x80\x82", entry(shape=(1,), offset=4, crc=short)),
        (b"\0v\0\1\1\1\x80\x83", entry(shape=(3,), offset=8, size=12, crc=crc)),
        (b"\0v\0\1\1\1\x82\x81", entry(shape=(1,), offset=20, crc=short)),
        (b"v", whole),
    )
    file(prefix, DATA).write_bytes(bytes(24))
    checkpoint = tf_checkpoint.open_checkpoint(prefix)
    with pytest.raises(WeightsError, match=f"tensor v: .*{words}"):
        tf_checkpoint.read_tensor(checkpoint, "v")


def test_a_compressed_block_is_refused_by_name(tmp_path: Path) -> None:
    prefix = write_index(tmp_path, (b"v", entry()))
    content = bytearray(file(prefix, INDEX).read_bytes())
    size = content.index(b"\0\0\0\0\1\0\0\0") + 8  # the first block ends with its restart table
    content[size] = 1
    crc = mask(crc32c(memoryview(bytes(content[: size + 1]))))
    content[size + 1 : size + 5] = crc.to_bytes(4, "little")
    file(prefix, INDEX).write_bytes(content)
    with pytest.raises(WeightsError, match=r"m\.index: .*compressed with Snappy"):
        tf_checkpoint.open_checkpoint(prefix)


def test_data_files_are_numbered(tmp_path: Path) -> None:
    values = [np.arange(2, dtype=np.float32) + n for n in range(2)]
    crcs = [mask(crc32c(memoryview(value.tobytes()))) for value in values]
    prefix = write_index(
        tmp_path,
        *((b"v%d" % n, entry(shape=(2,), size=8, shard=n, crc=crcs[n])) for n in range(2)),
        header=b"\x08\x02",
    )
    for number, value in enumerate(values):
        file(prefix, f".data-0000{number}-of-00002").write_bytes(value.tobytes())
    assert_same(read_everything(prefix), {f"v{n}": values[n] for n in range(2)})


ENTRIES = st.binary(max_size=40) | st.builds(
    lambda dtype, shape, offset, size, tail: (
        entry(dtype=dtype, shape=tuple(shape), offset=offset, size=size) + tail
    ),
    st.integers(0, 25),
    st.lists(st.integers(-2, 4) | st.integers(), max_size=4),
    st.integers(-1, 40),
    st.integers(-1, 40),
    st.just(b"") | st.binary(max_size=6),
)


@given(
    st.dictionaries(st.binary(min_size=1, max_size=8), ENTRIES, max_size=4),
    st.just(HEADER) | st.binary(max_size=8),
    st.binary(max_size=40),
    st.booleans(),
)
@settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_but_a_weights_error_comes_of_hostile_content(
    tmp_path: Path, entries: dict[bytes, bytes], header: bytes, data: bytes, verify: bool
) -> None:
    prefix = write_index(tmp_path, *sorted(entries.items()), header=header)
    file(prefix, DATA).write_bytes(data)
    try:
        checkpoint = tf_checkpoint.open_checkpoint(prefix)
    except WeightsError:
        return
    for name in checkpoint.entries:
        try:
            tf_checkpoint.read_tensor(checkpoint, name, verify=verify)
        except WeightsError:
            continue


@given(st.binary(max_size=120))
@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_but_a_weights_error_comes_of_hostile_blocks(tmp_path: Path, block: bytes) -> None:
    def stored(contents: bytes) -> bytes:
        checked = contents + b"\0"
        return checked + mask(crc32c(memoryview(checked))).to_bytes(4, "little")

    first = stored(block)
    index = stored(b"\0\1\2a\0" + protobuf.encode_varint(len(block)) + b"\0\0\0\0\1\0\0\0")
    handles = b"\0\0" + protobuf.encode_varint(len(first)) + protobuf.encode_varint(len(index) - 5)
    footer = handles.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")
    file(tmp_path / "m", INDEX).write_bytes(first + index + footer)
    with pytest.raises(WeightsError):
        tf_checkpoint.open_checkpoint(tmp_path / "m")
