"""A folder of pictures as arrays: all alike, each with the name of the folder that it is in."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aecore.store.conversion import say
from aecore.store.sources import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

Found = list[tuple[Path, str | None]]  # a picture, and what its class is called, if it has one


def listed(folder: Path, said: list[str]) -> Found:
    """The pictures in a folder's own folders, one a class; without any those in it itself."""
    own = sorted(each for each in folder.iterdir() if each.is_dir())
    inside: Found = [(file, readable(sub.name)) for sub in own for file in sorted(sub.rglob("*"))]
    loose: Found = [(file, None) for file in sorted(folder.iterdir())]
    inside, loose = (_visible(folder, some) for some in (inside, loose))
    found = _pictures(inside) or _pictures(loose)
    if not found:
        raise DataError(f"no images in {folder.name}/; known are {', '.join(ENDINGS)}")
    if others := len(inside) + len(loose) - len(found):
        why = "no picture" if found[0][1] is None else "no picture, or in no folder of a class"
        say(said, f"{folder.name}/: {others} files passed over ({why})")
    return found


def readable(name: str) -> str:
    """A file's name as text: bytes of it that are no UTF-8 as \\xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _visible(folder: Path, found: Found) -> Found:
    """The files among them, without what programs hide beside them."""
    parts = [(path.relative_to(folder).parts, (path, of)) for path, of in found if path.is_file()]
    return [each for names, each in parts if not any(n.startswith((".", "__")) for n in names)]


def _pictures(found: Found) -> Found:
    return [(path, of) for path, of in found if path.suffix.lower() in ENDINGS]


def read(parts: Mapping[str, Found], said: list[str]) -> dict[str, np.ndarray]:
    """The pictures of all parts as arrays, all of one kind, and what their classes are called.

    They are called "images" and "labels" behind the name of the part; images (N, C, H, W) with
    C = 1, 3 or 4 are uint8, or uint16 of 16 bits. Raises `DataError` for a torn picture, for one
    of another size, or where some parts have classes and others none.
    """
    if len({found[0][1] is None for found in parts.values()}) > 1:
        raise DataError("train/ or test/ alone has a folder a class: name one of them to divide it")
    paths = [path for found in parts.values() for path, _ in found]
    every = [_picture(path, said) for path in paths]
    sizes = {array.shape[1:]: path for array, path in zip(every, paths, strict=True)}
    if len(sizes) > 1:
        (a, one), (b, other), *_ = sizes.items()
        found = f"{one.name} is of {a[0]} × {a[1]} pixels, {other.name} of {b[0]} × {b[1]}"
        raise DataError(f"{found}: needed is one size for all")
    images, raw, start = np.stack(_alike(every, said)), {}, 0
    for part, found in parts.items():
        raw[f"{part}images"] = images[start : start + len(found)]
        start += len(found)
        if found[0][1] is not None:
            raw[f"{part}labels"] = np.array([of for _, of in found])
    return raw


def _picture(path: Path, said: list[str]) -> np.ndarray:
    """A picture's pixels (C, H, W)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            if getattr(opened, "n_frames", 1) > 1:
                say(said, "of moving pictures the first one is taken")
            cut = opened.mode == "RGB" and "16" in str(opened.tile)  # Pillow's way with such files
            turned = ImageOps.exif_transpose(opened)
            if opened.getexif().get(0x0112, 1) != 1:
                say(said, "photographs were turned upright")
            pixels = _pixels(turned, said)
    except Exception as error:  # whatever a damaged file does to its reader
        reason = " ".join(str(error).split())
        raise DataError(f"{path.name} is no whole picture ({reason})") from error
    if cut:
        say(said, "colors of 16 bits were cut to 8")
    return pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)


def _pixels(picture: Any, said: list[str]) -> np.ndarray:
    """The pixels (H, W) or (H, W, C) of an opened picture."""
    mode = picture.mode
    if mode.startswith(("I", "F")):
        values = np.asarray(picture)
        if mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError("needed are 8 or 16 bits a pixel")
        return values.astype(np.uint16)
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return np.asarray(picture.convert("RGBA"))
    if mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    if mode not in ("RGB", "P"):
        say(said, f"{mode} colors became red, green and blue")
    return np.asarray(picture.convert("RGB"))


def _alike(pictures: Sequence[np.ndarray], said: list[str]) -> Sequence[np.ndarray]:
    """Pictures (C, H, W) with as many channels, and as many bits, as one of them has."""
    if len({picture.dtype for picture in pictures}) > 1:
        say(said, "pictures of 8 bits were brought to the 16 that others have")
        pictures = [p if p.dtype == np.uint16 else p.astype(np.uint16) * 257 for p in pictures]
    channels = {len(picture) for picture in pictures}
    if channels == {1}:
        return pictures
    if 4 not in channels and all((p == p[:1]).all() for p in pictures):
        say(said, "red, green and blue are alike everywhere: one channel")
        return [picture[:1] for picture in pictures]
    if len(channels) > 1:
        say(said, "some pictures are gray or opaque: they were given the channels of the others")
    return [_widened(picture, max(channels)) for picture in pictures]


def _widened(picture: np.ndarray, channels: int) -> np.ndarray:
    """A picture (C, H, W) with 3 or 4 channels: gray is all three colors, opacity full."""
    colors = np.repeat(picture, 3, axis=0) if len(picture) == 1 else picture
    opacity = np.full_like(colors[:1], np.iinfo(colors.dtype).max)
    return np.concatenate([colors, opacity])[:channels] if len(colors) < channels else colors
