"""Pictures of a person's own: read from a folder or an array's file, and written as PNG files."""

import shutil
import tempfile
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aecore.codec.files import FileError

SUFFIXES = (".png", ".jpg", ".jpeg")
MODES = {1: "L", 3: "RGB"}


def read(path: Path, channels: int) -> Tensor:
    """The pictures at a path: uint8 (N, C, H, W) with so many channels, 1 or 3.

    A folder of PNG and JPEG files, in the order of their names, all of one size; or an `.npy` or
    `.npz` file of bytes (N, H, W) or (N, C, H, W): of an `.npz` its `images`, its `test_images` or
    its first array. Raises `FileError` for anything else.
    """
    try:
        images = _folder(path, channels) if path.is_dir() else _array(path)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path} can't be read: {_said(error)}") from None
    images = images[:, None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        found = f"{images.dtype} of {images.shape}"
        raise FileError(f"{path} must hold bytes of (N, H, W) or (N, C, H, W), not {found}")
    return torch.from_numpy(images)


def _folder(folder: Path, channels: int) -> np.ndarray:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise FileError(f"{folder} has no pictures: they end in {', '.join(SUFFIXES)}")
    pictures = []
    for path in files:
        try:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert(MODES[channels]))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise FileError(f"{path} can't be read: {_said(error)}") from None
        if pictures and pixels.shape != pictures[0].shape:
            sizes = [" x ".join(map(str, one.shape[:2])) for one in (pixels, pictures[0])]
            raise FileError(f"{path} is of {sizes[0]} pixels, {files[0].name} of {sizes[1]}")
        pictures.append(pixels)
    stacked = np.stack(pictures)
    return stacked if stacked.ndim == 3 else stacked.transpose(0, 3, 1, 2).copy()


def _array(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        names = [name for name in ("images", "test_images") if name in found] or [*found]
        return found[names[0]]


def write(images: Tensor, folder: Path) -> None:
    """Writes uint8 images (N, C, H, W) as 000000.png … into a new or empty folder, all or none.

    Raises `FileError` where there is something already, or where it can't be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileError(f"{folder} is there already: name a new or empty folder")
    draft = None
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name[:64]}~", dir=folder.absolute().parent))
        for number, image in enumerate(images.numpy()):
            pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            Image.fromarray(pixels).save(draft / f"{number:06}.png")
        draft.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    except OSError as error:
        raise FileError(f"{folder} can't be written: {_said(error)}") from None
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


def _said(error: Exception) -> str:
    return " ".join((getattr(error, "strerror", None) or str(error)).split())
