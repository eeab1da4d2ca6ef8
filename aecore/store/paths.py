"""Where files live on this machine, and which package this is."""

import functools
import hashlib
import os
import platform
import subprocess
import tempfile
from pathlib import Path

import platformdirs

from aecore.checks import InvalidValue


def home() -> Path:
    """The folder of everything computed or fetched: `AECORE_HOME`, else the user's cache folder."""
    place = os.environ.get("AECORE_HOME") or platformdirs.user_cache_dir("aecore", appauthor=False)
    return Path(place).expanduser().absolute()


def published() -> tuple[Path, ...]:
    """Folders of published results, read-only layers of the store: `results/` of the checkout."""
    folder = Path(__file__).resolve().parents[2] / "results"
    return (folder,) if folder.is_dir() else ()


def built(root: Path) -> Path:
    """The folder of executed notebooks and pages: `AECORE_BUILD`, else the project's `_build`."""
    place = os.environ.get("AECORE_BUILD")
    return Path(place).expanduser().absolute() if place else root / "_build"


def source() -> str:
    """The first digits of a SHA-256 over the package's files as they are now."""
    total = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.yaml")]):
        total.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return total.hexdigest()[:10]


LOADED = source()  # of what this process runs, whatever becomes of the files


@functools.cache
def commit() -> str | None:
    """The commit of the checkout, with a + if what runs differs from it; None without git."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        name = _git(folder, "rev-parse", "--short=10", "HEAD")
        edited = source() != LOADED or _git(folder, "status", "--porcelain", "--", "aecore")
        return name + ("+" if edited else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def typed(path: Path) -> str:
    """`path` as it is typed in a shell between quotes, without this machine's own folders."""
    place = path.resolve()
    for root, short in ((os.environ.get("AECORE_HOME"), "$AECORE_HOME"), (Path.home(), "$HOME")):
        if root and place.is_relative_to(Path(root).resolve()):
            return f"{short}/{place.relative_to(Path(root).resolve()).as_posix()}"
    return Path(os.path.relpath(place)).as_posix()


def unwritable(place: Path, error: OSError, variable: str) -> str:
    """Which folder can't be written, why, and which variable puts another in its place."""
    why = error.strerror or error
    return f"the folder {place} can't be written: {why}; set {variable} to a folder that can"


def ready(folder: Path) -> None:
    """Make a folder if it is not there, and write into it; raises `OSError` if that can't be."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def draft_prefix() -> str:
    """How the names of what this process is writing begin."""
    return f".{platform.node()}~{os.getpid()}~"


def write_at_once(path: Path, content: bytes) -> None:
    """`write`, but whole or not at all: a draft beside it takes its name at the end."""
    draft = path.with_name(f"{draft_prefix()}{path.name}")
    try:
        write(draft, content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write(path: Path, content: bytes) -> None:
    """Write a file, and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def writable_folder(name: str, value: object) -> Path:
    """`value` as the path of a folder that can be written, or made; nothing is made here.

    Raises `InvalidValue` for what is no path, or where the first folder above that is there is no
    folder or not to be written.
    """
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InvalidValue.of(name, value, "the path of a folder")
    path = Path(value).expanduser()
    try:
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
        reason = "" if there.is_dir() else f"{there} is no folder"
        if not reason and not os.access(there, os.W_OK | os.X_OK):
            reason = f"{there} can't be written"
    except OSError as error:
        reason = error.strerror
    if reason:
        raise InvalidValue.of(name, value, f"the path of a folder that can be written ({reason})")
    return path
