"""TensorBoard event files: loss curves of runs, and originals above their reconstructions."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor

from aecore import checks
from aecore.data import as_floats
from aecore.runs import Run
from aecore.store.paths import home

PICTURES = "originals above reconstructions"
ZOOM = 4  # screen pixels a side for each of an image: TensorBoard would blur small ones


def folder(logdir: str | None, dataset: str) -> Path:
    """The folder `logdir`; by default one of the data set below `home()`.

    Raises `InvalidValue` now, before anything is trained, if it can't be written.
    """
    return checks.folder("logdir", logdir or str(home() / "tensorboard" / Path(dataset).stem))


def write(runs: Mapping[str, Run], folder: Path, images: Tensor) -> list[Path]:
    """The event files of `runs`, each in a sub-folder of `folder` that has the run's name.

    Every number of a run's history is a scalar of its name at its epoch; `images` (N, C, H, W),
    bytes or in [0, 1], are a picture above their reconstructions at the last epoch. An older file
    in a sub-folder makes way when the new one is complete, so that no curve is drawn twice. Raises
    `InvalidValue` if a folder can't be written.
    """
    files = []
    for name, run in runs.items():
        place = checks.folder("logdir", str(folder)) / readable(name)
        try:
            place.mkdir(parents=True, exist_ok=True)
            files.append(_write(place, _events(run, images)))
        except OSError as error:
            raise checks.InvalidValue(
                f"the TensorBoard folder {place} can't be written: {error.strerror or error}"
            ) from error
    return files


def readable(name: str) -> str:
    """`name` as that of a folder: "784-10, noise 0.3" becomes "784-10_noise_0.3"."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_.") or "run"


def command(folder: Path) -> str:
    """What to type to open `folder` in TensorBoard, without this machine's own folders."""
    return f'tensorboard --logdir "{_shown(folder)}"'


def _shown(folder: Path) -> str:
    for root, short in ((os.environ.get("AECORE_HOME"), "$AECORE_HOME"), (Path.home(), "$HOME")):
        if root and folder.resolve().is_relative_to(Path(root).resolve()):
            return f"{short}/{folder.resolve().relative_to(Path(root).resolve()).as_posix()}"
    return Path(os.path.relpath(folder)).as_posix()


def _events(run: Run, images: Tensor) -> Iterable[Event]:
    now = time.time()
    yield Event(wall_time=now, file_version="brain.Event:2")
    for row in run.history:
        values = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in row.items()
            if tag != "epoch" and value is not None
        ]
        yield Event(wall_time=now, step=row["epoch"], summary=Summary(value=values))
    picture = Summary.Value(tag=PICTURES, image=_picture(as_floats(images), run))
    yield Event(wall_time=now, step=len(run.history), summary=Summary(value=[picture]))


def _picture(originals: Tensor, run: Run) -> Summary.Image:
    rows = [np.concatenate(list(part), axis=2) for part in (originals, run.reconstruct(originals))]
    pixels = (np.concatenate(rows, axis=1).clip(0, 1) * 255).round().astype(np.uint8)  # (C, H, W)
    pixels = pixels.repeat(ZOOM, axis=1).repeat(ZOOM, axis=2)
    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, "PNG")
    channels, height, width = pixels.shape
    return Summary.Image(
        height=height, width=width, colorspace=channels, encoded_image_string=file.getvalue()
    )


def _write(place: Path, events: Iterable[Event]) -> Path:
    older = list(place.glob("events.out.tfevents.*.aecore"))
    draft = place / f".draft.{os.getpid()}"  # TensorBoard reads what has "tfevents" in its name
    try:
        with draft.open("wb") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())
        path = place / f"events.out.tfevents.{time.time():.6f}.aecore"
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    for file in older:
        file.unlink(missing_ok=True)
    return path
