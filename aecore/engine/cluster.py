"""Many machines: the workers of a Dask scheduler in place of this machine's processes.

`AECORE_SCHEDULER=tcp://host:port` is all that a program needs. Jobs return what they made, so
workers share no disk; each keeps its own store, from which a repeated job goes on.
"""

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import scipy
import torch

from aecore import __version__
from aecore.data import load
from aecore.engine.pool import resolve_device
from aecore.store.paths import LOADED

ADDRESS = "AECORE_SCHEDULER"
PATIENCE = 10  # seconds until a scheduler must have answered
VERSIONS = ("aecore", "torch", "scipy")  # that have to be the same everywhere
FIRST = 30  # seconds until its first worker must be there

Report = Mapping[str, Any]


class ClusterError(RuntimeError):
    """The cluster can't be used; the message says why, and what to do."""


class Cluster(Executor):
    """The workers at a scheduler's `address`, checked: they run what this process runs.

    Raises `ClusterError` if there is no scheduler, no worker, or one with other versions or data.
    A worker that comes later is checked by its first job.
    """

    def __init__(self, address: str, datasets: Iterable[str]) -> None:
        self.address, self.datasets = address, tuple(dict.fromkeys(datasets))
        if _client(address).status != "running":  # that scheduler has gone, another may be there
            _client.cache_clear()
        self.client = _client(address)
        try:
            self.client.wait_for_workers(1, timeout=FIRST)
        except TimeoutError:
            raise ClusterError(
                f"the scheduler at {address} has no workers: start some with dask worker {address}"
            ) from None
        self.here = report(self.datasets)
        found = self.client.run(report, self.datasets, on_error="return")
        # A worker that is lost while it is asked is none of ours.
        self.workers = {name: there for name, there in found.items() if _answers(name, there)}
        for name, there in self.workers.items():
            _compare(self.here, there, name)

    @property
    def gpus(self) -> list[str]:
        """The workers that have a GPU."""
        return [name for name, there in self.workers.items() if there["device"] != "cpu"]

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """One job: stacks of several specs go to the workers with a GPU, if there are any."""
        several = bool(args) and isinstance(args[0], list) and len(args[0]) > 1
        others = [name for name in self.workers if name not in self.gpus]
        wish = {}
        # Without a choice there is no wish: once all workers that it was wished for are lost, Dask
        # gives a job to none that comes later.
        if wanted := self.gpus and (self.gpus if several else others):
            wish = {"workers": wanted, "allow_other_workers": not several}
        executor = self.client.get_executor(pure=False, **wish)
        return executor.submit(_job, self.here, self.datasets, function, *args, **kwargs)

    def close(self) -> None:
        """Leave the cluster."""
        self.client.close()
        _client.cache_clear()


def _answers(name: str, there: object) -> bool:
    """Whether a worker said what it has; raises `ClusterError` if it can't run aecore."""
    if isinstance(there, OSError):
        return False
    if isinstance(there, Exception):
        raise ClusterError(f"the worker {name} can't run aecore: {there}")
    return True


def address() -> str | None:
    """Where the scheduler is that the environment names; None without one."""
    return os.environ.get(ADDRESS) or None


def report(datasets: Sequence[str]) -> Report:
    """What the results of this process depend on, and the kind of its device."""
    digests = {}
    for dataset in datasets:
        try:
            digests[dataset] = load(dataset).digest
        except Exception as error:  # told where it is compared
            digests[dataset] = f"missing ({error})"
    return {
        "aecore": f"{__version__} ({LOADED})",
        "torch": torch.__version__,
        "scipy": scipy.__version__,
        "data": digests,
        "device": resolve_device().type,
    }


def _compare(here: Report, there: Report, name: str) -> None:
    for what in VERSIONS:
        if here[what] != there[what]:
            raise ClusterError(
                f"the worker {name} has {what} {there[what]}, this program {here[what]}: "
                "install the same on both"
            )
    for dataset, digest in here["data"].items():
        if there["data"].get(dataset) != digest:
            raise ClusterError(
                f"the worker {name} has other data as {dataset}: {there['data'].get(dataset)}, "
                f"not {digest}"
            )


@functools.cache
def _checked(here: tuple, datasets: tuple[str, ...]) -> None:
    """Raise, once in a worker's life, if it is not what the program expects."""
    *versions, data = here
    expected = dict(zip(VERSIONS, versions, strict=True)) | {"data": dict(data)}
    _compare(expected, report(datasets), "that took this job")


def _job(
    here: Report, datasets: tuple[str, ...], function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    versions = [here[name] for name in VERSIONS]
    _checked((*versions, tuple(here["data"].items())), datasets)
    return function(*args, **kwargs)


@functools.cache
def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise ClusterError(f"{ADDRESS} is set: pip install 'aecore[cluster]' for it") from None
    try:
        return Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())
        raise ClusterError(f"no scheduler answers at {ADDRESS}={address}: {reason}") from None
