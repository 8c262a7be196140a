"""Files made to hang, crash or fill a memory: small ones that claim much, and odd corners."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nasnet.errors import WeightsError
from nasnet.weights import layouts
from nasnet.weights.formats import protobuf
from nasnet.weights.opening import open_path
from nasnet.weights.weights import seeded
from tests.support.weight_files import node


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


# -- pickles: what three bytes can ask for again and again

STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n("


def pth(pickle: bytes) -> bytes:
    return zipped({"x/data.pkl": b"\x80\x02" + pickle})


def doubled(times: int) -> bytes:
    """A tuple of twice the one before: 2**times of them for whoever walks through it."""
    return b")q\0" + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(times))


def copied(call: bytes, thing: bytes, times: int) -> bytes:
    return call + b"q\1" + thing + b"q\0(" + b"h\1h\0\x85R" * times + b"l."


def items(count: int) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(count)) + b"u"


PICKLES: dict[str, tuple[bytes, str]] = {
    "a key that takes for ever to hash": (b"}" + doubled(60) + b"Ns.", "a key of a dict in it"),
    "a key that is too deep to hash": (b"})" + b"\x85" * 500_000 + b"Ns.", "a key of a dict in it"),
    "such a key in an OrderedDict": (
        b"ccollections\nOrderedDict\n]" + doubled(60) + b"N\x86a\x85R.",
        "a key of a dict in it",
    ),
    "an id that takes for ever to print": (doubled(60) + b"Q.", "something unknown: a tuple"),
    "an id that is too deep to print": (b")" + b"\x85" * 5000 + b"Q.", "unknown: a tuple"),
    "a call of what is nothing": (doubled(60) + b")R.", "it calls a tuple"),
    "a name of what is not a text": (doubled(60) + b"N\x93.", "which is not a name"),
    "a shape of shapes": (REBUILD + STORAGE + b"K\0" + doubled(50) + b")tR.", "strides"),
    "a shape of vast numbers": (
        REBUILD + STORAGE + b"K\0(" + (b"\x8b" + struct.pack("<i", 9999) + b"\x7f" * 9999) * 2
        + b"tK\1K\1\x86tR.",
        "a shape or strides that are none",
    ),
    "copies of a dict": (copied(b"ccollections\nOrderedDict\n", b"}" + items(9000), 9000), "far m"),
    "copies of a list": (copied(b"ctorch\nSize\n", b"](" + b"N" * 9000 + b"e", 9000), "far more"),
}  # fmt: skip

# -- NumPy's arrays


def npy(header: str, data: bytes = b"abcd") -> bytes:
    return zipped({"a.npy": _npy(header, data)})


def _npy(header: str, data: bytes) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + data


def array_header(descr: str, shape: str = "(1,)") -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}\n"


ONE = _npy(array_header("<f4", "()"), b"abcd")
# -- safetensors


def safetensors(header: str) -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + b"abcd"


def entry(shape: str, dtype: str = "F32", offsets: str = "[0,4]") -> str:
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


def vast_shapes() -> bytes:
    """The names of a network, and shapes whose product no float holds."""
    tensors = layouts.arrays_in(seeded(1, num_classes=0), "cadene")
    return safetensors(
        "{"
        + ",".join(
            f'"{key}":' + entry("[" + ",".join(["9" * 400] * array.ndim) + "]")
            for key, array in tensors.items()
        )
        + "}"
    )


# -- graphs


def const(name: str, shape: tuple[int, ...], *, dtype: int = 1, stored: bytes = b"") -> bytes:
    """A constant; of one value that stands for all of them if nothing else is stored."""
    sides = b"".join(protobuf.encode_bytes(2, protobuf.encode_integer(1, side)) for side in shape)
    tensor = protobuf.encode_integer(1, dtype) + protobuf.encode_bytes(2, sides)
    tensor += stored or protobuf.encode_bytes(5, np.float32(1).tobytes())
    return node(name, "Const", value=protobuf.encode_bytes(8, tensor))


FIRST = const("c", (3, 3, 3, 32)) + node("x", "Conv2D", "images", "c")
KERNEL = (3, 3, 3, 32)


def many_ends() -> bytes:
    """A TFLite model of many steps, which all share one long list of outputs."""
    steps = outputs = 30_000
    data = bytearray(struct.pack("<I4s", 0, b"TFL3"))

    def put(form: str, *numbers: int) -> int:
        data.extend(bytes(-len(data) % 4))
        place = len(data)
        data.extend(struct.pack(f"<{form}", *numbers))
        return place

    def point(place: int, target: int) -> int:
        struct.pack_into("<I", data, place, target - place)
        return target

    def table(*offsets: int) -> int:
        kinds = put("H" * (2 + len(offsets)), 4 + 2 * len(offsets), 24, *offsets)
        start = put("6I", *[0] * 6)
        struct.pack_into("<i", data, start, start - kinds)
        return start

    def count(number: int) -> int:
        return put(f"{1 + number}I", number, *[0] * number)

    model = point(0, table(0, 4, 8, 0, 12))
    point(point(model + 4, count(1)) + 4, table())  # one kind of step
    graph = point(point(model + 8, count(1)) + 4, table(0, 0, 0, 4))
    listed = point(graph + 4, count(steps))
    step = table(0, 0, 4)
    for number in range(steps):
        point(listed + 4 + 4 * number, step)
    point(step + 4, count(outputs))
    point(model + 12, count(0))
    return bytes(data) + bytes(16)


def tfjs(weight: str, topology: str = "{}") -> bytes:
    manifest = f'[{{"paths":[],"weights":[{weight}]}}]'
    return f'{{"modelTopology":{topology},"weightsManifest":{manifest}}}'.encode()


def tfjs_node(attributes: str) -> bytes:
    return tfjs("", f'{{"node":[{{"name":"a","op":"Relu","attr":{attributes}}}]}}')


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    **{name: (partial(pth, data), said) for name, (data, said) in PICKLES.items()},
    "an array's header without end": (lambda: npy("{'descr': ("), "not a readable array"),
    "an array's header of signs": (lambda: npy("-" * 9000 + "1"), "not a readable array"),
    "an array's text without end": (lambda: npy("'''"), "not a readable array"),
    "a big-endian array": (lambda: npy(array_header(">f4")), "big-endian, which is not supported"),
    "a type of NumPy's that weights never are": (
        lambda: npy(array_header("<c8"), bytes(8)),
        "unknown type 'complex64'",
    ),
    "a number for a list of names": (
        lambda: zipped({"names.npy": ONE, "values.npy": ONE}),
        "is one number, expected a list",
    ),
    "a character that is none": (
        lambda: npy(array_header("<U1"), b"\xff" * 4),
        "is not a list of names",
    ),
    "an archive on many disks": (
        lambda: zipped({"a.npy": bytes(99)})[:-22]
        + struct.pack("<4sIQI", b"PK\6\7", 0, 0, 7) + zipped({})[-22:],
        "a damaged zip archive: zipfiles that span multiple disks",
    ),
    "an archive packed in another way": (
        lambda: zipped({"a.npy": bytes(99)}, zipfile.ZIP_LZMA),
        "packed as no weights are",
    ),
    "a shape without end": (lambda: safetensors(f'{{"a":{entry("[1e999]")}}}'), "safetensors"),
    "a place without end": (
        lambda: safetensors(f'{{"a":{entry("[1]", offsets="[0,1e999]")}}}'),
        "safetensors",
    ),
    "shapes whose product no float holds": (vast_shapes, "has shape [999"),
    "thousands of networks": (
        lambda: safetensors(
            json.dumps({f"s{i}.conv0.conv.weight": json.loads(entry("[1]")) for i in range(5000)})
        ),
        "names of another network",
    ),
    "our names in another type": (
        lambda: safetensors(f'{{"conv0/weights":{entry("[2]", "BF16")}}}'),
        "conv0/weights is BF16, expected float32",
    ),
    "labels without end": (
        lambda: safetensors(
            f'{{"__metadata__":{{"labels":"{"[" * 99_999}"}},"conv0/weights":{entry("[1]")}}}'
        ),
        "",
    ),
    "a TF.js shape of many sides": (
        lambda: tfjs(
            '{"name":"a","dtype":"float32","shape":[' + "9999999999," * 200_000 + "9]}"
        ),
        "which is none",
    ),
    "a TF.js epsilon beyond floats": (
        lambda: tfjs_node('{"epsilon":{"f":1' + "0" * 400 + "}}"),
        "topology is not a graph",
    ),
    "a TF.js window without end": (
        lambda: tfjs_node('{"ksize":{"list":{"i":[1,Infinity]}}}'),
        "topology is not a graph",
    ),
    "an epsilon of 64 bits": (
        lambda: node("a", "FusedBatchNorm", epsilon=protobuf.encode_integer(4, 1 << 60)),
        "damaged TensorFlow graph: a: its epsilon is not a float",
    ),
    "a half of 20 bits": (
        lambda: const("a", (1,), dtype=19, stored=protobuf.encode_integer(13, 1 << 20)),
        "more than 16 bits",
    ),
    "constants that do not fit": (
        lambda: const("c", KERNEL) + const("d", (5,)) + node("k", "Add", "c", "d")
        + node("x", "Conv2D", "images", "k"),
        "do not fit each other",
    ),
    "constants that make a vast one": (
        lambda: const("c", (1 << 17, 1)) + const("d", (1, 1 << 17)) + node("k", "Add", "c", "d")
        + node("x", "Conv2D", "images", "k"),
        "its constants make one of shape [131072, 131072]",
    ),
    "a constant of many sides": (
        lambda: const("c", (1,) * 70) + node("x", "Conv2D", "images", "c"),
        "has 1 values for the shape",
    ),
    "a root of what is negative": (
        lambda: const("c", KERNEL, stored=protobuf.encode_bytes(5, np.float32(-1).tobytes()))
        + node("k", "Rsqrt", "c") + node("x", "Conv2D", "images", "k") + node("m", "Mean", "x"),
        "no NASNet-A",
    ),
    "a scale of other channels": (
        lambda: FIRST + const("s", (7,)) + node("y", "Mul", "x", "s") + node("m", "Mean", "y"),
        "no NASNet-A",
    ),
    "a TFLite model of endless lists": (many_ends, "damaged TFLite model: it has 30000 steps"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_it_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, said = WRONG[name]
    (tmp_path / "wrong").write_bytes(make())
    with pytest.raises(WeightsError) as refused:
        open_path(tmp_path / "wrong")
    line = str(refused.value)
    assert said in line
    assert "\n" not in line
    assert len(line) < 2100


def test_what_a_file_calls_its_tensors_cannot_break_the_line(tmp_path: Path) -> None:
    name = json.dumps("a\n\x1b[31m" + "b" * 100_000)
    (tmp_path / "wrong").write_bytes(safetensors(f"{{{name}:{entry('[9]', offsets='[0,36]')}}}"))
    with pytest.raises(WeightsError, match=r"tensor a\\n\\x1b\[31mbbb.* \.\.\. .*reaches beyond"):
        open_path(tmp_path / "wrong")


def test_a_soft_link_cannot_lead_out_through_another(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        group = file.create_group("layer")
        group.attrs["weight_names"] = np.array([b"kernel:0"])
        group["kernel:0"] = np.ones(3, np.float32)
    with h5py.File(tmp_path / "wrong.h5", "w") as file:
        file["out"] = h5py.ExternalLink("other.h5", "/")
        file["a"] = h5py.SoftLink("/out/layer")
    with pytest.raises(WeightsError, match="a leads into another file: refused"):
        open_path(tmp_path / "wrong.h5")


def test_a_dataset_of_which_nothing_is_stored_is_not_made(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "wrong.h5", "w") as file:
        group = file.create_group("a")
        group.attrs["weight_names"] = np.array([b"kernel:0"])
        group.create_dataset("kernel:0", shape=(1 << 28,), dtype="f4", chunks=(1 << 16,))
    with pytest.raises(WeightsError, match="claim 1,073,741,824 bytes, more than weights do"):
        open_path(tmp_path / "wrong.h5")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="is a pipe or a device: save what comes out of it"):
        open_path(tmp_path / "pipe")
