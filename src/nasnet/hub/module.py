"""The card's API: `Module`, its signatures, tags and endpoints, and the functions beside it.

The public face of the package for one process's arrays; bulk work goes through `embed`.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.compute import engine as engines
from nasnet.compute.engine import Engine, EngineOptions
from nasnet.errors import InputError, needs
from nasnet.hub.signatures import TensorInfo, Variable, bind, check_momentum
from nasnet.hub.spec import Message, ModuleSpec, check_tags, load_module_spec
from nasnet.network.plan import Borders
from nasnet.pictures.arrays import check_images
from nasnet.text import check_known
from nasnet.weights.fetch import FetchOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nasnet.compute.torch.model import NASNet
    from nasnet.hub.trainable import TorchModule

Array = npt.NDArray[np.float32]


class Module:
    """A NASNet-A module, called with pictures, as `tensorflow_hub.Module` was.

    Examples:
        >>> import numpy as np
        >>> import nasnet as hub
        >>> module = hub.Module("seeded:7")
        >>> height, width = hub.get_expected_image_size(module)
        >>> module(np.zeros([2, height, width, 3], np.float32)).shape
        (2, 1056)

    Made with `trainable=True` or `tags={"train"}` it computes in PyTorch (extra `torch`) and
    gives differentiable tensors. The two are separate choices: `trainable` says which weights
    move (all, or none), the train tag says which statistics batch norm uses (the batch's own,
    or the moving averages). As in the original, without the train tag batch norm is frozen, and
    without `trainable` there are no updates of the moving averages.

    A copy or a pickle of a module holds its weights, trained as they are, and makes an engine of
    its own where it computes.
    """

    def __init__(
        self,
        spec: str | os.PathLike[str] | ModuleSpec,
        trainable: bool = False,
        name: str = "module",
        tags: Collection[str] | None = None,
        *,
        image_size: tuple[int, int] | None = None,
        check_range: bool = True,
        padding: Borders | None = None,
        engine: EngineOptions | None = None,
        fetch_options: FetchOptions | None = None,
    ) -> None:
        """Open a module.

        Args:
            spec: a handle or path as in `load_module_spec`, or its result.
            trainable: which weights may move: all of them, or none. Separate from `tags`.
            name: carried along for code that reads it.
            tags: which statistics batch norm uses: those of the training run (none, the
                default), or the batch's own ({"train"}).
            image_size: height and width in pixels, 32 at least, instead of the module's own.
            check_range: refuse float pictures that are plainly 0..255 or [-1, 1].
            padding: whose border pixels: `slim`, or `keras` to get the very numbers of
                keras.applications; what the weights say (`slim`, as a rule) if not given.
            engine: how to compute.
            fetch_options: where to look for a handle and what is allowed.

        Raises:
            SignatureError: there is no graph variant with these tags (a `ValueError`).
            FetchError: the module cannot be had.
            WeightsError: it is no NASNet-A module, or damaged.
        """
        self.tags = check_tags(tags)
        self.name = name
        self.trainable = trainable
        self.spec = load_module_spec(
            spec, image_size=image_size, padding=padding, fetch_options=fetch_options
        )
        self._check_range = check_range
        self._engine_options = engine
        self._engine: Engine | None = None
        self._torch: TorchModule | None = None
        self._lock = threading.Lock()
        if self.differentiable:
            needs("torch", extra="torch")

    def __getstate__(self) -> dict[str, Any]:
        # Engines and locks belong to a process; what was trained goes along.
        return {**self.__dict__, "_engine": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        opened = self.spec.opened
        return f"<nasnet.Module {opened.weights.described}>"

    def __call__(
        self,
        inputs: Any = None,  # noqa: ANN401
        _sentinel: None = None,
        signature: str | None = None,
        as_dict: bool | None = None,
    ) -> Any:  # noqa: ANN401
        """Compute one signature.

        Args:
            inputs: pictures [batch, height, width, 3], RGB in [0, 1] (or uint8 0..255), as
                NumPy, torch, or anything with `__dlpack__` or `__array__`; or a dict of inputs.
            _sentinel: keeps the arguments after it named.
            signature: `default` if not given.
            as_dict: give all outputs, by key, instead of the one called `default`.

        Returns:
            float32 [batch, 1056] features (or [batch, 1001] logits for the classification
            module); with `as_dict` a dict of these and of every endpoint of the signature.
            NumPy arrays; torch tensors from a module made for training, whose moving averages
            move in the call (momentum 0.99, in the published versions /1 0.9997, or what
            `batch_norm_momentum` says).

        Raises:
            InputError: the inputs do not fit (a `TypeError`).
            SignatureError: there is no such signature (a `ValueError`).
        """
        if _sentinel is not None:
            raise InputError("pass signature= and as_dict= by name")
        called = self.spec.signature(signature, self.tags)
        values = bind(signature or "default", called, inputs)
        momentum = None
        if "batch_norm_momentum" in values:
            momentum = check_momentum(values["batch_norm_momentum"])
        wanted = called.endpoints if as_dict else {"default": called.endpoints["default"]}
        names = tuple(dict.fromkeys(wanted.values()))
        found = self._compute(values["images"], names, momentum)
        outputs = {key: found[endpoint] for key, endpoint in wanted.items()}
        return outputs if as_dict else outputs["default"]

    def endpoints(self, images: Any, names: Sequence[str]) -> dict[str, Array]:  # noqa: ANN401
        """Compute endpoints by their TF-Slim names, several in one pass.

        Args:
            images: as in a call.
            names: such as `Stem`, `Cell_3`, `Reduction_Cell_0`, `global_pool`, `Logits`.

        Raises:
            SignatureError: there is no such endpoint; the text lists those there are.
            InputError: the images do not fit, or the names are a text.
        """
        if isinstance(names, str):
            raise InputError(f"endpoints come in a list: [{names!r}]")
        found: dict[str, Array] = self._compute(images, tuple(names), None)
        return found

    def _compute(self, images: Any, names: tuple[str, ...], momentum: float | None) -> Any:  # noqa: ANN401
        if self.differentiable:
            return self._torch_module(images, names, momentum=momentum)
        return engines.run(self.engine, self._checked(images), names)

    @property
    def differentiable(self) -> bool:
        """Whether calls give torch tensors that gradients flow through."""
        return self.trainable or "train" in self.tags

    @property
    def _torch_module(self) -> TorchModule:
        with self._lock:
            if self._torch is None:
                from nasnet.hub.trainable import TorchModule

                weights = self.spec.opened.weights
                classifies = self.spec.opened.task == "classification"
                height, width = self.spec.image_size
                self._torch = TorchModule(
                    weights,
                    num_classes=weights.num_classes if classifies else 0,
                    trainable=self.trainable,
                    train="train" in self.tags,
                    height=height,
                    width=width,
                    check_range=self._check_range,
                    momentum=self.spec.opened.batch_norm_momentum,
                )
            return self._torch

    @property
    def network(self) -> NASNet:
        """The network as an `nn.Module`: to move it to a device, or to freeze parts of it.

        Raises:
            InputError: the module was made for inference only.
        """
        if not self.differentiable:
            raise InputError(
                "this module computes without torch: make it with trainable=True, or with "
                "tags={'train'}"
            )
        return self._torch_module.network

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """TF-Slim name and parameter of all that may move.

        Raises:
            InputError: the module was made without `trainable=True`.
        """
        self._check_trainable()
        yield from self._torch_module.named_parameters()

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that may move, for an optimizer of torch.

        Raises:
            InputError: the module was made without `trainable=True`.
        """
        for _, parameter in self.named_parameters():
            yield parameter

    def regularization_losses(self) -> list[Tensor]:
        """TF-Slim's L2 terms, scalars: `weight_decay * sum(w ** 2) / 2` of every kernel.

        The counterpart of the REGULARIZATION_LOSSES collection; weight decay is that of the
        network's arg scope (4e-5 in mobile).

        Raises:
            InputError: the module was made without `trainable=True`.
        """
        self._check_trainable()
        return list(self._torch_module.regularization_losses().values())

    def _check_trainable(self) -> None:
        if not self.trainable:
            raise InputError("nothing of this module may move: make it with trainable=True")

    @property
    def engine(self) -> Engine:
        """What computes; made at the first call."""
        with self._lock:
            if self._engine is None:
                self._engine = engines.create(self.spec.opened.weights, self._engine_options)
            return self._engine

    @property
    def variable_map(self) -> dict[str, Variable]:
        """TF-Slim name -> variable, all that the module's task needs."""
        arrays = self.spec.opened.weights.arrays
        if self._torch is not None:
            arrays = self._torch.arrays()
        headless = self.spec.opened.task == "feature_vector"
        return {
            name: Variable(name, array, self.trainable and "/moving_" not in name)
            for name, array in sorted(arrays.items())
            if not name.startswith("aux_") and not (headless and name.startswith("final_layer/"))
        }

    @property
    def variables(self) -> list[Variable]:
        """The variables, sorted by name."""
        return list(self.variable_map.values())

    def get_signature_names(self) -> list[str]:
        """Names of the signatures."""
        return self.spec.get_signature_names(self.tags)

    def get_input_info_dict(self, signature: str | None = None) -> dict[str, TensorInfo]:
        """What a signature takes: key -> dtype and shape."""
        return self.spec.get_input_info_dict(signature, self.tags)

    def get_output_info_dict(self, signature: str | None = None) -> dict[str, TensorInfo]:
        """What a signature gives: key -> dtype and shape."""
        return self.spec.get_output_info_dict(signature, self.tags)

    def get_attached_message(
        self, key: str, message_type: Callable[[], Message], required: bool = False
    ) -> Message | None:
        """A message attached to the module; see `ModuleSpec.get_attached_message`."""
        return self.spec.get_attached_message(key, message_type, self.tags, required)

    def export(self, path: str | os.PathLike[str], session: object = None) -> None:
        """Write a folder that `Module(path)` loads: weights (safetensors), task, picture size.

        A module that was trained writes its present weights, and warns if nothing has moved.

        Args:
            path: the folder; it appears complete or not at all.
            session: accepted for the original's sake, and not looked at.

        Raises:
            OutputError: the path is taken by something else, or cannot be written.
        """
        weights = None
        if self._torch is not None:
            weights = self._torch.weights()
            if self.trainable and not self._torch.moved():
                warnings.warn(
                    "nothing has moved since this module was opened: did the optimizer get "
                    "module.parameters(), and did it step?",
                    stacklevel=2,
                )
        self.spec.export(path, weights=weights)

    def close(self) -> None:
        """Give the engine's memory back; the next call makes it anew."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                self._engine = None

    def _checked(self, images: Any) -> engines.Images:  # noqa: ANN401
        height, width = self.spec.image_size
        return check_images(images, height=height, width=width, check_range=self._check_range)


def get_expected_image_size(
    module_or_spec: Module | ModuleSpec,
    signature: str | None = None,
    input_name: str | None = None,
) -> list[int]:
    """Height and width, in pixels, of the pictures a module takes.

    Raises:
        SignatureError: there is no such signature.
        InputError: there is no such input, or it has no pictures' shape (a `ValueError`).
    """
    _images_shape(module_or_spec, signature, input_name)
    spec = module_or_spec.spec if isinstance(module_or_spec, Module) else module_or_spec
    return list(spec.image_size)


def get_num_image_channels(
    module_or_spec: Module | ModuleSpec,
    signature: str | None = None,
    input_name: str | None = None,
) -> int:
    """Channels of the pictures a module takes: 3.

    Raises:
        SignatureError: there is no such signature.
        InputError: there is no such input, or it has no pictures' shape (a `ValueError`).
    """
    channels = _images_shape(module_or_spec, signature, input_name)[3]
    assert channels is not None
    return channels


def _images_shape(
    module_or_spec: Module | ModuleSpec, signature: str | None, input_name: str | None
) -> tuple[int | None, ...]:
    inputs = module_or_spec.get_input_info_dict(signature)
    name = input_name or "images"
    check_known("input", name, inputs)
    shape = inputs[name].get_shape()
    if len(shape) != 4:
        raise InputError(f"input {name!r} has shape {shape}, not that of pictures")
    return shape


@contextmanager
def eval_function_for_module(
    spec: str | os.PathLike[str] | ModuleSpec, tags: Collection[str] | None = None
) -> Iterator[Module]:
    """A function that computes a module's signatures, for a `with` statement.

    Examples:
        >>> import numpy as np
        >>> import nasnet as hub
        >>> with hub.eval_function_for_module("seeded:7") as features:
        ...     features(np.zeros([1, 224, 224, 3], np.float32)).shape
        (1, 1056)
    """
    module = Module(spec, tags=tags)
    try:
        yield module
    finally:
        module.close()
