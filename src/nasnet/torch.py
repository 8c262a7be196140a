"""NASNet-A as PyTorch networks: `create_model`, timm's registry, Hugging Face's verbs.

A public face: `import nasnet.torch`; needs the extra `torch`. Where timm is installed, importing
this makes `timm.create_model("nasnet_mobile")` work.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nasnet.errors import InputError, needs

needs("torch", extra="torch")
needs("huggingface_hub", extra="torch")

from torch import Tensor, nn  # noqa: E402

from nasnet.compute.torch.model import NASNet as NASNet  # noqa: E402
from nasnet.compute.torch.segment import feature_rows  # noqa: E402
from nasnet.network.build import check_sides  # noqa: E402
from nasnet.network.spec import PRESETS, Spec  # noqa: E402
from nasnet.weights.fetch import FetchOptions  # noqa: E402
from nasnet.weights.networks import network_of  # noqa: E402
from nasnet.weights.opening import DEFAULT_HANDLE, open_weights  # noqa: E402


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureInfo:
    """What `FeatureMaps` gives, read as timm's class of this name is.

    Attributes:
        info: a row for each map there is, from fine to coarse: num_chs, reduction, module.
        out_indices: which of them are given.
    """

    info: tuple[dict[str, Any], ...]
    out_indices: tuple[int, ...]

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:  # noqa: ANN401
        """A column: of the maps given, of other ones by their indices, or of a single one."""
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[index][key] for index in (self.out_indices if idx is None else idx)]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:  # noqa: ANN401
        """How many channels the maps have."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:  # noqa: ANN401
        """How many pixels of the picture one of the map's stands for, along each side."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:  # noqa: ANN401
        """Which modules give them."""
        return self.get("module", idx)

    def get_dicts(self, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The rows of the maps given, whole or some columns."""
        rows = [self.info[index] for index in self.out_indices]
        return rows if keys is None else [{key: row[key] for key in keys} for row in rows]

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.info[index]

    def __len__(self) -> int:
        return len(self.info)


class FeatureMaps(nn.Module):
    """A network that gives maps of several resolutions, as timm's `features_only` does.

    Attributes:
        feature_info: channels, reductions and modules of the maps.
    """

    def __init__(self, network: NASNet, out_indices: Sequence[int] | int) -> None:
        """Choose the maps; a number alone means that many, the last ones.

        Raises:
            InputError: there is no map of such an index.
        """
        super().__init__()
        rows = feature_rows(network.plan)
        if isinstance(out_indices, int):
            out_indices = range(-out_indices, 0)
        wrong = [index for index in out_indices if not -len(rows) <= index < len(rows)]
        if wrong:
            raise InputError(f"no map {wrong[0]}; there are 0 to {len(rows) - 1}")
        self.network = network
        self.feature_info = FeatureInfo(info=tuple(rows), out_indices=tuple(out_indices))

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps, [n, channels, height, width] each, in the order of `out_indices`."""
        names = self.feature_info.get("operation")
        values = self.network.operations(images, names)
        return [values[name] for name in names]


def create_model(
    name: str | Spec | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | int | None = None,
    aux_head: bool = False,
    image_size: tuple[int, int] | None = None,
    seed: int = 0,
    fetch_options: FetchOptions | None = None,
) -> NASNet | FeatureMaps:
    """Make a network of the family.

    It takes [n, 3, height, width], RGB in [0, 1], and is in evaluation mode.

    Args:
        name: `nasnet_mobile`, `nasnet_large` or `nasnet_cifar`, or a network of your own: its file
            (`best.toml`), code or row. If not given, that of the weights, else `nasnet_mobile`.
        weights: a handle, file or `seeded:N` as `nasnet.Module` takes them; TF-Slim's initial
            values if None; `"published"` for the module's own handle.
        num_classes: of the classifier; 0 for features alone; None for what the weights have,
            else what the published network has. If it differs from the weights' own, the
            classifier starts with initial values.
        features_only: give maps instead, see `FeatureMaps`.
        out_indices: which maps, or how many of the last ones; all if not given.
        aux_head: with TF-Slim's auxiliary classifier, for training.
        image_size: height and width it is trained at; matters for the auxiliary head alone.
        seed: of the initial values.
        fetch_options: where to look for a handle.

    Raises:
        InputError: no such network or map.
        FetchError: the handle cannot be had.
        WeightsError: the weights are damaged, or belong to another network.
    """
    opened = None
    if weights is not None:
        handle = DEFAULT_HANDLE if weights == "published" else os.fspath(weights)
        opened = open_weights(handle, fetch_options=fetch_options).weights
    classes = num_classes
    if classes is None and opened is not None:
        classes = opened.num_classes
    spec = network_of(name or (opened.spec if opened else "mobile"))
    height, width = (None, None) if image_size is None else check_sides(image_size)
    network = NASNet(
        spec,
        num_classes=0 if features_only else classes,
        aux_head=aux_head and not features_only,
        height=height,
        width=width,
        seed=seed,
        padding="slim" if opened is None else opened.padding,
    )
    if opened is not None:
        network.load(opened, new_head=network.num_classes not in (0, opened.num_classes))
    if not features_only:
        return network
    indices = range(len(network.feature_info)) if out_indices is None else out_indices
    return FeatureMaps(network, indices)


def register_timm() -> bool:
    """Make timm know the networks; False where timm is not installed or cannot be imported.

    timm's `create_model("nasnet_mobile", pretrained=..., num_classes=..., features_only=...)`
    then gives them; `pretrained=True` opens the published handle, or with
    `pretrained_cfg_overlay={"file": path}` a file. `drop_rate` and `drop_path_rate` change dropout
    and path dropout of the networks that have them. `nasnet_own` with `network="best.toml"` is a
    network of your own; its exports for Hugging Face open by `NASNet.from_pretrained` alone.
    """
    if importlib.util.find_spec("timm") is None:
        return False
    try:
        from timm.models import is_model, register_model
    except (ImportError, RuntimeError):  # timm is there, but torchvision is not, or is broken
        return False
    for name in (*(f"nasnet_{preset}" for preset in PRESETS), "nasnet_own"):
        if not is_model(name):
            register_model(_entry_point(name))
    return True


def _entry_point(name: str) -> Any:  # noqa: ANN401
    """The function timm's registry keeps: named like the network, in this module."""

    def make(
        pretrained: bool = False,
        pretrained_cfg: Any = None,  # noqa: ANN401
        pretrained_cfg_overlay: dict[str, Any] | None = None,
        num_classes: int | None = None,
        features_only: bool = False,
        out_indices: Sequence[int] | int | None = None,
        in_chans: int = 3,
        drop_rate: float | None = None,
        drop_path_rate: float | None = None,
        global_pool: str = "avg",
        cache_dir: str | None = None,
        weights: str | None = None,
        network: str | None = None,
        pretrained_model_args: Mapping[str, Any] | None = None,  # timm's copy of a folder's
    ) -> NASNet | FeatureMaps:
        if in_chans != 3:
            raise InputError(f"in_chans={in_chans}: these networks take RGB pictures")
        if global_pool != "avg":
            raise InputError(f"global_pool={global_pool!r}: these networks average ('avg')")
        found = _file_of(name, pretrained_cfg, pretrained_cfg_overlay) if pretrained else None
        made = create_model(
            network or name,
            weights=weights or found,
            num_classes=num_classes,
            features_only=features_only,
            out_indices=out_indices,
        )
        whole = made if isinstance(made, NASNet) else made.network
        _set_rates(whole, drop_rate, drop_path_rate)
        return made

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"NASNet-A ({name.removeprefix('nasnet_')}); see `nasnet.torch.create_model`."
    return make


def _file_of(
    name: str,
    pretrained_cfg: Any,  # noqa: ANN401
    overlay: Mapping[str, Any] | None,
) -> str:
    """What timm's table of a checkpoint names: a file; the published handle if nothing."""
    if isinstance(pretrained_cfg, str):
        raise InputError(f"no weights {name}.{pretrained_cfg}: there are the published ones alone")
    table = pretrained_cfg or {}
    table = {**(table if isinstance(table, Mapping) else vars(table)), **(overlay or {})}
    for key in ("url", "hf_hub_id", "state_dict"):
        if table.get(key):
            raise InputError(
                f"pretrained_cfg has {key!r}, which is not opened here: name a 'file', or use "
                "nasnet.torch.NASNet.from_pretrained"
            )
    return table.get("file") or "published"


def _set_rates(network: NASNet, drop_rate: float | None, drop_path_rate: float | None) -> None:
    """Take timm's names of dropout and path dropout."""
    kinds = {operation.kind for operation in network.plan.operations}
    behaviour = network.behaviour
    if drop_rate is not None:
        if drop_rate and "dropout" not in kinds and network.num_classes:
            raise InputError(f"drop_rate={drop_rate}: this network has no dropout")
        behaviour.spec = replace(behaviour.spec, dense_dropout_keep_prob=1 - drop_rate)
    if drop_path_rate is not None:
        if drop_path_rate and "drop_path" not in kinds:
            raise InputError(f"drop_path_rate={drop_path_rate}: this network has no path dropout")
        behaviour.spec = replace(behaviour.spec, drop_path_keep_prob=1 - drop_path_rate)


register_timm()
