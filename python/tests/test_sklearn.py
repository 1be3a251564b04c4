"""The classifier, by scikit-learn's own checks and beside the trainer."""

import pickle

import numpy as np
import pytest
from conftest import arrays

sklearn = pytest.importorskip("sklearn", minversion="1.6")

from bobbin.sklearn import Classifier  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402


@parametrize_with_checks([Classifier(threads=1)])
def test_what_scikit_learn_asks_for(estimator: Classifier, check) -> None:  # type: ignore[no-untyped-def]
    check(estimator)


def test_digits() -> None:
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    rows = Classifier(random_state=1).fit(X, y)
    fields = {"epochs": 8}
    pictures = Classifier(image_shape=(1, 8, 8), fields=fields, random_state=1).fit(X, y)
    assert rows.score(X_test, y_test) > 0.93 and pictures.score(X_test, y_test) > 0.95
    # The same pictures in two, three and four dimensions.
    for X_other in (X.reshape(-1, 8, 8), X.reshape(-1, 1, 8, 8)):
        other = Classifier(fields=fields, random_state=1).fit(X_other, y)
        found = other.predict_proba(X_test.reshape(-1, *X_other.shape[1:]))
        assert (found == pictures.predict_proba(X_test)).all()
    copied = pickle.loads(pickle.dumps(pictures))
    assert (copied.predict_proba(X_test) == pictures.predict_proba(X_test)).all()


def test_colours_layouts_and_labels_of_any_type() -> None:
    images, labels = arrays(120)
    names = np.array(["dark", "grey", "light"])[labels]
    fields = {"epochs": 8}
    one = Classifier(fields=fields, random_state=0).fit(images, names)
    assert list(one.classes_) == ["dark", "grey", "light"]
    assert one.score(images, names) > 0.9
    nhwc = images.transpose(0, 2, 3, 1)
    other = Classifier(fields=fields, random_state=0, layout="nhwc").fit(nhwc, names)
    flat = Classifier(fields=fields, random_state=0, layout="nhwc", image_shape=(3, 8, 9))
    flat.fit(nhwc.reshape(120, -1), names)
    assert (other.predict_proba(nhwc) == one.predict_proba(images)).all()
    assert (flat.predict_proba(nhwc.reshape(120, -1)) == one.predict_proba(images)).all()


@pytest.mark.parametrize("kind", [np.int64, np.int8, bool])
def test_noughts_and_ones_of_any_type_are_black_and_white(kind: type) -> None:
    images, labels = arrays(60)
    X = images > 110
    fields = {"epochs": 4}
    expected = Classifier(fields=fields, random_state=0).fit(X.astype(np.float32), labels).predict_proba(X * 1.0)
    found = Classifier(fields=fields, random_state=0).fit(X.astype(kind), labels)
    assert (found.predict_proba(X.astype(kind)) == expected).all()


def test_bytes_and_numbers_from_0_to_1_are_not_taken_for_each_other() -> None:
    images, labels = arrays(60)
    floats = (images / 255).astype(np.float32)
    for X, other in ((images, floats), (floats, images)):
        found = Classifier(fields={"epochs": 1}).fit(X, labels)
        found.predict(X)
        with pytest.raises(ValueError, match=f"X: found {other.dtype}, and fit had"):
            found.predict(other)


def test_model_selection() -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[:300], y[:300]
    assert cross_val_score(Classifier(random_state=0), X, y, cv=3).mean() > 0.8
    search = GridSearchCV(Classifier(random_state=0), {"fields": [{"lr": 1e-6}, {"lr": 5e-3}]}, cv=2).fit(X, y)
    assert search.best_params_ == {"fields": {"lr": 5e-3}}


def test_a_shape_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="image_shape: found .*: expected channels, rows and columns of 64 numbers"):
        Classifier(image_shape=(1, 8, 9)).fit(np.zeros((4, 64)), [0, 1, 0, 1])
