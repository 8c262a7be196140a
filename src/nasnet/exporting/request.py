"""What is exported (weights, size, endpoints, arithmetic), and how the result is run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nasnet._version import __version__
from nasnet.errors import InputError
from nasnet.network import rewrites
from nasnet.weights.classes import known_names
from nasnet.weights.module_folder import Task
from nasnet.weights.weights import Weights, fingerprint, program_of

Arrays = npt.NDArray[Any]
# The recipe `photo/1` in words, for whoever runs the file without this package.
_PREPROCESSING = (
    "photo/1: turned upright by its EXIF, transparency on white, RGB, the whole picture resized to "
    "image_size by Pillow's BILINEAR (antialiased)"
)
Precision = Literal["f32", "f16", "int16x8", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# Their activations are whole numbers too, whose ranges pictures must tell.
CALIBRATED: tuple[Precision, ...] = ("int16x8", "int8")
Pixels = Literal["float32", "uint8"]
PIXELS: tuple[Pixels, ...] = get_args(Pixels)
Output = Literal["features", "classifier", "all"]
OUTPUTS: tuple[Output, ...] = get_args(Output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One export.

    Attributes:
        weights: of the network.
        task: what the module's main output is.
        height: of the pictures, in pixels.
        width: of the same, in pixels.
        output: the feature vector, the classifier's logits and probabilities, or every endpoint.
        precision: of the numbers in the file.
        pixels: what the input takes: float32 in [0, 1], or uint8.
        batch_size: pictures a run, any number if None.
        calibration: [n, height, width, 3] float32 in [0, 1], where the precision is `CALIBRATED`.
    """

    weights: Weights
    task: Task
    height: int
    width: int
    output: Output = "features"
    precision: Precision = "f32"
    pixels: Pixels = "float32"
    batch_size: int | None = None
    calibration: npt.NDArray[np.float32] | None = None

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The TF-Slim endpoints that are outputs.

        Raises:
            InputError: the classifier is wanted, and the weights have none.
        """
        if self.output == "features":
            return ("global_pool",)
        if self.output == "all":
            return tuple(self.program().plan.endpoints)
        if not self.weights.num_classes:
            raise InputError(f"{self.weights.source} has no classifier: export its features")
        return ("Logits", "Predictions")

    @property
    def main(self) -> str:
        """The endpoint that answers a plain call."""
        if self.output == "features" or not self.weights.num_classes:
            return "global_pool"
        if self.output == "classifier" or self.task == "classification":
            return "Logits"
        return "global_pool"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, ImageNet's where it has as many; none for features alone."""
        return () if self.output == "features" else known_names(self.weights)

    def program(self) -> rewrites.Program:
        """The network as it is described, with its weights."""
        return program_of(self.weights, self.height, self.width)

    def for_inference(self) -> rewrites.Program:
        """The network rewritten for what is wanted of it."""
        return rewrites.for_inference(self.program(), self.endpoints, uint8=self.pixels == "uint8")

    def metadata(self) -> Mapping[str, str]:
        """What the file says about itself, where its format has a place for it."""
        weights = self.weights
        return {
            "made_by": f"nasnet {__version__}",
            "network": weights.network,
            "weights": weights.source,
            "weights_status": weights.status,
            "weights_fingerprint": fingerprint(weights),
            "padding": weights.padding,
            "task": self.task,
            "image_size": f"{self.height}x{self.width}",
            "pixels": "RGB in [0, 1]" if self.pixels == "float32" else "RGB from 0 to 255",
            "preprocessing": _PREPROCESSING,
            "precision": self.precision,
            "labels": json.dumps(list(self.labels), ensure_ascii=False),
        }

    def images(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Pictures of this size as the input takes them."""
        return pictures if self.pixels == "uint8" else pictures.astype(np.float32) / np.float32(255)


@dataclass(frozen=True, slots=True)
class Run:
    """An export that was loaded by its own runtime.

    Attributes:
        runtime: its name and version, for people.
        compute: pictures as the export takes them, NHWC -> TF-Slim endpoint -> array in TF-Slim's
            layout.
    """

    runtime: str
    compute: Callable[[Arrays], dict[str, Arrays]]
