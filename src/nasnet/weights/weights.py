"""Weights: TF-Slim name -> array, checked against a plan; seeded values; our safetensors files."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, WeightsError
from nasnet.network.build import build_plan, sides_of
from nasnet.network.code import decode, encode, network_name
from nasnet.network.plan import PADDINGS, Borders, Plan
from nasnet.network.rewrites import Program
from nasnet.network.spec import PRESETS, Spec
from nasnet.system import write_whole
from nasnet.text import open_regular, parse_json
from nasnet.weights import ranges
from nasnet.weights.networks import network_of

Array = npt.NDArray[np.float32]
FORMAT = "nasnet/1"  # our safetensors layout: TF-Slim names and shapes, float32 or float16
_CARD = "card."  # before the keys of a model card among the metadata


# Without slots, which would leave no room for what `cached_property` keeps.
@dataclass(frozen=True, kw_only=True)
class Weights:
    """The arrays of one network; they never change, so the fingerprint is computed once.

    Attributes:
        spec: name of the preset they belong to.
        num_classes: classes of the classifier, background included; 0 if there is none.
        arrays: TF-Slim variable name -> float32 array in TF-Slim's layout, read-only.
        source: where they come from, for people: a file, a handle, or `seeded:7`.
        status: `genuine`, `builtin`, `untrained`, `modified` or `unknown`; see `genuine`.
        averaged: whether these are the exponential moving averages of a training run.
        labels: names of the classes, in order, or empty.
        padding: whose border pixels the network computes with; see `network.build.build_plan`.
        min_confidence: the least probability, 0 to 1, at which the classifier's best class is worth
            telling people, as measured on held-out pictures; 0 where nobody has measured it.
        ranges: operation of the network -> the lowest and highest value of each channel of its map
            at pictures, [2, channels]; none where nobody has measured them. See `compute.ranges`.
        image_size: height and width in pixels of the pictures they are for; None for the network's
            own.
    """

    spec: str
    num_classes: int
    arrays: Mapping[str, Array]
    source: str
    status: str = "unknown"
    averaged: bool = False
    labels: tuple[str, ...] = ()
    padding: Borders = "slim"
    min_confidence: float = 0.0
    ranges: Mapping[str, Array] | None = None
    image_size: tuple[int, int] | None = None

    @property
    def network(self) -> str:
        """What people and graphs call the network: `nasnet_mobile`, or `nasnet_` and a name."""
        return network_name(self.spec)

    @property
    def described(self) -> str:
        """What people are told: where they come from and what they are, where that is not one."""
        return self.source if self.source == self.status else f"{self.source} ({self.status})"

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        if self.padding != "slim":
            digest.update(f"padding={self.padding};".encode())
        if self.spec not in PRESETS:
            # The same arrays in other cells give other vectors; the name says nothing of them.
            digest.update(f"network={self.spec.partition(':')[2]};".encode())
        for name in sorted(self.arrays):
            if name.startswith("aux_"):
                continue
            array = np.ascontiguousarray(self.arrays[name], dtype="<f4")
            digest.update(f"{name}{list(array.shape)}".encode())
            digest.update(array.data)
        return digest.hexdigest()[:16]


def plan_of(weights: Weights, height: int | None = None, width: int | None = None) -> Plan:
    """The network of these weights for pictures of a size, the network's own if not given.

    Raises:
        InputError: a size the network cannot take.
    """
    return build_plan(
        decode(weights.spec),
        height=height,
        width=width,
        num_classes=weights.num_classes,
        padding=weights.padding,
    )


def program_of(weights: Weights, height: int, width: int) -> Program:
    """The network of these weights for pictures of a size, with the arrays that it reads.

    Raises:
        InputError: a size the network cannot take.
    """
    plan = plan_of(weights, height, width)
    return Program(plan=plan, arrays={name: weights.arrays[name] for name in plan.parameters})


def fingerprint(weights: Weights) -> str:
    """Identity of the weights: SHA-256 over names, shapes and little-endian bytes, 16 hex digits.

    The auxiliary head does not count: it never reaches a vector. Another padding than TF-Slim's
    does: the same arrays give other vectors. The first call hashes every byte (about 20 MB for
    the mobile network), later calls for the same object only look the result up.
    """
    return weights._fingerprint


def seeded_value(seed: int, name: str, shape: Sequence[int]) -> Array:
    """The array a variable has in weights made from a seed; it depends on nothing else.

    Gammas lie in [0.5, 1.5), variances in [1, 3), betas, means and biases are small normals;
    kernels are normal with standard deviation sqrt(1.5 / fan-in).
    """
    random = np.random.default_rng(zlib.crc32(f"{seed}:{name}".encode()))
    leaf = name.rsplit("/", 1)[-1]
    if leaf == "gamma":
        value = random.uniform(0.5, 1.5, shape)
    elif leaf == "moving_variance":
        value = random.uniform(1, 3, shape)
    elif leaf in ("beta", "moving_mean", "biases"):
        value = random.standard_normal(shape) * 0.1
    else:
        fan = shape[0] * shape[1] if leaf == "depthwise_weights" else math.prod(shape[:-1])
        value = random.standard_normal(shape) * math.sqrt(1.5 / fan)
    return value.astype(np.float32)


def seeded(
    seed: int,
    *,
    spec: str | Spec = "mobile",
    num_classes: int | None = None,
    aux_head: bool = False,
    value: Callable[[int, str, Sequence[int]], Array] = seeded_value,
) -> Weights:
    """Untrained weights that anyone can rebuild, for tests and dry runs.

    The network is a preset's name, a code, a file or a row; `value` makes each of its arrays, by
    the seed, the name and the shape.
    """
    row = network_of(spec)
    classes = row.num_classes if num_classes is None else num_classes
    plan = build_plan(row, num_classes=classes, aux_head=aux_head)
    arrays = {name: value(seed, name, shape) for name, shape in plan.parameters.items()}
    return Weights(
        spec=encode(row),
        num_classes=classes,
        arrays=frozen(arrays),
        source=f"seeded:{seed}",
        status="untrained",
    )


def parse_seeded(text: str) -> int | None:
    """The seed of `seeded:N`, or None if the text is something else.

    Raises:
        InputError: it starts with `seeded:` but no integer follows.
    """
    if not text.startswith("seeded:"):
        return None
    try:
        return int(text.removeprefix("seeded:"))
    except ValueError:
        raise InputError(f"{text!r}: an integer must follow, such as seeded:7") from None


def check(
    shapes: Mapping[str, tuple[int, ...]],
    *,
    file: str,
    partial: bool = False,
    spec: str | None = None,
) -> tuple[str, int]:
    """Tell which network tensors belong to, and prove that they fit it.

    Args:
        shapes: TF-Slim name -> shape; names that are not the network's are left alone.
        file: how to call the file in messages.
        partial: let tensors be missing.
        spec: the code of a network of one's own, or the preset to take where the shapes are too
            few to tell.

    Returns:
        The preset's name or the code, and the number of classes (0 without a classifier).

    Raises:
        WeightsError: a tensor is missing or has another shape; the text names the tensor, both
            shapes and the file.
    """
    own = spec if spec is not None and spec not in PRESETS else None
    name = own or _recognise(shapes) or spec
    if name is None:
        known = min(shapes, default=None)
        found = f"the first of its {len(shapes)} tensors is {known!r}" if known else "it is empty"
        raise WeightsError(
            f"{file}: no NASNet-A weights under TF-Slim names (conv0/weights, ...); {found}"
        )
    head = shapes.get("final_layer/FC/weights")
    if head is not None and len(head) != 2:
        raise WeightsError(
            f"{file}: tensor final_layer/FC/weights has shape {list(head)}, "
            "expected [features, classes]"
        )
    classes = int(head[1]) if head is not None else 0
    plan = build_plan(decode(name), num_classes=classes)
    missing = [key for key in plan.parameters if key not in shapes]
    if missing and not partial:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WeightsError(
            f"{file}: tensor {missing[0]}{more} of {network_name(name)} is missing: the file is "
            "incomplete or belongs to another network"
        )
    for key, shape in plan.parameters.items():
        if tuple(shapes.get(key, shape)) != shape:
            raise WeightsError(
                f"{file}: tensor {key} has shape {list(shapes[key])}, "
                f"{network_name(name)} needs {list(shape)}"
            )
    return name, classes


def _recognise(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The preset whose stem, filters and last cell these tensors have."""
    best, score = None, 0
    for spec in PRESETS.values():
        stem = "conv0/weights" if spec.stem == "imagenet" else "l1_stem_3x3/weights"
        first, last = "cell_0/1x1/weights", f"cell_{spec.num_cells - 1}/1x1/weights"
        points = sum(name in shapes for name in (stem, first, last))
        points += shapes.get(first, ())[-1:] == (spec.num_conv_filters,)
        points += shapes.get(stem, ())[-1:] == (spec.stem_filters,)
        if points > score:
            best, score = spec.name, points
    return best if score > 1 else None


def write_safetensors(
    weights: Weights,
    path: str | os.PathLike[str],
    *,
    half: bool = False,
    card: Mapping[str, str] | None = None,
) -> None:
    """Write our own format: safetensors with TF-Slim names; spec, labels and origin as metadata.

    The file appears complete or not at all. With `half`, kernels are float16, half the size and
    three digits; averages, offsets and scales, which are few and may be large or small, stay
    float32. The card is what people should know of the weights (data, licence, figures), kept as
    metadata.

    Raises:
        OutputError: it cannot be written.
    """
    from safetensors.numpy import save

    metadata = {
        "format": FORMAT,
        "spec": weights.spec,
        "num_classes": str(weights.num_classes),
        "source": weights.source,
        "status": weights.status,
        "averaged": str(weights.averaged).lower(),
        "padding": weights.padding,
        "min_confidence": str(weights.min_confidence),
        "labels": json.dumps(list(weights.labels), ensure_ascii=False),
    }
    if weights.image_size is not None:
        metadata["image_size"] = "x".join(map(str, weights.image_size))
    metadata |= {f"{_CARD}{key}": value for key, value in (card or {}).items()}
    ranged, maps = ranges.packed(weights.ranges)
    arrays = {
        name: np.ascontiguousarray(array, np.float16 if half and array.ndim > 1 else np.float32)
        for name, array in weights.arrays.items()
    }
    data = save({**arrays, **ranged}, metadata=metadata | maps)
    write_whole(Path(path), data)


def read_safetensors(path: str | os.PathLike[str], *, partial: bool = False) -> Weights:
    """Read our own format; `partial` lets tensors be missing, for looking only.

    Raises:
        WeightsError: the file is damaged, is no safetensors, or does not fit the network.
    """
    file = str(path)
    with _container(path) as handle:
        metadata = handle.metadata() or {}
        names = list(handle.keys())
        for name in names:
            kind = handle.get_slice(name).get_dtype()
            if kind not in ("F32", "F16"):
                raise WeightsError(f"{file}: tensor {name} is {kind}, expected float32")
        arrays = {name: handle.get_tensor(name) for name in names}
    found = ranges.unpacked(arrays.pop(ranges.TENSOR, None), metadata, file)
    shapes = {name: array.shape for name, array in arrays.items()}
    said = metadata.get("spec")
    try:
        said = said and encode(decode(said))
    except InputError as error:
        raise WeightsError(f"{file}: its network is not known here: {error}") from None
    spec, classes = check(shapes, file=file, partial=partial, spec=said)
    if said not in (None, spec):
        raise WeightsError(
            f"{file}: says it is {network_name(said)}, but its shapes are {network_name(spec)}'s"
        )
    padding = metadata.get("padding", "slim")
    if padding not in PADDINGS:
        raise WeightsError(f"{file}: its padding {padding!r} is none of {', '.join(PADDINGS)}")
    said = metadata.get("min_confidence", "0")
    if not re.fullmatch(r"0(\.\d+)?|1(\.0)?", said):
        raise WeightsError(f"{file}: its min_confidence {said!r} is not a number from 0 to 1")
    size = metadata.get("image_size")
    try:
        sides = None if size is None else sides_of(size)
    except InputError as error:
        raise WeightsError(f"{file}: its image_size {size!r}: {error}") from None
    where = f"{file}: the labels in its metadata"
    labels = parse_json(metadata.get("labels", "[]"), where, WeightsError)
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise WeightsError(f"{where} are not a list of texts")
    if labels and len(labels) != classes:
        raise WeightsError(f"{file}: {len(labels)} labels for {classes} classes")
    return Weights(
        spec=spec,
        num_classes=classes,
        arrays=frozen({name: array.astype(np.float32) for name, array in arrays.items()}),
        source=metadata.get("source", file),
        status=metadata.get("status", "unknown"),
        averaged=metadata.get("averaged") == "true",
        labels=tuple(labels),
        padding=padding,
        min_confidence=float(said),
        ranges=found,
        image_size=sides,
    )


def read_card(path: str | os.PathLike[str]) -> dict[str, str]:
    """The model card in a file of our own format; empty if there is none.

    Raises:
        WeightsError: the file is damaged, or is no safetensors.
    """
    with _container(path) as handle:
        metadata = handle.metadata() or {}
    return {
        key.removeprefix(_CARD): text for key, text in metadata.items() if key.startswith(_CARD)
    }


@contextmanager
def _container(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A safetensors file; what is wrong with it is said in our words."""
    from safetensors import SafetensorError, safe_open

    try:
        open_regular(Path(path)).close()
        with safe_open(str(path), framework="numpy") as handle:
            yield handle
    except WeightsError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file: {error}") from None


def frozen(arrays: dict[str, Array]) -> Mapping[str, Array]:
    """The same arrays, marked read-only: engines and modules share them."""
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
