import math
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from command import CHECKOUT, until
from scipy.stats import kstest, spearmanr

from aecore.checks import InvalidValue
from aecore.data import split
from aecore.engine.jobs import run_key
from aecore.search.samplers import Choice, LogUniform, Uniform, Whole
from aecore.search.trials import SAMPLERS, Search, Trial
from aecore.spec import Spec
from aecore.store.entries import Store, StoreError

BASE = Spec(validation=0.2)
PRIORS = {
    "learning_rate": LogUniform(1e-3, 1e-1),
    "dropout": Uniform(0, 0.25),
    "epochs": Choice([10, 20, 30], [0.5, 0.3, 0.2]),
    "latent_dim": Whole(2, 4),
}


def test_priors_have_their_distributions():
    search = Search(BASE, PRIORS, 2000)
    specs = [search.draw(number) for number in range(search.trials)]
    rates = [(math.log10(s.learning_rate) + 3) / 2 for s in specs]
    assert kstest(rates, "uniform").pvalue > 0.01
    assert kstest([s.dropout / 0.25 for s in specs], "uniform").pvalue > 0.01
    counts = np.bincount([s.epochs for s in specs], minlength=31)[[10, 20, 30]] / 2000
    np.testing.assert_allclose(counts, [0.5, 0.3, 0.2], atol=0.04)
    sizes = np.bincount([s.latent_dim for s in specs], minlength=5) / 2000
    np.testing.assert_allclose(sizes, [0, 0, 1 / 3, 1 / 3, 1 / 3], atol=0.04)
    assert abs(spearmanr(rates, [s.dropout for s in specs]).statistic) < 0.06


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LogUniform(0, 1), "low=0"),
        (lambda: LogUniform(1, 0.1), "high=0.1"),
        (lambda: Uniform(2, 1), "high=1"),
        (lambda: Whole(2, 1), "high=1"),
        (lambda: Whole(2, 3.5), "high=3.5"),
        (lambda: Choice([]), "values"),
        (lambda: Choice([1, 2], [1]), "weights=.*2 values"),
        (lambda: Choice([1, 2], [1, -1]), r"weights\[1\]=-1"),
        (lambda: Search(BASE, PRIORS, 0), "trials=0"),
        (lambda: Search(BASE, PRIORS, 1, batch=0), "batch=0"),
        (lambda: Search(BASE, {"lr": Uniform(0, 1)}, 1), "'lr'"),
        (lambda: Search(BASE, {"dropout": Uniform(0, 1)}, 1), r"dropout=1.* below 1"),
        (lambda: Search(BASE, {"learning_rate": Uniform(0, 1)}, 1), r"learning_rate=0"),
        (lambda: Search(BASE, {"optimizer": Choice(["adam", "lion"])}, 1), "optimizer='lion'"),
        (lambda: Search(Spec(), PRIORS, 1), "validation=0"),
        (lambda: Search(Spec(folds=1), PRIORS, 1), "folds=1"),
        (lambda: Search(BASE, PRIORS, 1).run("grid"), "sampler='grid'.*random, tpe, halving"),
    ],
)
def test_bad_searches_are_refused(build, message):
    with pytest.raises(InvalidValue, match=message) as told:
        build()
    assert "\n" not in str(told.value)


def pretend(search, sampler, loss):
    """All trials that a sampler proposes if training a proposal ends with `loss(proposal)`."""
    trials = []
    while batch := SAMPLERS[sampler](search, trials):
        for proposal in batch:
            value = loss(proposal)
            run = SimpleNamespace(
                spec=proposal.spec.replace(epochs=proposal.epochs),
                key=str(len(trials)),
                validation_loss=value,
                diverged=value is None,
            )
            trials.append(Trial(proposal.number, proposal.spec, (run,)))
    return trials


def distance(proposal):
    """Least at a learning rate of 0.01 and no dropout."""
    return (math.log10(proposal.spec.learning_rate) + 2) ** 2 + proposal.spec.dropout


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_more_trials_extend_a_search_and_another_seed_is_another(sampler):
    def proposed(trials, seed=3):
        done = pretend(Search(BASE, PRIORS, trials, seed, startup=4, batch=3), sampler, distance)
        return [trial.spec for trial in done][:9]

    assert proposed(9) == proposed(9)
    assert len(set(proposed(9))) == 9
    assert proposed(9) != proposed(9, seed=4)
    if sampler != "halving":  # whose later rungs depend on all before
        assert proposed(9)[:5] == proposed(5)[:5]
    drawn = [Search(BASE, PRIORS, 1, seed=3).draw(number) for number in range(4)]
    assert proposed(9)[:4] == drawn


def test_the_guided_search_finds_what_random_search_does_not():
    def means(sampler):
        searches = [Search(BASE, PRIORS, 40, seed) for seed in range(5)]
        runs = [pretend(search, sampler, distance) for search in searches]
        return [np.mean([trial.loss for trial in trials[20:]]) for trials in runs]

    assert max(means("tpe")) < min(means("random")) / 2


def test_the_guided_search_keeps_away_from_where_trials_diverge():
    def loss(proposal):
        return None if proposal.spec.learning_rate > 0.01 else 1.0 + proposal.spec.dropout

    late = [t for s in range(3) for t in pretend(Search(BASE, PRIORS, 40, s), "tpe", loss)[20:]]
    assert np.mean([math.isnan(trial.loss) for trial in late]) < 0.25  # half of the prior


def test_halving_follows_a_table_made_by_hand():
    """Nine trials of 9 epochs, rungs of 1, 3 and 9 epochs; trial 4 leads first but not later."""
    table = {
        1: [0.9, 0.5, 0.8, None, 0.1, 0.7, 0.6, 0.4, 0.95],
        3: {4: 0.3, 7: 0.2, 1: 0.25},
        9: {7: 0.15},
    }
    search = Search(BASE.replace(epochs=9), {"dropout": Uniform(0, 0.2)}, 9)
    trials = pretend(search, "halving", lambda proposal: table[proposal.epochs][proposal.number])
    path = [(trial.number, trial.runs[0].spec.epochs) for trial in trials]
    assert path == [(i, 1) for i in range(9)] + [(1, 3), (4, 3), (7, 3)] + [(7, 9)]
    frozen = {trial.user_attrs["trial"]: trial for trial in search.frozen(trials)}
    assert frozen[7].state.name == "COMPLETE" and frozen[7].value == 0.15
    assert frozen[7].intermediate_values == {1: 0.4, 3: 0.2, 9: 0.15}
    assert frozen[4].state.name == "PRUNED" and frozen[4].intermediate_values == {1: 0.1, 3: 0.3}
    assert frozen[3].state.name == "PRUNED" and frozen[3].intermediate_values == {}
    assert len(frozen) == 9


def test_halving_of_different_epochs_keeps_their_proportion():
    search = Search(BASE, {"epochs": Choice([3, 10, 20])}, 9)
    trials = pretend(search, "halving", lambda proposal: proposal.number)
    short = {3: [1, 1, 3], 10: [1, 3, 10], 20: [2, 7, 20]}
    rungs = [trials[:9], trials[9:12], trials[12:]]
    assert [len(rung) for rung in rungs] == [9, 3, 1]
    for place, rung in enumerate(rungs):
        for trial in rung:
            assert trial.runs[0].spec.epochs == short[trial.spec.epochs][place]
    one = pretend(Search(BASE, PRIORS, 2), "halving", lambda proposal: 1.0)
    assert [trial.stopped for trial in one] == [False, False]


def test_the_dashboards_command_names_the_studys_file_and_no_folder_of_this_machine(
    tiny, tmp_path, monkeypatch
):
    monkeypatch.setenv("AECORE_HOME", str(tmp_path))
    search = small(tiny)
    path = search.path("tpe").relative_to(tmp_path).as_posix()
    assert search.command("tpe") == f'optuna-dashboard "$AECORE_HOME/{path}"'


def small(tiny, **changes):
    base = Spec(dataset=tiny, validation=0.2, batch_size=64, latent_dim=2, epochs=1)
    return Search(base.replace(**changes), {"learning_rate": LogUniform(1e-4, 1e-2)}, 3)


def test_folds_share_out_the_images_and_average_the_loss(tiny, store):
    parts = [split(300, 0, 0, 3, fold)[1] for fold in range(3)]
    assert sorted(np.concatenate(parts)) == list(range(300))
    trials = small(tiny, validation=0, folds=3).run(store=store)
    assert [[run.spec.fold for run in trial.runs] for trial in trials] == [[0, 1, 2]] * 3
    for trial in trials:
        losses = [run.history[-1]["validation_loss"] for run in trial.runs]
        assert len(set(losses)) == 3
        assert trial.loss == pytest.approx(sum(losses) / 3)
        assert trial.images == 3 * 200
    single = split(300, 1 / 3, 1)[1]  # of another seed: not one of the folds
    shared = [len(np.intersect1d(single, part)) for part in parts]
    assert sum(shared) == 100 and max(shared) < 60
    assert np.array_equal(split(300, 1 / 3, 0)[1], parts[0])  # as with the folds' own seed
    assert small(tiny, train_images=101).run(store=store)[0].images == 81


def test_the_search_page_s_split_is_none_of_its_folds():  # with the folds' seed it is the first
    text = (CHECKOUT / "notebooks" / "search.ipynb").read_text(encoding="utf-8")
    [asked] = re.findall(r"split = (adam\.replace\(.*?\)) ", text)
    spec = eval(asked, {"adam": Spec(), "folds": 3})
    held_out = split(300, spec.validation, spec.split_seed)[1]
    folds = [split(300, 0, 0, 3, fold)[1] for fold in range(3)]
    assert max(len(np.intersect1d(held_out, fold)) for fold in folds) < 60 < len(held_out)


def test_importance_is_kept(tiny, store, monkeypatch):
    search = small(tiny)
    longer = Search(search.base, search.priors, 5)
    trials = longer.run(store=store)
    assert longer.importance(trials, store).to_dict() == {"learning_rate": pytest.approx(1)}
    monkeypatch.setattr("aecore.search.samplers.importance", None)
    assert longer.importance(trials, store).to_dict() == {"learning_rate": pytest.approx(1)}


def test_names_tell_searches_apart(tiny, tmp_path):
    first = small(tiny)
    other = dict(np.load(tiny))
    other["train_images"] = other["train_images"] // 2
    np.savez(tmp_path / "tiny.npz", **other)
    priors = {"learning_rate": LogUniform(1e-4, 2e-2)}
    searches = [
        first,
        small(str(tmp_path / "tiny.npz")),
        Search(first.base, priors, 3),
        Search(first.base, first.priors, 3, seed=1),
        small(tiny, validation=0, folds=3),
    ]
    assert len({search.name(sampler) for search in searches for sampler in SAMPLERS}) == 15
    assert first.name("tpe").startswith("tiny-tpe-")
    assert Search(first.base, first.priors, 30).name("tpe") == first.name("tpe")


def test_a_study_that_cannot_be_written_is_told(tiny, store):
    store.root.mkdir()
    (store.root / "studies").write_text("in the way")
    with pytest.raises(StoreError, match="can't be written"):
        small(tiny).run(store=store)


def killed_search(data):
    base = Spec(dataset=data, validation=0.2, batch_size=30, latent_dim=2, epochs=10)
    priors = {"learning_rate": LogUniform(1e-4, 1e-1), "dropout": Uniform(0, 0.5)}
    return Search(base, priors, 10, startup=4, batch=3)


FINISHED = "runs/*/[!.]*/run.json"  # what begins with a dot is being written

SCRIPT = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from test_search import killed_search
from aecore.store.entries import Store

killed_search(sys.argv[2]).run("tpe", store=Store(Path(sys.argv[3]), layers=()))
"""


def described(trials):
    return [(trial.number, trial.spec, trial.loss) for trial in trials]


@pytest.mark.fault("a guided search is killed", "the same call goes on and trains no trial twice")
def test_a_killed_study_goes_on_and_repeats_nothing(tiny, tmp_path):
    """The whole process group is killed in the guided part of a search."""
    script, root = tmp_path / "script.py", tmp_path / "store"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(Path(__file__).parent), tiny, str(root)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    until(lambda: len(list(root.glob(FINISHED))) >= 5, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    finished = {path.parent.name: path.stat().st_mtime_ns for path in root.glob(FINISHED)}
    assert 5 <= len(finished) < 10

    trained = []

    class Counts(ThreadPoolExecutor):
        def submit(self, function, specs, *others):
            trained.extend(map(run_key, specs))
            return super().submit(function, specs, *others)

    store, search = Store(root, layers=()), killed_search(tiny)
    with Counts(1) as executor:
        resumed = search.run("tpe", executor=executor, store=store)
    assert len(trained) == len(set(trained)) == 10 - len(finished)
    assert not set(trained) & set(finished)
    assert all((root / "runs" / key[:2] / key / "run.json").stat().st_mtime_ns == written
               for key, written in finished.items())  # fmt: skip

    whole = search.run("tpe", store=Store(tmp_path / "whole", layers=()))
    assert described(resumed) == described(whole)
    path = search.path("tpe", store)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    loaded = optuna.load_study(study_name=search.name("tpe"), storage=storage).trials
    assert [trial.value for trial in loaded] == [trial.loss for trial in whole]
    assert [trial.params["learning_rate"] for trial in loaded] == [
        trial.spec.learning_rate for trial in whole
    ]
    assert [trial.user_attrs["runs"] for trial in loaded] == [[run_key(t.spec)] for t in whole]
