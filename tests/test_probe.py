import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.neighbors import KNeighborsClassifier

from aecore.analysis import classifiers as probe
from aecore.checks import InvalidValue
from aecore.data import load, split
from aecore.runs import fit
from aecore.spec import Spec


@pytest.fixture
def encoder(tiny) -> Spec:
    return Spec(dataset=tiny, epochs=2, batch_size=50, learning_rate=0.01, latent_dim=3)


@pytest.fixture
def scratch(tiny) -> Spec:
    return Spec(
        dataset=tiny, architecture="classifier", loss="cross_entropy", epochs=2, batch_size=50,
        learning_rate=0.01, latent_dim=3,
    )  # fmt: skip


def test_label_counts_that_there_are():
    assert probe.label_counts([1000, 100, 10_000], 60_000) == [100, 1000, 10_000, 60_000]
    assert probe.label_counts([100, 60, 20], 60) == [20, 60]


def test_few_labels_get_as_many_steps(scratch):
    for labels, epochs in ((1, 40), (50, 40), (51, 20), (300, 7), (3000, 2)):
        spec = probe.with_labels(scratch, labels, least_steps=40)
        assert (spec.train_images, spec.epochs) == (labels, epochs)
        assert spec.epochs * math.ceil(labels / 50) >= 40
    with pytest.raises(InvalidValue, match="train_images=0"):
        probe.with_labels(scratch, 0)


def test_accuracies_are_scikit_learns(encoder, scratch, store, monkeypatch):
    head = scratch.replace(frozen=encoder, validation=0.25)
    specs = [head, head.replace(seed=1), probe.with_labels(scratch, 200, least_steps=20)]
    runs = fit(specs, store=store)
    table = probe.accuracies(runs, store=store)
    data = load(scratch.dataset)
    (encoding,) = fit([encoder], store=store)
    for run, row in zip(runs, table.itertuples(), strict=True):
        frozen = run.spec.frozen is not None
        count = run.spec.train_images or 300
        given = data.train_images[:count].float() / 255, data.test_images.float() / 255
        if frozen:
            given = [encoding.model.encode(x) for x in given]
        guessed, tested = (run.model(x).argmax(1).numpy() for x in given)
        truth = data.train_labels[:count].numpy()
        train, held_out = split(count, run.spec.validation, 0)
        assert row.train == pytest.approx(accuracy_score(truth[train], guessed[train]))
        if frozen:
            assert row.validation == accuracy_score(truth[held_out], guessed[held_out])
        else:
            assert math.isnan(row.validation)
        assert row.test == pytest.approx(accuracy_score(data.test_labels, tested))
        np.testing.assert_array_equal(row.confusion, confusion_matrix(data.test_labels, tested))
    assert list(table["labels"]) == [300, 300, 200]
    assert list(table["method"]) == [probe.FROZEN, probe.FROZEN, probe.SCRATCH]
    assert list(table["epochs"]) == [2, 2, 5]
    head_weights = 3 * 128 + 128 + 128 * 3 + 3
    assert list(table["weights"][:2]) == [head_weights] * 2 and table["weights"][2] > head_weights
    monkeypatch.setattr("aecore.engine.measured.run_jobs", None)
    again = probe.accuracies(runs, store=store)
    assert again.drop(columns="confusion").equals(table.drop(columns="confusion"))


def test_training_a_head_leaves_its_encoder_alone(encoder, scratch, store):
    """Its weights are those of before, and the classifier's answers are of its codes alone."""
    (before,) = fit([encoder], store=store)
    head = scratch.replace(frozen=encoder, epochs=5)
    (run,) = fit([head], store=store)
    (after,) = fit([encoder], store=store)
    for name, weights in before.weights.items():
        np.testing.assert_array_equal(weights, after.weights[name])
    assert not set(run.weights) & set(before.weights)
    images = load(encoder.dataset).test_images
    torch.testing.assert_close(probe.logits(run, images, before), run.model(before.encode(images)))


def test_mistaken_by_hand():
    shares = probe.mistaken([np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0]]), np.diag([1, 1, 1])])
    expected = [[math.nan, 0.25, 0], [0, math.nan, 0], [0.5, 0, math.nan]]
    np.testing.assert_array_equal(shares, expected)


def test_baselines_are_scikit_learns(encoder, store, monkeypatch):
    runs = fit([encoder, encoder.replace(seed=1)], store=store)
    table = probe.baselines(runs, [30, 300], store=store)
    data = load(encoder.dataset)
    truth = data.test_labels.numpy()

    def expected(method, count, run):
        parts = data.train_images[:count], data.test_images
        known, asked = (
            x.flatten(1).numpy() / 255 if run is None else run.encode(x).numpy() for x in parts
        )
        model = KNeighborsClassifier(5) if method == probe.BY_CODE else LogisticRegression(
            max_iter=5000
        )  # fmt: skip
        return model.fit(known, data.train_labels[:count].numpy()).score(asked, truth)

    assert len(table) == 2 * 2 * 2 + 2
    for row in table.itertuples():
        run = None if row.method == probe.ON_PIXELS else runs[row.seed]
        # An image at the border may fall to either side when the steps end elsewhere.
        assert row.test == pytest.approx(expected(row.method, row.labels, run), abs=1.5 / 60)
    assert table["test"].between(0.4, 1).all()
    monkeypatch.setattr("aecore.engine.measured.run_jobs", None)
    assert probe.baselines(runs, [30, 300], store=store).equals(table)


def test_labels_of_a_single_class():
    known, labels = torch.rand(4, 2), torch.full((4,), 2)
    assert probe.logistic_regression(known, labels, torch.rand(3, 2)).tolist() == [2, 2, 2]
    assert probe.vote(known, labels, torch.rand(3, 2)).tolist() == [2, 2, 2]


def test_of_equally_frequent_neighbors_the_first_class_counts():
    known = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    assert probe.vote(known, torch.tensor([1, 1, 0, 0]), torch.tensor([[1.4]]), k=4).tolist() == [0]


def test_a_classifier_is_needed(encoder, store):
    run = fit([encoder], store=store)[0]
    with pytest.raises(InvalidValue, match="architecture='conv' is not allowed"):
        probe.accuracies([run], store=store)
