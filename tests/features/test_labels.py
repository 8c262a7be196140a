"""Pictures by the name of a class: which class is meant, what is found, and whose classes count."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import nasnet
from nasnet.errors import InputError
from nasnet.features.feature_set import FeatureMeta, Features
from nasnet.features.index import (
    Classifier,
    classifier_for,
    classifier_of,
    nearest_of_class,
    open_index,
)
from nasnet.weights.module_folder import ModuleFolder, write_folder
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import fingerprint, frozen, seeded, write_safetensors
from tests.support.cli import invoke
from tests.support.feature_sets import META
from tests.support.pictures import jpeg

KERNEL, BIASES = "final_layer/FC/weights", "final_layer/FC/biases"
CLASSES = (208, 981, 500)  # the first is golden retriever, where the background is 0


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return classifier_of(open_weights("builtin").weights)


@pytest.fixture(scope="module")
def meta() -> FeatureMeta:
    weights = open_weights("builtin").weights
    return replace(META, module="builtin", weights_fingerprint=fingerprint(weights))


def features(classifier: Classifier, meta: FeatureMeta) -> Features:
    """Vectors that point more or less the way of some classes, and some of none."""
    random = np.random.default_rng(0)
    kernel = classifier.kernel / np.linalg.norm(classifier.kernel, axis=0)
    ways = [kernel[:, place] for place in CLASSES for _ in range(3)]
    ways += [random.standard_normal(1056) / 33 for _ in range(600)]
    noise = random.standard_normal((len(ways), 1056)) / 100
    return Features(
        ids=[f"{row}.jpg" for row in range(len(ways))],
        vectors=(np.array(ways) + noise).astype(np.float32),
        errors=[None] * len(ways),
        meta=meta,
        columns=pa.table({"even": [row % 2 == 0 for row in range(len(ways))]}),
    )


def test_a_class_is_known_by_each_of_its_names(classifier: Classifier) -> None:
    for name in ("golden retriever", "Golden_Retriever", " golden  retriever", "n02099601"):
        assert classifier.place(name) == 208
    assert classifier.place("Carassius auratus") == classifier.place("goldfish") == 2
    with pytest.raises(InputError, match=r"several classes, .*: n02012849 \(crane\), n03126707"):
        classifier.place("crane")
    assert classifier.names[classifier.place("n03126707")] == "crane"
    with pytest.raises(InputError, match=r"no class 'retriver' among the 1,000 .*; near it: flat"):
        classifier.place("retriver")
    with pytest.raises(InputError, match=r"no class 'xyzzy' .*; such as tench, goldfish"):
        classifier.place("xyzzy")


def test_pictures_of_a_class_come_first(classifier: Classifier, meta: FeatureMeta) -> None:
    index = open_index(features(classifier, meta))
    rows, shares = nearest_of_class(index, classifier, "golden retriever", 3)
    assert set(rows.tolist()) == {0, 1, 2}
    assert (np.diff(shares) <= 0).all()
    assert shares[0] <= 1
    rows, _ = nearest_of_class(index, classifier, classifier.names[981], 2, where="not even")
    assert set(rows.tolist()) == {3, 5}
    assert all(row % 2 for row in rows)
    # The share is the classifier's own, for vectors as long as features are.
    logits = 10 * index.vectors([0]) @ classifier.kernel + classifier.biases
    own = np.exp(logits[0] - logits.max())
    assert classifier.shares(index.vectors([0]), 208) == pytest.approx(own[208] / own.sum(), 1e-4)


def test_a_head_tells_classes_of_vectors_of_the_network_below_it(
    tmp_path: Path, classifier: Classifier, meta: FeatureMeta
) -> None:
    own = open_weights("builtin").weights
    head = {KERNEL: own.arrays[KERNEL][:, [208, 981]], BIASES: own.arrays[BIASES][[208, 981]]}
    mine = replace(
        own,
        arrays=frozen({**own.arrays, **head}),
        num_classes=2,
        labels=("my dog", "my other"),
        min_confidence=0.0,
    )
    write_safetensors(mine, tmp_path / "head.safetensors")
    found = classifier_for(meta, weights=tmp_path / "head.safetensors")
    index = open_index(features(classifier, meta))
    assert set(nearest_of_class(index, found, "My dog", 3)[0].tolist()) == {0, 1, 2}
    with pytest.raises(InputError, match=r"no class 'dog' among the 2 of .*; near it: my dog"):
        found.place("dog")
    with pytest.raises(InputError, match="seeded:7 is not the network of these vectors"):
        classifier_for(meta, weights="seeded:7")
    with pytest.raises(InputError, match="vectors of global_pool, and these are Cell_5"):
        classifier_for(replace(meta, endpoint="Cell_5"))


def test_labels_on_the_command_line(
    tmp_path: Path, classifier: Classifier, meta: FeatureMeta
) -> None:
    import nasnet

    nasnet.build_index(features(classifier, meta), tmp_path / "i")
    run = invoke("search", tmp_path / "i", "--label", "golden retriever", "-k", 3)
    assert run.stdout.startswith("golden retriever\n")
    assert {line.split()[1] for line in run.stdout.splitlines()[1:]} == {"0.jpg", "1.jpg", "2.jpg"}
    assert "how likely a class is among the network's 1,000" in run.stderr
    wrong = invoke("search", tmp_path / "i", "--label", "retriver")
    assert wrong.exit_code == 2
    assert wrong.stderr.count("\n") == 1


def test_a_set_whose_weights_have_no_place_says_what_to_name(tmp_path: Path) -> None:
    """A fine-tuned module calls itself by what it came from, which is no file's name."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg(64, 64))
    module, output = tmp_path / "module", tmp_path / "f.parquet"
    tuned = replace(seeded(7), source="fine-tuned from seeded:7", status="modified")
    write_folder(ModuleFolder(weights=tuned, task="feature_vector", height=64, width=64), module)
    nasnet.embed_to_file(tmp_path / "photos", output, weights=module)
    picture = str(tmp_path / "photos" / "a.jpg")
    remedy = r"called 'fine-tuned from seeded:7' .* say where they\s+are, with --weights"
    for command in (["search", str(output), picture], ["search", str(output), "--label", "cat"]):
        result = invoke(*command)
        assert result.exit_code == 1
        assert re.search(remedy, " ".join(result.output.split())), result.output
        assert "published" not in result.output
    result = invoke("serve", "--index", str(output), "--port", "0")
    assert result.exit_code == 1
    assert re.search(remedy, " ".join(result.output.split())), result.output
    result = invoke("search", str(output), picture, "--weights", str(module))
    assert result.exit_code == 0, result.output
