"""A Dask cluster on this machine: a scheduler and workers that come and go, each with its store."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from command import CHECKOUT, until
from test_faults import here, listed
from workers import program, specs, worker

from aecore import cli
from aecore.checks import InvalidValue
from aecore.engine.cluster import Cluster, ClusterError, _compare, report
from aecore.runs import fit
from aecore.spec import Spec


class Dask:
    """A scheduler and its workers, as processes in `folder`."""

    def __init__(self, folder):
        self.folder, self.workers, self.count = folder, [], 0
        self.start_scheduler("0")

    def start_scheduler(self, port):
        place = self.folder / "scheduler.json"
        place.unlink(missing_ok=True)
        self.scheduler = self._dask(
            "scheduler", "--host", "127.0.0.1", "--port", port, "--scheduler-file", str(place)
        )
        until(lambda: place.exists() and "tcp://" in place.read_text(), self.scheduler)
        text = place.read_text()
        self.address = text[text.index("tcp://") :].split('"')[0]

    def start_worker(self):
        self.workers.append(worker(self.address, self.folder / f"home-{self.count}"))
        self.count += 1

    def _dask(self, *words, **environment):
        settings = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "50"}
        with (self.folder / f"{words[0]}.log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", words[0], "--no-dashboard", *words[1:]],
                env={**os.environ, **settings, **environment},
                cwd=self.folder,  # not the checkout, so that PYTHONPATH may name another package
                stdout=log,
                stderr=log,
            )

    def stop(self):
        for one in (*self.workers, self.scheduler):
            one.kill()
            one.wait() if one is self.scheduler else one.join()


@pytest.fixture
def dask(tmp_path):
    running = Dask(tmp_path)
    yield running
    running.stop()


def ended(running, home):
    """The exit status of a program, and what it said."""
    running.join(timeout=300)
    return running.exitcode, (home / "said").read_text()


@pytest.mark.fault(
    "workers of a cluster are killed one after the other, and others come",
    "the same models as on this machine, each stored once where the program runs",
)
def test_workers_come_and_go(tiny, tmp_path, dask, record_property):
    count, epochs, home = 6, 30, tmp_path / "home"
    for _ in range(2):
        dask.start_worker()
    running = program(tiny, home, dask.address, count, epochs)

    def stored():
        return list(home.glob("runs/*/*"))

    killed = 0
    while running.is_alive() and killed < 2:
        more = 1 + len(stored())
        until(lambda more=more: not running.is_alive() or len(stored()) >= more)
        if running.is_alive():
            dask.start_worker()
            dask.workers[killed].kill()
            killed += 1
    status, said = ended(running, home)
    assert status == 0, said
    assert killed == 2
    here(specs(tiny, count, epochs), tmp_path / "local")
    assert len(listed(home)) == count
    assert listed(home) == listed(tmp_path / "local")
    trained = [path for n in range(dask.count) for path in tmp_path.glob(f"home-{n}/runs/*/*")]
    assert len({path.name for path in trained}) == count
    record_property("trials", killed)
    record_property("outcome", f"{count} models, bit for bit those of one machine")


@pytest.mark.fault(
    "the scheduler of a cluster is killed and started again",
    "one line says so; the same call, made again, trains only what is missing",
)
def test_a_scheduler_that_dies_costs_a_second_call(tiny, tmp_path, dask, record_property):
    home = tmp_path / "home"
    dask.start_worker()
    running = program(tiny, home, dask.address, 3, 25, calls=2)
    until(lambda: list(home.glob("runs/*/*/run.json")) or not running.is_alive())
    dask.scheduler.kill()
    dask.scheduler.wait()
    until(lambda: "ClusterError: the scheduler has gone" in (home / "said").read_text())
    stored = listed(home)
    assert 0 < len(stored) < 3
    dask.start_scheduler(dask.address.rpartition(":")[2])
    dask.start_worker()
    (home / "again").touch()
    status, said = ended(running, home)
    assert status == 0, said
    assert len(listed(home)) == 3
    assert {key: listed(home)[key] for key in stored} == stored
    record_property("outcome", f"{len(stored)} of 3 models were stored, the others trained after")


def test_a_worker_with_another_package_is_refused(tiny, tmp_path, dask):
    shutil.copytree(CHECKOUT / "aecore", tmp_path / "other" / "aecore")
    (tmp_path / "other" / "aecore" / "store" / "more.py").write_text("")
    home, other = tmp_path / "home", {"PYTHONPATH": str(tmp_path / "other")}
    stranger = dask._dask("worker", dask.address, "--nthreads", "1", "--no-nanny", **other)
    status, said = ended(program(tiny, home, dask.address, 1, 1), home)
    stranger.kill()
    stranger.wait()
    assert status == 1
    assert "ClusterError: the worker tcp://" in said
    assert "install the same on both" in said.strip().splitlines()[-1]


def test_other_versions_and_data_are_named(tiny):
    here = report((tiny,))
    _compare(here, here, "w")
    with pytest.raises(ClusterError, match=r"the worker w has torch 1\.0, this program"):
        _compare(here, {**here, "torch": "1.0"}, "w")
    with pytest.raises(ClusterError, match="the worker w has other data as"):
        _compare(here, {**here, "data": {tiny: "missing (no such file)"}}, "w")


def test_stacks_go_to_workers_with_a_gpu():
    asked = []

    def get_executor(**options):
        asked.append(options)
        return SimpleNamespace(submit=lambda *arguments: Future())

    cluster = Cluster.__new__(Cluster)
    cluster.here, cluster.datasets = {}, ()
    cluster.client = SimpleNamespace(get_executor=get_executor)
    cluster.workers = {"a": {"device": "cuda"}, "b": {"device": "cpu"}, "c": {"device": "cpu"}}
    assert cluster.gpus == ["a"]
    cluster.submit(fit, [Spec(), Spec(seed=1)])
    cluster.submit(fit, [Spec()])
    assert [options["workers"] for options in asked] == [["a"], ["b", "c"]]
    assert [options["allow_other_workers"] for options in asked] == [False, True]


def test_a_scheduler_that_is_not_there_is_told_in_one_line(tiny, monkeypatch, capsys):
    monkeypatch.setenv("AECORE_SCHEDULER", "tcp://127.0.0.1:1")
    monkeypatch.setattr("aecore.engine.cluster.PATIENCE", 0.1)
    monkeypatch.chdir(CHECKOUT)
    assert cli.main(["run", "surface", "--profile", "smoke", "--dataset", tiny]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "no scheduler answers at AECORE_SCHEDULER=tcp://127.0.0.1:1" in line


def test_a_spec_that_is_none_is_refused_before_any_worker_is_asked(tiny, monkeypatch):
    monkeypatch.setenv("AECORE_SCHEDULER", "tcp://127.0.0.1:1")
    with pytest.raises(InvalidValue):
        fit([Spec(dataset=tiny, latent_dim=0)])
