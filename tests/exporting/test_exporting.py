"""Exports: each by its own runtime, what is refused, and that nothing wrong or half appears."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import nasnet
from nasnet.compute import engine
from nasnet.compute.ranges import measured
from nasnet.errors import InputError, OutputError, SourceError
from nasnet.exporting.outputs import key_for
from nasnet.exporting.request import PRECISIONS, Output, Precision, Request, Run
from nasnet.exporting.targets import TARGETS
from nasnet.exporting.verifying import LIMITS, compare
from nasnet.network.code import encode
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import Weights, fingerprint, seeded, write_safetensors
from tests.support.cells import SMALL
from tests.support.cli import invoke
from tests.support.golden import relative_error
from tests.support.pictures import pixels
from tests.support.targets import LIGHT_TARGETS

SIZE = (64, 64)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(pixels(80, 70, seed=seed)).save(folder / f"{seed}.png")
    return folder


def options(photos: Path, **changes: object) -> nasnet.ExportOptions:
    made = nasnet.ExportOptions(size=SIZE, pictures=photos)
    return replace(made, **changes)  # type: ignore[arg-type]


def place(folder: Path, target: str) -> Path:
    return folder / f"out{''.join(TARGETS[target].suffixes)}"


@pytest.mark.parametrize("target", LIGHT_TARGETS)
def test_an_export_gives_the_same_numbers_in_its_own_runtime(
    tmp_path: Path, photos: Path, target: str
) -> None:
    done = nasnet.export(
        "seeded:7", place(tmp_path, target), options=options(photos, to=target, output="all")
    )
    assert {"Cell_11", "global_pool", "Logits"} <= {one.endpoint for one in done.agreements}
    assert max(one.error for one in done.agreements) < 1e-5
    assert min(one.cosine for one in done.agreements) > 0.999999
    assert done.runtime
    assert not list(tmp_path.glob(".*")), "nothing is left behind"


@pytest.mark.parametrize(
    ("target", "changes"),
    [
        ("onnx", {"precision": "f16"}),
        ("onnx", {"pixels": "uint8"}),
        ("onnx", {"batch_size": 2}),
        ("onnx", {"padding": "keras"}),
        ("openvino", {"precision": "f16"}),
        ("openvino", {"pixels": "uint8", "batch_size": 5}),
        ("torch", {"batch_size": 1, "padding": "keras"}),
        ("huggingface", {"padding": "keras"}),
    ],
)
def test_an_export_takes_its_options(
    tmp_path: Path, photos: Path, target: str, changes: dict[str, object]
) -> None:
    out = place(tmp_path, target)
    done = nasnet.export("seeded:7", out, options=options(photos, to=target, **changes))
    (one,) = done.agreements
    assert one.agrees
    assert one.limit == LIMITS[done.request.precision]


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that carries the ranges of its maps."""
    file = tmp_path_factory.mktemp("ranged") / "small.safetensors"
    some = np.stack([pixels(*SIZE, seed=seed) for seed in range(12)])
    write_safetensors(measured(seeded(3, spec=encode(SMALL)), some), file)
    return file


@pytest.mark.parametrize(
    ("target", "changes"),
    [
        ("onnx", {"output": "all"}),
        ("onnx", {"padding": "keras"}),
        ("openvino", {"output": "classifier", "pixels": "uint8"}),
    ],
)
def test_an_export_in_int8_agrees_in_its_own_runtime(
    tmp_path: Path, photos: Path, ranged: Path, target: str, changes: dict[str, object]
) -> None:
    asked = options(photos, to=target, precision="int8", **changes)
    done = nasnet.export(ranged, place(tmp_path, target), options=asked)
    assert {one.limit for one in done.agreements} == {LIMITS["int8"]}
    assert min(one.cosine for one in done.agreements) > 0.995
    assert max(one.error for one in done.agreements) > 1e-4, "it says int8, computes in f32"
    assert done.request.metadata()["precision"] == "int8"
    assert not any(note.startswith("calibrated") for note in done.notes)


def test_an_int8_file_is_the_graph_that_the_engine_computes(
    tmp_path: Path, photos: Path, ranged: Path
) -> None:
    changes = {"precision": "int8", "pixels": "uint8", "batch_size": 3, "output": "classifier"}
    done = nasnet.export(ranged, tmp_path / "m.onnx", options=options(photos, **changes))
    key = engine.ModelKey(
        height=64, width=64, uint8=True, endpoints=done.request.endpoints, batch=3, alone=False
    )
    here = onnx.load_from_string(engine.onnx_bytes(done.request.weights, key, whole=True))
    assert onnx.load(tmp_path / "m.onnx").graph == here.graph


def test_an_int8_file_holds_kernels_of_bytes(tmp_path: Path) -> None:
    asked = nasnet.ExportOptions(precision="int8", output="classifier", verify=False)
    done = nasnet.export("builtin", tmp_path / "m.onnx", options=asked)
    model = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(model, full_check=True)
    stored = {one.name: one for one in model.graph.initializer}
    made = {node.output[0]: node for node in model.graph.node}
    floats, whole = 0, 0
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        if node.name.startswith(("conv0", "l1_stem_3x3", "cell_stem_0/")):
            floats += 1
            assert stored[node.input[1]].data_type == onnx.TensorProto.FLOAT
        else:
            whole += 1
            kernel = made[node.input[1]]
            assert kernel.op_type == "DequantizeLinear", node.name
            assert stored[kernel.input[0]].data_type == onnx.TensorProto.INT8
            rounded = made[node.input[0]].op_type == "DequantizeLinear"
            assert rounded == (node.op_type == "Conv"), node.name
    assert whole > 300 > 30 > floats
    assert done.bytes < 6.3e6, "it is 21.3 MB in float"


def test_calibration_pictures_give_the_ranges_that_weights_lack(
    tmp_path: Path, photos: Path
) -> None:
    write_safetensors(seeded(3, spec=encode(SMALL)), tmp_path / "plain.safetensors")
    asked = options(photos, precision="int8", calibrate=photos)
    done = nasnet.export(tmp_path / "plain.safetensors", tmp_path / "m.onnx", options=asked)
    assert done.request.weights.ranges
    assert f"calibrated on 3 pictures of {photos}" in done.notes


def test_an_onnx_file_says_what_it_is_and_takes_any_batch(
    tmp_path: Path, photos: Path, mobile: Weights
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    named = replace(mobile, labels=tuple(f"klasse ä{n}" for n in range(1001)))
    write_safetensors(named, tmp_path / "named.safetensors")
    nasnet.export(
        tmp_path / "named.safetensors",
        tmp_path / "m.onnx",
        options=options(photos, output="classifier"),
    )
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["labels"])[3] == "klasse ä3"
    assert said["weights_fingerprint"] == fingerprint(mobile)
    assert said["image_size"] == "64x64"
    images = np.random.default_rng(0).random((3, *SIZE, 3), np.float32)
    (found,) = session.run(["Logits"], {"images": images})
    logits = engine.run(engine.create(mobile), images, ("Logits",))["Logits"]
    assert relative_error(found, logits) < 1e-5


def test_a_classifier_of_imagenets_says_the_names_of_its_classes(mobile: Weights) -> None:
    def labels(weights: Weights, output: Output = "classifier") -> list[str]:
        request = Request(
            weights=weights, task="feature_vector", height=64, width=64, output=output
        )
        found: list[str] = json.loads(request.metadata()["labels"])
        return found

    assert labels(mobile)[:2] == ["background", "tench, Tinca tinca"]
    assert len(labels(mobile)) == 1001
    assert labels(seeded(7, num_classes=1000))[0] == "tench, Tinca tinca"
    assert labels(seeded(7, num_classes=5)) == []
    assert labels(mobile, "features") == []


def test_the_features_of_a_classifier_leave_its_head_out(tmp_path: Path, photos: Path) -> None:
    sizes = [
        nasnet.export(
            "seeded:7", tmp_path / f"{what}.onnx", options=options(photos, output=what)
        ).bytes
        for what in ("features", "classifier")
    ]
    assert sizes[1] - sizes[0] > 4 * 1056 * 1000


def test_a_huggingface_folder_opens_in_torch(tmp_path: Path, photos: Path) -> None:
    torch = pytest.importorskip("torch")
    from nasnet.torch import NASNet

    out = tmp_path / "hub"
    nasnet.export("seeded:7", out, options=options(photos, to="huggingface", output="classifier"))
    table = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert table["architecture"] == "nasnet_mobile"
    assert table["nasnet"]["weights"] == "seeded:7"
    with torch.no_grad():
        assert NASNet.from_pretrained(str(out))(torch.zeros(1, 3, *SIZE)).shape == (1, 1001)


def test_a_name_tells_the_target() -> None:
    for end, key in (
        (".onnx", "onnx"),
        (".PT2", "torch"),
        (".xml", "openvino"),
        (".tflite", "tflite"),
    ):
        assert key_for(Path(f"x{end}"), TARGETS, what="target") == key
    with pytest.raises(InputError, match=r"\.onnx \(onnx\).*folders: huggingface, savedmodel"):
        key_for(Path("module"), TARGETS, what="target")


@pytest.mark.parametrize(
    ("out", "changes", "told"),
    [
        ("m.pt2", {"precision": "int8"}, "torch has no precision int8; it has f32"),
        (
            "m.onnx",
            {"precision": "int8"},
            r"seeded:7 does not carry: nasnet weights pack .* --ranges PHOTOS .*--calibrate PHOTOS",
        ),
        ("m.pt2", {"pixels": "uint8"}, "torch has no pixels uint8"),
        ("m.ckpt", {"batch_size": 3}, "which have no batch size"),
        ("m.ckpt", {"padding": "keras"}, "cannot say that padding=keras"),
        ("m.onnx", {"precision": "int16x8"}, "onnx has no precision int16x8"),
        ("m.tflite", {"precision": "int8", "pixels": "uint8"}, "int8 takes float32 pixels"),
        ("m.tflite", {"precision": "int16x8", "pixels": "uint8"}, "int16x8 takes float32 pixels"),
        ("m.onnx", {"to": "coreml"}, "no target 'coreml'; there are onnx"),
        ("m.onnx", {"size": (16, 16)}, "too small"),
    ],
)
def test_what_a_target_does_not_have_is_said(
    tmp_path: Path, photos: Path, out: str, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        nasnet.export("seeded:7", tmp_path / out, options=options(photos, **changes))
    assert [one.name for one in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize("changes", [{"output": "both"}, {"precision": "f8"}, {"batch_size": 0}])
def test_options_that_are_none_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputError):
        nasnet.ExportOptions(**changes)  # type: ignore[arg-type]


def test_weights_without_a_classifier_have_none_to_export(
    tmp_path: Path, photos: Path, mobile: Weights
) -> None:
    arrays = {n: a for n, a in mobile.arrays.items() if not n.startswith("final_layer")}
    write_safetensors(replace(mobile, arrays=arrays, num_classes=0), tmp_path / "f.safetensors")
    with pytest.raises(InputError, match="has no classifier"):
        nasnet.export(
            tmp_path / "f.safetensors",
            tmp_path / "m.onnx",
            options=options(photos, output="classifier"),
        )


def test_nothing_is_replaced_unasked(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "m.onnx"
    out.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        nasnet.export("seeded:7", out, options=options(photos))
    assert out.read_bytes() == b"mine"
    nasnet.export("seeded:7", out, options=options(photos, overwrite=True))
    assert out.stat().st_size > 1e6
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        nasnet.export("seeded:7", tmp_path / "folder.onnx", options=options(photos))


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "hub"
    out.mkdir()
    (out / "old.txt").write_text("old")
    asked = options(photos, to="huggingface")
    with pytest.raises(OutputError, match="exists"):
        nasnet.export("seeded:7", out, options=asked)
    nasnet.export("seeded:7", out, options=replace(asked, overwrite=True))
    assert not (out / "old.txt").exists()
    assert (out / "model.safetensors").exists()


def test_an_export_that_computes_something_else_does_not_appear(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = TARGETS["onnx"]

    def other(request: Request, path: Path) -> None:
        row.write(replace(request, weights=open_weights("seeded:8").weights), path)

    monkeypatch.setattr("nasnet.exporting.export.TARGETS", {"onnx": replace(row, write=other)})
    asked = options(photos, to="onnx")
    with pytest.raises(OutputError, match="gives another global_pool: cosine"):
        nasnet.export("seeded:7", tmp_path / "m.onnx", options=asked)
    assert [one.name for one in tmp_path.iterdir()] == ["photos"]
    unchecked = nasnet.export("seeded:7", tmp_path / "m.onnx", options=replace(asked, verify=False))
    assert unchecked.agreements == ()


@pytest.mark.parametrize(
    ("precision", "told"),
    [
        ("int8", r"--calibrate it on pictures of your own kind, or take --precision int16x8; --no"),
        ("int16x8", r"--calibrate it on pictures of your own kind, or take --precision f16; --no"),
        ("f32", r"nothing was kept: --no-verify keeps it"),
    ],
)
def test_the_error_of_an_export_that_is_off_says_what_helps(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision, told: str
) -> None:
    row = replace(TARGETS["onnx"], ranged=False)

    def other(request: Request, path: Path) -> None:
        assert (request.calibration is None) == (precision == "f32")
        plain = replace(request, precision="f32", weights=open_weights("seeded:8").weights)
        row.write(plain, path)

    rough = replace(row, write=other, precisions=PRECISIONS)
    monkeypatch.setattr("nasnet.exporting.export.TARGETS", {"onnx": rough})
    asked = options(photos, to="onnx", precision=precision, calibrate=photos)
    with pytest.raises(OutputError, match=told) as caught:
        nasnet.export("seeded:7", tmp_path / "m.onnx", options=asked)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.onnx").exists()


def wrong_answer(wrong: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
    return {"global_pool": wrong}


def test_a_wrong_shape_or_no_number_never_agrees(mobile: Weights) -> None:
    request = Request(weights=mobile, task="feature_vector", height=64, width=64)
    some = np.zeros((2, 64, 64, 3), np.uint8)
    for wrong in (np.full((2, 1056), np.nan), np.zeros((2, 7))):
        (one,) = compare(request, Run("none", partial(wrong_answer, wrong)), some)
        assert not one.agrees


def test_pictures_that_are_none_are_said(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="no picture that can be read"):
        nasnet.export("seeded:7", tmp_path / "m.onnx", options=options(tmp_path / "photos"))
    assert not (tmp_path / "m.onnx").exists()


def test_the_command_shows_a_table_or_json(tmp_path: Path, photos: Path) -> None:
    arguments = ["seeded:7", str(tmp_path / "m.onnx"), "--size", "64"]
    arguments += ["--pictures", str(photos), "--task", "classifier"]
    result = invoke("export", *arguments)
    assert result.exit_code == 0, result.output
    assert "compared on 3 pictures" in result.output
    assert [line.split()[0] for line in result.output.splitlines()[-2:]] == [
        *("Logits", "Predictions")
    ]
    again = invoke("export", *arguments, "--overwrite", "--json", "--no-verify")
    said = json.loads(again.output)
    assert said["endpoints"] == ["Logits", "Predictions"]
    assert (said["runtime"], said["agreements"]) == ("", [])
    refused = invoke("export", *arguments)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("nasnet: ")
