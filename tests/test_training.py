import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from aecore import models, randomness, training
from aecore.corruption import GaussianNoise, Occlusion
from aecore.data import load, split
from aecore.engine.jobs import checkpoint, restore
from aecore.engine.pool import reproducible
from aecore.spec import Spec
from aecore.training import Training, learning_rate

OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "rmsprop": partial(torch.optim.RMSprop, alpha=0.9),
    "sgd": torch.optim.SGD,
}


def train(spec):
    with reproducible():
        run = Training(spec, load(spec.dataset))
        while not run.done:
            run.epoch()
    return run


def plain_loop(spec):
    """The textbook loop: float images, no memory layout, PyTorch's own scheduler."""
    data = load(spec.dataset)
    rows, _ = split(len(data.train_images), spec.validation, spec.split_seed)
    images = data.train_images[rows].float() / 255
    model = models.build(spec, tuple(images.shape[1:]))
    optimizer = OPTIMIZERS[spec.optimizer](
        model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay
    )
    steps = spec.epochs * math.ceil(len(images) / spec.batch_size)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, spec.learning_rate, total_steps=steps, cycle_momentum=False
    )
    copy = data.train_images.float() / 255
    copy = spec.corruption(copy, generator=randomness.generator(spec.seed, "copy"))[rows]
    for epoch in range(spec.epochs):
        generator = randomness.generator(spec.seed, "order", epoch)
        order = torch.randperm(len(images), generator=generator)
        for step, start in enumerate(range(0, len(images), spec.batch_size)):
            own = order[start : start + spec.batch_size]
            batch = images[own]
            generator = randomness.generator(spec.seed, "corruption", epoch, step)
            given = spec.corruption(batch, generator=generator)
            given = copy[own] if spec.corrupted_once else given
            loss = {"mse": F.mse_loss, "l1": F.l1_loss}[spec.loss](model(given), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    return model


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_training_is_the_textbook_loop(tiny, optimizer, once):
    spec = Spec(
        dataset=tiny, optimizer=optimizer, schedule="one_cycle", learning_rate=3e-3, epochs=2,
        batch_size=64, weight_decay=0.3, validation=0.2, corruption=Occlusion(0.2),
        loss="l1" if optimizer == "sgd" else "mse", corrupted_once=once,
    )  # fmt: skip
    expected = plain_loop(spec).state_dict()
    for name, value in train(spec).result().items():
        np.testing.assert_allclose(value, expected[name].numpy(), rtol=1e-3, atol=1e-4)


def test_learning_rate_is_pytorchs_one_cycle():
    spec = Spec(schedule="one_cycle", learning_rate=0.02, epochs=3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=51)
    for step in range(51):
        assert learning_rate(spec, step, 17) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        if step < 50:
            scheduler.step()
    assert learning_rate(spec.replace(schedule="constant"), 50, 17) == 0.02


GOLDEN = [  # dropout, recipe, training and validation loss of each epoch
    (0, 1, [(0.146164, 0.131992), (0.124213, 0.111614)]),
    (0.1, 2, [(0.145352, 0.127693), (0.121491, 0.107114)]),
]


@pytest.mark.parametrize(("dropout", "recipe", "golden"), GOLDEN)
def test_recipe_golden(tiny, dropout, recipe, golden):
    """What two specs train to. If this changes on purpose, `recipe` goes up, and the numbers."""
    spec = Spec(
        dataset=tiny, epochs=2, batch_size=50, learning_rate=0.01, dropout=dropout, validation=0.2,
        corruption=GaussianNoise(0.3),
    )  # fmt: skip
    losses = [(row["train_loss"], row["validation_loss"]) for row in train(spec).history]
    assert training.recipe(spec) == recipe
    np.testing.assert_allclose(losses, golden, rtol=2e-4)


def test_weights_that_fade_do_not_slow_a_job_down():
    """Floats below 1e-38 take a CPU many times as long; an L2 penalty makes them of dead units."""
    faded = torch.tensor([1e-39])
    with reproducible():
        assert float(faded + 0) == 0
    assert float(faded + 0) != 0


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_restored_training_goes_on_to_the_same_bits(tiny, optimizer):
    spec = Spec(
        dataset=tiny, optimizer=optimizer, momentum=0.9 if optimizer == "sgd" else 0, epochs=4,
        dropout=0.2, batch_size=64, validation=0.2, patience=2, corruption=GaussianNoise(0.2),
        corrupted_once=optimizer == "adam",
    )  # fmt: skip
    whole = train(spec)
    with reproducible():
        first = Training(spec, load(tiny))
        first.epoch()
        first.epoch()
        second = Training(spec, load(tiny))
        restore(second, *checkpoint(first))
        while not second.done:
            second.epoch()
    assert second.history == whole.history
    for name, value in whole.result().items():
        np.testing.assert_array_equal(second.result()[name], value)


def test_early_stopping_keeps_the_best_epoch(tiny):
    spec = Spec(dataset=tiny, epochs=60, learning_rate=0.03, batch_size=30, validation=0.2,
                patience=3)  # fmt: skip
    run = train(spec)
    losses = [row["validation_loss"] for row in run.history]
    assert len(losses) < 60, "the test needs a run that stops early"
    assert run.best_epoch == 1 + int(np.argmin(losses)) == len(losses) - 3
    model = models.build(spec, (1, 12, 12))
    model.load_state_dict({k: torch.from_numpy(v) for k, v in run.result().items()})
    held_out = run.images[run.held_out].float() / 255
    loss = F.mse_loss(model(held_out), held_out).item()
    assert loss == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.fault(
    "the loss becomes infinite or no number", "the run ends, and is recorded as diverged"
)
def test_divergence_ends_a_run_and_says_so(tiny):
    run = train(Spec(dataset=tiny, optimizer="sgd", learning_rate=1e20, epochs=5, batch_size=30))
    assert run.diverged
    assert len(run.history) < 5


def test_the_elbo_is_its_closed_form():
    """Squared error and KL against NumPy, and the KL against an average over draws."""
    random = np.random.default_rng(0)
    images, output = random.random((4, 1, 3, 3)), random.random((4, 1, 3, 3))
    mean, log_variance = random.normal(size=(2, 4, 2))
    terms = models.elbo(
        tuple(map(torch.from_numpy, (output, mean, log_variance))), torch.from_numpy(images)
    ).numpy()
    deviation = np.exp(log_variance / 2)
    kl = (-np.log(deviation) + (deviation**2 + mean**2) / 2 - 0.5).sum(1).mean()
    np.testing.assert_allclose(terms, [((images - output) ** 2).sum((1, 2, 3)).mean(), kl])
    z = mean + deviation * random.normal(size=(200_000, 4, 2))
    ratio = -np.log(deviation) - ((z - mean) / deviation) ** 2 / 2 + z**2 / 2
    np.testing.assert_allclose(ratio.sum(2).mean(), kl, rtol=0.01)


def test_surprise_at_neighbors_is_that_of_the_formula():
    random = np.random.default_rng(5)
    images, output = random.random((2, 401, 1, 4, 4))
    codes = 2 * random.normal(size=(401, 2))
    tensors = [torch.from_numpy(values) for values in (output, codes, images)]
    error, surprise = models.neighbors((tensors[0], tensors[1]), tensors[2])
    theirs = []
    for n in range(401):
        others = np.delete(np.arange(401), n)
        by_pixels = ((images[others] - images[n]) ** 2).sum((1, 2, 3))
        q = 1 / (1 + ((codes[others] - codes[n]) ** 2).sum(1))
        two = by_pixels.argsort()[:2]  # 0.5 % of the 400 others
        theirs.append(-np.log(q[two] / q.sum()).mean())
    np.testing.assert_allclose(surprise, np.mean(theirs))
    np.testing.assert_allclose(error, ((images - output) ** 2).mean())


def test_an_image_alone_has_no_neighbors_and_many_in_one_place_have():
    codes = torch.zeros(3, 2, requires_grad=True)
    images = torch.rand(3, 1, 4, 4)
    _, alone = models.neighbors((images[:1], codes[:1]), images[:1])
    assert alone == 0
    _, surprise = models.neighbors((images, codes), images)
    assert surprise.item() == pytest.approx(np.log(2))
    surprise.backward()
    assert codes.grad.isfinite().all()


FAMILIES = {
    "neighbors": {"architecture": "neighbors", "loss": "neighbors", "widths": (20,)},
    "dense": {"architecture": "dense", "widths": (20, 8), "activation": "sigmoid"},
    "vae": {"architecture": "vae", "loss": "elbo"},
    "rate": {"architecture": "rate", "loss": "rate_distortion"},
    "residual": {"architecture": "residual", "channels": (4, 6, 8)},
    "classifier": {"architecture": "classifier", "loss": "cross_entropy"},
}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_learns_and_goes_on_after_a_restore(tiny, family):
    spec = Spec(
        dataset=tiny, epochs=4, learning_rate=0.01, batch_size=50, validation=0.2, dropout=0.05,
        **FAMILIES[family],
    )  # fmt: skip
    whole = train(spec)
    losses = [row["train_loss"] for row in whole.history]
    assert losses[-1] < losses[0]
    assert ("train_kl" in whole.history[0]) == (family == "vae")
    assert ("train_rate" in whole.history[0]) == (family == "rate")
    assert ("train_surprise" in whole.history[0]) == (family == "neighbors")
    with reproducible():
        first, second = Training(spec, load(tiny)), Training(spec, load(tiny))
        first.epoch()
        restore(second, *checkpoint(first))
        while not second.done:
            second.epoch()
    assert second.history == whole.history
    for name, value in whole.result().items():
        np.testing.assert_array_equal(second.result()[name], value)


def test_a_frozen_encoder_s_head_is_logistic_regression_with_a_hidden_layer(tiny):
    """Against the textbook loop on the codes; the encoder is no part of what is trained."""
    encoder = Spec(dataset=tiny, epochs=1, latent_dim=5)
    spec = Spec(
        dataset=tiny, architecture="classifier", loss="cross_entropy", frozen=encoder, epochs=3,
        batch_size=64, learning_rate=0.01,
    )  # fmt: skip
    data = load(tiny)
    codes = torch.randn(len(data.train_images), 5, generator=torch.Generator().manual_seed(0))
    with reproducible():
        run = Training(spec, dataclasses.replace(data, train_images=codes))
        while not run.done:
            run.epoch()
    model = models.build(spec, (5,), classes=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(3):
        order = torch.randperm(300, generator=randomness.generator(0, "order", epoch))
        for rows in order.split(64):
            hidden, output = model.head
            loss = F.cross_entropy(output(hidden(codes[rows]).relu()), data.train_labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(run.result()[name], value.numpy(), rtol=1e-3, atol=1e-4)


def test_what_is_reproducible_is_in_whole_floats_and_leaves_torch_as_it_was():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with reproducible():
            assert not torch.backends.cudnn.allow_tf32
            assert not torch.backends.cuda.matmul.allow_tf32
            assert torch.get_num_threads() == 1
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
