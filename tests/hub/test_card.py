"""The lines of the module's own page, run as they stand, with only the import changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nasnet.errors import FetchError
from nasnet.weights.opening import open_weights
from tests.support.fetching import HANDLE, PATH, archive
from tests.support.golden import golden_images, golden_numbers, relative_error
from tests.support.golden_seed import make_hub_module
from tests.support.http_server import HttpServer

CARD = """
module = hub.Module("https://tfhub.dev/google/imagenet/nasnet_mobile/feature_vector/3")
height, width = hub.get_expected_image_size(module)
features = module(images)  # Features with shape [batch_size, num_features].
"""
CARD_BY_NAME = """
module = hub.Module("https://tfhub.dev/google/imagenet/nasnet_mobile/feature_vector/3")
outputs = module(dict(images=images), signature="image_feature_vector", as_dict=True)
features = outputs["default"]
"""
CARD_MOMENTUM = """
module = hub.Module("https://tfhub.dev/google/imagenet/nasnet_mobile/feature_vector/3")
features = module(inputs=dict(images=images, batch_norm_momentum=0.997),
                  signature="image_feature_vector_with_bn_hparams")
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return archive(make_hub_module(tmp_path_factory.mktemp("hub")))


@pytest.fixture
def server(
    published: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HttpServer]:
    with HttpServer() as running:
        running.put(f"{PATH}?tf-hub-format=compressed", published)
        monkeypatch.setenv("NASNET_MIRRORS", running.url)
        monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
        yield running


@pytest.mark.parametrize("lines", [CARD, CARD_BY_NAME, CARD_MOMENTUM])
def test_the_cards_lines_run_verbatim(server: HttpServer, lines: str) -> None:
    variables = {"images": golden_images("mobile")}
    exec("import nasnet as hub\n" + lines, variables)
    expected = golden_numbers("mobile")["eval/global_pool.mean"]
    assert relative_error(variables["features"], expected) < 1e-5


def test_a_module_is_downloaded_once_and_then_opens_offline(
    server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_weights(HANDLE)
    asked = len(server.requests)
    monkeypatch.setenv("NASNET_OFFLINE", "1")
    again = open_weights(HANDLE.removeprefix("https://tfhub.dev/"))
    assert len(server.requests) == asked
    assert first.weights.source == again.weights.source == HANDLE
    folder = tmp_path / "cache" / "621287f76099453721c445e40dce864314f3f7fa"
    assert (folder / "saved_model.pb").is_file(), "where tensorflow_hub has it too"


def test_a_module_with_a_damaged_tensor_never_enters_the_cache(
    server: HttpServer, published: bytes, tmp_path: Path
) -> None:
    folder = make_hub_module(tmp_path / "damaged")
    shard = folder / "variables" / "variables.data-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[1_000_000] ^= 1
    shard.write_bytes(data)
    # by URL, which has no second source: the handle would go on to the public servers
    url = f"{server.url}/damaged.tar.gz"
    server.put("/damaged.tar.gz", archive(folder))
    with pytest.raises(FetchError, match=r"cell_10/1x1/weights.* do not match their checksum"):
        open_weights(url)
    assert not list((tmp_path / "cache").glob("*/saved_model.pb"))
    server.put("/damaged.tar.gz", published)
    assert open_weights(url).weights.spec == "mobile"
