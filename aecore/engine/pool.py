"""Many jobs on all cores, with progress, and a clean stop."""

import functools
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import loky
import torch
from threadpoolctl import ThreadpoolController
from tqdm.std import tqdm  # plain text: tqdm.auto writes widgets that need scripts from the network

from aecore.checks import InvalidValue

# A worker that holds the data and the networks has not leaked them.
warnings.filterwarnings("ignore", "A worker was restarted while some jobs were given")

BATCH = 500  # images that a thread encodes or decodes at once: they stay in its core's cache
POLL = 0.3  # seconds between two looks at the workers


class Counter:
    """How many images the job of this thread has seen, told to whoever polls the file at `path`."""

    latest = threading.local()

    def __init__(self, path: Path | None) -> None:
        self.path, self.images, self.told = path, 0, time.monotonic()
        Counter.latest.counter = self

    def add(self, images: int) -> None:
        """Count `images` more and tell it as often as somebody looks."""
        self.images += images
        if time.monotonic() - self.told >= POLL:
            self.tell()

    def tell(self) -> None:
        """Write the count where the parent looks; on another machine there is no such place."""
        self.told = time.monotonic()
        if self.path is not None and self.path.parent.is_dir():
            with suppress(OSError):  # a full disk costs the progress, not the job
                self.path.write_text(str(self.images))


def seen(images: int) -> None:
    """Count so many images for the job whose thread calls this, if it is one."""
    if counter := getattr(Counter.latest, "counter", None):
        counter.add(images)


def in_threads(function: Callable[[Any], Any], parts: Iterable[Any]) -> list[Any]:
    """What `function` makes of every part, on as many threads as torch may use, each alone.

    So the result does not depend on their number, and memory stays small and warm.
    """
    count = torch.get_num_threads()
    with _blas().limit(limits=1):
        return list(map(function, parts) if count == 1 else _threads(count).map(function, parts))


@functools.cache
def _blas() -> ThreadpoolController:
    """What says how many threads SciPy's products of matrices may use."""
    import scipy.linalg  # noqa: F401 - only what is loaded is found

    return ThreadpoolController().select(user_api="blas")


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def run_jobs(
    function: Callable[..., Any],
    jobs: Sequence[tuple],
    sizes: Sequence[int],
    label: str,
    executor: Executor | None = None,
    unit: str = "images",
    workers: int | None = None,
) -> Iterator[tuple[int, Any]]:
    """Yield (number of the job, its result) for every job, as soon as each is done.

    Calls `function(*job, counter_path)` through `executor`, by default `workers` processes, by
    default one a core, or this process where it is itself a worker of another's pool, which has
    the cores and waits for all that its workers start. `sizes` are the images (or what `unit`
    says) each job will see; the largest job goes first. If jobs fail, the others are still
    finished, then the first error is raised. Ctrl-C stops the workers at once.
    """
    if executor is None and multiprocessing.parent_process() is not None:
        executor = ThreadPoolExecutor(1)
    pool = executor or loky.get_reusable_executor(
        workers or loky.cpu_count(),
        timeout=120,
        initializer=_end_with,
        initargs=(os.getpid(), *_place()),
    )
    progress = {"total": sum(sizes), "desc": label, "unit": f" {unit}", "unit_scale": True}
    errors, counts = [], [0] * len(jobs)
    with _folder() as folder, tqdm(**progress, file=sys.stderr) as bar:
        paths = [folder / str(number) for number in range(len(jobs))]
        order = sorted(range(len(jobs)), key=lambda number: -sizes[number])
        numbers = {pool.submit(function, *jobs[n], paths[n]): n for n in order}
        pending = set(numbers)
        try:
            while pending:
                done, pending = wait(pending, timeout=POLL, return_when=FIRST_COMPLETED)
                for future in done | pending:
                    n = numbers[future]
                    with suppress(OSError, ValueError):  # nothing told, or half of it
                        counts[n] = int(paths[n].read_text())
                    if future in done:
                        counts[n] = counts[n] or sizes[n]
                        bar.total -= sizes[n] - counts[n]  # it stopped early
                bar.set_postfix_str(f"{len(jobs) - len(pending)} of {len(jobs)} done", False)
                bar.update(sum(counts) - bar.n)
                for future in done:
                    problem = CancelledError() if future.cancelled() else future.exception()
                    if problem is None:
                        yield numbers[future], future.result()
                    else:
                        errors.append(problem)
        except BaseException:  # Ctrl-C, or nobody wants the rest
            for future in pending:
                future.cancel()
            if executor is None:
                pool.shutdown(wait=True, kill_workers=True)
            raise
    if errors:
        raise errors[0]


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder; where none can be made, jobs find no folder and tell no progress."""
    try:
        made = TemporaryDirectory()
    except OSError:
        yield Path(os.devnull) / "none"
    else:
        with made:
            yield Path(made.name)


def _place() -> tuple:
    """What relative paths and the package's variables mean here: with others, other workers."""
    return os.getcwd(), *sorted(item for item in os.environ.items() if item[0].startswith("AECORE"))


def _end_with(parent: int, *place: object) -> None:
    """Let this worker end when `parent` has died: nobody would take what it computes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def reproducible():
    """Within it torch uses one thread, whole floats, deterministic convolutions, 0 below 1e-38.

    The sum of many floats depends on how threads share it, so the thread count is part of the
    result; several models train best with one thread each, in as many processes as cores. The
    count belongs to the process: jobs that share one may change it under each other. An L2 penalty
    takes the weights of units that died below the least normal float, where a CPU is many times
    slower. A GPU would shorten the factors of products to 10 bits (TF32), which changes results by
    more than rounding does.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    torch.set_flush_denormal(True)
    try:
        with (
            _blas().limit(limits=1),
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            ),
        ):
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)


def resolve_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" is the GPU where torch sees one, else the CPU.

    Raises `InvalidValue` if there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        allowed = "auto, cpu or a device that torch sees here"
        raise InvalidValue.of("device", name, allowed) from None
    return device
