"""Compressed images as one file, `.aec`, that says what it is and is read whole or not at all.

The format, version 1; whole numbers are little-endian::

    3 bytes   "AEC"
    1         the version, 1
    1         1 if the model is inside, else 0
    3 x 2     channels, height and width of an image
    4         how many images
    16        the model: the first half of the SHA-256 of its entry
    4, n      where it is inside: its length, and its entry as safetensors, deflated
    …         the codes: of one image by the byte-wise range coder, else a stream of 32-bit words
    4         CRC-32 of everything before

A model is a store entry of the kind "codec": the decoder's weights as whole numbers, the step, and
the prior's frequencies. A file without it is read where the store has it. What is decoded is the
same everywhere: the codes by whole numbers alone, the pixels as `transforms.Autoencoder` says.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from aecore import checks, models
from aecore.checks import InvalidValue, several, whole
from aecore.codec.prior import MOST, TOTAL, DamagedCodes, Prior
from aecore.codec.transforms import Autoencoder, Codec
from aecore.spec import Spec
from aecore.store.entries import DAMAGE, Entry, Store, pack, signature, unpack
from aecore.store.paths import write_at_once

MAGIC, VERSION = b"AEC", 1
KIND = "codec"  # of an entry in the store
HEADER = struct.Struct("<3sBBHHHI16s")
LENGTH, CHECKSUM = struct.Struct("<I"), struct.Struct("<I")
MOST_IMAGES, MOST_MODEL = 10_000_000, 1 << 28  # images in a file; bytes of a model
SHAPE = ("architecture", "loss", "channels", "hidden", "latent_dim")  # of the decoder's spec


class FileError(ValueError):
    """A file that can't be read or written; the message names it and says why."""


@dataclass(frozen=True)
class Parts:
    """How the bytes of a file are shared out."""

    header: int
    model: int
    codes: int

    @property
    def total(self) -> int:
        """The bytes of the file."""
        return self.header + self.model + self.codes


def packed(images: Tensor, codec: Codec, model_inside: bool = False) -> tuple[bytes, Parts]:
    """The content of a file of uint8 images (N, C, H, W), and what its bytes are.

    Raises `InvalidValue` for images of another shape than the model's, or none.
    """
    shape, allowed = tuple(images.shape[1:]), codec.transform.image_shape
    if shape != allowed or not 0 < len(images) <= MOST_IMAGES:
        said = f"{len(images)} images of {_by(shape)}"
        raise InvalidValue(f"{said} are not allowed: must be 1 or more of {_by(allowed)}")
    entry, numbers, prior = to_entry(codec), codec.encode(images), codec.prior
    codes = prior.encode(numbers[0]) if len(images) == 1 else prior.encode_stream(numbers)
    inside = model_bytes(codec) if model_inside else b""
    fields = (VERSION, model_inside, *shape, len(images), bytes.fromhex(_key(entry)))
    header = HEADER.pack(MAGIC, *fields) + (LENGTH.pack(len(inside)) if inside else b"")
    content = header + inside + codes
    parts = Parts(len(header) + CHECKSUM.size, len(inside), len(codes))
    return content + CHECKSUM.pack(zlib.crc32(content)), parts


def compress(
    images: Tensor, codec: Codec, path: Path, model_inside: bool = False, store: Store | None = None
) -> Parts:
    """Write uint8 images (N, C, H, W) to `path`, at once or not at all, and the model to the store.

    Raises `InvalidValue` for images of another shape than the model's, or none, `FileError` where
    the file can't be written.
    """
    content, parts = packed(images, codec, model_inside)
    entry = to_entry(codec)
    (store or Store()).write(KIND, _key(entry), entry.document, entry.arrays)
    try:
        write_at_once(path, content)
    except OSError as error:
        raise FileError(f"{path} can't be written: {error.strerror or error}") from None
    return parts


def decompress(path: Path, store: Store | None = None) -> Tensor:
    """The uint8 images (N, C, H, W) of a file; raises `FileError` if there are none in it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} can't be read: {error.strerror or error}") from None
    try:
        return _read(content, store or Store())
    except DamagedCodes:
        raise FileError(f"{path} is damaged: its codes are none of its model's") from None
    except FileError as error:
        raise FileError(f"{path} {error}") from None


def _read(content: bytes, store: Store) -> Tensor:
    if len(content) < HEADER.size + CHECKSUM.size or not content.startswith(MAGIC):
        raise FileError("is no .aec file")
    _, version, inside, *shape, count, digest = HEADER.unpack_from(content)
    if version != VERSION:
        raise FileError(f"is of version {version} of the format: this reads version {VERSION}")
    content, (checksum,) = content[: -CHECKSUM.size], CHECKSUM.unpack(content[-CHECKSUM.size :])
    if zlib.crc32(content) != checksum:
        raise FileError("is damaged: its check sum does not fit its content")
    codes, key = content[HEADER.size :], digest.hex()
    try:
        if inside:
            (length,) = LENGTH.unpack_from(codes)
            start = LENGTH.size + length
            model, codes = codes[LENGTH.size : start], codes[start:]
            entry = unpack(zlib.decompressobj().decompress(model, MOST_MODEL), KIND, key)
        else:
            entry = store.read(KIND, key)
        codec = entry and from_entry(entry)
    except (*DAMAGE, zlib.error, struct.error):
        raise FileError("has no model in it") from None
    if codec is None:
        remedy = "compress with --model-inside to send a file elsewhere"
        raise FileError(f"needs the model {key}, which the store here has not: {remedy}")
    if codec.transform.image_shape != tuple(shape) or not 0 < count <= MOST_IMAGES:
        raise FileError("is damaged: its images are none of its model's")
    prior = codec.prior
    numbers = prior.decode(codes)[None] if count == 1 else prior.decode_stream(codes, count)
    return codec.decode(numbers)


def model_bytes(codec: Codec) -> bytes:
    """What a file with the model inside holds of it."""
    entry = to_entry(codec)
    return zlib.compress(pack(KIND, _key(entry), entry.document, entry.arrays), 9)


def _key(entry: Entry) -> str:
    return signature(entry.document, entry.arrays)[:32]


def to_entry(codec: Codec) -> Entry:
    """What the store keeps of a codec: all that decoding takes."""
    decoder, prior = codec.transform, codec.prior
    spec = Spec(**{name: getattr(decoder.spec, name) for name in SHAPE})
    document = {"spec": spec.to_dict(), "image_shape": [*decoder.image_shape], "step": codec.step}
    sizes = np.array([len(one) for one in prior.frequencies], np.uint16)
    tables = {"lows": prior.lows.astype(np.int32), "sizes": sizes}
    tables["frequencies"] = np.concatenate(prior.frequencies).astype(np.uint16)
    return Entry({**document, "exponents": decoder.exponents}, decoder.weights | tables)


def from_entry(entry: Entry) -> Codec:
    """The codec of what the store keeps, for decoding only; raises one of `DAMAGE` for another."""
    known, arrays = dict(entry.document), dict(entry.arrays)
    spec, step = Spec.from_dict(known["spec"]), checks.real("step", known["step"], above=0)
    shape = several("image_shape", known["image_shape"], lambda n, v: whole(n, v, 1), 3)
    tables = [arrays.pop(name).astype(np.int64) for name in ("lows", "sizes", "frequencies")]
    lows, sizes, frequencies = tables
    blank = models.blank(spec, shape).state_dict()
    wanted = {name: of.shape for name, of in blank.items() if name.startswith("decoder.")}
    exponents = {name: whole(name, known["exponents"][name], -14, 14) for name in wanted}
    fits = {name: of.shape for name, of in arrays.items()} == wanted
    fits &= all(of.dtype == np.int16 for of in arrays.values()) and (sizes <= MOST).all()
    split = np.split(frequencies, np.cumsum(sizes)[:-1])
    fits &= lows.shape == sizes.shape == (spec.latent_dim,) and (sizes > 0).all()
    if not fits or any(one.sum() != TOTAL or one.min() < 1 for one in split):
        raise InvalidValue("a codec's arrays do not fit its spec")
    return Codec(Autoencoder(spec, shape, arrays, exponents), step, Prior(lows, split))


def _by(shape: tuple[Any, ...]) -> str:
    return " x ".join(map(str, shape))
