"""Networks trained together against the same networks trained alone, and PyTorch's optimizers."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import CORRUPTIONS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aecore import models, randomness, runs
from aecore.corruption import GaussianNoise, Occlusion
from aecore.data import load
from aecore.engine import jobs, stack
from aecore.engine.jobs import checkpoint, restore
from aecore.engine.stack import Stack, Stacked, StackedDropout, update
from aecore.fast.dropout import Dropout
from aecore.spec import OPTIMIZERS as NAMES
from aecore.spec import Spec
from aecore.store.entries import Store
from aecore.training import OPTIMIZERS, Training, optimizer


def alone(specs, data):
    """Each spec's training, by itself."""
    trainings = [Training(spec, data) for spec in specs]
    for training in trainings:
        while not training.done:
            training.epoch()
    return trainings


def together(specs, data):
    """The same trainings as stacks that shrink as members come to their end."""
    trainings = [Training(spec, data) for spec in specs]
    while left := [training for training in trainings if not training.done]:
        members = Stack(left)
        while sum(t.done for t in left) == 0:
            members.epoch()
    return trainings


def assert_alike(some, others):
    for one, other in zip(some, others, strict=True):
        for row, expected in zip(one.history, other.history, strict=True):
            for name, loss in expected.items():
                assert row[name] == (loss if loss is None else pytest.approx(loss, rel=1e-4)), name
        assert one.best_epoch == other.best_epoch
        for name, value in one.result().items():
            np.testing.assert_allclose(value, other.result()[name], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_stacks_train_what_each_trains_alone(tiny, name):
    """Different codes, rates, schedules, penalties, dropout, damage, seeds, lengths, patience."""
    # RMSProp's first steps are whole ones even where the gradient is but rounding.
    rate = 1e-5 if name == "rmsprop" else 2e-3
    base = Spec(dataset=tiny, optimizer=name, batch_size=50, validation=0.2, learning_rate=rate)
    momentum = 0.9 if name == "sgd" else 0.0
    specs = [
        base.replace(latent_dim=3, epochs=1, dropout=0.1, momentum=momentum),
        base.replace(latent_dim=5, epochs=3, schedule="one_cycle", corruption=GaussianNoise(0.3)),
        base.replace(latent_dim=2, epochs=2, weight_decay=0.1, seed=7, corruption=Occlusion(0.2)),
        base.replace(
            latent_dim=3, epochs=3, dropout=0.3, seed=1, patience=1, learning_rate=5 * rate
        ),
    ]
    data = load(tiny)
    assert len({stack.shape(spec) for spec in specs}) == 1
    assert_alike(together(specs, data), alone(specs, data))


def test_stacks_of_dense_networks_and_of_one(tiny):
    base = Spec(
        dataset=tiny, architecture="dense", widths=(20, 7), activation="tanh", centered=True,
        output_activation="linear", loss="l1", epochs=2, batch_size=64,
    )  # fmt: skip
    specs = [base.replace(latent_dim=d, seed=d, dropout=0.05 * d) for d in (1, 4)]
    data = load(tiny)
    assert_alike(together(specs, data), alone(specs, data))
    assert_alike(together(specs[:1], data), alone(specs[:1], data))


def test_held_out_images_go_through_a_stack_in_parts(tiny, monkeypatch):
    sizes, forward = [], stack.Stacked.forward

    def seen(self, x, *rest, **more):
        sizes.extend([] if self.training else [x.shape[1]])
        return forward(self, x, *rest, **more)

    monkeypatch.setattr(stack.Stacked, "forward", seen)
    monkeypatch.setattr(stack, "AT_ONCE", 50)
    specs = [Spec(dataset=tiny, epochs=1, validation=0.2, seed=n) for n in range(2)]
    data = load(tiny)
    trained = together(specs, data)
    assert sizes == [25, 25, 10]
    assert_alike(trained, alone(specs, data))


def test_folds_stack_and_so_do_splits_of_one_size(tiny):
    base, data = (
        Spec(dataset=tiny, epochs=2, batch_size=50, corruption=GaussianNoise(0.2)),
        load(tiny),
    )
    folds = [base.replace(folds=3, fold=n, seed=n) for n in range(3)]
    splits = [base.replace(validation=0.3, split_seed=n) for n in range(2)]
    for specs in (folds, splits):
        assert len(jobs.groups(specs, True)) == 1
        assert_alike(together(specs, data), alone(specs, data))
    uneven = [base.replace(folds=7, fold=n) for n in range(7)]  # of 300 images
    assert sorted(map(len, jobs.groups(uneven, True))) == [1, 6]


def test_sigmoid_codes_stack_if_they_are_of_one_size(tiny):
    base = Spec(
        dataset=tiny, architecture="dense", widths=(9,), code_activation="sigmoid", latent_dim=3,
        epochs=2, batch_size=50,
    )  # fmt: skip
    specs, data = [base, base.replace(seed=1, learning_rate=0.01)], load(tiny)
    assert stack.shape(base) != stack.shape(base.replace(latent_dim=4))
    assert len(jobs.groups(specs, True)) == 1
    assert_alike(together(specs, data), alone(specs, data))


@pytest.mark.parametrize("kind", ["vae", "beta_vae", "rate"])
def test_networks_with_random_codes_stack_if_these_are_of_one_size(tiny, kind):
    """Noise on codes and images, in training and in validation, is each network's own."""
    base = Spec(
        dataset=tiny, architecture=kind, loss=models.FAMILIES[kind].losses[0], latent_dim=3,
        epochs=2, batch_size=50, validation=0.2, dropout=0.1,
    )  # fmt: skip
    price = {"beta_vae": {"beta": 3.0}, "rate": {"rate_weight": 0.01}}.get(kind, {})
    specs, data = [base, base.replace(seed=1, corruption=GaussianNoise(0.2), **price)], load(tiny)
    assert stack.shape(base) != stack.shape(base.replace(latent_dim=4))
    assert len(jobs.groups(specs, True)) == 1
    assert_alike(together(specs, data), alone(specs, data))
    assert_alike(together(specs[:1], data), alone(specs[:1], data))


def test_only_the_price_may_differ_of_what_a_family_has_of_its_own(monkeypatch):
    class Priced(models.ConvAutoencoder):
        price = "beta"

    made = dataclasses.replace(
        models.FAMILIES["conv"], build=Priced, fields=("beta", "neighbor_weight")
    )
    monkeypatch.setitem(models.FAMILIES, "conv", made)
    base = Spec()
    assert stack.shape(base) == stack.shape(base.replace(beta=2.0))
    assert stack.shape(base) != stack.shape(base.replace(neighbor_weight=0.5))


@pytest.mark.fault(
    "a GPU has no memory for as many models as are trained together",
    "they are trained in smaller groups, to the same weights; of one alone the error is raised",
)
def test_a_stack_that_finds_no_memory_is_halved(tiny, store, tmp_path, monkeypatch):
    class Small(Stack):
        def epoch(self, report=lambda images: None):
            report(50)
            if len(self.trainings) > 2:
                raise torch.OutOfMemoryError("no memory for so many")
            super().epoch(report)

    def never(self, report):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(jobs, "Stack", Small)
    base, said = Spec(dataset=tiny, batch_size=50), tmp_path / "said"
    specs = [base.replace(seed=n, latent_dim=n + 1, epochs=1 + n % 2) for n in range(5)]
    keys = [jobs.run_key(spec) for spec in specs]
    found = jobs.train_job(specs, store, "cpu", None, keys, said)
    for entry, expected in zip(found, alone(specs, load(tiny)), strict=True):
        assert entry.document["spec"] == expected.spec.to_dict()
        for name, value in expected.result().items():
            np.testing.assert_allclose(entry.arrays[name], value, rtol=1e-3, atol=2e-4)
    assert not list(store.root.glob("checkpoints/*"))
    monkeypatch.setattr(Training, "epoch", never)
    with pytest.raises(torch.OutOfMemoryError):
        runs.fit(base.replace(seed=9), store=store, device="cpu", executor=ThreadPoolExecutor(1))


def test_stacks_go_on_from_checkpoints_and_leave_them(tiny):
    specs = [Spec(dataset=tiny, epochs=3, batch_size=64, seed=seed, dropout=0.1) for seed in (0, 1)]
    data = load(tiny)
    trainings = [Training(spec, data) for spec in specs]
    trainings[0].epoch()  # alone
    Stack(trainings).epoch()  # together, one of them an epoch ahead
    restored = [Training(spec, data) for spec in specs]
    for new, old in zip(restored, trainings, strict=True):
        restore(new, *checkpoint(old))
    Stack(restored).epoch()
    restored[1].epoch()  # alone again
    assert [len(training.history) for training in restored] == [3, 3]
    assert_alike(restored, alone(specs, data))


def test_a_diverging_network_leaves_the_others_unharmed(tiny):
    base = Spec(dataset=tiny, optimizer="sgd", epochs=3, batch_size=50)
    specs = [base.replace(learning_rate=1e30, loss="mse"), base.replace(seed=3)]
    data = load(tiny)
    wild, tame = together(specs, data)
    assert wild.diverged and len(wild.history) == alone(specs[:1], data)[0].history[-1]["epoch"]
    assert_alike([tame], alone(specs[1:], data))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 11, 14)])
def test_a_stack_computes_what_each_network_does(shape):
    specs = [Spec(latent_dim=d, seed=d) for d in (1, 6, 3)]
    networks = [models.build(spec, shape) for spec in specs]
    images = torch.rand(3, 5, *shape)
    keys, rates = [1, 2, 3], [0.0, 0.5, 0.1]
    together = StackedDropout(rates, "cpu")
    together.prepare([[0, key] for key in keys], layers=10)
    together.set(1)
    whole = Stacked(networks)(images, together.begun())
    for m, network in enumerate(networks):
        drop = Dropout(rates[m], keys[m])
        torch.testing.assert_close(whole[m], network(images[m], drop), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_updates_are_pytorchs(name):
    spec = Spec(optimizer=name, learning_rate=0.03, weight_decay=0.1,
                momentum=0.8 if name == "sgd" else 0.0)  # fmt: skip
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 3).double()
    theirs, state = optimizer(spec, module), {}
    weight = torch.stack([module.weight.detach(), torch.randn(3, 4).double()])
    aligned = torch.full((2, 1, 1), 1.0, dtype=torch.float64)
    for _ in range(5):
        grad = torch.randn(2, 3, 4).double()
        module.weight.grad, module.bias.grad = grad[0].clone(), torch.zeros(3).double()
        theirs.step()
        settings = (0.03 * aligned, 0.1 * aligned, spec.momentum * aligned)
        update(name, weight, grad, state, *settings)
        torch.testing.assert_close(weight[0], module.weight.detach(), rtol=1e-6, atol=1e-9)


def test_what_cannot_be_stacked_is_told(monkeypatch):
    class Own(models.ConvAutoencoder):
        def loss(self, output, target):
            return 2 * super().loss(output, target)

    assert stack.shape(Spec()) is not None
    own = dataclasses.replace(models.FAMILIES["conv"], build=Own)
    monkeypatch.setitem(models.FAMILIES, "conv", own)
    assert stack.shape(Spec()) is None
    base = Spec(architecture="dense", widths=(9,))
    assert stack.shape(Spec(architecture="residual")) is None
    assert stack.shape(base.replace(loss="root_mse")) is None
    assert stack.shape(base.replace(corruption=Occlusion(0.2), corrupted_once=True)) is None
    assert stack.shape(base) != stack.shape(base.replace(widths=(8,)))
    assert stack.shape(base) == stack.shape(base.replace(latent_dim=9, learning_rate=0.5))


def test_fit_trains_stacks_to_the_same_runs(tiny, tmp_path, monkeypatch):
    """As on a GPU, where `fit` makes one job of all specs of one shape."""
    base = Spec(dataset=tiny, epochs=2, batch_size=64, validation=0.2)
    specs = [base.replace(latent_dim=d, seed=d, epochs=d, dropout=0.1) for d in (1, 2, 3)]
    specs.append(base.replace(channels=(2, 3, 4)))
    grouped = jobs.groups(specs, True)
    assert [len(group) for group in grouped] == [3, 1]
    assert [len(group) for group in jobs.groups(specs, False)] == [1, 1, 1, 1]
    single = runs.fit(specs, store=Store(tmp_path / "single", layers=()), device="cpu")
    monkeypatch.setattr(jobs, "groups", lambda specs, stack: grouped)
    store = Store(tmp_path / "stacked", layers=())
    for run, expected in zip(runs.fit(specs, store=store, device="cpu"), single, strict=True):
        assert (run.key, run.spec, run.best_epoch) == (expected.key, expected.spec, run.spec.epochs)
        losses, others = ([row["train_loss"] for row in r.history] for r in (run, expected))
        assert losses == pytest.approx(others, rel=1e-4)
        assert store.read("run", run.key) is not None
    assert not list((tmp_path / "stacked").glob("checkpoints/*"))


@pytest.mark.fault(
    "one of the models that are trained together diverges",
    "it alone ends, and is recorded with its epoch; the others are what they are without it",
)
def test_divergence_stays_with_its_model(tiny):
    base = Spec(dataset=tiny, batch_size=50, epochs=3, latent_dim=2)
    specs = [base, base.replace(learning_rate=1e30, seed=1), base.replace(seed=2, latent_dim=4)]
    trainings = together(specs, load(tiny))
    assert [training.diverged for training in trainings] == [False, True, False]
    assert len(trainings[1].history) < 3
    assert_alike(trainings[::2], alone(specs[::2], load(tiny)))


class Counted(TorchDispatchMode):
    """Counts the operations on tensors that are no views, their bytes, and looks at their devices.

    On the device "meta" tensors have a shape and no values, so whatever asks for one raises.
    """

    def __init__(self):
        super().__init__()
        self.operations, self.bytes, self.devices = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
        self.devices |= {tensor.device.type for tensor in tensors}
        if not function.is_view and function is not torch.ops.aten._unsafe_view.default:
            self.operations += 1
            self.bytes += sum(tensor.numel() * tensor.itemsize for tensor in tensors)
        return out


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("architecture", ["conv", "dense"])
def test_a_step_needs_nothing_of_the_host(tiny, monkeypatch, name, architecture):
    """No number is asked of the device and none is brought there: a GPU need not be waited for."""
    networks, batch = 180, 128
    widths = (128,) if architecture == "dense" else ()
    base = Spec(dataset=tiny, architecture=architecture, widths=widths, optimizer=name)
    specs = [base.replace(dropout=m / 360, learning_rate=1e-3 * (m + 1)) for m in range(networks)]
    pixels = torch.zeros(300, 1, 28, 28, dtype=torch.uint8)
    data = dataclasses.replace(load(tiny), train_images=pixels)
    first = Training(specs[0], data, "meta")
    members = Stack([first, *(Training(spec, data, "meta", first) for spec in specs[1:])])
    assert all(member.images is first.images for member in (members, *members.trainings))
    members.prepare()
    rows = torch.zeros(networks, batch, dtype=torch.int64, device="meta")
    with Counted() as counted, monkeypatch.context() as patch:
        patch.setattr(torch, "tensor", lambda *_, **__: pytest.fail("a tensor made of numbers"))
        for step in range(2):
            members.set_learning_rate(step, 2)
            members.step(step, rows)
    assert counted.devices == {"meta"}
    each, moved = counted.operations / 2, counted.bytes / 2e9
    print(f"{architecture}, {name}: {each:.0f} operations and {moved:.1f} GB a step")
    assert each <= 120 and moved <= 9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are CUDA's")
@pytest.mark.parametrize(
    "changes",
    [
        *({"optimizer": name} for name in NAMES),
        {"corruption": Occlusion(0.2)},
        {"architecture": "vae", "loss": "elbo"},
        {"architecture": "rate", "loss": "rate_distortion", "corruption": GaussianNoise(0.3)},
    ],
    ids=str,
)
def test_a_recorded_step_has_the_same_bits(tiny, changes):
    base = Spec(dataset=tiny, batch_size=32, dropout=0.1, **changes)
    specs, data, found = [base, base.replace(seed=1)], load(tiny), []
    for records in (False, True):
        stack = Stack([Training(spec, data, "cuda") for spec in specs])
        stack.recorded = stack.recorded if records else None
        stack.epoch()
        found.append([value for t in stack.trainings for value in t.result().values()])
    assert stack.recorded.graph is not None
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))


FAMILIES = [
    {"architecture": name, "loss": family.losses[0]}
    | ({"widths": (20,)} if "widths" in family.fields else {})
    for name, family in models.FAMILIES.items()
]


@pytest.mark.parametrize(
    "changes",
    [
        *FAMILIES,
        *({"optimizer": name} for name in NAMES),
        *({"corruption": c} for c in CORRUPTIONS),
    ],
    ids=lambda changes: str(next(iter(changes.values()))),
)
def test_a_step_of_one_network_waits_for_no_value(tiny, monkeypatch, changes):
    """Of every architecture, optimizer and corruption; all tensors are on its device."""
    for name in ("adam", "adamw"):  # its one kernel for all is not there for the device "meta"
        kind, _ = OPTIMIZERS[name]
        monkeypatch.setitem(OPTIMIZERS, name, (kind, {"foreach": True}))
    monkeypatch.setattr(randomness, "Generator", lambda device: torch.Generator())
    one = Training(Spec(dataset=tiny, dropout=0.1, **changes), load(tiny), "meta")
    rows = torch.zeros(64, dtype=torch.int64, device="meta")
    update_it = one.optimizer.step
    with Counted() as counted, monkeypatch.context() as patch:
        patch.setattr(one.optimizer, "step", lambda: None)
        one.model.train()
        one.step(0, rows)
    assert counted.devices == {"meta"}
    update_it()  # its counts of steps are the host's, and stay there
