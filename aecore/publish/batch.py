"""Notebooks executed in their order: all checked first, each written whole or not at all."""

import hashlib
import json
import logging
import math
import multiprocessing
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
from jupyter_core.utils import ensure_event_loop
from loky import cpu_count

from aecore import checks
from aecore.checks import InvalidValue
from aecore.data import load
from aecore.engine import cluster
from aecore.publish import kernels, parameters
from aecore.publish.parameters import Values
from aecore.publish.progress import INTERVAL, Progress, Told
from aecore.store import forms, paths
from aecore.store.entries import Store
from aecore.store.sources import DataError

DATASET = "mnist"
OF_MNIST, BATCH = 60_000, 128  # training images, and those of one step
KERNEL, WORKER = 2e9, 1e9  # bytes that a kernel and each of its processes may need
STOPPING = 10.0  # seconds in which a notebook that is stopped has to end


class BatchError(RuntimeError):
    """The notebooks can't be executed; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook: `path` is where it was put, whole or as far as it came."""

    name: str
    path: Path
    seconds: float
    problem: str | None = None  # None: every cell completed
    kept: bool = False  # as it was made before, from the same


@dataclass(frozen=True)
class _Job:
    name: str
    notebook: Path
    kernel: str
    overrides: Values
    values: Values
    known: parameters.Known
    instead: str | None = None  # the profile whose published runs it shows
    made: dict[str, Any] = field(default_factory=dict)  # with what, as its metadata will say

    @property
    def dataset(self) -> str:
        return self.values.get("dataset", DATASET)


def run(
    names: Sequence[str],
    profile: str,
    dataset: str | None = None,
    kernel: str | None = None,
    overrides: Values | None = None,
    *,
    root: Path,
    out: Path | None = None,
    progress: bool = True,
    again: bool = False,
) -> list[Outcome]:
    """Executes notebooks of `root` and puts them into `out`, by default `folder(…)`.

    No `names` means all. A notebook appears there when every cell has completed; one that fails
    is kept as `<name>.failed.ipynb` and the next one goes on. One that is there already, made from
    the same, is kept, unless all are to be executed `again`. Before the first kernel starts
    everything is checked: raises `InvalidValue`, `StoreError`, `DataError`, `ClusterError` or
    `BatchError`.
    """
    changes = {} if dataset is None else {"dataset": dataset}
    changes |= overrides or {}
    with ExitStack() as open_:
        open_.enter_context(kernels.own_first())
        jobs = _jobs(root, _chosen(root, names), profile, changes, kernel)
        jobs = [replace(job, made={"profile": profile, **_made_with(job)}) for job in jobs]
        _check_workers({job.dataset for job in jobs})
        at_once = _at_once({job.made["device"] for job in jobs})
        out = out or folder(root, profile, changes.get("dataset"))
        try:
            paths.ready(out)
        except OSError as error:
            raise BatchError(paths.unwritable(out, error, "AECORE_BUILD")) from error
        told = Progress(sys.stderr if progress else None, len(jobs))
        os.environ.setdefault("TQDM_MININTERVAL", str(0.5 if told.live else INTERVAL))
        found = {job.name: kept for job in jobs if not again and (kept := _kept(job, out))}
        for name in found:
            told.notebook(name).done("as it was")
        todo = [job for job in jobs if job.name not in found]
        ahead = open_.enter_context(kernels.Kernels([job.kernel for job in todo]))
        _execute_all(todo, at_once, ahead, out, told, found)
        return [found[job.name] for job in jobs]


def _at_once(devices: set[str]) -> int:
    """How many notebooks work at the same time: what one leaves idle, another uses.

    As many as AECORE_AT_ONCE says, else two; one where a GPU or a cluster is used, or where two,
    each with a process for every core, would not find memory. Raises `InvalidValue` for what is no
    such number.
    """
    if asked := os.environ.get("AECORE_AT_ONCE"):
        return checks.whole("AECORE_AT_ONCE", int(asked) if asked.isdecimal() else asked, 1)
    cores = cpu_count()
    free = psutil.virtual_memory().available
    small = cores < 2 or free < 2 * (KERNEL + cores * WORKER)
    return 1 if small or cluster.address() or devices != {"cpu"} else 2


def _execute_all(
    todo: Sequence[_Job],
    at_once: int,
    ahead: kernels.Kernels,
    out: Path,
    told: Progress,
    found: dict[str, Outcome],
) -> None:
    """Execute the notebooks of `todo`, so many at once, and put what becomes of each in `found`."""
    coming, one, wrong = iter(todo), threading.Lock(), []

    def work() -> None:
        try:
            while True:
                with ExitStack() as open_:
                    with one:  # notebooks and kernels are taken in the same order
                        job = next(coming, None)
                        if job is None or ahead.stopped:
                            return
                        own = told.notebook(job.name)
                        ready = open_.enter_context(ahead.next())
                    outcome = _execute(job, ready, out, own, ahead)
                if ahead.stopped:
                    return
                found[job.name] = outcome
                problem = outcome.problem
                own.done(f"failed: {problem}" if problem else f"{outcome.seconds:.0f} s")
        except BaseException as error:  # a fault of ours, told where somebody sees it
            wrong.append(error)
        finally:
            ensure_event_loop().close()  # in which papermill has waited for kernels

    workers = [threading.Thread(target=work, daemon=True) for _ in range(at_once)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        logging.disable()  # that kernels die is meant, and nobody asks a stopped cell for its error
        ahead.stop()
        for worker in workers:
            worker.join(STOPPING)
        _tell_stopped(told, out, found)
        raise
    if wrong:
        raise wrong[0]


def _tell_stopped(told: Progress, out: Path, found: dict[str, Outcome]) -> None:
    """Say in which notebooks the batch was stopped, and what is safe."""
    safe = ", ".join(name for name, outcome in found.items() if not outcome.problem) or "none"
    stopped = " and ".join(own.name for own in told.at_work)
    told.say(
        f"stopped in {stopped}. Finished notebooks, in {out}: {safe}. Trained models are stored: "
        "the same command goes on from there"
    )


def folder(root: Path, profile: str, dataset: str | None = None) -> Path:
    """Where the executed notebooks of a profile are: apart for every data set but MNIST.

    That of a path is told from that of another one with the same name by the whole path.
    """
    apart = "" if dataset in (None, DATASET) else f"-{Path(dataset).stem}"
    if apart and forms.is_path(dataset):
        place = forms.resolved(dataset)
        apart += f"-{hashlib.sha256(place.encode()).hexdigest()[:6]}"
    return paths.built(root) / "notebooks" / f"{profile}{apart}"


def notebooks(root: Path) -> list[str]:
    """The notebooks' names in the order of the book; those not in `_toc.yml` come last."""
    there = sorted(path.stem for path in (root / "notebooks").glob("*.ipynb"))
    toc = root / "_toc.yml"
    text = toc.read_text(encoding="utf-8") if toc.exists() else ""
    order = re.findall(r"file: *notebooks/([\w-]+)", text)
    return sorted(there, key=lambda name: order.index(name) if name in order else len(order))


def _chosen(root: Path, names: Sequence[str]) -> list[str]:
    every = notebooks(root)
    wanted = {Path(name).stem if name.endswith(".ipynb") else name for name in names}
    if unknown := wanted - set(every):
        known = ", ".join(every) or "none"
        raise InvalidValue(f"unknown notebook {min(unknown)!r}: known are {known}")
    return [name for name in every if name in wanted or not wanted]


def _jobs(
    root: Path, names: list[str], profile: str, changes: Values, kernel: str | None
) -> list[_Job]:
    sections = parameters.profile(root / "profiles.yaml", profile)
    files = [root / "notebooks" / f"{name}.ipynb" for name in names]
    every = [parameters.known(file) for file in files]
    names_known = sorted(set().union(*(known.defaults for known in every)))
    if unknown := [name for name in changes if name not in names_known]:
        known_are = f"known are {', '.join(names_known)}"
        raise InvalidValue(f"{', '.join(names)}: unknown parameter {unknown[0]!r}: {known_are}")
    jobs = []
    for name, file, known in zip(names, files, every, strict=True):
        instead = _instead(sections, name, changes, known)
        of = parameters.profile(root / "profiles.yaml", instead) if instead else sections
        shared = {**of.get("all", {}), **of.get(name, {}), **changes}
        own = {*known.defaults, *of.get(name, {})}
        overrides = {key: value for key, value in shared.items() if key in own}
        dataset = shared.get("dataset", DATASET)
        brief = "epochs" in of.get("all", {})  # as the profile says, whatever the images
        if not brief and isinstance(dataset, str) and forms.is_path(dataset):
            overrides = _longer(known.defaults, dataset) | overrides
        values = parameters.checked(name, known, overrides)
        if "dataset" in values:
            values["dataset"] = forms.resolved(values["dataset"])
        asked = known.content["metadata"].get("kernelspec", {}).get("name", "python3")
        overrides = {key: values[key] for key in overrides}
        jobs.append(_Job(name, file, kernel or asked, overrides, values, known, instead))
    return jobs


def _instead(
    sections: dict[str, Values], name: str, changes: Values, known: parameters.Known
) -> str | None:
    """The profile whose published runs a notebook shows in place of its own; None if it trains.

    Under `published` a profile maps notebooks to it. Published are runs on MNIST, with what that
    profile says and nothing else: of other images, or with parameters of somebody's own, a notebook
    trains what it says itself.
    """
    others = {key for key in changes if key in known.defaults} - {"dataset", "device", "logdir"}
    if others or changes.get("dataset", DATASET) != DATASET:
        return None
    return sections.get("published", {}).get(name)


def _longer(defaults: Values, dataset: str) -> Values:
    """More epochs than the defaults where a data set of one's own makes short ones.

    Those defaults are for as many images as stand beside them, `guided_epochs` for
    `guided_images`, or for all of MNIST's; a few hundred would teach a network nothing.
    """
    there, longer = max(BATCH, len(load(dataset).train_images)), {}
    for name, value in defaults.items():
        if found := re.fullmatch(r"(\w+_)?epochs|epoch_choices", name):
            own = defaults.get(f"{found[1]}images") or defaults.get("train_images") or OF_MNIST
            times = math.ceil(own / there)
            longer[name] = [times * e for e in value] if isinstance(value, list) else times * value
    return longer


def _made_with(job: _Job) -> dict[str, Any]:
    """What the notebook will be made with; raises if kernel, store, data or device won't do."""
    kernels.command(job.kernel)
    Store().check_writable()
    data = load(job.dataset)
    parameters.checked(job.name, job.known, job.values, data)
    made = kernels.environment_of(job.kernel, job.values.get("device", "auto"))
    images = {
        "mnist": job.dataset == DATASET,
        "name": data.name,
        "digest": data.digest,
        "counts": [len(data.train_images), len(data.test_images)],
        "shape": [*data.train_images.shape[1:]],
        "labeled": data.labeled,
        "classes": data.names[: data.tested],
    }
    published = [place for layer in paths.published() for place in sorted(layer.glob("*/*"))]
    inputs = [job.known.content, job.values, images, made, paths.LOADED]
    inputs += [sorted(os.listdir(place)) for place in published]
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    facts = {"dataset": data.name, "images": images, "inputs": digest, "commit": paths.commit()}
    return facts | made | ({"published": job.instead} if job.instead else {})


def _kept(job: _Job, out: Path) -> Outcome | None:
    """The notebook that is in `out` already, if it came to its end and was made from the same."""
    path = out / f"{job.name}.ipynb"
    try:
        made = json.loads(path.read_text(encoding="utf-8"))["metadata"]["aecore"]
        same = made["inputs"] == job.made["inputs"] and "problem" not in made
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return Outcome(job.name, path, 0.0, kept=True) if same else None


def _check_workers(datasets: set[str]) -> None:
    """Raise `ClusterError` if the environment names a cluster that can't be used.

    Without one, `BatchError` where processes of this machine have no memory to meet in.
    """
    if address := cluster.address():
        cluster.Cluster(address, datasets).close()
        return
    try:
        multiprocessing.Lock()
    except OSError as error:
        why = error.strerror or error
        raise BatchError(
            f"processes can't share memory, on Linux in /dev/shm: {why}; make it writable, or set "
            "AECORE_SCHEDULER to the address of a cluster"
        ) from error


def _execute(job: _Job, kernel: Any, out: Path, told: Told, ahead: kernels.Kernels) -> Outcome:
    accepted, failed = out / f"{job.name}.ipynb", out / f"{job.name}.failed.ipynb"
    started, clock = datetime.now(UTC), time.perf_counter()
    place, problem = job.notebook, None
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".running-") as folder:
            draft = Path(folder) / accepted.name
            problem = _papermill(job, kernel, draft, told)
            if draft.exists() and not ahead.stopped:
                executed = nbformat.read(draft, as_version=4)
                executed.metadata.papermill["input_path"] = str(job.notebook)
                if problem is None and not _completed(executed):
                    problem = "not every cell was executed"
                if problem is None and _digest(job) != job.made["images"]["digest"]:
                    problem = "the images were replaced while it ran: run it again"
                made = {**job.made, "parameters": job.values, "overrides": job.overrides}
                made["seconds"] = round(time.perf_counter() - clock, 1)
                made["started"] = started.isoformat(timespec="seconds")
                executed.metadata["aecore"] = made | ({"problem": problem} if problem else {})
                nbformat.write(executed, draft)
                place = failed if problem else accepted
                os.replace(draft, place)
    except (OSError, ValueError) as error:  # a full disk, a torn draft: the others can still run
        problem, place = problem or f"{type(error).__name__}: {error}", job.notebook
    # What an earlier run left would pass for the result of this one.
    for earlier in {accepted, failed} - {place} if not ahead.stopped else ():
        earlier.unlink(missing_ok=True)
    return Outcome(job.name, place, round(time.perf_counter() - clock, 1), problem)


def _digest(job: _Job) -> str:
    """The digest of the images that the notebook's data set has now; of none if it has gone."""
    try:
        return load(job.dataset).digest
    except DataError:
        return ""


def _papermill(job: _Job, kernel: Any, draft: Path, told: Told) -> str | None:
    """Executes the notebook, as it was checked, into `draft`; returns its problem if it has one."""
    checked = draft.with_name(f"checked-{draft.name}")  # its file may have been edited since
    try:
        checked.write_text(json.dumps(job.known.content), encoding="utf-8")
        options = {"kernel_name": job.kernel, "km": kernel, "coalesce_streams": True}
        options |= {"progress_bar": False, "stderr_file": told}
        cells = len(job.known.content["cells"]) + bool(job.overrides)
        options |= {"on_cell_start": partial(told.cell, cells)}
        files = _as_template(checked), _as_template(draft)
        papermill.execute_notebook(*files, job.overrides, **options)
    except papermill.PapermillExecutionError as error:
        return f"cell {error.exec_count}: {error.ename}: {error.evalue}"
    except Exception as error:  # a dead kernel, a full disk: the other notebooks can still run
        return f"{type(error).__name__}: {error}"
    return None


def _as_template(path: Path) -> str:
    """`path` as papermill wants it: it takes what stands in braces for a placeholder."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _completed(executed: Any) -> bool:
    code = [cell for cell in executed.cells if cell.cell_type == "code" and cell.source.strip()]
    return all(cell.metadata.papermill.status == "completed" for cell in code)
