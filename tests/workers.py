"""What a cluster is made of, as processes that are forks of one with everything imported."""

import asyncio
import os
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from command import until

from aecore.engine.cluster import ClusterError
from aecore.runs import fit
from aecore.spec import Spec

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["aecore.runs", "distributed", "numba"])


def specs(data: str, count: int, epochs: int) -> list[Spec]:
    recipe = Spec(dataset=data, batch_size=30, dropout=0.2, latent_dim=2, epochs=epochs)
    return [recipe.replace(seed=seed) for seed in range(count)]


def worker(address: str, home: Path) -> BaseProcess:
    """A worker of the scheduler at `address` with a home of its own."""
    return _started(_work, address, home)


def program(
    data: str, home: Path, address: str, count: int, epochs: int, calls: int = 1
) -> BaseProcess:
    """A program that fits so many specs; what it says is in `said` of its home.

    After a `ClusterError` it waits for a file `again` and makes the call again, if it may.
    """
    return _started(_program, data, home, address, count, epochs, calls)


def _started(task: object, *arguments: object) -> BaseProcess:
    process = FORKS.Process(target=task, args=arguments, daemon=True)
    process.start()
    return process


def _work(address: str, home: Path) -> None:
    from distributed import Worker

    async def serve() -> None:
        async with Worker(address, nthreads=1, local_directory=str(home)) as one:
            await one.finished()

    os.environ["AECORE_HOME"] = str(home)
    asyncio.run(serve())


def _program(data: str, home: Path, address: str, count: int, epochs: int, calls: int) -> None:
    os.environ |= {"AECORE_HOME": str(home), "AECORE_SCHEDULER": address}
    home.mkdir(exist_ok=True)
    sys.stderr = (home / "said").open("w", buffering=1)
    while calls:
        calls -= 1
        try:
            return print(len(fit(specs(data, count, epochs))), "runs", file=sys.stderr)
        except ClusterError as error:
            print(f"\nClusterError: {error}", file=sys.stderr)
        if calls:
            until((home / "again").exists)
    sys.exit(1)
