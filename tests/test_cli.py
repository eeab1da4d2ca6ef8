import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import CHECKOUT
from command import aecore as run_aecore

import aecore
from aecore import cli
from aecore.store.entries import Store, digest


@pytest.fixture
def project(tmp_path) -> Path:
    """A project folder with the notebooks and profiles of this one, and nothing executed."""
    folder = tmp_path / "project"
    shutil.copytree(CHECKOUT / "notebooks", folder / "notebooks")
    for name in ("profiles.yaml", "_toc.yml"):
        shutil.copy(CHECKOUT / name, folder)
    return folder


def refused(project: Path, *words: str, **environment: str) -> str:
    """The one line that `aecore WORDS` ends on with status 2, having executed nothing."""
    home = environment.setdefault("AECORE_HOME", str(project / "home"))
    done = run_aecore(*words, cwd=project, **environment)
    assert done.returncode == 2, done.stderr
    *warnings, line = done.stderr.splitlines()
    assert all(warning.startswith("aecore: warning: ") for warning in warnings), done.stderr
    assert line.startswith("aecore: ")
    assert done.stdout == ""
    assert not (project / "_build").exists()
    assert not (Path(home) / "runs").exists()
    return line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--profile", "huge"], ["'huge'", "smoke, quick, paper"]),
        (["book", "--profile", "huge"], ["'huge'", "smoke, quick, paper"]),
        (["run", "tradeof"], ["'tradeof'", "tradeoff", "surface"]),
        (["run", "--dataset", "cifar10"], ["dataset='cifar10'", "mnist, fashion_mnist"]),
        (["run", "--dataset", "none.npz"], ["none.npz", "no such file"]),
        (["data", "--dataset", "cifar10"], ["'cifar10'", "mnist, fashion_mnist"]),
        (["run", "--set", "latent_dimension=4"], ["'latent_dimension'", "latent_dim,"]),
        (["run", "surface", "--set", "trials=4"], ["surface", "'trials'", "samples"]),
        (["run", "--set", "latent_dim=0"], ["autoencoder: latent_dim=0", "at least 1"]),
        (["run", "tradeoff", "--set", "noise_levels=[0, -0.1]"], ["noise_levels[1]=-0.1"]),
        (["run", "--set", "occlusion_levels=[1.5]"], ["occlusion_levels[0]=1.5", "at most 1"]),
        (["run", "--set", "learning_rate=nan"], ["learning_rate='nan'", "finite"]),
        (["run", "--set", "dropout=1"], ["dropout=1", "below 1"]),
        (["run", "--set", "epochs=many"], ["epochs='many'", "whole number"]),
        (["run", "--set", "latent_dims=4"], ["latent_dims=4", "list"]),
        (["run", "--set", "epochs"], ["epochs", "name=value"]),
        (["run", "--kernel", "julia"], ["'julia'", "known are", "python3"]),
        (["run", "--profil"], ["--profil", "--help"]),
        (["bake"], ["'bake'", "--help"]),
        ([], ["COMMAND", "--help"]),
        (["book"], ["no executed notebooks", "aecore run --profile quick"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0] in ("run", "book", "data") else "",
)
def test_bad_input_is_told_in_one_line_before_anything_runs(project, words, told):
    line = refused(project, *words)
    for part in told:
        assert part in line


def test_a_device_or_image_that_is_not_there_is_told_in_one_line(project, tiny):
    words = ["run", "--dataset", tiny, "--set"]
    assert "device='cuda:9'" in refused(project, *words, "device=cuda:9", "surface")
    assert "end_digit=3" in refused(project, *words, "end_digit=3", "morphing")


@pytest.mark.fault(
    "the home folder can't be written", "one line says so before anything runs, exit status 2"
)
def test_a_store_folder_that_cannot_be_written_is_told_in_one_line(project):
    (project / "home").write_text("a file where a folder should be")
    line = refused(project, "run", "--profile", "smoke")
    assert "AECORE_HOME" in line


def test_truncated_data_are_told_in_one_line(project, tmp_path):
    folder = tmp_path / "torn"
    folder.mkdir()
    for name, shape in (
        ("train-images-idx3-ubyte", (60000, 28, 28)),
        ("train-labels-idx1-ubyte", (60000,)),
        ("t10k-images-idx3-ubyte", (10000, 28, 28)),
        ("t10k-labels-idx1-ubyte", (10000,)),
    ):
        header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
        (folder / name).write_bytes(header + bytes(1000))
    unreachable = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    line = refused(
        project,
        "run",
        "--profile",
        "smoke",
        AECORE_DATA=str(folder),
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS="",
        **unreachable,
    )
    assert "no source of mnist" in line
    assert "AECORE_DATA" in line


def test_outside_of_a_project_the_checkout_s_own_notebooks_are_meant(tmp_path):
    done = run_aecore("run", "nothing", cwd=tmp_path)
    assert done.returncode == 2
    assert "tradeoff" in done.stderr


def test_help_and_version_answer_without_loading_the_libraries():
    code = (
        "import sys; from aecore.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'papermill', 'plotly', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "book" in done.stdout
    version = run_aecore("--version", cwd=CHECKOUT)
    assert version.stdout.split() == ["aecore", aecore.__version__]


def test_data_says_what_it_found(tmp_path, tiny):
    done = run_aecore("data", "--dataset", tiny, cwd=tmp_path)
    assert done.returncode == 0
    assert "300 training and 60 test images of 1 × 12 × 12" in done.stdout
    assert tiny in done.stdout


def test_data_says_which_classes_there_are_and_what_was_done(capsys, tmp_path):
    images, labels = np.zeros((9, 8, 8), np.uint8), np.array(["b", "a", "c"] * 3)
    images[0, 0, 0] = 1
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez(tmp_path / "own.npz", **arrays)
    assert cli.main(["data", "--dataset", str(tmp_path / "own.npz")]) == 0
    said = capsys.readouterr().out
    for line in (
        "own: 9 training and 9 test images of 1 × 8 × 8",
        "pixels: 0 … 255",
        "3 classes (training + test): a (3 + 3), b (3 + 3), c (3 + 3)",
        "done: 0 and 1 became 0 and 255",
        "networks for them: conv, dense, vae, beta_vae, rate, residual, classifier, neighbors",
    ):
        assert line in said.splitlines()


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "data", (lambda given: 1 / 0, "", ""))
    with pytest.raises(ZeroDivisionError):
        cli.main(["data"])


def test_every_entry_has_a_name_and_head_may_have_enough(tmp_path):
    store = Store(tmp_path, layers=())
    asked = {"table": "pca", "version": 1}
    for number in range(3000):
        question = {**asked, "largest": number}
        store.write("table", digest(question), {"question": question, "answer": 0}, {})
    question = {"neighbors": 1, "images": 60, "metric": "L2"}
    store.write("neighborhood", digest(question), {"question": question, "seconds": 1.5}, {})
    done = run_aecore("store", "ls", cwd=tmp_path, AECORE_HOME=str(tmp_path))
    lines = [line for line in done.stdout.splitlines() if not line.startswith("run")]
    assert any(line.endswith("neighborhood  images=60, metric=L2, neighbors=1") for line in lines)
    assert f"table  {digest({**asked, 'largest': 0})[:12]}  pca  largest=0" in lines
    assert all(len(line.split()) > 2 for line in lines)
    shell = f"set -o pipefail; '{sys.executable}' -m aecore.cli store ls | head -n 1"
    home = {**os.environ, "AECORE_HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", shell], env=home, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (141, "")
    assert len(done.stdout.splitlines()) == 1
