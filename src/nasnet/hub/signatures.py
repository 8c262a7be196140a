"""The signatures of the modules as tables, what they take and give, and how a call is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, check_range
from nasnet.network.build import build_plan
from nasnet.network.code import decode
from nasnet.weights.module_folder import Task

IMAGE_MODULE_INFO = "image_module_info"  # the key under which hub modules attach the message

# Signature -> (the endpoint behind its "default" output, gives the other endpoints as well, takes
# batch_norm_momentum). Every module answers to "default" too: its task's main signature, with its
# one output only. Published at tfhub.dev as "common signatures for images".
_VARIANTS: Mapping[str, tuple[str, bool, bool]] = {
    "image_feature_vector": ("global_pool", True, False),
    "image_feature_vector_with_bn_hparams": ("global_pool", True, True),
    "image_classification": ("Logits", True, False),
    "image_classification_with_bn_hparams": ("Logits", True, True),
}
_MAIN: Mapping[Task, str] = {"feature_vector": "global_pool", "classification": "Logits"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """What a signature's input or output is (`ParsedTensorInfo` of tensorflow_hub).

    Attributes:
        dtype: its NumPy dtype.
        shape: its dimensions, None where any size will do.
    """

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    is_sparse: bool = field(default=False, init=False)
    is_composite: bool = field(default=False, init=False)
    is_supported_type: bool = field(default=True, init=False)

    def get_shape(self) -> tuple[int | None, ...]:
        """The dimensions, None where any size will do."""
        return self.shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One way to call a module.

    Attributes:
        inputs: key -> what is taken.
        outputs: key -> what is given; the result of a plain call is `default`.
        endpoints: output key -> TF-Slim endpoint.
    """

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    endpoints: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a module.

    Attributes:
        name: its TF-Slim name.
        value: float32, read-only.
        trainable: False for batch norm's moving averages and for modules not made trainable.
    """

    name: str
    value: npt.NDArray[np.float32]
    trainable: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        return self.value.shape

    def numpy(self) -> npt.NDArray[np.float32]:
        """Its value."""
        return self.value

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Any:  # noqa: ANN401
        """Its value, for NumPy."""
        return np.array(self.value, dtype=dtype, copy=copy)


@dataclass(slots=True)
class ImageSize:
    """Height and width in pixels; 0 means unknown."""

    height: int = 0
    width: int = 0


@dataclass(slots=True)
class ImageModuleInfo:
    """The message image modules carry (`tensorflow_hub.ImageModuleInfo`, a protocol buffer)."""

    default_image_size: ImageSize = field(default_factory=ImageSize)


def build_signatures(
    spec: str, task: Task, *, num_classes: int, height: int, width: int
) -> dict[str, Signature]:
    """The signatures of a module.

    `task` says what the signature `default` gives: pooled features or logits. The network's name
    prefixes the keys of inner endpoints (`nasnet_mobile/Cell_3`); without classes there is no
    classification signature.

    Raises:
        InputError: classification without a classifier.
    """
    plan = build_plan(decode(spec), height=height, width=width, num_classes=num_classes)
    if task == "classification" and not num_classes:
        raise InputError("these weights have no classifier (final_layer/FC): use feature_vector")
    images = TensorInfo(dtype=np.dtype(np.float32), shape=(None, height, width, 3))
    momentum = TensorInfo(dtype=np.dtype(np.float32), shape=())

    def signature(main: str, inner: bool, hparams: bool) -> Signature:
        endpoints = {"default": main}
        if inner:
            endpoints |= {f"nasnet_{plan.spec.name}/{name}": name for name in plan.endpoints}
        outputs = {
            key: TensorInfo(dtype=np.dtype(np.float32), shape=(None, *plan.endpoint(name).shape))
            for key, name in endpoints.items()
        }
        inputs = {"images": images}
        if hparams:
            inputs["batch_norm_momentum"] = momentum
        return Signature(inputs=inputs, outputs=outputs, endpoints=endpoints)

    table = {"default": signature(_MAIN[task], False, False)}
    for name, (main, inner, hparams) in _VARIANTS.items():
        if main in plan.endpoints and (task == "classification" or main == "global_pool"):
            table[name] = signature(main, inner, hparams)
    return table


def bind(name: str, signature: Signature, inputs: Any) -> dict[str, Any]:  # noqa: ANN401
    """Match what a caller passed, a dict or an only input's bare array, with a signature's inputs.

    Raises:
        InputError: a dict is needed, keys are missing or too many; a `TypeError`, as in the
            original (`_convert_dict_inputs` of tensorflow_hub).
    """
    expected = sorted(signature.inputs)
    if not isinstance(inputs, Mapping):
        if len(expected) > 1:
            raise InputError(
                f"signature {name!r} has several inputs: pass a dict with the keys "
                f"{', '.join(expected)}"
            )
        if inputs is None:
            raise InputError(f"signature {name!r} needs its input {expected[0]!r}")
        return {expected[0]: inputs}
    missing = [key for key in expected if key not in inputs]
    extra = sorted(str(key) for key in inputs if key not in signature.inputs)
    if missing or extra:
        raise InputError(
            f"signature {name!r} takes {', '.join(expected)}: "
            f"missing {missing or 'none'}, not known {extra or 'none'}"
        )
    return dict(inputs)


def check_momentum(value: Any) -> float:  # noqa: ANN401
    """The value of `batch_norm_momentum` as a number.

    Raises:
        InputError: it is no scalar, or outside [0, 1].
    """
    value = value.detach() if hasattr(value, "detach") else value  # a tensor in a graph
    try:
        array: npt.NDArray[np.float32] = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError(f"batch_norm_momentum must be a number, found {value!r}") from None
    if array.shape != ():
        raise InputError(f"batch_norm_momentum must have shape (), found {array.shape}")
    momentum = float(array)
    check_range("batch_norm_momentum", momentum, "[0, 1]")
    return momentum
