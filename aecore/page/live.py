"""What the reader of a page plays with: images behind points, the morphing player, neighbors."""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from aecore.page.show import caption_of, escape, put, script
from aecore.page.still import picture
from aecore.page.style import COLORS

PLAY = ("draw", "sizes", "walk", "damage", "film", "file", "ways")  # those of one look


def image_sheet(images: Any) -> str:
    """Gives the page images (N, C, H, W) in [0, 1], once for all its figures; returns their name.

    Nothing is to be seen of them until `show(…, sheet=name)`. In JupyterLab, without the book's
    scripts, a figure shows its own hover texts instead.
    """
    sheet = _sheet(images, "WEBP", quality=75)  # a little loss halves the page
    name = hashlib.sha256(sheet["source"].encode()).hexdigest()[:12]
    markup = script("aecore-sheet", {"name": name, **sheet})
    put(markup, f"{len(images)} images for the figures below")
    return name


def _sheet(images: Any, form: str = "PNG", **options: int) -> dict[str, Any]:
    """Images (N, C, H, W) in [0, 1] as one picture, and how to find each in it."""
    count, _, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    blank = np.zeros((columns * math.ceil(count / columns), *images.shape[1:]), dtype=np.float32)
    blank[:count] = images
    rows = [np.concatenate(list(row), axis=2) for row in np.split(blank, len(blank) // columns)]
    content = picture(np.concatenate(rows, axis=1), form, **options)
    sizes = {"count": count, "columns": columns, "width": width, "height": height}
    return {**sizes, "source": content}


def morph_player(
    decoder: Mapping[str, Any] | None,
    points: Mapping[str, Sequence[float]],
    steps: int,
    caption: str,
    runs: Iterable[Any] = (),
) -> None:
    """Displays a player of straight paths in code space, from any of `points` to any other.

    `points` maps a label to a code of the decoder's latent dimension. The page decodes each of the
    `steps` images itself and draws how far each step moves the picture (root mean square over
    pixels). Where the page has no form of the `decoder`, it says so.
    """
    if decoder is None:
        put('<p class="aecore-static">No player: pages can\'t run this network.</p>', "no player")
        return
    codes = {str(label): [float(value) for value in code] for label, code in points.items()}
    data = {"points": codes, "steps": int(steps)}
    _put_live("morph", "The morphing player", caption, runs, data=data, decoder=decoder)


def neighbor_picker(
    images: Any,
    labels: Sequence[int],
    rows: Mapping[str, Any],
    queries: Sequence[int],
    caption: str,
    runs: Iterable[Any] = (),
) -> None:
    """Displays images to pick one of, and under it a row of its nearest images for each of `rows`.

    `images` (N, C, H, W) in [0, 1] and `labels` (N,) are numbered from 0; `queries` (Q,) are the
    numbers to pick from, and `rows` maps a name to the numbers (Q, k) of their neighbors. A row
    after the first marks which of its images are in the first too.
    """
    every = [np.ravel(found) for found in (queries, *rows.values())]
    used = np.unique(np.concatenate(every))
    data = {
        "sheet": image_sheet(images[used.tolist()]),
        "labels": [int(labels[number]) for number in used],
        "queries": np.searchsorted(used, queries).tolist(),
        "rows": {name: np.searchsorted(used, found).tolist() for name, found in rows.items()},
    }
    _put_live("neighbors", "The picker of neighbors", caption, runs, data=data)


def draw(
    networks: Mapping[str, Any],
    examples: Any,
    start: int,
    caption: str,
    runs: Iterable[Any] = (),
    name: str | None = None,
    codecs: Mapping[int, Mapping[str, Any]] | None = None,
) -> None:
    """Displays a square to draw on, the drawing's code as bars to drag, and what it is drawn as.

    `networks` are those of `networks.several`: one for each size of the code, of which `start` is
    shown first, "pca", and perhaps a "denoiser". The square begins with one of the `examples`
    (N, C, H, W) in [0, 1]. `name` is how a prose page asks for it. With `codecs`, a
    `networks.codec` for each size, it says how many bytes the code takes.
    """
    data = {"networks": networks["name"], "examples": _sheet(examples), "start": start}
    data |= {"denoiser": "denoiser" in networks["networks"], "sizes": _sizes(networks)}
    data["codecs"] = codecs or {}
    _put_live("draw", "A square to draw on", caption, runs, name, data=data, networks=networks)


def sizes(
    networks: Mapping[str, Any],
    examples: Any,
    errors: Mapping[str, Mapping[int, float]],
    start: int,
    caption: str,
    runs: Iterable[Any] = (),
) -> None:
    """Displays the `examples` from any size of the code, and where that is on the `errors`.

    `networks` are those that `draw` has put on the page; `errors` maps a name to errors by size.
    """
    # Of few images PCA has no more components than images, and no error beyond.
    lines = {name: sorted((d, e) for d, e in of.items() if e == e) for name, of in errors.items()}
    data = {"networks": networks["name"], "examples": _sheet(examples), "start": start}
    data |= {"errors": lines, "sizes": _sizes(networks)}
    _put_live("sizes", "A slider over the sizes of the code", caption, runs, data=data)


def _sizes(networks: Mapping[str, Any]) -> list[int]:
    return sorted(int(key) for key in networks["networks"] if key.isdigit())


def walk(
    planes: Mapping[str, Any],
    decoders: Mapping[str, Mapping[str, Any] | None],
    images: Any,
    labels: Sequence[int],
    caption: str,
    runs: Iterable[Any] = (),
) -> None:
    """Displays planes of codes to walk in: the picture decoded at a place, and the nearest image.

    `planes` maps a name to `analysis.latent.plane`, `decoders` to that of the same run; `images`
    (N, C, H, W) in [0, 1] and `labels` (N,) are the first of those whose codes the planes hold. The
    way that the reader goes becomes a film.
    """
    shown = [
        {
            "name": name,
            "decoder": decoders[name],
            "codes": np.round(np.asarray(plane.codes[: len(images)]), 3).tolist(),
            "centroids": np.asarray(plane.centroids).tolist(),
            "start": np.asarray(plane.centroids[0]).tolist(),
        }
        for name, plane in planes.items()
    ]
    data = {"planes": shown, "examples": _sheet(images), "shape": list(images.shape[1:])}
    data |= {"colors": COLORS, "labels": [int(label) for label in labels]}
    _put_live("walk", "A plane to walk in", caption, runs, data=data)


def ways(
    pairs: Any,
    paths: Any,
    lengths: Any,
    decoder: Mapping[str, Any] | None,
    caption: str,
    runs: Iterable[Any] = (),
) -> None:
    """Displays two films from any class to any other: straight through the plane, and along a path.

    `pairs` (M, 2) are classes, `paths` (M, points, 2) codes from the center of one to that of the
    other, `lengths` (M, 2) how far the picture moves on the straight way and on that path. The page
    has the `decoder` already, from a figure before. Without one, or a pair, it says so.
    """
    if decoder is None or not len(pairs):
        put('<p class="aecore-static">No films: there is nothing to show.</p>', "no films")
        return
    codes = np.round(np.asarray(paths, dtype=float), 4).tolist()
    data = {"decoder": decoder["name"], "pairs": np.asarray(pairs).tolist(), "paths": codes}
    data["lengths"] = np.round(np.asarray(lengths, dtype=float), 4).tolist()
    _put_live("ways", "Films from any class to any other", caption, runs, data=data)


def damage(
    networks: Mapping[str, Any],
    examples: Any,
    curves: Mapping[str, Mapping[str, Mapping[float, float]]],
    start: float,
    caption: str,
    runs: Iterable[Any] = (),
) -> None:
    """Displays an image to damage with noise and a hidden part, and what `networks` make of it.

    `curves` maps what the axes are called, of noise and then of hidden parts, to a curve of test
    errors by level for each of the networks, by its name. The noise begins with `start`.
    """
    lines = [
        {"x": x, "lines": {name: sorted(of.items()) for name, of in every.items()}}
        for x, every in curves.items()
    ]
    data = {"networks": networks["name"], "examples": _sheet(examples), "start": start}
    data |= {"kinds": list(networks["networks"]), "curves": lines}
    _put_live("damage", "An image to damage", caption, runs, data=data, networks=networks)


def film(
    originals: Any,
    frames: Any,
    codes: Any,
    labels: Sequence[int],
    losses: Mapping[str, Sequence[float]],
    caption: str,
    runs: Iterable[Any] = (),
) -> None:
    """Displays a training to move through, epoch by epoch.

    `originals` (K, C, H, W) in [0, 1] and `frames`, what each of E epochs draws of them; the
    `codes` (E, N, 2) of images with `labels` (N,); `losses` maps a name to E values. Without an
    epoch it says so.
    """
    if not len(frames):
        put('<p class="aecore-static">No film: there is nothing to show.</p>', "no film")
        return
    images = np.concatenate([np.asarray(originals)[None], np.asarray(frames)])
    codes = np.asarray(codes, dtype=np.float32)
    box = float(np.abs(codes).max())
    places = np.round(codes / box * 127).astype(np.int8).tobytes()
    data = {
        "examples": _sheet(images.reshape(-1, *images.shape[2:]), "WEBP", quality=80),
        "shape": list(images.shape[2:]),
        "count": images.shape[1],
        "codes": base64.b64encode(places).decode(),
        "box": box,
        "labels": [int(label) for label in labels],
        "colors": COLORS,
        "losses": {name: list(enumerate(values)) for name, values in losses.items()},
    }
    _put_live("film", "A film of the training", caption, runs, data=data)


def file(
    content: bytes,
    codec: Mapping[str, Any],
    decoder: Mapping[str, Any] | None,
    originals: Any,
    numbers: Any,
    caption: str,
    runs: Iterable[Any] = (),
) -> None:
    """Displays a file of compressed images that the page itself decodes, and offers it as one.

    `content` is that of an `.aec` file without its model inside, `codec` and `decoder` are what
    `networks` makes of the codec and the run; the `originals` (N, C, H, W) in [0, 1] and their
    `numbers` (N, d) are what the page compares with. Where it has no form of the `decoder`, it says
    so.
    """
    if decoder is None:
        put('<p class="aecore-static">No file: pages can\'t run this network.</p>', "no file")
        return
    data = {"file": base64.b64encode(content).decode(), "codec": codec}
    data |= {"examples": _sheet(originals), "numbers": np.asarray(numbers).tolist()}
    _put_live("file", "A file that the page decodes", caption, runs, data=data, decoder=decoder)


def _put_live(
    kind: str,
    what: str,
    caption: str,
    runs: Iterable[Any],
    name: str | None = None,
    **parts: Mapping[str, Any],
) -> None:
    """Displays what `book/assets/live.js` brings to life from its `parts`, and a caption."""
    named = f' data-name="{escape(name)}"' if name else ""
    note = f"{what} is live in the book."
    static = f'<p class="aecore-static">{note}</p>'
    look = "aecore-play " if kind in PLAY else ""
    scripts = "".join(script(f"aecore-{part}", value) for part, value in parts.items())
    markup = f'<figure class="{look}aecore-{kind}" data-live="{kind}"{named}>'
    put(f"{markup}{static}{scripts}</figure>", note)
    caption_of(caption, runs)
