"""A run that diverged is asked nothing: every analysis goes on with NaN, or leaves it out."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from aecore.analysis import (
    classifiers,
    errors,
    film,
    geometry,
    neighborhood,
    novelty,
    projections,
    regularity,
)
from aecore.codec import curves, lossless
from aecore.data import load
from aecore.page import live
from aecore.page.show import pictures
from aecore.runs import Runs, fit
from aecore.spec import Spec


def images(runs):
    return load(runs[0].spec.dataset).test_images[:3]


def coded(runs, **where):
    rates = curves.autoencoder_rates(runs, [1.0], **where)
    return curves.pictured(rates, runs, images(runs), **where)[1]


# Of a run and one that diverged: what is known of each, a value or an array.
ANALYSES = {
    "reconstruction_errors": lambda runs, **where:
        errors.reconstruction_errors(runs, **where)["mse"],
    "redrawn": lambda runs, **where: errors.redrawn(runs, [0, 2], **where),
    "loss_curves": lambda runs, **where: errors.loss_curves(runs)["train_loss"][::2],
    "geometry": lambda runs, **where: geometry.geometry(runs, 5, **where)["detour"],
    "regularity": lambda runs, **where: regularity.regularity(runs, 3, 5, **where)["mse"],
    "basins": lambda runs, **where: regularity.basins(runs, 5, **where)["own"],
    "unevenness": lambda runs, **where: regularity.unevenness(runs, 3, **where)[:, 0, 1:],
    "errors_by_kind": lambda runs, **where:
        np.split(novelty.errors_by_kind(runs, 5, **where)["mse"].to_numpy(), 2),
    "blank_errors": lambda runs, **where: novelty.blank_errors(runs, [0.5])["mse"],
    "project": lambda runs, **where: [
        one.points for one in projections.project([(run, "code") for run in runs], 20, **where)],
    "keeping": lambda runs, **where: neighborhood.keeping(
        {"L": runs}, runs[0].spec.dataset, 50, [3], **where)["score"].iloc[[0, 2]],
    "codes_of": lambda runs, **where: neighborhood.codes_of(runs, 5, **where),
    "points_of": lambda runs, **where: [neighborhood.points_of(run, images(runs)) for run in runs],
    "retrieval": lambda runs, **where: neighborhood.retrieval(runs, 3, 5, **where)["precision"][:2],
    "autoencoder_rates": lambda runs, **where:
        curves.autoencoder_rates(runs, [1.0], **where)["mse"],
    "pictured": coded,
    "lossless_rates": lambda runs, **where: lossless.lossless_rates(runs, 1.0, **where)["bytes"],
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tiny):
    run = fit(Spec(dataset=tiny, latent_dim=2, epochs=2, learning_rate=0.01), device="cpu")[0]
    weights = {name: np.full_like(array, np.nan) for name, array in run.weights.items()}
    lost = [{"epoch": 1, "train_loss": None, "validation_loss": None}]
    other = {"key": "ab" * 32, "history": lost, "weights": weights, "best_epoch": 1}
    return Runs([run, dataclasses.replace(run, **other)])


@pytest.mark.parametrize("name", ANALYSES)
def test_its_answer_is_nan_beside_that_of_another(name, runs, store):
    one, lost = map(np.asarray, ANALYSES[name](runs, store=store))
    assert np.isfinite(one).all() and np.isnan(lost).all() and one.shape == lost.shape


def test_it_has_no_way_no_film_no_codec_and_no_neighbors(runs, store, shown):
    one, lost = geometry.ways(runs, 5, store=store)
    assert len(one.pairs) == 3 and len(lost.pairs) == len(lost.paths) == len(lost.lengths) == 0
    one, lost = curves.codecs(runs, 1.0, store=store)
    assert lost is None and one.encode(images(runs)).shape == (3, 2)
    dataset = runs[0].spec.dataset
    named = dict(zip("ab", runs, strict=True))
    assert [*neighborhood.picked(named, dataset, 50, [1], 3, store=store)] == ["before", "a"]
    query, base = images(runs)[:1], load(dataset).train_images
    found = neighborhood.found_for(query, base, runs[1], 3)
    assert [len(rows) for rows in found] == [3, 0]
    pictures({f"{n}": base[rows] / 255 for n, rows in enumerate(found)}, "", alt="nearest")
    assert shown.pop(0)["text/html"].count("<img") == 1
    shown.clear()
    watched = film.film(runs[1], 20, store=store)
    assert watched.drawn.shape[1:] == watched.originals.shape and watched.codes.shape == (0, 20, 2)
    live.film(*dataclasses.astuple(watched)[:4], {"error": watched.losses}, "")
    assert "No film" in shown[0]["text/html"]


def test_a_classifier_and_an_encoder_that_diverged(runs, store):
    spec = Spec(architecture="classifier", loss="cross_entropy", epochs=1,
                frozen=runs[0].spec, dataset=runs[0].spec.dataset)  # fmt: skip
    head = fit(spec, store=store, device="cpu")[0]
    lost = dataclasses.replace(head, key="cd" * 32, history=runs[1].history)
    found = classifiers.accuracies([head, lost], store=store)
    assert [math.isnan(share) for share in found["test"]] == [False, True]
    assert torch.tensor(found["confusion"][1]).isnan().all()
    known = classifiers.baselines(runs, [6], store=store)["method"].value_counts()
    assert known[classifiers.ON_CODES] == known[classifiers.BY_CODE] == 1
