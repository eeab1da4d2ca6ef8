import numpy as np
import pandas as pd
import pytest
import torch

from aecore.analysis import novelty
from aecore.data import load
from aecore.randomness import generator
from aecore.runs import fit
from aecore.spec import Spec
from aecore.store.sources import DataError


def test_kinds_are_what_they_are_called():
    images = torch.rand(40, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    made = {name: make(images, generator(0, name)) for name, make in novelty.KINDS.items()}
    for name, ones in made.items():
        assert (ones.shape, ones.dtype) == (images.shape, torch.float32)
        assert 0 <= ones.min() <= ones.max() <= 1
        assert torch.equal(ones, novelty.KINDS[name](images, generator(0, name)))
    assert torch.equal(made["mirrored"][3, 1, 2], images[3, 1, 2].flip(0))
    torch.testing.assert_close(made["inverted"] + images, torch.ones_like(images))
    for image, other in zip(images, made["shuffled pixels"], strict=True):
        pixels, same = (set(map(tuple, x.flatten(1).T.tolist())) for x in (image, other))
        assert pixels == same, "colored pixels move as a whole"
        assert not torch.equal(image, other)
    assert (made["blank"].flatten(1).std(1) < 1e-6).all()
    assert made["blank"][:, 0, 0, 0].std() > 0.2
    for pattern in (made["stripes"], made["checkerboard"]):
        assert set(pattern.unique().tolist()) == {0, 1}
        assert torch.equal(pattern[:, 0], pattern[:, 2])
    upright = (made["stripes"].diff(dim=2) == 0).flatten(1).all(1)
    lying = (made["stripes"].diff(dim=3) == 0).flatten(1).all(1)
    assert torch.equal(upright, ~lying)
    assert 5 < upright.sum() < 35
    board = made["checkerboard"].bool()[:, 0]
    # Any two rows of a checkerboard are equal or opposite.
    assert all(len({tuple(r) for r in one.tolist()}) <= 2 for one in board)


def test_the_other_set_is_left_out_where_it_cannot_be_had(tiny, monkeypatch):
    assert novelty.other(tiny) is None
    assert list(novelty.strangers(tiny, 5)) == ["test images", *novelty.KINDS]

    def nowhere(name):
        raise DataError("no source")

    monkeypatch.setattr(novelty, "load", nowhere)
    assert novelty.other("mnist") is None
    monkeypatch.setattr(novelty, "load", load)
    monkeypatch.setattr(novelty, "other", lambda name: load("mnist").test_images)
    assert list(novelty.strangers("mnist", 5))[:2] == ["test images", "Fashion-MNIST"]


def test_detection_by_hand():
    known, strange = [1.0, 2, 3, 4], [0.5, 3, 5]
    rows = [("test images", e) for e in known] + [("noise", e) for e in strange]
    errors = pd.DataFrame(rows, columns=["kind", "mse"]).assign(latent_dim=2, seed=0)
    (row,) = novelty.detection(errors).itertuples()
    # Of 12 pairs the stranger errs more in 0 + 2 + 4 and as much in 1.
    assert row.auroc == pytest.approx((6 + 0.5) / 12)
    assert row.passed == pytest.approx(2 / 3)  # 0.5 and 3 are below the 95 % quantile of 3.85


def test_errors_of_every_kind_are_those_of_plain_torch(tiny, store, monkeypatch):
    base = Spec(dataset=tiny, epochs=2, batch_size=50, learning_rate=0.01)
    lost = base.replace(seed=1, optimizer="sgd", learning_rate=1e20)
    runs = fit([base, lost, base.replace(seed=2)], store=store)
    errors = novelty.errors_by_kind(runs, 30, store=store)
    assert len(errors) == 3 * 8 * 30
    assert errors.loc[errors["seed"] == 1, "mse"].isna().all()
    told = novelty.detection(errors)
    assert told["auroc"].isna().tolist() == (told["seed"] == 1).tolist()
    assert len(told) == 3 * 7
    blank, gray = novelty.blank_errors(runs, [0, 0.5]), torch.full((1, 1, 12, 12), 0.5)
    assert blank["mse"].isna().tolist() == [False, False, True, True, False, False]
    expected = float((runs[0].model(gray) - gray).square().mean())
    assert blank["mse"][1] == pytest.approx(expected, rel=1e-4)
    for run in (runs[0], runs[2]):
        for kind, images in novelty.strangers(tiny, 30).items():
            found = errors[(errors["key"] == run.key) & (errors["kind"] == kind)]["mse"]
            output = run.model(images).numpy().astype(np.float64)
            expected = np.square(output - images.numpy()).mean((1, 2, 3))
            np.testing.assert_allclose(found, expected, rtol=1e-4)
    monkeypatch.setattr("aecore.engine.measured.run_jobs", None)
    assert novelty.errors_by_kind(runs, 30, store=store).equals(errors)
