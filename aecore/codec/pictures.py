"""Pictures of a person's own: read in whatever form they are, and written as PNG files."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aecore.codec.files import FileError
from aecore.store import forms
from aecore.store.sources import DataError

# How bright red, green and blue are: ITU-R BT.601, in parts of 65,536 as Pillow has them.
BRIGHTNESS = np.array([19595, 38470, 7471], np.uint32).reshape(3, 1, 1)


def read(path: Path, channels: int) -> tuple[Tensor, tuple[str, ...]]:
    """The pictures at a path: uint8 (N, C, H, W) with so many channels, 1 or 3, in their order.

    They may be of every form that `store.forms` knows; of a data set in two parts the test images
    are taken. Beside them is a sentence for each thing that was done. Raises `FileError` for what
    is no set of images.
    """
    try:
        images, said = forms.read_images(path)
    except DataError as error:
        raise FileError(str(error)) from None
    if images.shape[1] < channels:
        images = images.repeat(channels, axis=1)
    if images.shape[1] > channels:
        images = ((images * BRIGHTNESS).sum(1, keepdims=True) + 0x8000) >> 16
        said += ("of colors their brightness was taken",)
    return torch.from_numpy(images.astype(np.uint8)), said


def write(images: Tensor, folder: Path) -> None:
    """Writes uint8 images (N, C, H, W) as 000000.png … into a new or empty folder, all or none.

    Raises `FileError` where there is something already, or where it can't be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileError(f"{folder} is there already: name a new or empty folder")
    place = {"prefix": f".{folder.name[:64]}~", "dir": folder.absolute().parent}
    try:
        with TemporaryDirectory(**place, ignore_cleanup_errors=True) as desk:
            made = Path(desk, "made")
            made.mkdir()
            for number, image in enumerate(images.numpy()):
                pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
                Image.fromarray(pixels).save(made / f"{number:06}.png")
            if folder.exists():
                folder.rmdir()
            made.rename(folder)
    except OSError as error:
        said = " ".join((error.strerror or str(error)).split())
        raise FileError(f"{folder} can't be written: {said}") from None
