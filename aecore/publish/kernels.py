"""The Jupyter kernels that notebooks run in, and what they have."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ipykernel.kernelspec import write_kernel_spec
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_core.utils import run_sync

from aecore.checks import InvalidValue
from aecore.engine.pool import resolve_device

PACKAGES = ("aecore", "torch", "numpy", "scikit-learn", "plotly", "papermill")
PROBE = (
    "import json, sys; from aecore.publish.kernels import environment;"
    "print(json.dumps(environment(sys.argv[1])))"
)
LONGEST = 90  # of what the names of sockets begin with: systems end at some 100
AHEAD = 2  # kernels that start, and import what most notebooks need, while another one works
IMPORTS = ("aecore.page.curves", "aecore.page.live", "aecore.runs", "sklearn.decomposition")


class Manager(AsyncKernelManager):
    """A kernel's manager that knows its `clients`: papermill leaves those open."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.clients: list[Any] = []

    def client(self, **settings: Any) -> Any:
        """Another client."""
        self.clients.append(super().client(**settings))
        return self.clients[-1]


class Kernels:
    """Jupyter kernels by `names`, in turn, each started while those before it are at work.

    A context: kernels that nobody asked for are ended with it.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.coming, self.started, self.used = deque(enumerate(names)), deque(), []
        self.stopped = False
        self.background = ThreadPoolExecutor()  # where kernels end, none after another: in seconds

    def __enter__(self) -> Kernels:
        self.sockets = tempfile.TemporaryDirectory(prefix="aecore-", ignore_cleanup_errors=True)
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        for manager in self.started:
            self._end(manager, now=True)
        self.background.shutdown()
        self.sockets.cleanup()

    @contextmanager
    def next(self) -> Iterator[Manager]:
        """The manager of the next kernel, which is ended with the context."""
        manager = self.started.popleft()
        self.used.append(manager)
        self._start()
        try:
            yield manager
        finally:
            for client in manager.clients:
                client.stop_channels()
            self.used.remove(manager)
            self._end(manager, now=False)

    def stop(self) -> None:
        """Interrupt the kernels at work, and end them: whoever waits for one is told it is dead."""
        self.stopped = True
        for manager in list(self.used):
            self._end(manager, now=False)

    def _start(self) -> None:
        imports = "; ".join(f"__import__({name!r})" for name in IMPORTS)
        # The kernel's own log tells of its port and of the signal that ends it.
        options = ["--IPKernelApp.log_level=CRITICAL", f"--IPKernelApp.exec_lines={imports}"]
        while self.coming and len(self.started) < AHEAD:
            number, name = self.coming.popleft()
            # Files: a port may be taken by another program before the kernel has it.
            files = {"transport": "ipc", "ip": f"{self.sockets.name}/{number}"}
            fits = os.name == "posix" and len(files["ip"]) < LONGEST
            manager = Manager(kernel_name=name, **(files if fits else {}))
            run_sync(manager.start_kernel)(extra_arguments=options)
            self.started.append(manager)

    def _end(self, manager: Manager, now: bool) -> None:
        """Kill a kernel now, or interrupt it, ask it to end and kill it after five seconds."""
        self.background.submit(lambda: asyncio.run(manager.shutdown_kernel(now=now)))


@contextmanager
def own_first() -> Iterator[None]:
    """Within it, the kernel `python3` is this interpreter, whatever else is called so."""
    before = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory() as place:
        write_kernel_spec(Path(place) / "kernels" / "python3")
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (place, before)))
        try:
            yield
        finally:
            os.environ.pop("JUPYTER_PATH")
            if before is not None:
                os.environ["JUPYTER_PATH"] = before


def command(kernel: str) -> list[str]:
    """The command that starts a kernel; raises `InvalidValue` with the known ones' names."""
    try:
        return KernelSpecManager().get_kernel_spec(kernel).argv
    except NoSuchKernel:
        known = ", ".join(sorted(KernelSpecManager().find_kernel_specs()))
        raise InvalidValue(f"unknown kernel {kernel!r}: known are {known}") from None


def environment(device: str) -> dict[str, Any]:
    """The device that `device` stands for here, and the versions of what results depend on."""
    versions = {"python": platform.python_version()}
    return {
        "device": str(resolve_device(device)),
        "versions": versions | {name: metadata.version(name) for name in PACKAGES},
    }


@cache
def environment_of(kernel: str, device: str) -> dict[str, Any]:
    """`environment` as a kernel sees it; raises `InvalidValue` if it can't run aecore."""
    words = command(kernel)
    # Jupyter takes a bare "python" for the interpreter that it runs in itself.
    if words[0] == sys.executable or words[0] in ("python", "python3"):
        return environment(device)
    try:
        start = words[: words.index("-m")]
        done = subprocess.run(
            [*start, "-c", PROBE, device], capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise InvalidValue(f"the kernel {kernel!r} can't run aecore: {said[-1]}") from None
