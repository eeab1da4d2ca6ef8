"""Image codecs beside ours: a file for each image, and all of them in one mosaic."""

import io
from contextlib import suppress
from typing import Any, Unpack

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from aecore.checks import InvalidValue
from aecore.codec.curves import psnr
from aecore.data import Dataset
from aecore.engine.measured import Asked, Where, answers
from aecore.engine.pool import seen
from aecore.store.entries import Store

VERSION = 1
QUALITIES = {
    "JPEG": [1, 5, 10, 20, 40, 70, 90],
    "WebP": [1, 5, 20, 40, 60, 80],
    "AVIF": [1, 5, 15, 30, 50, 70],
    "JPEG XL": [1, 5, 15, 30, 50, 70],
}
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {"optimize": True},
    "WebP": {"lossless": True, "quality": 100, "method": 6},
    "JPEG XL": {"lossless": True},
}
SMALLER = {"WebP": {"method": 6}, "JPEG": {"optimize": True}}  # files, where not the default
FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "WebP": "WEBP", "AVIF": "AVIF", "JPEG XL": "JXL"}
HOW = EACH, LESS_BLANK, TOGETHER = "a file each", "a file each, less a blank one", "one mosaic"


def available(codec: str) -> bool:
    """Whether pillow can write that format here; JPEG XL comes with `pillow-jxl-plugin`."""
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401, which tells pillow of itself
    Image.init()
    return FORMATS[codec] in Image.SAVE


def image_codec_rates(
    data: Dataset,
    count: int,
    lossless: bool = False,
    store: Store | None = None,
    **where: Unpack[Where],
) -> pd.DataFrame:
    """What codecs for images make of the first `count` test images, at each of `QUALITIES`.

    Or else, `lossless`, to the last bit, where that is a setting of theirs. Columns: `codec`,
    `quality`, `how` (one of `HOW`), `method` (both in words), `seed` 0, `bytes` of an image, `mse`
    and `psnr` of the pixels decoded. A blank file is that of a black image at the same setting. The
    mosaic is as near to a square as can be. A codec that is neither available here nor measured
    before has no rows.
    """
    store, images = store or Store(), data.test_images[:count]
    question = {"table": "image codec", "version": VERSION, "data": data.digest}
    question |= {"images": len(images)}
    pairs = [(codec, quality) for codec, of in QUALITIES.items() for quality in of]
    pairs = [(codec, None) for codec in LOSSLESS] if lossless else pairs
    asked = [Asked(question | {"codec": codec, "quality": quality}, (images, codec, quality),
                   2 * len(images)) for codec, quality in pairs]  # fmt: skip
    usable = {codec for codec in FORMATS if available(codec)}
    kept = [one for one in asked if one.arguments[1] in usable or store.read("table", one.key)]
    found = answers(kept, _measured, "coding by image codecs", store=store, **where)
    rows = []
    for one, answer in zip(kept, found, strict=True):
        _, codec, quality = one.arguments
        sizes = {EACH: answer["each"], LESS_BLANK: answer["each"] - answer["blank"]}
        for how, size in {**sizes, TOGETHER: answer["together"]}.items():
            mse = answer["together_mse" if how == TOGETHER else "each_mse"]
            of = {"codec": codec, "quality": quality, "how": how, "method": f"{codec}, {how}"}
            rows.append(of | {"seed": 0, "bytes": size, "mse": mse, "psnr": psnr(mse)})
    return pd.DataFrame(rows)


def _measured(images: Tensor, codec: str, quality: int | None) -> dict[str, float]:
    pixels, files = images.numpy().transpose(0, 2, 3, 1), []
    if pixels.shape[-1] == 1:  # as pillow has gray images: (N, H, W)
        pixels = pixels[..., 0]
    for one in pixels:
        files.append(written(one, codec, quality))
        seen(1)
    each, errors = zip(*files, strict=True)
    blank, _ = written(np.zeros_like(pixels[0]), codec, quality)
    together, error = written(mosaic(pixels), codec, quality)
    sizes = {"each": np.mean(each), "blank": blank, "together": together / len(pixels)}
    return sizes | {"each_mse": np.mean(errors), "together_mse": error}


def mosaic(pixels: np.ndarray) -> np.ndarray:
    """Images (N, H, W, …) side by side in rows, as near to a square as N can be shared out."""
    count, height, width = pixels.shape[:3]
    columns = next(n for n in range(max(1, round(np.sqrt(count))), count + 1) if count % n == 0)
    grid = pixels.reshape(count // columns, columns, *pixels.shape[1:]).swapaxes(1, 2)
    return grid.reshape(count // columns * height, columns * width, *pixels.shape[3:])


def written(pixels: np.ndarray, codec: str, quality: int | None) -> tuple[int, float]:
    """Bytes of a picture (H, W) or (H, W, 3) in a file, and the MSE in [0, 1] of what it holds."""
    if not available(codec):  # as in a process that has not asked yet
        raise InvalidValue.of("codec", codec, "one that pillow can write here")
    file, image = io.BytesIO(), Image.fromarray(pixels)
    lossy = {"quality": quality, **SMALLER.get(codec, {})}
    image.save(file, FORMATS[codec], **(LOSSLESS[codec] if quality is None else lossy))
    with Image.open(file) as opened:
        decoded = np.asarray(opened.convert(image.mode), dtype=float)
    return len(file.getvalue()), float(np.square((decoded - pixels) / 255).mean())
