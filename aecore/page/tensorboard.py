"""TensorBoard event files: loss curves of runs, and originals above their reconstructions."""

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from aecore.checks import InvalidValue
from aecore.data import as_floats
from aecore.runs import Run
from aecore.store.paths import home, typed, writable_folder

PICTURES = "originals above reconstructions"
ZOOM = 4  # screen pixels a side for each of an image: TensorBoard would blur small ones
EVENTS = "events.out.tfevents.*"


def folder(logdir: str | None, dataset: str) -> Path:
    """The folder `logdir`; by default one of the data set below `home()`.

    Raises `InvalidValue` now, before anything is trained, if it can't be written.
    """
    return writable_folder("logdir", logdir or str(home() / "tensorboard" / Path(dataset).stem))


def write(
    runs: Mapping[str, Run], folder: Path, images: Tensor, drawn: Sequence[Tensor] = ()
) -> list[Path]:
    """The event files of `runs`, each in a sub-folder of `folder` that has the run's name.

    Every number of a run's history is a scalar of its name at its epoch; `images` (N, C, H, W),
    bytes or in [0, 1], are a picture above their reconstructions at the last epoch: what each run
    has `drawn`, or draws now. An older file in a sub-folder makes way when the new one is complete,
    so that no curve is drawn twice. Raises `InvalidValue` if a folder can't be written.
    """
    files, floats = [], as_floats(images)
    for (name, run), own in zip_longest(runs.items(), drawn):
        place = writable_folder("logdir", str(folder)) / readable(name)
        try:
            place.mkdir(parents=True, exist_ok=True)
            output = run.reconstruct(floats) if own is None else own
            files.append(_write(place, run, floats, output))
        except OSError as error:
            reason = error.strerror or error
            raise InvalidValue(
                f"the TensorBoard folder {place} can't be written: {reason}"
            ) from error
    return files


def readable(name: str) -> str:
    """`name` as that of a folder: "784-10, noise 0.3" becomes "784-10_noise_0.3"."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_.") or "run"


def command(folder: Path) -> str:
    """What to type to open `folder` in TensorBoard, without this machine's own folders."""
    return f'tensorboard --logdir "{typed(folder)}"'


def _write(place: Path, run: Run, images: Tensor, output: Tensor) -> Path:
    from torch.utils.tensorboard import SummaryWriter

    rows = [torch.cat(list(part), 2) for part in (images, output)]
    picture = (torch.cat(rows, 1).clamp(0, 1) * 255).round().byte()  # (C, 2 H, N W)
    picture = picture.repeat_interleave(ZOOM, 1).repeat_interleave(ZOOM, 2)
    older = list(place.glob(EVENTS))
    with TemporaryDirectory(dir=place, prefix=".draft-") as draft:
        with SummaryWriter(draft) as writer:
            for row in run.history:
                for tag in [tag for tag in row if tag != "epoch" and row[tag] is not None]:
                    writer.add_scalar(tag, row[tag], row["epoch"])
            writer.add_image(PICTURES, picture, len(run.history))
        (file,) = Path(draft).glob(EVENTS)
        path = file.replace(place / file.name)
    for file in set(older) - {path}:
        file.unlink(missing_ok=True)
    return path
