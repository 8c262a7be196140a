"""Handles: every published name is read, every other is refused or left alone."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings, strategies as st

from nasnet.errors import FetchError
from nasnet.weights.fetch.handles import mirror_sources, note_for, parse_handle

MOBILE = "google/imagenet/nasnet_mobile/feature_vector/3"

PUBLISHED = [
    f"google/imagenet/nasnet_{architecture}/{task}/{version}"
    for architecture in ("mobile", "large")
    for task in ("feature_vector", "classification")
    for version in (1, 3, 4, 5)
]

# sha1 of the handle's text, as tensorflow-hub names its cache folders
CACHE_NAMES = {
    "google/imagenet/nasnet_mobile/feature_vector/3": "621287f76099453721c445e40dce864314f3f7fa",
    "google/imagenet/nasnet_mobile/classification/1": "54b246e9ba27d2ebb70a5d0b8d9ff99ca6f7baa4",
    "google/imagenet/nasnet_large/feature_vector/4": "24d0d249080725e372e33867b9a3a8227d5f664c",
    "google/imagenet/nasnet_large/classification/5": "5126e7c9e0d49c9e761770c9fb7b34af1a808aeb",
}


def test_sixteen_modules_were_published_and_each_is_read_under_all_its_spellings() -> None:
    assert len(PUBLISHED) == 16
    handles = [handle for path in PUBLISHED if (handle := parse_handle(path)) is not None]
    assert len({handle.canonical for handle in handles}) == 16
    for handle in handles:
        path = f"google/imagenet/nasnet_{handle.architecture}/{handle.task}/{handle.version}"
        assert handle.path == path
        for spelling in (
            path,
            f"{path}/",
            f"https://tfhub.dev/{path}",
            f"http://tfhub.dev/{path}",
            f"tfhub.dev/{path}",
            f" https://tfhub.dev/{path}/ ",
            f"https://tfhub.dev/{path}?tf-hub-format=compressed",
            f"https://hub.tensorflow.google.cn/{path}",
            f"https://storage.googleapis.com/tfhub-modules/{path}.tar.gz",
            f"https://gcs.tensorflow.google.cn/tfhub-modules/{path}.tar.gz",
            f"gs://tfhub-modules/{path}.tar.gz",
            f"gs://tfhub-modules/{path}/uncompressed",
            f"nasnet_{handle.architecture}/{handle.task}/{handle.version}",
        ):
            assert parse_handle(spelling) == handle, spelling


def test_short_names_are_the_feature_vectors_of_version_3() -> None:
    assert parse_handle("nasnet_mobile") == parse_handle(MOBILE)
    assert parse_handle("nasnet_large/classification") == parse_handle(
        "https://tfhub.dev/google/imagenet/nasnet_large/classification/3"
    )


@pytest.mark.parametrize(
    ("page", "path"),
    [
        ("TensorFlow2/mobile-classification/2", "nasnet_mobile/classification/5"),
        ("tensorFlow2/large-feature-vector/1", "nasnet_large/feature_vector/4"),
        (
            "frameworks/TensorFlow1/variations/mobile-feature-vector/versions/2",
            "nasnet_mobile/feature_vector/3",
        ),
    ],
)
def test_pages_on_kaggle_are_read(page: str, path: str) -> None:
    handle = parse_handle(f"https://www.kaggle.com/models/google/nasnet/{page}")
    assert handle is not None
    assert handle.path == f"google/imagenet/{path}"


@pytest.mark.parametrize(
    "text",
    [
        "https://tfhub.dev/google/imagenet/nasnet_mobile/feature_vector/2",
        "google/imagenet/nasnet_mobile/feature_vector",
        "google/imagenet/nasnet_small/feature_vector/3",
        "google/imagenet/nasnet_mobile/features/3",
        "nasnet_mobile/feature_vector/9",
    ],
)
def test_a_module_that_never_was_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(FetchError, match=r"\{1,3,4,5\} \(there is no /2\)"):
        parse_handle(text)


def test_copies_in_other_formats_are_refused_by_name() -> None:
    with pytest.raises(FetchError, match=r"TensorFlow Lite copy.*nasnet_\{mobile,large\}"):
        parse_handle("https://tfhub.dev/tensorflow/nasnet/mobile/1")
    with pytest.raises(FetchError, match=r"TensorFlow\.js copy.*name the file you have"):
        parse_handle("google/tfjs-model/imagenet/nasnet_mobile/feature_vector/3/default/1")
    with pytest.raises(FetchError, match="not a NASNet module known on Kaggle"):
        parse_handle("https://www.kaggle.com/models/google/nasnet/TensorFlow2/tiny/1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nasnet_mobile.safetensors",
        "nasnet_mobile/model.ckpt",
        "/models/nasnet_mobile",
        "C:\\models\\nasnet_mobile",
        "http://[",
        "https://example.org/google/imagenet/nasnet_mobile/feature_vector/3",
        "https://tfhub.dev/google/imagenet/pnasnet_large/feature_vector/3",
        "https://www.kaggle.com/models/google/bit/tensorFlow2/m-r50x1/1",
        "gs://other/google/imagenet/nasnet_mobile/feature_vector/3.tar.gz",
        "seeded:7",
    ],
)
def test_other_things_are_left_alone(text: str) -> None:
    assert parse_handle(text) is None


PIECES = ["https://", "gs://", "tfhub.dev", "google", "imagenet", "nasnet_mobile", "3", "٣", "²"]
PIECES += ["?", "/", "feature_vector", "www.kaggle.com", "models", "nasnet", "[", "\0"]


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_any_text_is_a_handle_or_none_or_refused(text: str) -> None:
    try:
        handle = parse_handle(text)
    except FetchError:
        return
    assert handle is None or handle.path in PUBLISHED


def test_cache_folders_have_the_names_tensorflow_hub_gives_them() -> None:
    for path, name in CACHE_NAMES.items():
        handle = parse_handle(path)
        assert handle is not None
        assert hashlib.sha1(handle.canonical.encode()).hexdigest() == name
        assert handle.cache_keys[0] == handle.canonical


def test_defaults_follow_the_version() -> None:
    first, third = (parse_handle(f"nasnet_mobile/classification/{v}") for v in (1, 3))
    assert first is not None
    assert third is not None
    assert first.batch_norm_momentum == 0.9997
    assert first.signatures == ("default", "image_classification", "image_feature_vector")
    assert third.batch_norm_momentum == 0.99
    assert "image_classification_with_bn_hparams" in third.signatures
    vector = parse_handle("nasnet_mobile")
    assert vector is not None
    assert vector.signatures == (
        "default",
        "image_feature_vector",
        "image_feature_vector_with_bn_hparams",
    )


def test_tf2_versions_take_their_weights_from_version_3_and_say_so() -> None:
    handle = parse_handle("nasnet_large/feature_vector/5")
    assert handle is not None
    urls = [source.url for source in handle.sources]
    assert urls[0] == (
        "https://tfhub.dev/google/imagenet/nasnet_large/feature_vector/3?tf-hub-format=compressed"
    )
    assert not any("/5" in url for url in urls)
    note = note_for(handle, "https://tfhub.dev/google/imagenet/nasnet_large/feature_vector/3")
    assert "feature_vector/5 is a TF2 SavedModel" in note
    assert "cannot" not in note, "its own files open too, where a cache has them"
    assert "feature_vector/3, the same checkpoint" in note
    assert note_for(handle, handle.canonical) == ""


def test_the_slim_tarball_is_pinned_and_has_a_cache_folder_of_its_own() -> None:
    handle = parse_handle("nasnet_mobile")
    assert handle is not None
    (slim,) = (source for source in handle.sources if source.kind == "slim")
    assert slim.md5 == "7777886f3de3d733d3a6bf8b80e63555"
    # under the handle's own name tensorflow-hub would take it for a module
    assert slim.key == slim.url != handle.canonical
    (of_mirror,) = (s for s in mirror_sources(handle, "http://host/x/") if s.kind == "slim")
    assert of_mirror.url == "http://host/x/nasnet-a_mobile_04_10_2017.tar.gz"
    assert (of_mirror.key, of_mirror.md5) == (slim.key, slim.md5)
