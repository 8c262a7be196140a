from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from nasnet.weights.formats import protobuf
from nasnet.weights.formats.protobuf import MalformedError, Message


def view(*parts: bytes) -> memoryview:
    return memoryview(b"".join(parts))


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3), st.binary(max_size=3))
@settings(deadline=None)
def test_varints_survive_a_round_trip(value: int, before: bytes, after: bytes) -> None:
    encoded = protobuf.encode_varint(value)
    assert len(encoded) <= 10
    end = len(before) + len(encoded)
    assert protobuf.read_varint(view(before, encoded, after), len(before)) == (value, end)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "within a number"),
        (b"\x80\x80", "within a number"),
        (b"\xff" * 9 + b"\x02", "more than 64 bits"),
        (b"\x80" * 10 + b"\x01", "more than 64 bits"),
    ],
)
def test_impossible_varints_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(MalformedError, match=words):
        protobuf.read_varint(view(data), 0)


@given(st.integers(-(2**63), 2**63 - 1))
@settings(deadline=None)
def test_signed_numbers_survive_a_round_trip(value: int) -> None:
    assert Message(view(protobuf.encode_integer(3, value))).signed(3) == value


def test_fields_come_in_stored_order_with_their_values() -> None:
    data = view(
        protobuf.encode_integer(1, 300),
        protobuf.encode_bytes(2, b"abc"),
        protobuf.encode_fixed32(6, 0xDEADBEEF),
        b"\x39" + bytes(range(8)),  # field 7, fixed64
        protobuf.encode_bytes(2, b""),
    )
    assert list(protobuf.fields(data)) == [
        (1, 300),
        (2, b"abc"),
        (6, 0xDEADBEEF),
        (7, 0x0706050403020100),
        (2, b""),
    ]
    message = Message(data)
    assert message.integer(1) == 300
    assert message.pieces(2) == [b"abc", b""]
    assert len(message.bytes(2)) == 0, "the last occurrence of a singular field counts"
    assert message.integer(99) == 0
    assert len(message.bytes(99)) == 0


def test_default_values_are_left_out_but_empty_messages_are_not() -> None:
    assert protobuf.encode_integer(1, 0) == b""
    assert protobuf.encode_fixed32(1, 0) == b""
    assert protobuf.encode_bytes(2, b"") == b"\x12\x00"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x00\x01", "number 0"),
        (b"\x0b", "wire type 3"),
        (b"\x0f", "wire type 7"),
        (b"\x12\x05abcd", "claims 5 bytes where 4"),
        (b"\x12\xff\xff\xff\xff\x0f", "claims 4294967295 bytes"),
        (b"\x35\x00\x00\x00", "claims 4 bytes where 3"),
        (b"\x08", "within a number"),
    ],
)
def test_impossible_fields_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(MalformedError, match=words):
        Message(view(data))


def test_a_field_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(MalformedError, match="bytes where a number"):
        Message(view(protobuf.encode_bytes(1, b"x"))).integer(1)
    with pytest.raises(MalformedError, match="a number where bytes"):
        Message(view(protobuf.encode_integer(1, 5))).bytes(1)


def test_text_must_be_utf8() -> None:
    assert protobuf.decoded(view("Größe".encode())) == "Größe"
    with pytest.raises(MalformedError, match="UTF-8"):
        protobuf.decoded(view(b"\xff\xfe"))


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (b"", ()),
        (b"\x12\x02\x08\x05", (5,)),
        (b"\x12\x00\x12\x02\x08\x05", (0, 5)),
        (b"\x12\x0b\x08" + b"\xff" * 9 + b"\x01" + b"\x12\x02\x08\x03", (None, 3)),
        (b"\x18\x01", None),
    ],
)
def test_shapes(data: bytes, shape: tuple[int | None, ...] | None) -> None:
    assert protobuf.shape_of(Message(view(data))) == shape


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(MalformedError, match="negative"):
        protobuf.shape_of(Message(view(protobuf.encode_bytes(2, protobuf.encode_integer(1, -2)))))


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        Message(view(data))
        protobuf.shape_of(Message(view(data)))
    except MalformedError:
        pass


def test_a_mapped_file_is_its_bytes_and_read_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert len(protobuf.map_file(path)) == 0
    path.write_bytes(b"abc")
    mapped = protobuf.map_file(path)
    assert bytes(mapped) == b"abc"
    assert mapped.readonly
    with pytest.raises(OSError, match="missing"):
        protobuf.map_file(tmp_path / "missing")
