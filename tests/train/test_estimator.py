from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import nasnet
from nasnet import Module
from nasnet.compute import engine as engines
from nasnet.compute.engine import Engine, EngineOptions, Images, Outputs
from nasnet.errors import InputError, PictureError, WeightsError
from nasnet.features.arrow import vectors_of
from nasnet.train.estimator import NASNetClassifier, NASNetFeatures, computing
from nasnet.train.head import HeadFit, fit_head
from nasnet.weights.opening import Opened, open_weights
from nasnet.weights.weights import Weights, fingerprint, seeded, write_safetensors
from tests.support.pictures import encoded, jpeg, pixels

WEIGHTS = "seeded:7"
SIZE = (32, 32)
COLOURS = np.array([[220, 40, 40], [40, 200, 60], [50, 60, 210]])
Pictures = npt.NDArray[np.uint8]


def features(**parameters: Any) -> NASNetFeatures:
    return NASNetFeatures(**(dict(weights=WEIGHTS, size=SIZE) | parameters))


def classifier(**parameters: Any) -> NASNetClassifier:
    return NASNetClassifier(**(dict(weights=WEIGHTS, size=SIZE) | parameters))


def coloured(count: int = 24, classes: int = 3) -> tuple[Pictures, npt.NDArray[np.str_]]:
    """Noise around one colour a class, 32x32, so that a head has something to learn."""
    random = np.random.default_rng(0)
    kinds = np.arange(count) % classes
    noise = random.integers(-40, 41, (count, *SIZE, 3))
    names = np.array(["red", "green", "blue"])
    return np.asarray(np.clip(COLOURS[kinds, None, None] + noise, 0, 255), np.uint8), names[kinds]


class Counting:
    """The real engine, which also counts the pictures it computes."""

    def __init__(self, engine: Engine, seen: list[int]) -> None:
        self._engine, self._seen = engine, seen
        self.name, self.device = engine.name, engine.device
        self.precision, self.batch, self.streams = engine.precision, engine.batch, engine.streams
        self.apart = engine.apart

    def infer(self, images: Images, endpoints: tuple[str, ...], *, alone: bool) -> Outputs:
        self._seen.append(len(images))
        return self._engine.infer(images, endpoints, alone=alone)

    def close(self) -> None:
        """It is shared."""


@dataclass(frozen=True, slots=True)
class Made:
    """Weights and engines of all these tests: making them anew takes a second each time."""

    opened: dict[str, Opened] = field(default_factory=dict)
    engines: dict[tuple[str, EngineOptions | None], Engine] = field(default_factory=dict)


@pytest.fixture(scope="module")
def made() -> Made:
    return Made()


@pytest.fixture(autouse=True)
def computed(monkeypatch: pytest.MonkeyPatch, made: Made) -> list[int]:
    """Grows by the number of pictures of every run of an engine."""
    seen: list[int] = []
    create = engines.create

    def engine(weights: Weights, options: EngineOptions | None = None) -> Engine:
        key = fingerprint(weights), options
        if key not in made.engines:
            made.engines[key] = create(weights, options)
        return Counting(made.engines[key], seen)

    def opened(text: str) -> Opened:
        if not text.startswith("seeded:"):
            return open_weights(text)
        if text not in made.opened:
            made.opened[text] = open_weights(text)
        return made.opened[text]

    monkeypatch.setattr(engines, "create", engine)
    monkeypatch.setattr(computing, "open_weights", opened)
    return seen


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        NASNetFeatures(WEIGHTS),
        NASNetClassifier(WEIGHTS),
        NASNetClassifier(WEIGHTS, standardize=False, class_weight="balanced"),
    ]
)
def test_scikit_learns_checks_hold(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        "check_transformer_get_feature_names_out",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_global_output_transform_pandas",
        "check_transformer_get_feature_names_out_pandas",
        "check_dataframe_column_names_consistency",
    ],
)
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")
def test_checks_hold_that_scikit_learn_keeps_for_its_own(check: str) -> None:
    pytest.importorskip("pandas")
    getattr(estimator_checks, check)("NASNetFeatures", features())


def drawn(X: Any) -> Pictures:  # noqa: N803
    """The numbers a check makes up, as pictures: a stripe a number, so that other rows differ."""
    rows = np.asarray(X, float)
    stripes = np.repeat(rows, 32 // rows.shape[1] + 1, axis=1)[:, :32]
    values = (255 / (1 + np.exp(-stripes))).astype(np.uint8)
    return np.broadcast_to(values[:, None, :, None], (len(rows), 32, 32, 3))


@pytest.mark.parametrize(
    "check",
    [
        "check_estimators_pickle",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_dict_unchanged",
        "check_fit_idempotent",
    ],
)
def test_checks_hold_where_the_network_computes(check: str, computed: list[int]) -> None:
    getattr(estimator_checks, check)(
        "Pipeline", make_pipeline(FunctionTransformer(drawn, check_inverse=False), features())
    )
    assert computed


def test_vectors_are_those_of_embed() -> None:
    files = [jpeg(seed=n) for n in range(5)]
    table = nasnet.embed(files, weights=WEIGHTS, options=nasnet.EmbedOptions(size=SIZE))
    found = features().fit_transform(files)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, vectors_of(table), rtol=1e-5, atol=1e-6)


def test_a_picture_gives_the_same_vector_in_every_form(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    picture = pixels(40, 50, seed=3)
    image = Image.fromarray(picture)
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(picture, "PNG"))
    objects = np.empty(2, object)
    objects[:] = [str(path), image]
    forms: dict[str, Any] = {
        "a list of all kinds": [path, str(path), path.read_bytes(), image, picture, picture / 255],
        "uint8": picture[None],
        "floats": (picture / 255)[None].astype(np.float32),
        "array of text": np.array([str(path)]),
        "array of objects": objects,
        "column": objects[:, None],
        "series": pandas.Series([str(path)], index=[7]),
        "table": pandas.DataFrame({"path": [str(path)]}),
        "tuple": (picture,),
    }
    estimator = features().fit([picture])
    expected = estimator.transform([picture])
    for name, form in forms.items():
        assert features().fit(form).n_features_out_ == 1056
        for vector in estimator.transform(form):
            np.testing.assert_allclose(vector, expected[0], rtol=1e-5, atol=1e-6, err_msg=name)


def test_flattened_pictures_are_taken_by_their_shape() -> None:
    images, _ = coloured(4)
    estimator = features(rows=(32, 32, 3))
    found = estimator.fit_transform(images.reshape(4, -1))
    np.testing.assert_array_equal(found, features().fit_transform(images))
    assert estimator.n_features_in_ == 3072
    grey = np.random.default_rng(0).random((3, 64), np.float32)
    assert features(rows=(8, 8)).fit_transform(grey).shape == (3, 1056)
    with pytest.raises(InputError, match=r"rows of 30 numbers, rows=\(8, 8\) needs 64"):
        features(rows=(8, 8)).fit(grey[:, :30])


def test_parameters_and_fitted_attributes() -> None:
    images, _ = coloured(2)
    estimator = features(endpoint="Cell_3").fit(images)
    assert estimator.n_features_out_ == 264
    assert len(estimator.weights_fingerprint_ or "") == 16
    assert list(estimator.get_feature_names_out()[[0, -1]]) == ["nasnet_0", "nasnet_263"]
    assert estimator.transform(images).shape == (2, 264)
    estimator.set_params(endpoint="global_pool")
    assert estimator.transform(images).shape == (2, 264), "until it is fitted again"
    assert estimator.fit_transform(images).shape == (2, 1056)
    assert clone(estimator).get_params() == estimator.get_params()


def test_a_table_comes_out_on_request() -> None:
    pandas = pytest.importorskip("pandas")
    images, _ = coloured(2)
    column = pandas.Series(list(images), index=["a", "b"])
    table = features().set_output(transform="pandas").fit_transform(column)
    assert list(table.columns) == [f"nasnet_{n}" for n in range(1056)]
    assert list(table.index) == ["a", "b"]


def test_unfitted_estimators_say_so(tmp_path: Path) -> None:
    images, _ = coloured(2)
    for call in (
        lambda: features().transform(images),
        lambda: features().get_feature_names_out(),
        lambda: classifier().predict(images),
        lambda: classifier().to_module(tmp_path / "module"),
    ):
        with pytest.raises(NotFittedError):
            call()


def test_a_pickle_holds_no_weights_and_notices_other_ones(tmp_path: Path) -> None:
    images, names = coloured(6)
    path = tmp_path / "weights.safetensors"
    write_safetensors(seeded(7), path)
    fitted = classifier(weights=path).fit(images, names)
    expected = fitted.predict_proba(images)
    data = pickle.dumps(fitted)
    assert len(data) < 200_000
    for again in (pickle.loads(data), copy.deepcopy(fitted)):
        np.testing.assert_array_equal(again.predict_proba(images), expected)
    write_safetensors(seeded(8), path)
    with pytest.raises(WeightsError, match="is not what this estimator was fitted with"):
        pickle.loads(data).predict(images)


def test_a_picture_that_cannot_be_read_is_named_or_nan() -> None:
    files = [jpeg(seed=0), b"broken", jpeg(seed=2)]
    with pytest.raises(PictureError, match=r"^X\[1\]: "):
        features().fit_transform(files)
    with pytest.raises(PictureError, match=r"^X\[1\] \(nowhere.jpg\): "):
        features().fit_transform([jpeg(), "nowhere.jpg"])
    found = features(on_error="nan").fit_transform(files)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False]
    with pytest.raises(PictureError, match=r"floats from 0 to 255: expected \[0, 1\]"):
        features().fit_transform(np.linspace(0, 255, 3072).reshape(1, 32, 32, 3))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(recipe="best"), "no recipe 'best'"),
        (dict(precision="f64"), "no precision 'f64'"),
        (dict(batch_size=0), "starts at 1"),
        (dict(engine="abacus"), "no engine 'abacus'"),
        (dict(size=32), r"size is \(height, width\)"),
        (dict(size=(16, 16)), "32 px at least"),
        (dict(rows="pictures"), "rows is 'vectors'"),
        (dict(rows=(8, 8, 4)), "rows is 'vectors'"),
        (dict(on_error="ignore"), "on_error is 'raise' or 'nan'"),
        (dict(memory=7), "memory is a folder or a joblib.Memory"),
        (dict(endpoint="Cell_77"), "no endpoint 'Cell_77'"),
    ],
)
def test_wrong_parameters_are_told_at_fit(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        features(**parameters).fit(coloured(1)[0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("folder", r"X is one str: pass a list"),
        (Path("a.jpg"), r"pass a list of pictures"),
        (np.zeros((32, 32, 3), np.uint8), r"one picture is X\[None\]"),
        (np.zeros((0, 32, 32, 3), np.uint8), "no pictures in it"),
        (np.zeros((2, 3072), np.uint8), "rows of uint8"),
        (np.zeros((2, 3072)), r"rows of 3072 numbers, as long as no vector \(1056 in mobile"),
        ([], "Expected 2D array"),
        ([1.0, 2.0], "Expected 2D array"),
    ],
)
def test_what_is_neither_pictures_nor_vectors_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        features().fit(data)


def test_pictures_and_vectors_stand_for_each_other() -> None:
    images, names = coloured()
    vectors = features().fit_transform(images)
    from_vectors = classifier().fit(vectors, names)
    assert from_vectors.weights_fingerprint_ is None
    from_pictures = classifier().fit(images, names)
    for fitted in (from_vectors, from_pictures):
        np.testing.assert_allclose(
            fitted.predict_proba(images), fitted.predict_proba(vectors), atol=1e-6
        )
    np.testing.assert_allclose(
        from_vectors.predict_proba(images), from_pictures.predict_proba(images), atol=1e-6
    )
    with pytest.raises(InputError, match="have 10 numbers; at fit they had 1056"):
        from_pictures.predict(np.zeros((2, 10)))
    with pytest.raises(InputError, match="have 1056 numbers; at fit they had 10"):
        classifier().fit(vectors[:, :10], names).predict(images)


def test_a_classifier_learns_and_scores() -> None:
    images, names = coloured(36)
    fitted = classifier().fit(images[:24], names[:24])
    assert fitted.classes_.tolist() == ["blue", "green", "red"]
    assert fitted.score(images[24:], names[24:]) > 0.9
    assert fitted.decision_function(images).shape == (36, 3)
    np.testing.assert_allclose(
        np.exp(fitted.predict_log_proba(images)), fitted.predict_proba(images), rtol=1e-5
    )
    weighted = classifier().fit(images[:24], names[:24], np.where(names[:24] == "red", 0, 1))
    assert (weighted.predict(images) != "red").all()


def test_its_head_is_that_of_fine_tuning() -> None:
    random = np.random.default_rng(0)
    names = np.array(["a", "b", "c"] * 20)
    vectors = (random.normal(size=(60, 40)) + (names == "c")[:, None]).astype(np.float32)
    fitted = NASNetClassifier().fit(vectors, names)
    head = fit_head(vectors, np.unique(names, return_inverse=True)[1], 3, HeadFit())
    assert (fitted.C_, fitted.temperature_, fitted.notes_) == (head.c, head.temperature, head.notes)
    assert fitted.temperature_ != 1
    np.testing.assert_array_equal(fitted.decision_function(vectors), head.logits(vectors))
    np.testing.assert_array_equal(fitted.coef_, head.kernel.T)
    favoured = NASNetClassifier(class_weight={"b": 9.0}).fit(vectors, names)
    assert (favoured.predict(vectors) == "b").sum() > (fitted.predict(vectors) == "b").sum()


def test_a_target_that_does_not_fit_is_refused_before_anything_is_computed(
    computed: list[int],
) -> None:
    images, names = coloured(4)
    with pytest.raises(InputError, match="one class only, 'red'"):
        classifier().fit(images, ["red"] * 4)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier().fit(images, names[:3])
    with pytest.raises(ValueError, match="requires y to be passed"):
        classifier().fit(images, None)
    with pytest.raises(ValueError, match="Unknown label type"):
        classifier().fit(images, [0.1, 0.2, 0.3, 0.4])
    assert not computed


def test_a_search_computes_every_picture_once(tmp_path: Path, computed: list[int]) -> None:
    images, names = coloured()
    files = [encoded(image, "PNG") for image in images]
    search = GridSearchCV(classifier(memory=tmp_path), {"C": [0.01, 1.0, 100.0]}, cv=3)
    search.fit(files, names)
    assert search.best_score_ > 0.8
    search.predict(files)
    assert sum(computed) == len(files)
    again = features(memory=joblib.Memory(str(tmp_path), verbose=10))
    np.testing.assert_array_equal(
        again.fit_transform(files * 2), np.tile(again.transform(files), (2, 1))
    )
    assert sum(computed) == len(files), "of another estimator, and of joblib's own memory"


def test_a_memory_tells_apart_what_changes_vectors(tmp_path: Path, computed: list[int]) -> None:
    files: list[Any] = [jpeg(40, 48, seed=1), pixels(40, 48, seed=2)]
    files.append(Image.fromarray(pixels(40, 48, seed=3)))
    for changed in (
        dict(),
        dict(weights="seeded:8"),
        dict(size=(32, 48)),
        dict(recipe="tf1-hub"),
        dict(endpoint="Reduction_Cell_0"),
    ):
        estimator = features(**(dict(memory=tmp_path, endpoint="Cell_0") | changed))
        computed.clear()
        found = estimator.fit_transform(files)
        assert sum(computed) == 3, changed
        np.testing.assert_array_equal(estimator.fit_transform(files), found)
        assert sum(computed) == 3
        again = estimator.set_params(memory=None).transform(files)
        np.testing.assert_allclose(found, again, rtol=1e-5, atol=1e-6)


def test_a_memory_keeps_no_failures(tmp_path: Path, computed: list[int]) -> None:
    picture = tmp_path / "picture.jpg"
    files = [jpeg(seed=0), str(picture), jpeg(seed=0), b"broken"]
    estimator = features(memory=tmp_path / "memory", on_error="nan")
    found = estimator.fit_transform(files)
    assert np.isnan(found[:, 0]).tolist() == [False, True, False, True]
    np.testing.assert_array_equal(found[0], found[2])
    assert sum(computed) == 1
    picture.write_bytes(jpeg(seed=1))
    assert np.isnan(estimator.transform(files)[:, 0]).tolist() == [False, False, False, True]
    assert sum(computed) == 2


def test_the_transformer_works_in_a_pipeline_under_a_search(tmp_path: Path) -> None:
    images, names = coloured()
    pipeline = make_pipeline(features(memory=tmp_path), PCA(4), LogisticRegression())
    search = GridSearchCV(
        pipeline,
        {"pca__n_components": [2, 4], "nasnetfeatures__endpoint": ["global_pool", "Cell_0"]},
        cv=2,
    ).fit(list(images), names)
    assert search.best_score_ > 0.8
    assert len(search.cv_results_["params"]) == 4
    with joblib.parallel_config("threading", n_jobs=2):
        assert cross_val_score(search.best_estimator_, images, names, cv=2).mean() > 0.8


@pytest.mark.parametrize(("classes", "standardize"), [(2, True), (3, True), (3, False)])
def test_a_classifier_becomes_a_module(tmp_path: Path, classes: int, standardize: bool) -> None:
    images, names = coloured(12, classes)
    fitted = classifier(standardize=standardize).fit(images, names)
    fitted.to_module(tmp_path / "module")
    module = Module(tmp_path / "module")
    logits = module(images)
    assert logits.shape == (12, classes)
    weights = module.spec.opened.weights
    assert weights.labels == tuple(fitted.classes_)
    assert (weights.status, module.spec.image_size) == ("modified", SIZE)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        raised / raised.sum(axis=1, keepdims=True), fitted.predict_proba(images), atol=1e-5
    )


def test_a_head_on_other_vectors_becomes_no_module(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    fitted = classifier().fit(random.random((6, 10)), [0, 1, 2] * 2)
    with pytest.raises(InputError, match="vectors of 10 numbers, but those of seeded:7 have 1056"):
        fitted.to_module(tmp_path / "module")


def test_vectors_alone_need_no_weights() -> None:
    vectors = np.random.default_rng(0).random((6, 1056), np.float32)
    fitted = NASNetClassifier("no/such/file").fit(vectors, [0, 1] * 3)
    assert fitted.predict(vectors).shape == (6,)
    assert NASNetFeatures("no/such/file").fit_transform(vectors).dtype == np.float32


def test_without_scikit_learn_the_line_that_installs_it_is_said() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "try:\n    import nasnet.train.estimator\n"
        "except ImportError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install 'nasnet[sklearn]'" in out.stdout


def test_pictures_are_not_changed() -> None:
    images, names = coloured(6)
    floats = images / 255
    before = floats.copy()
    floats.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier().fit(floats, names).predict(floats)
    np.testing.assert_array_equal(floats, before)
