"""The PyTorch renderer: a plan becomes a tree of modules that trains, compiles and exports.

Needs torch (extra `torch`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nasnet.compute.torch.operations import Behaviour
from nasnet.compute.torch.segment import Segment, feature_rows, segments_of
from nasnet.compute.torch.state import from_state, to_state
from nasnet.errors import InputError, WeightsError
from nasnet.network import rewrites
from nasnet.network.build import build_plan
from nasnet.network.code import decode, encode, same_vectors
from nasnet.network.plan import IMAGES, Borders
from nasnet.network.spec import PRESETS, Spec
from nasnet.weights.initial import initial_value
from nasnet.weights.networks import network_of
from nasnet.weights.weights import Weights, frozen

Outputs = dict[str, Tensor]


class NASNet(  # type: ignore[call-arg]  # the mixin's own keywords, which the checker cannot see
    nn.Module,
    PyTorchModelHubMixin,
    library_name="nasnet",
    tags=["image-feature-extraction", "nasnet"],
    license="apache-2.0",
):
    """A NASNet-A network in PyTorch.

    Input: [n, 3, height, width], RGB in [0, 1], of any size from 32 pixels. State-dict keys are
    TF-Slim's names with dots. `train()` and `eval()` choose training mode as always in torch;
    which weights move is `requires_grad`, a choice of its own.
    """

    def __init__(
        self,
        spec: str | Spec = "mobile",
        *,
        num_classes: int | None = None,
        aux_head: bool = False,
        height: int | None = None,
        width: int | None = None,
        seed: int = 0,
        padding: Borders = "slim",
    ) -> None:
        """Make the network with TF-Slim's initial values.

        Args:
            spec: a preset's name, or a network of your own: its row, its code or its file.
            num_classes: of the classifier, background included where there is one; 0 leaves it
                out; None means as many as the published network has.
            aux_head: with the auxiliary classifier that only training uses.
            height: input height in pixels; matters for the auxiliary head alone.
            width: input width in pixels, the network's own if not given.
            seed: of the initial values.
            padding: whose border pixels; see `network.build.build_plan`.

        Raises:
            InputError: no such network or padding, or a size that is too small.
        """
        super().__init__()
        self.spec = network_of(spec)
        self.num_classes = self.spec.num_classes if num_classes is None else num_classes
        self.aux_head = aux_head and self.num_classes > 0
        self.padding: Borders = padding
        self.behaviour = Behaviour(spec=self.spec)
        self.grad_checkpointing = False
        self._seed = seed
        # A row or a file would not come back from what the mixin writes; a code does.
        self._hub_mixin_config.update(spec=encode(self.spec))
        self._render(height, width)
        self.initialize(seed)
        self.train(False)

    def _render(self, height: int | None, width: int | None) -> None:
        plan = build_plan(
            self.spec,
            height=height,
            width=width,
            num_classes=self.num_classes,
            aux_head=self.aux_head,
            padding=self.padding,
        )
        unfilled = {name: np.zeros(shape, np.float32) for name, shape in plan.parameters.items()}
        self.plan = rewrites.share_equal(rewrites.Program(plan=plan, arrays=unfilled)).plan
        self._modules.clear()
        for segment in segments_of(self.plan, self.behaviour):
            self.add_module(segment.scope, segment)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The scopes in the order of computation, from the stem to the classifier."""
        return tuple(self._modules.values())

    def train(self, mode: bool = True) -> NASNet:
        """Training mode (batch statistics, dropout, path dropout) on or off."""
        super().train(mode)
        self.behaviour.training = mode
        return self

    def initialize(self, seed: int, *, only: str = "") -> None:
        """Set TF-Slim's initial values; `only` names a scope, such as `final_layer`."""
        arrays = {
            name: initial_value(seed, name, shape)
            for name, shape in self.plan.parameters.items()
            if name.startswith(only)
        }
        self._fill(arrays)

    def load(self, weights: Weights, *, new_head: bool = False) -> None:
        """Take weights.

        Args:
            weights: of the same network.
            new_head: keep the classifier as it is, whatever the weights have. The auxiliary
                head is kept as well if it is not among them or does not fit.

        Raises:
            WeightsError: a tensor is missing or has another shape.
        """
        if not same_vectors(decode(weights.spec), self.spec):
            raise WeightsError(
                f"{weights.source} holds weights of {weights.network}, "
                f"this network is nasnet_{self.spec.name}"
            )
        arrays: dict[str, Any] = {}
        for name, shape in self.plan.parameters.items():
            found = weights.arrays.get(name)
            if new_head and name.startswith("final_layer/"):
                continue
            fits = found is not None and found.shape == shape
            if name.startswith("aux_") and not fits:
                continue
            if found is None or not fits:
                has = "is missing" if found is None else f"has shape {list(found.shape)}"
                raise WeightsError(
                    f"{weights.source}: tensor {name} {has}, needed with shape {list(shape)}"
                )
            arrays[name] = found
        self._fill(arrays)

    def _fill(self, arrays: Mapping[str, Any]) -> None:
        own = self.state_dict()
        with torch.no_grad():
            for key, value in to_state(arrays).items():
                own[key].copy_(value)

    def weights(
        self,
        *,
        source: str,
        labels: tuple[str, ...] = (),
        state: Mapping[str, Tensor] | None = None,
    ) -> Weights:
        """The present values as NumPy arrays under TF-Slim's names, auxiliary head included.

        Args:
            source: where they come from, for people.
            labels: names of the classes.
            state: take these values, a state dict, instead.

        Raises:
            WeightsError: a value is no finite number.
        """
        return Weights(
            spec=encode(self.spec),
            num_classes=self.num_classes,
            arrays=frozen(from_state(self.state_dict() if state is None else state)),
            source=source,
            labels=labels,
            padding=self.padding,
        )

    def forward(self, images: Tensor, endpoints: Sequence[str] | None = None) -> Tensor | Outputs:
        """Logits (or features, without a classifier), or the endpoints asked for.

        Args:
            images: [n, 3, height, width], RGB in [0, 1].
            endpoints: TF-Slim endpoint names; then a dict is given. 4-d ones come as
                [n, channels, height, width].

        Raises:
            InputError: the shape does not fit.
            SignatureError: there is no such endpoint.
        """
        if endpoints is None:
            name = "Logits" if self.num_classes else "global_pool"
            return self.compute(images, (name,))[name]
        return self.compute(images, endpoints)

    def compute(self, images: Tensor, endpoints: Sequence[str]) -> Outputs:
        """The endpoints asked for, in one pass; work that none of them needs is left out."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(
                f"images have shape {list(images.shape)}, expected [n, 3, height, width]"
            )
        if isinstance(endpoints, str):
            raise InputError(f"endpoints come in a list: [{endpoints!r}]")
        names = {key: self.plan.endpoint(key).name for key in endpoints}
        values = self._run({IMAGES: images}, set(names.values()))
        return {key: values[name] for key, name in names.items()}

    def operations(self, images: Tensor, names: Sequence[str]) -> Outputs:
        """Results of operations by their own names, whether they are endpoints or not.

        Only what leaves its scope can be had: the outputs of cells and of the stem's layers.
        """
        return self._run({IMAGES: images}, set(names))

    def _run(self, values: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
        """Compute the segments that lead from the values to what is wanted."""
        needed: list[Segment] = []
        missing = wanted - set(values)
        for segment in reversed(self.segments):
            if missing & set(segment.gives):
                needed.insert(0, segment)
                missing = (missing - set(segment.gives)) | (set(segment.reads) - set(values))
        last = {name: i for i, segment in enumerate(needed) for name in segment.reads}
        for number, segment in enumerate(needed):
            inputs = [values[name] for name in segment.reads]
            outputs = self._segment(segment, inputs)
            for name, value in zip(segment.gives, outputs, strict=True):
                if name in wanted or name in last:
                    values[name] = value
            for name in segment.reads:
                if last[name] == number and name not in wanted:
                    values.pop(name, None)
        return values

    def _segment(self, segment: Segment, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        result: tuple[Tensor, ...]
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            again = partial(_contexts, self.behaviour)
            result = checkpoint(segment, *inputs, use_reentrant=False, context_fn=again)
        else:
            result = segment(*inputs)
        return result

    def regularized(self) -> dict[str, nn.Parameter]:
        """The tensors TF-Slim's L2 term covers: kernels of convolutions and dense layers."""
        ends = ("weights", "depthwise_weights", "pointwise_weights")
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if name.rpartition(".")[2] in ends
        }

    def regularization_losses(self, weight_decay: float | None = None) -> dict[str, Tensor]:
        """TF-Slim's L2 terms: state-dict key -> weight_decay * sum(w ** 2) / 2, a scalar.

        Args:
            weight_decay: the factor; that of the network's arg scope if not given.
        """
        factor = self.spec.weight_decay if weight_decay is None else weight_decay
        return {
            key: factor * 0.5 * parameter.square().sum()
            for key, parameter in self.regularized().items()
        }

    # -- timm's habits

    def forward_features(self, images: Tensor) -> Tensor:
        """The last map, [n, features, height / 32, width / 32], after its ReLU."""
        return self._run({IMAGES: images}, {self._last_map})[self._last_map]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """From the last map to logits; to the pooled features with `pre_logits`."""
        ends = self.plan.endpoints
        name = ends["global_pool" if pre_logits or not self.num_classes else "Logits"]
        return self._run({self._last_map: features}, {name})[name]

    @property
    def _last_map(self) -> str:
        return self.plan.endpoint("global_pool").inputs[0]

    @property
    def num_features(self) -> int:
        """Width of the feature vector."""
        return self.plan.num_features

    head_hidden_size = num_features

    def get_classifier(self) -> nn.Module:
        """The module that holds the classifier's weights; an `Identity` where there is none."""
        return self.get_submodule("final_layer.FC") if self.num_classes else nn.Identity()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier in place, with TF-Slim's initial values; 0 takes it out.

        Raises:
            InputError: another pooling than the network's own is asked for.
        """
        if global_pool not in (None, "avg"):
            raise InputError(f"global_pool={global_pool!r}: this network averages ('avg')")
        place = next(self.parameters())
        kept = {k: v for k, v in self.state_dict().items() if not _of_head(k)}
        self.num_classes = num_classes
        self.aux_head = self.aux_head and num_classes > 0
        # What Hugging Face's mixin writes beside the weights, to make the network again.
        self._hub_mixin_config.update(num_classes=num_classes, aux_head=self.aux_head)
        self._render(self.plan.height, self.plan.width)
        self.to(place.device, place.dtype)
        self.initialize(self._seed)
        self.load_state_dict(kept, strict=False)
        self.train(self.training)

    def no_weight_decay(self) -> set[str]:
        """Keys that no weight decay acts on: biases, beta and gamma, as in TF-Slim."""
        regularized = self.regularized()
        return {key for key, _ in self.named_parameters() if key not in regularized}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Timm's table of layers, stem first, for layer-wise learning rates."""
        stem = [s.scope for s in self.segments if s.scope.startswith(("conv0", "l1_", "cell_stem"))]
        body = [s.scope for s in self.segments if s.scope not in stem and "cell" in s.scope]
        stages = [number * 3 // len(body) for number in range(len(body))]
        return {
            "stem": "|".join(rf"^{scope}\." for scope in stem),
            "blocks": [
                (rf"^{scope}\.", (stages[number] if coarse else number,))
                for number, scope in enumerate(body)
            ],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute cells again in the backward pass instead of keeping what is inside them."""
        self.grad_checkpointing = enable

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """The maps `features_only` gives: channels, reduction, module, TF-Slim endpoint."""
        return feature_rows(self.plan)

    @property
    def default_cfg(self) -> dict[str, Any]:
        """Timm's description of the input: the network itself takes [0, 1] to [-1, 1]."""
        return {
            # timm's registry has one name for all networks that are no presets
            "architecture": f"nasnet_{self.spec.name if self.spec.name in PRESETS else 'own'}",
            "input_size": (3, self.spec.image_size, self.spec.image_size),
            "num_classes": self.num_classes,
            "num_features": self.num_features,
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
            "interpolation": "bilinear",
            "crop_pct": 0.875,
            "pool_size": (self.spec.image_size // 32,) * 2,
            "first_conv": self.segments[1].scope,
            "classifier": "final_layer.FC",
            "label_offset": 1 if self.num_classes == 1001 else 0,
            "license": "apache-2.0",
        }

    pretrained_cfg = default_cfg

    # -- Hugging Face

    @classmethod
    def _load_as_pickle(cls, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """No pickle is ever opened; the mixin would fall back to one."""
        raise WeightsError(
            "this repository has no model.safetensors, and pickled weights are not opened"
        )


def _of_head(key: str) -> bool:
    return key.startswith(("final_layer.", "aux_"))


def _contexts(behaviour: Behaviour) -> tuple[Any, Any]:
    """For checkpointing: what surrounds a cell's first and second computation."""
    return nullcontext(), behaviour.computing_again()
