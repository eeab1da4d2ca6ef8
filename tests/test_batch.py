import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
import yaml
from command import COMMAND, aecore, notebook, until

from aecore.checks import InvalidValue
from aecore.publish import batch, fill

SAYS = """
import sys
print(sys.executable)
print("half\\rwhole", file=sys.stderr)
n + 1
"""


def write(root: Path, name: str, dataset: str, *cells: str) -> None:
    head, place = f"dataset = {dataset!r}\nn = 1", root / "notebooks" / f"{name}.ipynb"
    notebook(place, head, *(cell.strip() for cell in cells))


def project(root: Path, names: list[str]) -> Path:
    chapters = [{"file": f"notebooks/{name}"} for name in names]
    (root / "_toc.yml").write_text(yaml.safe_dump({"parts": [{"chapters": chapters}]}))
    (root / "profiles.yaml").write_text("small: {all: {n: 2}, third: {n: 3}}")
    return root


@pytest.fixture(scope="module")
def ran(tmp_path_factory, tiny):
    """A batch of four notebooks of which two fail, in a folder with traps around it."""
    root = tmp_path_factory.mktemp("a {n} project")
    write(root, "third", tiny, SAYS)
    write(root, "broken", tiny, "n", "raise ValueError('too late')", "n")
    write(root, "dead", tiny, "import os\nos._exit(3)")
    write(root, "first", tiny, SAYS)
    project(root, ["first", "broken", "dead", "third"])
    out = batch.folder(root, "small", tiny)
    out.mkdir(parents=True)
    (out / "broken.ipynb").write_text("of an earlier run")
    (out / "first.failed.ipynb").write_text("of an earlier run")
    false_kernel = root / "jupyter" / "kernels" / "python3"
    false_kernel.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "display_name": "Python", "language": "python"}
    (false_kernel / "kernel.json").write_text(json.dumps(spec))
    before = {path.name: path.read_bytes() for path in (root / "notebooks").iterdir()}
    traps = {"AECORE_HOME": str(root / "home"), "JUPYTER_PATH": str(root / "jupyter")}
    traps["AECORE_AT_ONCE"] = "2"
    done = aecore("run", "--profile", "small", "--dataset", tiny, cwd=root, **traps)
    after = {path.name: path.read_bytes() for path in (root / "notebooks").iterdir()}
    assert after == before
    return done, out


def outputs(path: Path) -> str:
    page = nbformat.read(path, as_version=4)
    return json.dumps([cell.get("outputs", []) for cell in page.cells])


def test_notebooks_that_complete_are_there_and_nothing_else(ran):
    _, out = ran
    names = ["broken.failed.ipynb", "dead.failed.ipynb", "first.ipynb", "third.ipynb"]
    assert sorted(path.name for path in out.iterdir()) == names


@pytest.mark.fault(
    "a cell of a notebook raises, and a kernel dies",
    "those pages fail alone; the summary says which and why, exit status 1; the others are kept",
)
def test_the_exit_status_and_the_summary_tell_of_the_failures(ran):
    done, out = ran
    assert done.returncode == 1
    rows = [line.split()[:2] for line in done.stdout.splitlines()]
    assert rows == [["first", "done"], ["broken", "failed"], ["dead", "failed"], ["third", "done"]]
    assert str(out / "broken.failed.ipynb") in done.stdout


def test_progress_tells_notebooks_errors_and_what_the_notebooks_say(ran):
    lines = ran[0].stderr.splitlines()
    assert "[1/4] first" in lines
    assert "[1/4] first · whole" in lines
    assert "[2/4] broken: failed: cell 4: ValueError: too late" in lines
    assert any(line.startswith("[3/4] dead: failed: ") for line in lines)
    assert not any("Traceback" in line or "IPKernelApp" in line for line in lines)


def test_a_failed_notebook_says_why_for_the_book(ran):
    found = fill.problems(ran[1], ["first", "broken", "dead"])
    assert found["broken"] == "cell 4: ValueError: too late"
    assert found["dead"].startswith("DeadKernelError")
    assert "first" not in found


def test_a_failed_notebook_keeps_what_ran_before(ran):
    assert "too late" in outputs(ran[1] / "broken.failed.ipynb")


def test_python3_is_the_interpreter_that_runs_aecore(ran):
    assert sys.executable in outputs(ran[1] / "first.ipynb")


def test_an_executed_notebook_says_what_it_was_made_with(ran, tiny):
    page = nbformat.read(ran[1] / "third.ipynb", as_version=4)
    nbformat.validate(page)
    made = page.metadata.aecore
    assert made.profile == "small"
    assert made.dataset == "tiny"
    assert made.parameters == {"dataset": tiny, "n": 3}
    assert made.overrides == {"dataset": tiny, "n": 3}
    assert made.device.split(":")[0] in ("cpu", "cuda")
    assert made.versions.torch.startswith("2.")
    assert made.seconds > 0
    assert made.started.startswith("20")
    assert '"text/plain": "4"' in outputs(ran[1] / "third.ipynb")


def test_what_was_made_from_the_same_is_kept(tmp_path, tiny, monkeypatch):
    for name in ("first", "second"):
        write(tmp_path, name, tiny, "n")
    project(tmp_path, ["first", "second"])
    batch.run([], "small", tiny, root=tmp_path, progress=False)
    made = batch.folder(tmp_path, "small", tiny) / "first.ipynb"
    before, again = made.read_bytes(), []

    def execute(job, *rest):
        again.append(job.name)
        return batch.Outcome(job.name, made, 0.0)

    def executed(*names, **changes):
        again.clear()
        batch.run(names, "small", tiny, root=tmp_path, progress=False, **changes)
        return list(again)

    monkeypatch.setattr(batch, "_execute", execute)
    monkeypatch.setattr(batch.kernels, "AHEAD", 0)
    monkeypatch.setattr(batch.kernels.Kernels, "next", lambda self: nullcontext())
    assert executed() == []
    assert made.read_bytes() == before
    assert executed(again=True) == ["first", "second"]
    assert executed("first", overrides={"n": 5}) == ["first"]
    write(tmp_path, "second", tiny, "n + 1")
    assert executed() == ["second"]
    monkeypatch.setattr(batch.paths, "LOADED", "another package")
    assert executed("first") == ["first"]


def test_few_images_of_ones_own_get_more_epochs_where_nothing_is_said_of_them(tmp_path, tiny):
    head = "dataset = 'mnist'\nepochs = 3\nvae_epochs = 4\nepoch_choices = [1, 2]\nn = 1"
    notebook(tmp_path / "notebooks" / "one.ipynb", head)
    profiles = {"quick": None, "all": {"all": {"epochs": 7}}, "one": {"one": {"vae_epochs": 5}}}
    (tmp_path / "profiles.yaml").write_text(yaml.safe_dump(profiles))

    def values(profile, **changes):
        (job,) = batch._jobs(tmp_path, ["one"], profile, changes, None)
        return [job.values[name] for name in ("epochs", "vae_epochs", "epoch_choices", "n")]

    assert values("quick") == [3, 4, [1, 2], 1]
    assert values("quick", dataset=tiny) == [600, 800, [200, 400], 1]  # 300 images, not 60,000
    assert values("quick", dataset=tiny, epochs=3) == [3, 800, [200, 400], 1]
    assert values("one", dataset=tiny) == [600, 5, [200, 400], 1]
    assert values("all", dataset=tiny) == [7, 4, [1, 2], 1]


def test_published_runs_stand_in_where_nothing_of_ones_own_is_asked(tmp_path, tiny):
    head = "dataset = 'mnist'\nepochs = 3\nn = 1\ndevice = 'auto'"
    notebook(tmp_path / "notebooks" / "one.ipynb", head)
    profiles = {"quick": {"published": {"one": "paper"}}, "paper": {"all": {"epochs": 20}}}
    (tmp_path / "profiles.yaml").write_text(yaml.safe_dump(profiles))

    def made(**changes):
        (job,) = batch._jobs(tmp_path, ["one"], "quick", changes, None)
        return job.values["epochs"], job.instead

    assert made() == made(dataset="mnist") == made(device="cpu") == (20, "paper")
    assert made(n=2) == made(epochs=3) == made(dataset="fashion_mnist") == (3, None)
    assert made(dataset=tiny)[1] is None


def test_the_order_is_the_book_s_and_others_come_last(tmp_path):
    for name in ("b", "c", "a"):
        write(tmp_path, name, "mnist")
    assert batch.notebooks(project(tmp_path, ["c", "missing", "b"])) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("dataset", "name"),
    [(None, "quick"), ("mnist", "quick"), ("fashion_mnist", "quick-fashion_mnist")],
)
def test_each_data_set_has_a_folder_of_its_own(tmp_path, dataset, name):
    assert batch.folder(tmp_path, "quick", dataset) == tmp_path / "_build" / "notebooks" / name


@pytest.fixture
def waiting(tmp_path, tiny):
    """A batch whose first notebook is done and whose second one waits: its process and kernel."""
    write(tmp_path, "first", tiny, "n")
    project(tmp_path, ["first", "second"])
    done = batch.folder(tmp_path, "small") / "first.ipynb"
    first = f"import os, pathlib, sys, time\nwhile not pathlib.Path({str(done)!r}).exists(): pass"
    waits = f"{first}\nprint(f'kernel={{os.getpid()}}', file=sys.stderr)\ntime.sleep(99)"
    write(tmp_path, "second", tiny, waits)
    said = tmp_path / "said"
    with said.open("w") as file:
        running = subprocess.Popen(
            [*COMMAND, "run", "--profile", "small"],
            cwd=tmp_path,
            env={**os.environ, "AECORE_HOME": str(tmp_path / "home"), "AECORE_AT_ONCE": "2"},
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
        )
        until(lambda: "kernel=" in said.read_text(), running)
        lines = said.read_text().splitlines()
        (kernel,) = [int(line.split("kernel=")[1]) for line in lines if "kernel=" in line]
        yield running, kernel


def ended(pid):
    """Whether a process is gone, as soon as it is."""
    until(lambda: not psutil.pid_exists(pid))
    return True


@pytest.mark.fault(
    "Ctrl-C while notebooks run", "the kernels end, the summary says what is safe, exit status 130"
)
def test_ctrl_c_stops_the_kernel_and_keeps_what_is_done(tmp_path, waiting):
    running, kernel = waiting
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(timeout=30) == 130
    said = (tmp_path / "said").read_text()
    assert "first" in said.splitlines()[-1].partition("Finished notebooks")[2]
    assert "Traceback" not in said
    out = tmp_path / "_build" / "notebooks" / "small"
    assert [path.name for path in out.iterdir()] == ["first.ipynb"]
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)


def test_kernels_end_side_by_side():
    """One that takes its time keeps no other from hearing that it is to stop."""
    meeting = threading.Barrier(2)

    class Slow:
        async def shutdown_kernel(self, now):
            meeting.wait(timeout=10)

    ahead = batch.kernels.Kernels([])
    ahead.used += [Slow(), Slow()]
    ahead.stop()
    ahead.background.shutdown()
    assert not meeting.broken


@pytest.mark.fault("Ctrl-C twice while notebooks run", "the same, at the latest when killed")
def test_ctrl_c_twice_leaves_nothing_behind(tmp_path, waiting):
    running, kernel = waiting
    os.killpg(running.pid, signal.SIGINT)
    time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(timeout=30) != 0
    assert ended(kernel)
    out = tmp_path / "_build" / "notebooks" / "small"
    assert "first.ipynb" in {path.name for path in out.iterdir()}


@pytest.mark.fault(
    "aecore run is killed (SIGKILL)",
    "its kernels end by themselves; finished notebooks stay, and half ones are not taken for them",
)
def test_a_killed_batch_leaves_no_kernel_behind(tmp_path, waiting):
    running, kernel = waiting
    running.kill()
    running.wait(timeout=30)
    assert ended(kernel)
    out = tmp_path / "_build" / "notebooks" / "small"
    assert {path.name for path in out.glob("[!.]*")} == {"first.ipynb"}


def test_files_of_one_name_do_not_share_a_folder(tmp_path):
    files = ["mnist", str(tmp_path / "a" / "mnist.npz"), str(tmp_path / "b" / "mnist.npz")]
    assert len({batch.folder(tmp_path, "quick", file) for file in files}) == 3


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path, tiny):
    write(tmp_path, "first", tiny, SAYS)
    project(tmp_path, ["first"])
    (tmp_path / "_build").write_text("a file in its place")
    with pytest.raises(batch.BatchError, match=r"_build.* can't be written: .*; set AECORE_BUILD"):
        batch.run([], "small", dataset=tiny, root=tmp_path, progress=False)


def test_what_was_checked_runs_on_the_images_that_were_read(tmp_path, tiny, monkeypatch):
    """A notebook that is edited meanwhile runs as it was; images that are replaced are noticed."""
    monkeypatch.setenv("AECORE_AT_ONCE", "1")
    own, second = str(tmp_path / "own.npz"), tmp_path / "notebooks" / "second.ipynb"
    shutil.copy(tiny, own)
    write(tmp_path, "first", own, f"from pathlib import Path\nPath({str(second)!r}).write_text('')")
    replace = (
        "arrays = {name: 255 - array for name, array in np.load(dataset).items() if 'im' in name}"
    )
    write(tmp_path, "second", own, f"import numpy as np\n{replace}\nnp.savez(dataset, **arrays)\nn")
    root = project(tmp_path, ["first", "second"])
    first, second = batch.run([], "small", dataset=own, root=root, progress=False)
    assert first.problem is None
    assert second.problem == "the images were replaced while it ran: run it again"
    assert '"2"' in outputs(second.path)


def test_two_notebooks_work_at_once(tmp_path, tiny, monkeypatch):
    """The first one waits for what the second one writes."""
    monkeypatch.setenv("AECORE_AT_ONCE", "2")
    sign = f"pathlib.Path({str(tmp_path / 'sign')!r})"
    wait = f"while not {sign}.exists(): assert time.monotonic() < start + 60"
    write(tmp_path, "first", tiny, f"import pathlib, time\nstart = time.monotonic()\n{wait}")
    write(tmp_path, "second", tiny, f"import pathlib\n{sign}.touch()")
    root = project(tmp_path, ["first", "second"])
    outcomes = batch.run([], "small", tiny, root=root, progress=False)
    assert [(outcome.name, outcome.problem) for outcome in outcomes] == [
        ("first", None), ("second", None),
    ]  # fmt: skip


def test_two_work_at_once_only_where_there_is_memory_and_no_gpu_or_cluster(monkeypatch):
    def at_once(gigabytes, cores, device="cpu", **environment):
        memory = SimpleNamespace(available=1e9 * gigabytes)
        monkeypatch.setattr(batch.psutil, "virtual_memory", lambda: memory)
        monkeypatch.setattr(batch, "cpu_count", lambda: cores)
        monkeypatch.setenv("AECORE_SCHEDULER", environment.get("scheduler", ""))
        monkeypatch.setenv("AECORE_AT_ONCE", environment.get("asked", ""))
        return batch._at_once({"cpu", device})

    assert at_once(8, 2) == at_once(20, 8) == 2
    assert at_once(7, 2) == at_once(19, 8) == at_once(64, 1) == 1
    assert at_once(64, 8, "cuda") == at_once(64, 8, scheduler="tcp://here:1") == 1
    assert at_once(1, 2, asked="3") == 3
    with pytest.raises(InvalidValue, match="AECORE_AT_ONCE='many' is not allowed"):
        at_once(64, 8, asked="many")
