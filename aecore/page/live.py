"""What the reader of a page plays with: images behind points, the morphing player, neighbors."""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from aecore.models import FAMILIES
from aecore.page.show import caption_of, picture, put, script


def image_sheet(images: Any) -> str:
    """Gives the page images (N, C, H, W) in [0, 1], once for all its figures; returns their name.

    Nothing is to be seen of them until `show(…, sheet=name)`. In JupyterLab, without the book's
    scripts, a figure shows its own hover texts instead.
    """
    count, _, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    blank = np.zeros((columns * math.ceil(count / columns), *images.shape[1:]), dtype=np.float32)
    blank[:count] = images
    rows = [np.concatenate(list(row), axis=2) for row in np.split(blank, len(blank) // columns)]
    # A little loss halves the page for pictures with gray tones.
    content = picture(np.concatenate(rows, axis=1), "WEBP", quality=75)
    name = hashlib.sha256(content.encode()).hexdigest()[:12]
    sizes = {"columns": columns, "width": width, "height": height}
    sheet = script("aecore-sheet", {"name": name, **sizes, "source": content})
    put(sheet, f"{count} images for the figures below")
    return name


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
    player = script("aecore-data", {"points": codes, "steps": int(steps)})
    _put_live("morph", "The morphing player", player + script("aecore-decoder", decoder))
    caption_of(caption, runs)


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
    places = {
        name: np.searchsorted(used, np.asarray(found)).tolist() for name, found in rows.items()
    }
    data = {
        "sheet": image_sheet(images[used.tolist()]),
        "labels": [int(labels[number]) for number in used],
        "queries": np.searchsorted(used, np.asarray(queries)).tolist(),
        "rows": places,
    }
    _put_live("neighbors", "The picker of neighbors", script("aecore-data", data))
    caption_of(caption, runs)


def _put_live(kind: str, what: str, scripts: str) -> None:
    note = f"{what} is live in the book."
    put(
        f'<figure class="aecore-{kind}"><p class="aecore-static">{note}</p>{scripts}</figure>', note
    )


def decoder(run: Any) -> dict[str, Any] | None:
    """The run's decoder as JSON: layers in order, weights as base64 of little-endian float32.

    Linear and then transposed convolution layers; between them stand ReLUs and, before the first
    convolution, a reshape; a sigmoid ends it. None for an architecture that pages can't decode.
    """
    if not FAMILIES[run.spec.architecture].live:
        return None
    layers: list[dict[str, Any]] = []
    for module in run.model.decoder:
        layer = _layer(module)
        if layer["type"] == "conv_transpose" and layers[-2]["type"] == "linear":
            layers.append({"type": "reshape", "shape": list(run.model.smallest)})
        layers += [layer, {"type": "relu"}]
    layers[-1] = {"type": "sigmoid"}
    return {"latent_dim": layers[0]["in"], "layers": layers}


def _layer(module: Any) -> dict[str, Any]:
    weights = {"weight": _base64(module.weight), "bias": _base64(module.bias)}
    if not hasattr(module, "output_padding"):
        return {"type": "linear", "in": module.in_features, "out": module.out_features, **weights}
    names = ("kernel_size", "stride", "padding", "output_padding")
    sizes = {name: list(getattr(module, name)) for name in names}
    sizes |= {"in": module.in_channels, "out": module.out_channels}
    return {"type": "conv_transpose", **sizes, **weights}


def _base64(parameter: Any) -> str:
    values = np.asarray(parameter.detach().cpu().numpy(), dtype="<f4")
    return base64.b64encode(values.tobytes()).decode()
