import json
import math
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from aecore.search import samplers
from aecore.search.samplers import Choice, LogUniform, Uniform, Whole

SPACE = {"rate": LogUniform(1e-4, 1e-1), "size": Whole(1, 64), "kind": Choice(["a", "b"])}


def made(count):
    """Trials whose loss depends on `rate` most, on `size` a little, on `kind` not at all."""
    trials = []
    for i in range(count):
        params = {"rate": 10 ** (-4 + 3 * (i * 0.618 % 1)), "size": 1 + i * 29 % 64,
                  "kind": "ab"[i % 2]}  # fmt: skip
        loss = math.log10(params["rate"]) ** 2 + params["size"] / 64
        trials.append(samplers.freeze(params, SPACE, {1: 2 * loss, 3: loss}, True, trial=i))
    trials.append(samplers.freeze(params, SPACE, {}, False, trial=count))
    return trials


def loaded(path):
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name=path.stem, storage=storage).trials


def test_a_trial_keeps_its_settings_and_losses():
    first, *_, last = made(3)
    assert first.state.name == "COMPLETE" and first.value == first.intermediate_values[3]
    assert list(first.intermediate_values) == [1, 3]
    assert last.state.name == "PRUNED" and last.value is None
    rate, size = first.distributions["rate"], first.distributions["size"]
    assert (rate.low, rate.high, rate.log) == (1e-4, 1e-1, True)
    assert (size.low, size.high) == (1, 64)
    assert not samplers.distributions({"dropout": Uniform(0, 1)})["dropout"].log


def test_a_batch_is_a_function_of_the_trials_and_spreads():
    trials = made(20)
    batch = samplers.ask(trials, SPACE, 6, seed=1)
    assert samplers.ask(trials, SPACE, 6, seed=1) == batch
    assert samplers.ask(trials, SPACE, 4, seed=1) == batch[:4]
    assert samplers.ask(trials, SPACE, 6, seed=2) != batch
    assert len({asked["rate"] for asked in batch}) == 6
    for asked in batch:
        assert 1e-4 <= asked["rate"] <= 1e-1
        assert 1 <= asked["size"] <= 64 and asked["kind"] in "ab"


def test_importance_ranks_what_the_loss_is_made_of():
    importance = samplers.importance(made(80))
    assert sum(importance.values()) == pytest.approx(1)
    # Variances: of x², x uniform in [-4, -1], 19.2; of size / 64, 1/12.
    assert importance["rate"] > 0.95
    assert max(importance["size"], importance["kind"]) < 0.05
    assert all(math.isnan(share) for share in samplers.importance(made(3)).values())


def test_the_file_holds_the_trials_and_grows(tmp_path):
    path, trials = tmp_path / "studies" / "one.log", made(9)
    samplers.record(path, trials[:4])
    first = path.read_bytes()
    samplers.record(path, trials)
    assert path.read_bytes().startswith(first)
    for kept, trial in zip(loaded(path), trials, strict=True):
        assert (kept.params, kept.values, kept.state) == (trial.params, trial.values, trial.state)
        assert kept.intermediate_values == trial.intermediate_values
    before = path.read_bytes()
    samplers.record(path, trials[:6])  # a shorter search takes nothing away
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-20],
        lambda content: content[: len(content) // 2] + b"\0" + content[len(content) // 2 :],
        lambda content: b"",
        lambda content: b"\x89PNG\n",
        lambda content: content.replace(b'"size":1', b'"size":2'),
        lambda content: content.split(b"\n", 1)[1],
    ],
)
def test_a_torn_file_is_made_again(tmp_path, damage):
    path, trials = tmp_path / "one.log", made(9)
    samplers.record(path, trials)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    samplers.record(path, trials)
    assert [kept.params for kept in loaded(path)] == [trial.params for trial in trials]
    assert [kept.values for kept in loaded(path)] == [trial.values for trial in trials]
    assert [file.name for file in tmp_path.iterdir()] == ["one.log"]


def test_the_dashboard_opens_the_file(tmp_path):
    """With the command that the page shows."""
    path, trials = tmp_path / "one.log", made(9)
    samplers.record(path, trials)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "optuna-dashboard"), str(path), "--port"]
    server = subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        (summary,) = asked(port, "studies", server)["study_summaries"]
        assert summary["study_name"] == "one"
        shown = asked(port, "studies/0?after=0", server)["trials"]
        assert [t.get("values") for t in shown] == [t.values for t in trials]
    finally:
        server.terminate()
        server.wait(timeout=20)


def asked(port, what, server):
    """What the dashboard answers, waited for until it is up."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{what}", timeout=10) as reply:
                return json.load(reply)
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
