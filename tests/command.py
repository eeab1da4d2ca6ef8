"""What tests do as a person does it: run the `aecore` command, write a notebook, wait."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat

CHECKOUT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "aecore.cli"]


def aecore(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """What `aecore WORDS` in the folder `cwd` printed and returned."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def until(condition: Callable[[], object], running: subprocess.Popen | None = None) -> None:
    """Wait for a condition; fail after five minutes, or when what is `running` ends."""
    deadline = time.monotonic() + 300
    while not condition():
        assert running is None or running.poll() is None, "it ended before"
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def notebook(path: Path, *code: str, title: str = "") -> nbformat.NotebookNode:
    """Write a notebook of a heading and code cells, the first of which has the parameters."""
    cells = [nbformat.v4.new_code_cell(text, id=f"c{n}") for n, text in enumerate(code)]
    cells[0].metadata.tags = ["parameters"]
    heading = [nbformat.v4.new_markdown_cell(title, id="title")] if title else []
    language = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    page = nbformat.v4.new_notebook(cells=[*heading, *cells], metadata=language)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(page, path)
    return page


def project_in(root: Path) -> Path:
    """The folder `root` with the prose and the settings of the book."""
    shutil.copytree(CHECKOUT / "book", root / "book")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(CHECKOUT / name, root)
    return root
