import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest

from aecore.checks import InvalidValue
from aecore.corruption import GaussianNoise, Occlusion
from aecore.page.parameters import parse_widths
from aecore.spec import Spec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent_dim", 0),
        ("latent_dim", 2.0),
        ("latent_dim", True),
        ("latent_dim", "4"),
        ("learning_rate", math.nan),
        ("learning_rate", 0),
        ("learning_rate", math.inf),
        ("dropout", 1),
        ("dropout", -0.1),
        ("weight_decay", -1e-4),
        ("epochs", 0),
        ("batch_size", 0),
        ("train_images", 0),
        ("validation", 1),
        ("loss", "huber"),
        ("optimizer", "lion"),
        ("schedule", "cosine"),
        ("seed", -1),
        ("channels", (8, 16)),
        ("corruption", "noise"),
        ("dataset", ""),
    ],
)
def test_wrong_value_is_named_with_what_is_allowed(field, value):
    with pytest.raises(InvalidValue) as error:
        Spec(**{field: value})
    message = str(error.value)
    assert f"{field}={value!r}" in message
    assert "must be" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"patience": 3}, "patience=3"),
        ({"momentum": 0.9}, "momentum=0.9"),
        ({"corrupted_once": True}, "corrupted_once=True"),
        ({"folds": 1}, "folds=1"),
        ({"folds": 3, "fold": 3}, "fold=3"),
        ({"folds": 3, "validation": 0.2}, "validation=0.2"),
        ({"widths": (10,)}, "widths=(10,)"),
        ({"architecture": "dense", "widths": (10, 0)}, "widths[1]=0"),
        ({"architecture": "vae"}, "loss='mse'"),
        ({"centered": True}, "centered=True"),
        ({"loss": "elbo"}, "loss='elbo'"),
        ({"architecture": "classifier"}, "loss='mse'"),
        ({"loss": "cross_entropy"}, "loss='cross_entropy'"),
        ({"frozen": Spec()}, "frozen="),
        ({"architecture": "classifier", "loss": "cross_entropy", "dataset": "fashion_mnist",
          "frozen": Spec()}, "dataset='fashion_mnist'"),
    ],
)  # fmt: skip
def test_combinations_that_make_no_sense_are_refused(fields, named):
    with pytest.raises(InvalidValue, match="is not allowed") as error:
        Spec(**fields)
    assert named in str(error.value)
    assert "must" in str(error.value) or "needs" in str(error.value)


def test_a_classifier_carries_its_encoder_and_not_the_name_of_its_data():
    def classifier(dataset, **fields):
        encoder = Spec(dataset=dataset, latent_dim=33, **fields)
        return Spec(
            architecture="classifier", loss="cross_entropy", dataset=dataset, frozen=encoder
        )

    spec = classifier("mnist", epochs=3)
    assert spec.latent_dim == 33
    assert Spec.from_dict(spec.to_dict()) == spec
    assert spec.key("d", 1) == classifier("renamed.npz", epochs=3).key("d", 1)
    assert spec.key("d", 1) != classifier("mnist", epochs=4).key("d", 1)


def test_widths_are_read_as_the_report_writes_them():
    assert parse_widths("784-512-128-10") == (784, (512, 128), 10)
    assert parse_widths("784-10") == (784, (), 10)


@pytest.mark.parametrize("text", ["784", "", "784-", "784-0-10", "784-1.5-10", "784,10", 784])
def test_widths_that_cannot_be_read_are_refused(text):
    with pytest.raises(InvalidValue, match="as in 784-512-128-10"):
        parse_widths(text)


@pytest.mark.parametrize("build", [lambda: GaussianNoise(-0.1), lambda: Occlusion(1.01)])
def test_wrong_corruption_is_refused(build):
    with pytest.raises(InvalidValue, match="is not allowed: must be"):
        build()


def test_round_trip_and_key():
    spec = Spec(latent_dim=7, channels=(4, 4, 4), corruption=GaussianNoise(0.45), dropout=0.1)
    again = Spec.from_dict(spec.to_dict())
    assert again == spec
    assert again.key("d", 1) == spec.key("d", 1)
    others = [spec.replace(seed=1), spec.replace(corruption=Occlusion(0.45)), Spec()]
    keys = {s.key("d", 1) for s in [spec, *others]} | {spec.key("e", 1), spec.key("d", 2)}
    assert len(keys) == 6


def test_key_knows_content_not_spelling():
    assert Spec(dropout=0, learning_rate=1).key("d", 1) == Spec(
        dropout=np.float64(0), learning_rate=np.int64(1), dataset="renamed.npz"
    ).key("d", 1)


def test_defaults_are_part_of_every_key():
    """A changed default changes what stored keys mean: then `RECIPE` must go up, and this too."""
    defaults = {field.name: field.default for field in dataclasses.fields(Spec)}
    assert defaults == {
        "dataset": "mnist",
        "train_images": None,
        "validation": 0.0,
        "folds": None,
        "fold": 0,
        "split_seed": 0,
        "architecture": "conv",
        "channels": (8, 16, 32),
        "hidden": 64,
        "widths": (),
        "activation": "relu",
        "code_activation": "linear",
        "output_activation": "sigmoid",
        "centered": False,
        "tied": False,
        "initial_weights": "uniform",
        "latent_dim": 4,
        "beta": 1.0,
        "rate_weight": 1e-4,
        "code_step": 0.2,
        "frozen": None,
        "neighbor_weight": 0.1,
        "loss": "mse",
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "momentum": 0.0,
        "schedule": "constant",
        "weight_decay": 0.0,
        "dropout": 0.0,
        "batch_size": 256,
        "epochs": 10,
        "patience": None,
        "corruption": None,
        "corrupted_once": False,
        "seed": 0,
    }


def test_spec_needs_no_torch():
    code = "import aecore.spec, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
