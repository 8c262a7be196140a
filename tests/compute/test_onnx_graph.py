import numpy as np
import onnx
import onnx.checker
import onnxruntime
import pytest

from nasnet.compute import onnx_model
from nasnet.network import rewrites
from nasnet.network.build import build_plan
from nasnet.network.rewrites import Program
from nasnet.network.spec import preset
from nasnet.weights.weights import Weights
from tests.support.golden import relative_error
from tests.support.reference import compute


def program(weights: Weights, height: int, width: int) -> Program:
    plan = build_plan(preset(weights.spec), height=height, width=width)
    return Program(plan=plan, arrays=weights.arrays)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 71)])
@pytest.mark.parametrize("rewritten", [False, True], ids=["as planned", "rewritten"])
def test_the_model_computes_what_numpy_does(
    mobile: Weights, size: tuple[int, int], rewritten: bool
) -> None:
    planned = program(mobile, *size)
    images = np.random.default_rng(1).random((2, *size, 3), dtype=np.float32)
    expected = compute(planned, images)
    endpoints = list(planned.plan.endpoints)
    model = onnx_model.render(rewrites.for_inference(planned, endpoints) if rewritten else planned)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for endpoint, found in zip(endpoints, session.run(endpoints, {"images": images}), strict=True):
        assert relative_error(found, expected[endpoint]) < 1e-5, endpoint


def test_the_model_is_valid_and_says_what_it_is(mobile: Weights) -> None:
    planned = rewrites.for_inference(program(mobile, 32, 32), ["global_pool"])
    model = onnx_model.render(planned, metadata={"weights": "seeded:7"})
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"weights": "seeded:7"}
    assert [value.name for value in model.graph.input] == ["images"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [value.name for value in model.graph.output] == ["global_pool"]


def test_batch_can_be_fixed(mobile: Weights) -> None:
    planned = rewrites.for_inference(program(mobile, 32, 32), ["global_pool"], uint8=True)
    model = onnx_model.render(planned, uint8=True, batch=3)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
