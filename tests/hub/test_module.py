import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasnet as hub
from nasnet.errors import InputError, OutputError, SignatureError
from tests.support.golden import golden_images, golden_numbers, relative_error
from tests.support.golden_seed import make_hub_module, make_slim_checkpoint

VECTORS = golden_numbers("mobile")["eval/global_pool.mean"]
LOGITS = golden_numbers("mobile")["eval/Logits.mean"]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> hub.Module:
    return hub.Module(str(make_hub_module(tmp_path_factory.mktemp("hub"))))


@pytest.fixture(scope="module")
def exported_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classification module: our own folder, said to be one."""
    folder = tmp_path_factory.mktemp("classifier") / "module"
    hub.Module(make_slim_checkpoint(tmp_path_factory.mktemp("slim"))).export(folder)
    description = folder / "nasnet_module.json"
    text = description.read_text().replace('"feature_vector"', '"classification"')
    description.write_text(text)
    return folder


def test_pictures_in_vectors_out(module: hub.Module) -> None:
    height, width = hub.get_expected_image_size(module)
    assert (height, width, hub.get_num_image_channels(module)) == (224, 224, 3)
    features = module(golden_images("mobile"))
    assert features.shape == (3, 1056)
    assert relative_error(features, VECTORS) < 1e-5


def test_inputs_come_bare_or_by_name(module: hub.Module) -> None:
    images = golden_images("mobile")[:1]
    expected = module(images)
    for given in (
        module(dict(images=images)),
        module(inputs={"images": images}),
        module(inputs=images, signature="image_feature_vector"),
        module(images, signature="default", as_dict=True)["default"],
    ):
        np.testing.assert_array_equal(given, expected)


def test_all_endpoints_come_with_the_named_signature(module: hub.Module) -> None:
    outputs = module(golden_images("mobile"), signature="image_feature_vector", as_dict=True)
    assert len(outputs) == 17
    assert relative_error(outputs["default"], VECTORS) < 1e-5
    assert outputs["nasnet_mobile/Cell_5"].shape == (3, 14, 14, 528)
    assert list(module(golden_images("mobile")[:1], as_dict=True)) == ["default"]


def test_endpoints_can_be_asked_for_by_slims_names(module: hub.Module) -> None:
    found = module.endpoints(golden_images("mobile"), ["Stem", "Reduction_Cell_1"])
    assert {name: array.shape for name, array in found.items()} == {
        "Stem": (3, 28, 28, 88),
        "Reduction_Cell_1": (3, 7, 7, 704),
    }
    with pytest.raises(SignatureError, match="no endpoint 'Cell_99'"):
        module.endpoints(golden_images("mobile")[:1], ["Cell_99"])


def test_the_momentum_is_an_input_of_its_own_signature(module: hub.Module) -> None:
    images = golden_images("mobile")[:1]
    name = "image_feature_vector_with_bn_hparams"
    found = module(inputs=dict(images=images, batch_norm_momentum=0.997), signature=name)
    np.testing.assert_array_equal(found, module(images))
    info = module.get_input_info_dict(name)
    assert {key: value.get_shape() for key, value in info.items()} == {
        "images": (None, 224, 224, 3),
        "batch_norm_momentum": (),
    }
    for wrong in ([0.9, 0.9], "much", 1.5):
        with pytest.raises(InputError, match="batch_norm_momentum"):
            module(dict(images=images, batch_norm_momentum=wrong), signature=name)


def test_wrong_inputs_are_type_errors_as_in_the_original(module: hub.Module) -> None:
    images = golden_images("mobile")[:1]
    with pytest.raises(TypeError, match=r"missing \['images'\], not known \['image'\]"):
        module({"image": images})
    with pytest.raises(TypeError, match="pass a dict with the keys batch_norm_momentum, images"):
        module(images, signature="image_feature_vector_with_bn_hparams")
    with pytest.raises(TypeError, match="needs its input 'images'"):
        module()
    with pytest.raises(TypeError, match="224"):
        module(images[:, :200])
    with pytest.raises(TypeError, match="by name"):
        module(images, "default")  # type: ignore[arg-type]


def test_unknown_signatures_and_tags_are_value_errors_as_in_the_original(
    module: hub.Module,
) -> None:
    with pytest.raises(ValueError, match=r"Signature 'nope' is missing .* it has default, image_"):
        module(golden_images("mobile")[:1], signature="nope")
    with pytest.raises(ValueError, match=r"No such graph variant: tags=\['serve'\]"):
        hub.Module("seeded:1", tags={"serve"})


def test_signatures_of_a_feature_module(module: hub.Module) -> None:
    assert set(module.get_signature_names()) == {
        "default",
        "image_feature_vector",
        "image_feature_vector_with_bn_hparams",
    }
    info = module.get_output_info_dict()
    assert info["default"].get_shape() == (None, 1056)
    assert info["default"].dtype == np.float32
    assert len(module.get_output_info_dict("image_feature_vector")) == 17


def test_the_classification_module_gives_logits_by_default(exported_classifier: Path) -> None:
    module = hub.Module(exported_classifier)
    images = golden_images("mobile")
    assert relative_error(module(images), LOGITS) < 1e-5
    assert relative_error(module(images, signature="image_feature_vector"), VECTORS) < 1e-5
    assert {"image_classification", "image_classification_with_bn_hparams"} <= set(
        module.get_signature_names()
    )
    everything = module(images[:1], signature="image_classification", as_dict=True)
    assert everything["nasnet_mobile/Predictions"].sum() == pytest.approx(1, abs=1e-5)


def test_the_attached_message_tells_the_size(module: hub.Module) -> None:
    info = module.get_attached_message("image_module_info", hub.ImageModuleInfo)
    assert info is not None
    assert (info.default_image_size.height, info.default_image_size.width) == (224, 224)
    assert module.get_attached_message("other", hub.ImageModuleInfo) is None
    with pytest.raises(KeyError, match="image_module_info"):
        module.get_attached_message("other", hub.ImageModuleInfo, required=True)


def test_variables_have_slims_names(module: hub.Module) -> None:
    assert len(module.variable_map) == len(module.variables) == 1124
    assert [variable.name for variable in module.variables] == sorted(module.variable_map)
    kernel = module.variable_map["conv0/weights"]
    assert (kernel.shape, kernel.trainable) == ((3, 3, 3, 32), False)
    np.testing.assert_array_equal(np.asarray(kernel), kernel.numpy())
    trainable = hub.Module(module.spec, trainable=True).variables
    values = sum(variable.value.size for variable in trainable if variable.trainable)
    assert values == 4_232_978


def test_export_writes_what_module_loads(module: hub.Module, tmp_path: Path) -> None:
    module.export(tmp_path / "mine")
    again = hub.Module(tmp_path / "mine")
    images = golden_images("mobile")[:1]
    np.testing.assert_array_equal(again(images), module(images))
    again.export(tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"], "nothing left behind"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(OutputError, match="exists and is not an exported module"):
        module.export(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").exists()


def test_other_sizes_can_be_asked_for() -> None:
    module = hub.Module("seeded:7", image_size=(97, 64))
    assert hub.get_expected_image_size(module) == [97, 64]
    assert module(np.zeros((1, 97, 64, 3), np.float32)).shape == (1, 1056)


def test_a_spec_tells_all_without_computing(module: hub.Module) -> None:
    spec = hub.load_module_spec("seeded:7")
    assert spec.get_tags() == [set(), {"train"}]
    assert "default" in spec.get_signature_names(tags={"train"})
    assert hub.get_expected_image_size(spec) == [224, 224]
    assert hub.load_module_spec(module.spec) is module.spec
    with hub.eval_function_for_module(spec) as compute:
        assert relative_error(compute(golden_images("mobile")), VECTORS) < 1e-5


def test_a_range_that_looks_wrong_is_refused_unless_told_otherwise() -> None:
    images = np.full((1, 48, 48, 3), 200, np.float32)
    with pytest.raises(TypeError, match=r"looks like 0\.\.255"):
        hub.Module("seeded:7", image_size=(48, 48))(images)
    told = hub.Module("seeded:7", image_size=(48, 48), check_range=False)
    assert told(images).shape == (1, 1056)


def test_resolve_tells_where_a_module_lies(module: hub.Module) -> None:
    folder = module.spec.opened.path
    assert folder is not None
    assert hub.resolve(folder) == str(folder)
    with pytest.raises(InputError, match="lies in no file"):
        hub.resolve("seeded:7")


def test_size_questions_about_other_inputs_are_answered_plainly(module: hub.Module) -> None:
    name = "image_feature_vector_with_bn_hparams"
    with pytest.raises(ValueError, match="has shape \\(\\), not that of pictures"):
        hub.get_expected_image_size(module, name, "batch_norm_momentum")
    with pytest.raises(ValueError, match="no input 'pixels'; there are images"):
        hub.get_num_image_channels(module, input_name="pixels")


def test_a_module_opens_again_after_close(module: hub.Module) -> None:
    images = golden_images("mobile")[:1]
    before = module(images)
    module.close()
    np.testing.assert_array_equal(module(images), before)


def test_a_copy_and_a_pickle_compute_the_same(module: hub.Module) -> None:
    images = golden_images("mobile")[:1]
    expected = module(images)  # with an engine, which belongs to this process
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        np.testing.assert_array_equal(other(images), expected)
        assert other.spec.image_size == module.spec.image_size
        other.close()


def test_endpoints_may_be_asked_for_twice_and_come_in_a_list(module: hub.Module) -> None:
    images = golden_images("mobile")[:1]
    once = module.endpoints(images, ["Cell_3"])["Cell_3"]
    twice = module.endpoints(images, ["Cell_3", "Cell_3"])
    assert list(twice) == ["Cell_3"]
    np.testing.assert_array_equal(twice["Cell_3"], once)
    with pytest.raises(TypeError, match=r"endpoints come in a list: \['Cell_3'\]"):
        module.endpoints(images, "Cell_3")


@pytest.mark.parametrize("size", [128, "64x64", (64.5, 64), (64,), (64, None), (True, 64)])
def test_what_is_no_size_is_said(size: Any) -> None:
    with pytest.raises(InputError, match=r"height and width in whole pixels, such as \(224, 224\)"):
        hub.Module("seeded:7", image_size=size)


def test_tags_are_a_set(module: hub.Module) -> None:
    with pytest.raises(ValueError, match=r"tags are a set: \{'train'\}"):
        hub.Module(module.spec, tags="train")
