import dataclasses
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import active_children, get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F
from command import until
from workers import FORKS

from aecore import models, randomness
from aecore.analysis.errors import reconstruction_errors
from aecore.checks import InvalidValue
from aecore.corruption import Masking
from aecore.data import load
from aecore.engine import jobs
from aecore.engine.jobs import run_key
from aecore.engine.pool import run_jobs
from aecore.runs import fit, ladder, sweep
from aecore.spec import Spec
from aecore.store.entries import Store, StoreError
from aecore.store.sources import DataError


def spec(tiny, **changes):
    return Spec(dataset=tiny, epochs=2, batch_size=64, dropout=0.2, latent_dim=2).replace(**changes)


def bits(run):
    return {name: array.tobytes() for name, array in run.weights.items()}


def test_fit_gives_identical_bits_alone_or_among_others(tiny, tmp_path):
    specs = [spec(tiny, seed=seed, latent_dim=d) for seed in range(2) for d in (1, 3)]
    together = fit(specs, store=Store(tmp_path / "a", layers=()))
    reverse = fit(specs[::-1], store=Store(tmp_path / "b", layers=()))[::-1]
    alone = fit([specs[2]], store=Store(tmp_path / "c", layers=()))[0]
    assert [bits(run) for run in together] == [bits(run) for run in reverse]
    assert bits(together[2]) == bits(alone)
    assert len({str(bits(run)) for run in together}) == 4


def test_fit_answers_from_the_store(tiny, store):
    first = fit([spec(tiny), spec(tiny)], store=store)
    assert first[0].key == first[1].key == run_key(spec(tiny))

    class Refuses(ThreadPoolExecutor):
        def submit(self, *arguments, **keywords):
            raise AssertionError("nothing is to be trained")

    again = fit([spec(tiny)], executor=Refuses(1), store=store)
    assert bits(again[0]) == bits(first[0])
    assert again[0].history == first[0].history
    assert again[0].provenance["threads"] == 1
    assert again[0].provenance["tf32"] is False
    assert again[0].provenance["device"].startswith("cpu")


def test_a_run_published_without_weights_is_trained_again_when_they_are_asked_for(tiny, tmp_path):
    (run,) = fit(spec(tiny), store=Store(tmp_path / "first", layers=()))
    published, store = Store(tmp_path / "published", layers=()), tmp_path / "store"
    published.write("run", run.key, Store(tmp_path / "first").read("run", run.key).document, {})
    layered = Store(store, layers=(published.root,))
    (light,) = fit(spec(tiny), store=layered, weights=False)
    assert light.history == run.history and not light.diverged and not store.exists()
    with pytest.raises(InvalidValue, match="without weights has no model"):
        light.encode(load(tiny).test_images)
    assert (
        bits(fit(spec(tiny), store=layered)[0])
        == bits(run)
        == bits(fit(spec(tiny), store=layered)[0])
    )
    assert layered.has("run", run.key)


def live_in(home):
    os.environ["AECORE_HOME"] = home


class Elsewhere(ProcessPoolExecutor):
    """A worker as on another machine: it has a home of its own and is handed no store."""

    def __init__(self, home):
        super().__init__(1, get_context("spawn"), initializer=live_in, initargs=(str(home),))

    def submit(self, function, specs, store, *others):
        return super().submit(function, specs, None, *others)


def test_any_executor_will_do_and_its_worker_needs_no_shared_store(tiny, store, tmp_path):
    specs = [spec(tiny, seed=s) for s in (0, 1)]
    with Elsewhere(tmp_path / "elsewhere") as executor:
        runs = fit(specs, executor=executor, store=store)
    there = {path.parent.name for path in (tmp_path / "elsewhere").rglob("run.json")}
    assert there == {path.parent.name for path in store.root.rglob("run.json")} != set()
    here = fit(specs, store=Store(tmp_path / "here", layers=()))
    assert [bits(run) for run in runs] == [bits(run) for run in here]


def test_a_last_step_that_explodes_is_a_run_that_diverged(tiny, store, monkeypatch):
    """Its training loss is that of the weights before the step, and so a number."""
    wild = spec(tiny, optimizer="sgd", dropout=0.0, epochs=1, batch_size=300)
    wild = wild.replace(learning_rate=3e38, weight_decay=1e4)
    held_out, alone = fit([wild.replace(validation=0.2), wild], store=store)
    assert held_out.history[0]["train_loss"] is not None
    assert held_out.history[0]["validation_loss"] is None
    assert held_out.diverged and alone.diverged
    calm = fit(spec(tiny), store=store)[0]
    assert not calm.diverged


def test_runs_are_picked_by_what_they_were_trained_for(tiny, store):
    recipe = spec(tiny, epochs=1)
    specs = sweep(recipe, latent_dim=(1, 2), corruption=[None, Masking(0.2)], seed=range(2))
    assert [(s.latent_dim, s.seed) for s in specs[:3]] == [(1, 0), (1, 1), (1, 0)]
    runs = fit(specs, store=store)
    assert [run.spec for run in runs.where(latent_dim=2, corruption=Masking(0.2))] == specs[6:]
    assert {d: len(group) for d, group in runs.by("latent_dim").items()} == {1: 4, 2: 4}
    with pytest.raises(InvalidValue, match="unknown field 'size'"):
        runs.where(size=2)
    head = Spec(architecture="classifier", loss="cross_entropy", frozen=recipe, dataset=tiny)
    assert [s.frozen.seed for s in sweep(head, seed=range(2))] == [0, 1]
    assert sweep(recipe, optimizer="sgd") == [recipe.replace(optimizer="sgd")]


def test_each_step_of_a_ladder_has_all_before_it():
    recipe = Spec(latent_dim=3)
    steps = {"plain": {}, "SiLU": {"activation": "silu"}, "wide": {"hidden": 9, "latent_dim": 5}}
    found = ladder(recipe, steps)
    silu = recipe.replace(activation="silu")
    wide = silu.replace(hidden=9, latent_dim=5)
    assert found == {"plain": recipe, "SiLU": silu, "wide": wide}


def test_damaged_run_is_trained_again_to_the_same_bits(tiny, store):
    first = fit([spec(tiny)], store=store)[0]
    weights = next(store.root.rglob("weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="to be computed again"):
        again = fit([spec(tiny)], store=store)[0]
    assert bits(again) == bits(first)


def test_two_runs_that_change_places_are_trained_again_to_the_same_bits(tiny, store):
    specs = [spec(tiny, seed=seed) for seed in (0, 1)]
    first = fit(specs, store=store)
    one, other = (path.parent for path in store.root.rglob("run.json"))
    one.rename(store.root / "aside"), other.rename(one), (store.root / "aside").rename(other)
    with pytest.warns(UserWarning, match="in the place of run"):
        again = fit(specs, store=store)
    assert [bits(run) for run in again] == [bits(run) for run in first]


def test_bad_input_is_refused_before_training(tiny, store, tmp_path, monkeypatch):
    with pytest.raises(InvalidValue, match="device='gpu7'"):
        fit([spec(tiny)], device="gpu7", store=store)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        fit([spec(tiny)], store=Store(tmp_path / "file", layers=()))

    def refuses(*arguments):
        raise InvalidValue("images of 12 x 12 pixels are not allowed")

    conv = dataclasses.replace(models.FAMILIES["conv"], build=refuses)
    monkeypatch.setitem(models.FAMILIES, "conv", conv)
    with pytest.raises(InvalidValue, match="12 x 12"):
        fit([spec(tiny)], store=store)
    assert not list(store.root.rglob("run.json"))


class Meanwhile(ThreadPoolExecutor):
    """Something happens between the call and the training."""

    def __init__(self, what):
        super().__init__(1)
        self.what = what

    def submit(self, *job):
        self.what()
        return super().submit(*job)


def own(path, change=0):
    """A copy of a small data set with another pixel."""
    arrays = {name: np.arange(size).astype(np.uint8).reshape(-1, 5, 5)
              for name, size in (("train_images", 200), ("test_images", 100))}  # fmt: skip
    arrays["train_images"][0, 0, 0] = change
    labels = {"train_labels": np.arange(8) % 2, "test_labels": np.arange(4) % 2}
    np.savez(f"{path}.new.npz", **arrays, **labels)
    os.replace(f"{path}.new.npz", path)  # nobody sees half of it


@pytest.mark.fault(
    "the data are replaced while models are trained on them",
    "nothing is stored under the old data's key; one line says what happened",
)
def test_data_that_are_replaced_before_the_training_are_refused(store, tmp_path):
    path = tmp_path / "own.npz"
    own(path)
    asked = spec(str(path), epochs=1)
    old = run_key(asked)
    with (
        Meanwhile(lambda: own(path, 200)) as executor,
        pytest.raises(DataError, match=r"own.npz was replaced since models") as caught,
    ):
        fit([asked, asked.replace(seed=1)], executor=executor, store=store)
    assert "\n" not in str(caught.value)
    assert not list(store.root.rglob("run.json"))
    (run,) = fit(asked, executor=ThreadPoolExecutor(1), store=store)
    assert run.key == run_key(asked) != old
    own(path)
    with pytest.raises(DataError, match=r"own.npz was replaced since models"):
        reconstruction_errors([run], executor=ThreadPoolExecutor(1), store=store)
    assert not list(store.root.rglob("table.json"))
    assert run_key(asked) == old


def test_a_relative_path_means_the_same_where_the_job_is_done(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own("own.npz")
    encoder = spec("own.npz", epochs=1)
    head = Spec(architecture="classifier", loss="cross_entropy", frozen=encoder,
                dataset="own.npz", epochs=1)  # fmt: skip
    (tmp_path / "elsewhere").mkdir()

    class Elsewhere(Meanwhile):
        def submit(self, function, *job):
            def there(*job):
                monkeypatch.chdir(tmp_path / "elsewhere")
                try:
                    return function(*job)
                finally:
                    monkeypatch.chdir(tmp_path)

            return super().submit(there, *job)

    with Elsewhere(lambda: None) as executor:
        (run,) = fit(head, executor=executor, store=store)
    assert run.spec.dataset == "own.npz" and store.has("run", run.key)


def test_run_encodes_and_decodes_like_its_model(tiny, store):
    run, images = fit([spec(tiny)], store=store)[0], load(tiny).test_images
    floats = images.float() / 255
    codes = run.model.encode(floats)
    np.testing.assert_allclose(run.encode(images), codes, rtol=1e-5)
    np.testing.assert_allclose(run.reconstruct(floats), run.model.decode(codes), rtol=1e-5)


def test_images_and_codes_may_be_numpy_arrays(tiny, store):
    run, images = fit([spec(tiny)], store=store)[0], load(tiny).test_images
    pixels = images.numpy()[::-1]
    codes = run.encode(images.flip(0))
    assert run.encode(pixels).equal(codes)
    np.testing.assert_allclose(run.encode(pixels / 255), codes, rtol=1e-4, atol=1e-5)
    back = run.reconstruct(images.flip(0))
    assert run.reconstruct(pixels).equal(back)
    assert run.decode(codes.numpy().astype(np.float64)).equal(back)
    for wrong in (
        np.zeros((5, 1, 13, 13)),
        torch.zeros(5, 3, 12, 12),
        pixels[:, 0],
        pixels[0, 0, 0, 0],
    ):
        with pytest.raises(InvalidValue) as error:
            run.encode(wrong)
        assert str(error.value) == (
            f"images.shape={tuple(wrong.shape)} is not allowed: must be (N, 1, 12, 12) for this run"
        )
    with pytest.raises(InvalidValue, match=r"images\.dtype=torch\.int64"):
        run.encode(images.long())
    with pytest.raises(InvalidValue, match=r"codes\.shape=\(4, 3\) .* must be \(N, 2\)"):
        run.decode(np.zeros((4, 3)))


def test_a_data_set_may_be_a_path(tiny):
    assert Spec(dataset=Path(tiny)) == Spec(dataset=tiny)
    assert Spec(dataset=Path(tiny)).to_dict() == {"dataset": tiny}
    with pytest.raises(InvalidValue, match="loss=PosixPath"):
        Spec(loss=Path("mse"))


def fit_and_count(tiny, root):
    (run,) = fit(spec(tiny), device="cpu", store=Store(root, layers=()))
    return bits(run), len(active_children())


def test_a_worker_of_a_pool_fits_in_itself(tiny, tmp_path):
    """Processes of its own would end two minutes after it, or could not be started at all."""
    with ProcessPoolExecutor(1, FORKS) as executor:
        found, children = executor.submit(fit_and_count, tiny, tmp_path / "a").result()
    assert children == 0
    assert found == bits(fit(spec(tiny), device="cpu", store=Store(tmp_path / "b", layers=()))[0])


def surroundings(path):
    return os.getcwd(), os.environ.get("AECORE_DATA")


def test_workers_live_where_the_program_does_now(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setenv("AECORE_DATA", name)
        assert dict(run_jobs(surroundings, [()], [1], "")) == {0: (str(tmp_path / name), name)}
        assert Store(Path("rel")).root == tmp_path / name / "rel"


SCRIPT = """
from pathlib import Path
from types import SimpleNamespace
import sys
from aecore.runs import fit
from aecore.spec import Spec
from aecore.store.entries import Store

data, root = sys.argv[1:]
fit([Spec(dataset=data, epochs=170, batch_size=30, dropout=0.2, latent_dim=d) for d in (1, 2)],
    store=Store(Path(root), layers=()))
"""


def start(tiny, root, script):
    program = [sys.executable, str(script), tiny, str(root)]
    return subprocess.Popen(program, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.fault(
    "a training is killed, or stopped by Ctrl-C",
    "the same call goes on from its last checkpoint to the same bits",
)
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_stopped_run_resumes_to_the_same_bits(tiny, tmp_path, ending):
    """The whole process group is stopped in mid-training, after the first checkpoint."""
    script, root = tmp_path / "script.py", tmp_path / "store"
    script.write_text(SCRIPT)
    process = start(tiny, root, script)
    until(lambda: list(root.glob("checkpoints/[!.]*.safetensors")), process)
    os.killpg(process.pid, ending)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    if ending == signal.SIGINT:
        assert "stopped: 0 of 2 models are stored" in said
    assert not list(root.glob("runs/*/*/run.json"))
    base = Spec(dataset=tiny, epochs=170, batch_size=30, dropout=0.2)
    specs, store = [base.replace(latent_dim=d) for d in (1, 2)], Store(root, layers=())
    saved = [store.read_checkpoint(run_key(spec)) for spec in specs]
    assert any(entry and len(entry.document["history"]) > 0 for entry in saved)
    resumed = fit(specs, store=store)
    whole = fit(specs, store=Store(tmp_path / "whole", layers=()))
    assert [bits(run) for run in resumed] == [bits(run) for run in whole]
    assert [run.history for run in resumed] == [run.history for run in whole]
    assert not list(root.glob("checkpoints/[!.]*.safetensors"))


def test_a_head_is_trained_on_the_codes_of_its_frozen_encoder(tiny, store):
    encoder = spec(tiny)
    kind = {"architecture": "classifier", "loss": "cross_entropy"}
    head = Spec(dataset=tiny, frozen=encoder, epochs=2, **kind)
    (run,) = fit([head], store=store)
    assert run.image_shape == (2,) and run.classes == 3
    (trained,) = fit([encoder], store=store)
    assert set(run.weights) == {f"head.{n}.{part}" for n in (0, 1) for part in ("weight", "bias")}
    data = load(tiny)
    codes, model = trained.encode(data.train_images), models.build(head, (2,), 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=head.learning_rate)
    for epoch in range(2):  # the textbook loop on these codes
        order = torch.randperm(300, generator=randomness.generator(0, "order", epoch))
        for rows in order.split(head.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(codes[rows]), data.train_labels[rows]).backward()
            optimizer.step()
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(run.weights[name], value.numpy(), rtol=1e-4, atol=1e-6)
    other = fit([head.replace(frozen=encoder.replace(seed=1))], store=store)[0]
    assert bits(other) != bits(run)


@pytest.mark.fault("a program is killed, but not its workers", "they end by themselves")
def test_workers_end_with_their_parent(tiny, tmp_path, record_property):
    script, root = tmp_path / "script.py", tmp_path / "store"
    script.write_text(SCRIPT)
    process = start(tiny, root, script)
    until(lambda: list(root.glob("checkpoints/[!.]*.safetensors")), process)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.kill()
    process.wait(timeout=30)
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
    process.stderr.close()
    record_property("trials", len(workers))


def test_checkpoints_take_a_small_share_of_the_time(monkeypatch):
    """By a clock of its own: an epoch takes 1.5 s, a checkpoint half a second."""
    clock, saved, epochs = [0.0], [], 200

    def epoch(report):
        clock[0] += 1.5
        training.done = clock[0] - 0.5 * len(saved) >= 1.5 * epochs

    def save():
        clock[0] += 0.5
        saved.append(clock[0])

    training = SimpleNamespace(done=False, epoch=epoch)
    making = SimpleNamespace(training=training, seconds=0.0, save=save)
    monkeypatch.setattr(jobs.time, "perf_counter", lambda: clock[0])
    jobs._train_until_one_is_done([making], SimpleNamespace(add=None))
    assert saved[0] == 2.0, "the first comes after a second"
    assert 0.03 < 0.5 * len(saved) / clock[0] <= jobs.CHECKPOINT_SHARE
    assert making.seconds == 1.5 * epochs
