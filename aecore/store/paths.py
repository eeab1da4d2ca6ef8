"""Where files live on this machine."""

import functools
import os
import subprocess
from pathlib import Path

import platformdirs


def home() -> Path:
    """The folder of everything computed or fetched: `AECORE_HOME`, else the user's cache folder."""
    return Path(
        os.environ.get("AECORE_HOME") or platformdirs.user_cache_dir("aecore", appauthor=False)
    )


def published() -> tuple[Path, ...]:
    """Folders of published results, read-only layers of the store: `results/` of the checkout."""
    folder = Path(__file__).resolve().parents[2] / "results"
    return (folder,) if folder.is_dir() else ()


@functools.cache
def commit() -> str | None:
    """The commit of the checkout, with a + if the package differs from it; None without git."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        name = _git(folder, "rev-parse", "--short=10", "HEAD")
        return name + ("+" if _git(folder, "status", "--porcelain", "--", "aecore") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
