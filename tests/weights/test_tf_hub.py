from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nasnet.errors import WeightsError
from nasnet.weights.formats import tf_checkpoint, tf_hub
from nasnet.weights.formats.protobuf import encode_bytes, encode_integer
from nasnet.weights.formats.tf_hub import IMAGE_MODULE_INFO, HubModule
from nasnet.weights.formats.tf_variables import group_names
from tests.support.golden_seed import make_hub_module

INFERENCE: frozenset[str] = frozenset()
TRAIN = frozenset({"train"})
SIZE = b"\x0a\x06\x08\xe0\x01\x10\xe0\x01"  # an ImageModuleInfo of 224 x 224


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> HubModule:
    return tf_hub.read_hub_module(make_hub_module(tmp_path_factory.mktemp("hub")))


# A module as small as one can be, made by hand


def entry(key: str, value: bytes) -> bytes:
    return encode_bytes(1, key.encode()) + encode_bytes(2, value)


def info(name: str, shape: tuple[int, ...], dtype: int = 1) -> bytes:
    dims = b"".join(encode_bytes(2, encode_integer(1, size)) for size in shape)
    return encode_bytes(1, name.encode()) + encode_integer(2, dtype) + encode_bytes(3, dims)


def meta_graph(*tags: str, graph_bytes: int = 1000) -> bytes:
    signature = (
        encode_bytes(1, entry("images", info("images:0", (-1, 224, 224, 3))))
        + encode_bytes(1, entry("batch_norm_momentum", info("momentum:0", ())))
        + encode_bytes(2, entry("default", info("features:0", (-1, 1056))))
    )
    attachments = encode_bytes(2, encode_bytes(1, entry(IMAGE_MODULE_INFO, SIZE)))
    return (
        encode_bytes(1, b"".join(encode_bytes(4, tag.encode()) for tag in tags))
        + encode_bytes(2, b"\xff" * graph_bytes)  # a graph_def: not even looked at
        + encode_bytes(4, entry("variables", encode_bytes(2, encode_bytes(1, b"\xff"))))
        + encode_bytes(4, entry("hub_module_attachments", attachments))
        + encode_bytes(5, entry("image_feature_vector_with_bn_hparams", signature))
    )


def saved_model(*graphs: bytes) -> bytes:
    return encode_integer(1, 1) + b"".join(encode_bytes(2, graph) for graph in graphs)


def write_module(folder: Path, content: bytes, *, definition: bytes | None = b"\x08\x03") -> Path:
    (folder / "variables").mkdir(exist_ok=True)
    (folder / "variables" / "variables.index").touch()
    (folder / "saved_model.pb").write_bytes(content)
    if definition is not None:
        (folder / "tfhub_module.pb").write_bytes(definition)
    return folder


# What tensorflow-hub wrote


def test_a_module_has_a_graph_for_inference_and_one_for_training(golden: HubModule) -> None:
    assert set(golden.variants) == {INFERENCE, TRAIN}
    for tags, variant in golden.variants.items():
        assert variant.tags == tags
        assert set(variant.signatures) == {"default", "image_feature_vector"}


def test_the_picture_size_is_attached(golden: HubModule) -> None:
    for variant in golden.variants.values():
        assert set(variant.attachments) == {IMAGE_MODULE_INFO}
        assert tf_hub.image_size(variant.attachments) == (224, 224)


def test_the_variables_are_a_checkpoint(golden: HubModule) -> None:
    checkpoint = tf_checkpoint.open_checkpoint(golden.variables)
    groups = group_names(checkpoint.entries)
    assert len(groups.plain) == 1124
    assert not groups.averages
    assert not groups.ignored
    assert tf_checkpoint.read_tensor(checkpoint, "conv0/weights").shape == (3, 3, 3, 32)
    assert sum(tf_checkpoint.read_tensor(checkpoint, name).size for name in groups.plain) == (
        4_269_716
    )


def test_a_module_is_told_from_other_folders(golden: HubModule, tmp_path: Path) -> None:
    assert tf_hub.is_hub_module(golden.folder)
    assert tf_hub.is_saved_model(str(golden.folder))
    for path in (tmp_path, tmp_path / "missing", golden.folder / "tfhub_module.pb", "nul\0l"):
        assert not tf_hub.is_hub_module(path)
        assert not tf_hub.is_saved_model(path)


# Made by hand


def test_a_module_without_a_graph_for_training_is_read(tmp_path: Path) -> None:
    module = tf_hub.read_hub_module(write_module(tmp_path, saved_model(meta_graph())))
    assert module.variables == tmp_path / "variables" / "variables"
    assert list(module.variants) == [INFERENCE]
    assert module.variants[INFERENCE].signatures == ("image_feature_vector_with_bn_hparams",)


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (b"", None),
        (b"\x0a\x00", None),
        (b"\x0a\x03\x08\xe0\x01", None),
        (b"\x0a\x06\x08\xcb\x02\x10\xcc\x02", (331, 332)),
        (b"\x0a\x0e\x10\xe0\x01\x08" + b"\xff" * 9 + b"\x01", None),  # a height of -1
    ],
)
def test_picture_sizes_may_be_left_open(message: bytes, size: tuple[int, int] | None) -> None:
    assert tf_hub.image_size({IMAGE_MODULE_INFO: message}) == size


def test_no_attachment_is_no_picture_size() -> None:
    assert tf_hub.image_size({}) is None


def test_a_damaged_attachment_is_reported() -> None:
    with pytest.raises(WeightsError, match="image_module_info: field 1 claims"):
        tf_hub.image_size({IMAGE_MODULE_INFO: b"\x0a\x06\x08"})


# Refusals


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (b"", "format 0 where 3"),
        (b"\x08\x02", "format 2 where 3"),
        (b"\x08\x03\x12\x04nice\x12\x05other", "needs features unknown here: nice, other"),
        (b"\x08", "within a number"),
        (b"\x12\x01\xff", "UTF-8"),
        (bytes(5000), "too many"),
    ],
)
def test_module_definitions_that_cannot_be_served(
    tmp_path: Path, definition: bytes, words: str
) -> None:
    folder = write_module(tmp_path, saved_model(meta_graph()), definition=definition)
    with pytest.raises(WeightsError, match=rf"tfhub_module\.pb: .*{words}"):
        tf_hub.read_hub_module(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no graph"),
        (saved_model(meta_graph("train"), meta_graph("train")), r"two graphs .* \['train'\]"),
        (saved_model(meta_graph())[:-1], "field 2 claims"),
        (b"not a protobuf", "field|number"),
    ],
)
def test_damaged_graph_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(WeightsError, match=rf"saved_model\.pb: .*{words}"):
        tf_hub.read_hub_module(write_module(tmp_path, content))


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_module(tmp_path, saved_model(meta_graph()))
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=f"{name} is missing"):
        tf_hub.read_hub_module(folder)


@given(st.data())
@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_but_a_weights_error_comes_of_damage(tmp_path: Path, data: st.DataObject) -> None:
    graphs = [meta_graph(graph_bytes=2), meta_graph("train", graph_bytes=2)]
    content = bytearray(saved_model(*graphs))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    try:
        module = tf_hub.read_hub_module(write_module(tmp_path, bytes(content[:length])))
        for variant in module.variants.values():
            tf_hub.image_size(variant.attachments)
    except WeightsError:
        pass
