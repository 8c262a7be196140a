"""What a module is before it computes: its weights, signatures, tags and picture size.

The counterpart of `tensorflow_hub.ModuleSpec` and `load_module_spec`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

from nasnet.errors import InputError, SignatureError
from nasnet.hub.signatures import (
    IMAGE_MODULE_INFO,
    ImageModuleInfo,
    ImageSize,
    Signature,
    TensorInfo,
    build_signatures,
)
from nasnet.network.build import check_sides
from nasnet.network.plan import Borders
from nasnet.weights.fetch import FetchEvent, FetchOptions
from nasnet.weights.module_folder import ModuleFolder, write_folder
from nasnet.weights.opening import Opened, open_weights
from nasnet.weights.weights import Weights

Message = TypeVar("Message")
_TAG_SETS: tuple[frozenset[str], ...] = (frozenset(), frozenset({"train"}))


class ModuleSpec:
    """What a module is, before it computes anything (`tensorflow_hub.ModuleSpec`)."""

    def __init__(self, opened: Opened, *, image_size: tuple[int, int] | None = None) -> None:
        if image_size is not None:
            opened = replace(opened, image_size=check_sides(image_size))
        self.opened = opened
        weights = opened.weights
        signatures = build_signatures(
            weights.spec,
            opened.task,
            num_classes=weights.num_classes if opened.task == "classification" else 0,
            height=opened.image_size[0],
            width=opened.image_size[1],
        )
        # The first published modules have no *_with_bn_hparams.
        known = {"default", *(opened.signatures or signatures)}
        self._signatures = {name: signatures[name] for name in signatures if name in known}

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of its pictures, in pixels."""
        return self.opened.image_size

    def get_tags(self) -> list[set[str]]:
        """The graph variants: inference, and training."""
        return [set(tags) for tags in _TAG_SETS]

    def get_signature_names(self, tags: Collection[str] | None = None) -> list[str]:
        """Names of the signatures.

        Raises:
            SignatureError: there is no graph variant with these tags.
        """
        check_tags(tags)
        return list(self._signatures)

    def signature(self, name: str | None = None, tags: Collection[str] | None = None) -> Signature:
        """One signature; `default` if no name is given.

        Raises:
            SignatureError: there is no such signature or graph variant; the text lists them.
        """
        check_tags(tags)
        name = name or "default"
        if name not in self._signatures:
            raise SignatureError(
                f"Signature {name!r} is missing from this module; "
                f"it has {', '.join(self._signatures)}"
            )
        return self._signatures[name]

    def get_input_info_dict(
        self, signature: str | None = None, tags: Collection[str] | None = None
    ) -> dict[str, TensorInfo]:
        """What a signature takes: key -> dtype and shape."""
        return dict(self.signature(signature, tags).inputs)

    def get_output_info_dict(
        self, signature: str | None = None, tags: Collection[str] | None = None
    ) -> dict[str, TensorInfo]:
        """What a signature gives: key -> dtype and shape."""
        return dict(self.signature(signature, tags).outputs)

    def get_attached_message(
        self,
        key: str,
        message_type: Callable[[], Message],
        tags: Collection[str] | None = None,
        required: bool = False,
    ) -> Message | None:
        """A message attached to the module: `image_module_info`, an `ImageModuleInfo`.

        Args:
            key: which message.
            message_type: its class.
            tags: the graph variant.
            required: raise where there is none.

        Raises:
            KeyError: it is required and there is none.
        """
        check_tags(tags)
        if key == IMAGE_MODULE_INFO and message_type is ImageModuleInfo:
            height, width = self.image_size
            info = ImageModuleInfo(default_image_size=ImageSize(height=height, width=width))
            return cast(Message, info)
        if required:
            raise KeyError(f"this module has no attached message {key!r}; it has image_module_info")
        return None

    def export(
        self,
        path: str | os.PathLike[str],
        _sentinel: None = None,
        *,
        weights: Weights | None = None,
    ) -> None:
        """Write the module as a folder that `Module` loads; see `Module.export`.

        Args:
            path: the folder.
            weights: written instead of those the module was opened with.
        """
        height, width = self.image_size
        folder = ModuleFolder(
            weights=self.opened.weights if weights is None else weights,
            task=self.opened.task,
            height=height,
            width=width,
            signatures=self.opened.signatures,
            batch_norm_momentum=self.opened.batch_norm_momentum,
        )
        write_folder(folder, Path(path))


def load_module_spec(
    path: str | os.PathLike[str] | ModuleSpec,
    *,
    image_size: tuple[int, int] | None = None,
    padding: Borders | None = None,
    fetch_options: FetchOptions | None = None,
    on_event: Callable[[FetchEvent], None] | None = None,
) -> ModuleSpec:
    """Find out what a module is, fetching it if need be.

    Args:
        path: a published handle, a path (module folder or archive, checkpoint, safetensors), or
            `seeded:N` for untrained weights.
        image_size: height and width in pixels to use instead of the module's own.
        padding: whose border pixels, `slim` or `keras`, instead of what the weights say.
        fetch_options: where to look and what is allowed.
        on_event: told of downloads.

    Raises:
        FetchError: it cannot be had.
        WeightsError: it is no NASNet-A module, or damaged.
    """
    if isinstance(path, ModuleSpec):
        if image_size is None and padding in (None, path.opened.weights.padding):
            return path
        image_size = path.image_size if image_size is None else image_size
    opened = open_weights(path, padding=padding, fetch_options=fetch_options, on_event=on_event)
    return ModuleSpec(opened, image_size=image_size)


def resolve(handle: str | os.PathLike[str], *, fetch_options: FetchOptions | None = None) -> str:
    """The local folder or file of a module, fetched if need be (`tensorflow_hub.resolve`).

    Raises:
        FetchError: it cannot be had.
        InputError: `seeded:N` lies nowhere.
    """
    opened = open_weights(handle, fetch_options=fetch_options)
    if opened.path is None:
        raise InputError(f"{os.fspath(handle)} is made from a seed and lies in no file")
    return str(opened.path)


def check_tags(tags: Collection[str] | None) -> frozenset[str]:
    """The graph variant that is meant.

    Raises:
        SignatureError: there is none with these tags (a `ValueError`).
    """
    if isinstance(tags, str):
        raise SignatureError(f"tags are a set: {{{tags!r}}}, not {tags!r}")
    wanted = frozenset(tags or ())
    if wanted not in _TAG_SETS:
        raise SignatureError(
            f"No such graph variant: tags={sorted(wanted)}; available: [] (inference), ['train']"
        )
    return wanted
