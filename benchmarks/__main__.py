"""Speed beside its peers, all measured in this run: `python -m benchmarks [SECTION …]`.

Prints a table and writes it to `_build/bench.json`, a list of rows. `ratio` is how many times as
fast ours is. A figure is a median, of rounds for ours and of trials or rounds for the peers, after
a round that warms up.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import loky
import numpy as np
import psutil
import torch
import torch.nn.functional as F
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from aecore.corruption import GaussianNoise
from aecore.data import as_floats, load
from aecore.engine.cluster import Cluster
from aecore.engine.pool import reproducible, resolve_device
from aecore.engine.stack import Stack, StackedConv
from aecore.fast.convolution import Conv2d, ConvTranspose2d, accelerate
from aecore.models import build
from aecore.publish.fill import sections
from aecore.runs import Run, fit
from aecore.search.samplers import Choice, LogUniform, Uniform
from aecore.search.trials import Search
from aecore.spec import Spec
from aecore.store.entries import Store
from aecore.store.paths import built, home
from aecore.training import Training
from benchmarks import peers
from benchmarks.peers import repeated

OUT = built(Path()) / "bench.json"
ROUNDS = 3


class Table:
    """The rows so far; each is printed when it is there."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []
        self.cores = loky.cpu_count()
        self.device = resolve_device()
        self.cpu = f"cpu ({platform.machine()}), {self.cores} cores"
        self.trainer = torch.cuda.get_device_name() if self.device.type == "cuda" else self.cpu
        self.limit = peers.matrix_product_flops(self.device)
        self.bytes = peers.copied_bytes(self.device)
        torch.cuda.empty_cache()  # where there is a GPU
        print(f"{self.cpu}; networks train on {self.trainer}, where a large matrix product runs at "
              f"{self.limit / 1e9:,.0f} GFLOP/s and a copy at {self.bytes / 1e9:,.0f} GB/s"
        )  # fmt: skip
        print(f"{'':<44}{'ours':>11}{'peer':>11}{'ratio':>7}  unit, peer")

    def row(
        self,
        name: str,
        ours: float,
        peer: float | None,
        unit: str,
        note: str,
        trainer: bool = False,
    ) -> None:
        """Add a row; `unit` says whether more ("images/s") or less ("s", "ms") is better.

        Images a second, and what says so, are measured where networks train, else on the CPU.
        """
        more = unit.endswith("/s")
        device = self.trainer if unit == "images/s" or trainer else self.cpu
        ratio = None if peer is None else ours / peer if more else peer / ours
        self.rows.append({"name": name, "ours": _digits(ours), "peer": _digits(peer), "unit": unit,
                          "ratio": _digits(ratio), "device": device, "note": note})  # fmt: skip
        ours_, peer_, ratio_ = (_digits(x) or "" for x in (ours, peer, ratio))
        print(f"{name:<44}{ours_:>11,}{peer_:>11,}{ratio_:>7}  {unit}, {note}" if peer else
              f"{name:<44}{ours_:>11,}{'':>11}{'':>7}  {unit}, {note}", flush=True)  # fmt: skip
        OUT.parent.mkdir(exist_ok=True)
        OUT.write_text(json.dumps(self.rows, indent=1))

    def share(self, rate: float, spec: Spec) -> str:
        """How much of the machine's limits so many images a second of a spec's training are."""
        operations = rate * peers.flops_per_image(spec) / self.limit
        traffic = rate * peers.bytes_per_image(spec) / self.bytes
        return f"{operations:.0%} of the limit of operations, {traffic:.0%} of memory's"


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def trained(specs: Sequence[Spec]) -> tuple[float, list[Run]]:
    """Images a second over all `specs`, trained into an empty store by warm workers; their runs."""
    kept = [len(load().train_images[: spec.train_images]) * (1 - spec.validation) for spec in specs]
    images = sum(n * spec.epochs for n, spec in zip(kept, specs, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        runs = fit(specs, store=Store(Path(folder), layers=()))
        return images / (time.perf_counter() - started), runs


def rate(specs: Sequence[Spec], rounds: int = ROUNDS) -> tuple[float, list[Run]]:
    """The median over rounds of `trained`, by workers that have trained before."""
    small = specs[0].replace(train_images=500, epochs=1)
    trained([small.replace(seed=seed) for seed in range(loky.cpu_count())])
    found = [trained(specs) for _ in range(rounds)]
    return statistics.median(speed for speed, _ in found), found[0][1]


def search(table: Table) -> None:
    """Twelve trials of a search: against Lightning with Optuna, a DataLoader loop, tensors."""
    rates = np.random.default_rng(0).uniform(0.02, 0.25, 12)
    specs = [
        Spec(latent_dim=4, batch_size=256, epochs=2, validation=0.2, dropout=float(p), seed=n)
        for n, p in enumerate(rates)
    ]
    ours, runs = rate(specs)
    per_trial = 2 * 48_000
    some = specs[: 4 if table.device.type == "cpu" else 2]
    loss = _spread([run.validation_loss for run in runs[: len(some)]])
    for name, outcomes in (
        ("Lightning and Optuna", peers.lightning_and_optuna(some)),
        ("DataLoader loop", [peers.data_loader_loop(spec) for spec in some]),
        ("loop over a tensor", [peers.tensor_loop(spec) for spec in some]),
    ):
        theirs = per_trial / statistics.median(seconds for seconds, _ in outcomes)
        note = (
            f"{name}, {len(some)} of the 12 trials; validation MSE of these {loss}, "
            f"theirs {_spread([loss for _, loss in outcomes])}; {table.share(ours, specs[0])}"
        )
        table.row("search of 12 trials", ours, theirs, "images/s", note)


def _spread(losses: Sequence[float]) -> str:
    return f"{np.mean(losses):.4f} ± {np.std(losses, ddof=1):.4f}"


def sweep(table: Table) -> None:
    """Five sizes of the code, two seeds, plain and denoising."""
    base = Spec(batch_size=128, epochs=1, learning_rate=0.01, schedule="one_cycle")
    specs = [
        base.replace(latent_dim=d, seed=seed, corruption=noise)
        for noise in (None, GaussianNoise(0.45))
        for d in (2, 4, 8, 16, 32)
        for seed in (0, 1)
    ]
    ours, _ = rate(specs, 1)
    theirs = 60_000 / statistics.median(peers.tensor_loop(spec)[0] for spec in specs[:3])
    note = f"loop over a tensor, 3 of the 20 models; {table.share(ours, base)}"
    table.row("sweep of 20 models", ours, theirs, "images/s", note)


def dense(table: Table) -> None:
    """The four dense networks of report C."""
    base = Spec(architecture="dense", widths=(128, 64, 12), latent_dim=2, batch_size=100, epochs=1)
    specs = [
        base.replace(activation=act, output_activation=out, loss=loss)
        for act, out in (("linear", "linear"), ("relu", "tanh"))
        for loss in ("l1", "mse")
    ]
    ours, _ = rate(specs)
    theirs = 60_000 / statistics.median(peers.tensor_loop(spec)[0] for spec in specs)
    note = f"loop over a tensor; {table.share(ours, base)}"
    table.row("dense networks of report C", ours, theirs, "images/s", note)


def neighbors(table: Table) -> None:
    """The 200 nearest of all 60,000 images: against faiss and scikit-learn on some queries."""
    import faiss

    from aecore.analysis.pairs import nearest_of_all

    images = load().train_images
    floats = images.flatten(1).numpy().astype(np.float32)
    nearest_of_all(images[:2000], 5, "L1")
    for metric, of_faiss, of_sklearn in (
        ("L2", faiss.METRIC_L2, "euclidean"),
        ("L1", faiss.METRIC_L1, "manhattan"),
    ):
        started = time.perf_counter()
        nearest_of_all(images, 200, metric)
        ours = time.perf_counter() - started
        index = faiss.IndexFlat(784, of_faiss)
        index.add(floats)
        plain = NearestNeighbors(n_neighbors=201, algorithm="brute", metric=of_sklearn).fit(floats)
        for name, few, task in (
            ("faiss", 300, partial(index.search, floats[:300], 201)),
            ("scikit-learn", 30, partial(plain.kneighbors, floats[:30])),
        ):
            theirs = statistics.median(repeated(task, 3)) * 60_000 / few
            note = f"{name}, {few} queries scaled to 60,000"
            table.row(f"200 nearest of 60,000, {metric}", ours, theirs, "s", note)


def analysis(table: Table) -> None:
    """The surface of 10,000 points, and t-SNE."""
    from aecore.analysis.latent import distance_surface
    from aecore.analysis.projections import tsne

    model = accelerate(build(Spec(latent_dim=2), (1, 28, 28))).requires_grad_(False)
    axis = torch.linspace(-3, 3, 100)
    points, centers = torch.cartesian_prod(axis, axis), torch.randn(10, 2)

    def by_point() -> None:
        for point in points[:500]:
            nearest = (centers - point).norm(dim=1).argmin()
            (model.decode(point[None]) - model.decode(centers[nearest][None])).square().sum()

    ours = statistics.median(repeated(lambda: distance_surface(model.decode, centers, points), 9))
    theirs = statistics.median(repeated(by_point, 1)) * len(points) / 500
    note = "one point at a time, 500 points scaled"
    table.row("surface of 10,000 points", 1e3 * ours, 1e3 * theirs, "ms", note)
    pixels = as_floats(load().train_images[:2000]).flatten(1).numpy()
    ours = statistics.median(repeated(lambda: tsne(pixels), 1))
    theirs = statistics.median(repeated(lambda: TSNE(random_state=0).fit_transform(pixels), 1))
    table.row("t-SNE of 2,000 images", ours, theirs, "s", "scikit-learn")


def layers(table: Table) -> None:
    """Convolutions of many networks at once, forward and back: a stack's, and two other ways."""
    if table.device.type == "cpu":
        print("layers of stacks: only on a GPU")
        return
    networks, batch = 180, 128
    for inputs, outputs, side, padding, transposed in (
        (1, 8, 28, 1, False), (8, 16, 14, 1, False), (16, 32, 7, 0, False),
        (32, 16, 3, 0, True), (16, 8, 7, 1, True), (8, 1, 14, 1, True),
    ):  # fmt: skip
        kind = ConvTranspose2d if transposed else Conv2d
        extra = {"output_padding": padding} if transposed else {}
        single = [kind(inputs, outputs, 3, 2, padding, **extra) for _ in range(networks)]
        layer = StackedConv(single).to(table.device)
        x = torch.rand(batch, networks * inputs, side, side, device=table.device)
        x.requires_grad_()

        def groups(x: Tensor, layer: StackedConv = layer) -> Tensor:
            kernels, bias = layer.weight.flatten(0, 1), layer.bias.flatten()
            return layer.convolve(x, kernels, bias, **layer.settings)

        def products(x: Tensor, layer: StackedConv = layer, padding: int = padding) -> Tensor:
            n, wide = len(layer.weight), F.pad(x, [padding] * 4)
            patches = wide.unfold(2, 3, 2).unfold(3, 3, 2)  # (N, M C, h, w, 3, 3)
            columns = patches.unflatten(1, (n, -1)).permute(1, 2, 5, 6, 0, 3, 4).flatten(4)
            return layer.weight.flatten(2) @ columns.reshape(n, -1, columns.shape[-1])

        def seconds(way: Callable[[Tensor], Tensor], x: Tensor, layer: nn.Module = layer) -> float:
            grad = torch.ones_like(way(x))

            def both() -> None:
                grads = torch.autograd.grad(way(x), (x, layer.weight), grad)
                grads[1].flatten()[-1].item()

            return statistics.median(repeated(both, 9))

        ours, channels_last = (
            seconds(layer, x),
            x.detach().contiguous(memory_format=torch.channels_last).requires_grad_(),
        )
        defaults = "in groups, with PyTorch's defaults (TF32)"
        ways = {defaults: (groups, x), "the same, channels last": (groups, channels_last)}
        if not transposed:
            ways["unfolded, products of matrices"] = products, x
        word = "transposed convolutions" if transposed else "convolutions"
        row = f"{networks} {word}, {inputs} to {outputs} channels at {side} x {side}"
        for name, way in ways.items():
            table.row(row, 1e3 * ours, 1e3 * seconds(*way), "ms", name, trainer=True)


def stacks(table: Table) -> None:
    """A step of many networks on a GPU: recorded as one graph, and launched kernel by kernel."""
    if table.device.type == "cpu":
        print("steps of stacks: only on a GPU")
        return
    data = load()
    noisy = {"corruption": GaussianNoise(0.3)}
    variational = {"architecture": "vae", "loss": "elbo"}
    for networks, kind, changes in (
        (4, "networks", {}), (30, "networks", {}), (180, "networks", {}),
        (30, "denoising networks", noisy), (30, "variational networks", variational),
    ):  # fmt: skip
        base = Spec(latent_dim=4, optimizer="adamax", learning_rate=1e-3, **changes)
        specs = [base.replace(dropout=m / 1000) for m in range(networks)]
        first = Training(specs[0], data, table.device)
        stack = Stack([first, *(Training(spec, data, table.device, first) for spec in specs[1:])])
        stack.model.train()
        stack.prepare()
        batches = stack.order().split(specs[0].batch_size, -1)

        def steps(stack: Stack = stack, batches: Sequence[Tensor] = batches) -> None:
            for step in range(20):
                stack.set_learning_rate(step, len(batches))
                loss = stack.step(step, batches[step])
            loss.cpu()

        with reproducible():
            recorded = statistics.median(repeated(steps, 5)) / 20
            stack.recorded = None
            launched = statistics.median(repeated(steps, 5)) / 20
        note = f"kernel by kernel; {table.share(networks * 128 / recorded, specs[0])}"
        table.row(f"step of {networks} {kind} x 128", 1e3 * recorded, 1e3 * launched, "ms", note,
                  trainer=True)  # fmt: skip


def report(table: Table) -> None:
    """The whole search of report A."""
    if table.device.type == "cpu":
        print("the whole search of report A: only on a GPU, else for hours")
        return
    priors = {
        "learning_rate": LogUniform(1e-3, 1e-1),
        "weight_decay": LogUniform(1e-4, 1e-2),
        "dropout": Uniform(0.0, 0.25),
        "epochs": Choice([10, 20, 30, 40, 50], [0.25, 0.25, 0.2, 0.2, 0.1]),
    }
    base = Spec(latent_dim=4, optimizer="adamax", batch_size=512, validation=0.2)
    search = Search(base, priors, 180)
    specs = [search.draw(number) for number in range(180)]
    images = sum(48_000 * spec.epochs for spec in specs)
    ours, _ = trained(specs)
    note = f"{images / 1e6:.0f} million images; {table.share(ours, base)}"
    table.row("search A1 whole, 180 trials", images / ours, None, "s", note, trainer=True)


def paper(table: Table) -> None:
    """All of the paper profile with nothing stored."""
    if table.device.type == "cpu":
        print("the whole book with nothing stored: only on a GPU, else for hours")
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"  # without results/, so that everything is trained
        left_out = shutil.ignore_patterns("results", "_build", ".*")
        shutil.copytree(Path(__file__).parents[1], copy, ignore=left_out)
        shutil.copytree(home() / "data", Path(folder) / "home" / "data")
        changed = {"PYTHONPATH": str(copy), "AECORE_HOME": str(Path(folder) / "home")}
        command = [sys.executable, "-m", "aecore.cli", "run", "--profile", "paper"]
        started = time.perf_counter()
        subprocess.run(command, cwd=copy, env=os.environ | changed, check=True)
        seconds = time.perf_counter() - started
    table.row("paper profile, nothing stored", seconds, None, "s", "all pages", trainer=True)


def cluster(table: Table) -> None:
    """What a Dask scheduler takes for jobs that do nothing, with the bytes of real ones."""
    (run,) = fit([Spec(latent_dim=4, epochs=1, train_images=500)])
    command = [sys.executable, "-m", "dask"]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:

        def start(*words: str) -> None:
            silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
            process = subprocess.Popen([*command, *words, "--no-dashboard"], **silent)
            running.callback(process.wait)
            running.callback(process.terminate)

        place = Path(folder) / "scheduler.json"
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(place))
        while not place.exists():
            time.sleep(0.1)
        workers = ["--nworkers", str(table.cores), "--nthreads", "1"]
        start("worker", "--scheduler-file", str(place), *workers)
        executor = Cluster(json.loads(place.read_text())["address"], ["mnist"])

        def jobs() -> None:
            futures = [executor.submit(_unchanged, run.weights, n) for n in range(300)]
            for future in futures:
                future.result()

        seconds = statistics.median(repeated(jobs, ROUNDS))
        executor.close()
    size = len(pickle.dumps(run.weights))
    note = f"{size / 1e3:.0f} kB each way, as much as a model's weights"
    table.row("job through a scheduler", 300 / seconds, None, "jobs/s", note)


def _unchanged(weights: dict, number: int) -> dict:
    return weights


def programs(table: Table) -> None:
    """What one waits for at the command line."""

    def seconds(*words: str, times: int = 5) -> float:
        task = lambda: subprocess.run(words, check=True, capture_output=True)  # noqa: E731
        return statistics.median(repeated(task, times))

    table.row("import aecore", seconds(sys.executable, "-c", "import aecore"), None, "s", "")
    aecore = str(Path(sys.executable).with_name("aecore"))
    table.row("aecore --help", seconds(aecore, "--help"), None, "s", "")

    def book() -> None:
        for word in ("run", "book"):
            subprocess.run([aecore, word, "--profile", "quick"], check=True, capture_output=True)

    table.row("book again, nothing to train", repeated(book, 1)[0], None, "s", "profile quick")


def pages(table: Table) -> None:
    """The most memory that each page of the quick edition takes, and its time, from an empty store.

    Proportional set sizes of all its processes, its workers' among them, ten times a second.
    """
    aecore = str(Path(sys.executable).with_name("aecore"))
    for name in sections(Path()):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "data").symlink_to(home() / "data")
            places = {"AECORE_HOME": folder, "AECORE_BUILD": str(Path(folder) / "built")}
            words, started, most = [aecore, "run", name, "--profile", "quick"], time.time(), 0.0
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            page = psutil.Popen(words, env=os.environ | places, **quiet)
            while page.poll() is None:
                most = max(most, _memory(page))
                time.sleep(0.1)
        note = f"the page in {time.time() - started:.0f} s, profile quick"
        table.row(f"memory of {name}", most / 1e9, None, "GB", note)


def _memory(process: psutil.Process) -> float:
    """Bytes that a process and all below it take."""
    taken = 0
    with suppress(psutil.NoSuchProcess):
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                taken += one.memory_full_info().pss
    return taken


def growth(table: Table) -> None:
    """How cost grows with the number of models, the code, the batch, the images, the store."""
    from aecore.analysis.pairs import nearest_of_all

    base = Spec(batch_size=256, epochs=1, train_images=10_000)
    for models in (1, 4, 16, 64, 256):
        ours, _ = rate([base.replace(seed=n) for n in range(models)], 1 if models > 16 else ROUNDS)
        table.row(f"{models} models", ours, None, "images/s", table.share(ours, base))
    for name, sizes in (("latent_dim", (2, 32, 128)), ("batch_size", (32, 128, 512))):
        for size in sizes:
            spec = base.replace(**{name: size})
            ours, _ = rate([spec.replace(seed=n) for n in range(table.cores)])
            note = table.share(ours, spec)
            table.row(f"{name} {size}", ours, None, "images/s", note)
    images = load().train_images
    for n in (5_000, 10_000, 20_000, 40_000):
        ours = statistics.median(repeated(lambda n=n: nearest_of_all(images[:n], 200, "L2"), 1))
        table.row(f"200 nearest of {n:,}, L2", ours, None, "s", "")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder), layers=())
        for entries in (100, 10_000):
            for n in range(entries):
                store.write("table", f"{n:064x}", {"answer": n}, {})
            one = statistics.median(repeated(lambda: store.read("table", f"{50:064x}"), 200))
            none = statistics.median(repeated(lambda: store.read("table", f"{-1:064x}"), 200))
            note = f"a miss takes {none * 1e3:.2g} ms"
            table.row(f"look-up among {entries:,} entries", one * 1e3, None, "ms", note)


SECTIONS: dict[str, Callable[[Table], None]] = {
    section.__name__: section
    for section in (
        search,
        sweep,
        dense,
        neighbors,
        analysis,
        programs,
        pages,
        growth,
        cluster,
        layers,
        stacks,
        report,
        paper,
    )
}


def main() -> None:
    """Measure the sections named on the command line, or all."""
    unknown = [name for name in sys.argv[1:] if name not in SECTIONS]
    if unknown:
        sys.exit(f"no section {unknown[0]!r}: known are {', '.join(SECTIONS)}")
    table = Table()
    for name in sys.argv[1:] or SECTIONS:
        SECTIONS[name](table)
    print(f"written to {OUT}")


if __name__ == "__main__":
    main()
