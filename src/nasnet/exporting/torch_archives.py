"""PyTorch's archives: `torch.export` programs, and folders for timm and Hugging Face.

Torch is imported when a function is called.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nasnet.errors import needs
from nasnet.exporting.request import Arrays, Request, Run
from nasnet.network.spec import PRESETS
from nasnet.weights.weights import Weights

_LABELS_SHOWN = 50  # of a model card: the whole list is in config.json

if TYPE_CHECKING:
    from nasnet.compute.torch.model import NASNet


def _network(request: Request) -> NASNet:
    needs("torch", extra="torch")
    from nasnet.compute.torch.model import NASNet

    weights = request.weights
    headless = request.output == "features"
    network = NASNet(
        weights.spec,
        num_classes=0 if headless else weights.num_classes,
        padding=weights.padding,
    )
    network.load(weights)
    return network


def write_torch(request: Request, path: Path) -> None:
    """A `.pt2` archive: `torch.export.load(path).module()` runs without this package.

    It takes [n, 3, height, width], RGB in [0, 1], and gives a tuple, one tensor an endpoint; maps
    have channels first.
    """
    torch = needs("torch", extra="torch")

    network, endpoints = _network(request), request.endpoints

    class Outputs(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> tuple[Any, ...]:  # noqa: ANN401
            found = self.network.compute(images, endpoints)
            return tuple(found[name] for name in endpoints)

    count = request.batch_size or 2
    images = torch.zeros(count, 3, request.height, request.width)
    free = None if request.batch_size else {"images": {0: torch.export.Dim("batch")}}
    whole = Outputs().eval()
    for parameter in whole.parameters():
        parameter.requires_grad_(False)
    program = torch.export.export(whole, (images,), dynamic_shapes=free, strict=False)
    described = {**request.metadata(), "outputs": " ".join(endpoints)}
    made = io.BytesIO()  # where the disk is full, torch's own writer of files ends the process
    torch.export.save(program, made, extra_files={"nasnet.txt": _lines(described)})
    path.write_bytes(made.getbuffer())


def _lines(table: Any) -> str:  # noqa: ANN401
    return "".join(f"{key}: {value}\n" for key, value in table.items())


def run_torch(request: Request, path: Path) -> Run:
    """PyTorch, from the archive alone."""
    torch = needs("torch", extra="torch")
    program = torch.export.load(path).module()

    def run(images: Arrays) -> dict[str, Arrays]:
        with torch.no_grad():
            found = program(_channels_first(images))
        return {name: _array(one) for name, one in zip(request.endpoints, found, strict=True)}

    return Run(f"torch {torch.__version__}", run)


def write_huggingface(request: Request, path: Path) -> None:
    """A folder of `model.safetensors` and `config.json`.

    `nasnet.torch.NASNet.from_pretrained(path)` reads it, and so does
    `timm.create_model("local-dir:" + path)` once `nasnet.torch` is imported.
    """
    import json

    network = _network(request)
    network.save_pretrained(path)
    file = path / "config.json"
    table = json.loads(file.read_text(encoding="utf-8"))
    described = network.default_cfg
    described["input_size"] = (3, request.height, request.width)
    # timm reads these of a hub folder; the mixin reads its own keys and leaves the rest.
    table |= {
        "architecture": described["architecture"],
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "pretrained_cfg": described,
        "nasnet": dict(request.metadata()),
    }
    if request.weights.spec not in PRESETS:
        table["model_args"] = {"network": request.weights.spec}
    if request.labels:
        table["label_names"] = list(request.labels)
    file.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (path / "README.md").write_text(model_card(request), encoding="utf-8")


def _described(weights: Weights) -> str:
    own = weights.spec not in PRESETS
    return f"`{weights.spec}`, a network of the space of" if own else f"NASNet-A ({weights.spec})"


def model_card(request: Request, *, repository: str = "", about: str = "") -> str:
    """What a person should know of the weights, as the Hub's `README.md`.

    Args:
        request: the export.
        repository: where it will lie, `USER/NAME`; a placeholder if not given.
        about: Markdown to begin with, such as scores.
    """
    weights, told = request.weights, request.metadata()
    name = repository or "USER/NAME"
    if request.labels:
        task, command = "image-classification", "classify photo.jpg"
        output = f"{len(request.labels)} classes"
    else:
        task, command = "image-feature-extraction", "embed photos/ -o features.parquet"
        output = f"{request.main}, the feature vector"
    facts = {
        "Network": f"{_described(weights)}, arXiv 1707.07012, as TF-Slim computes it",
        "Weights": f"{weights.described}, {told['weights_fingerprint']}",
        "Pictures": f"{told['image_size']} px, {told['pixels']}",
        "Output": output,
    }
    shown = ", ".join(request.labels[:_LABELS_SHOWN])
    more = f" and {len(request.labels) - _LABELS_SHOWN:,} more"
    parts = [
        f"---\nlibrary_name: nasnet\npipeline_tag: {task}\ntags:\n- nasnet\n- timm\n---",
        f"# {name.rpartition('/')[2]}",
        about.strip(),
        "\n".join(["| | |", "| --- | --- |", *(f"| {key} | {facts[key]} |" for key in facts)]),
        f"Classes: {shown}{more if len(request.labels) > _LABELS_SHOWN else ''}." if shown else "",
        f"```sh\npip install 'nasnet[hf]'\nnasnet {command} --weights hf-hub:{name}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def run_huggingface(request: Request, path: Path) -> Run:
    """PyTorch, from the folder."""
    torch = needs("torch", extra="torch")
    from nasnet.compute.torch.model import NASNet

    with redirect_stdout(None):  # the mixin prints that the folder is a folder
        network = NASNet.from_pretrained(str(path)).eval()

    def run(images: Arrays) -> dict[str, Arrays]:
        with torch.no_grad():
            found = network.compute(_channels_first(images), request.endpoints)
        return {name: _array(one) for name, one in found.items()}

    return Run(f"torch {torch.__version__}", run)


def _channels_first(images: Arrays) -> Any:  # noqa: ANN401
    import torch

    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _array(tensor: Any) -> Arrays:  # noqa: ANN401
    array: Arrays = tensor.numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
