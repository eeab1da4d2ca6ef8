"""What the reader of a page plays with: images behind points, the morphing player, neighbors."""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from aecore.page.markup import caption_of, encoded, put, script


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
    pixels = np.concatenate(rows, axis=1)  # (C, rows · H, columns · W)
    # A little loss halves the page for pictures with gray tones.
    content = encoded(pixels, "WEBP", quality=75)
    name = hashlib.sha256(content.encode()).hexdigest()[:12]
    sizes = {"columns": columns, "width": width, "height": height}
    sheet = script("aecore-sheet", {"name": name, **sizes, "source": content})
    put({"text/html": sheet, "text/plain": f"{count} images for the figures below"})
    return name


def morph_player(
    decoder: Mapping[str, Any],
    points: Mapping[str, Sequence[float]],
    steps: int,
    caption: str,
    runs: Iterable[Any] = (),
) -> None:
    """Displays a player of straight paths in code space, from any of `points` to any other.

    `points` maps a label to a code of the decoder's latent dimension. The page decodes each of the
    `steps` images itself and draws how far each step moves the picture
    (root mean square over pixels).
    """
    codes = {str(label): [float(value) for value in code] for label, code in points.items()}
    note = "The morphing player is live in the book."
    player = script("aecore-data", {"points": codes, "steps": int(steps)})
    put(
        {
            "text/html": f'<figure class="aecore-morph"><p class="aecore-static">{note}</p>'
            f"{player}{script('aecore-decoder', decoder)}</figure>",
            "text/plain": note,
        }
    )
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
    used = np.unique(np.concatenate(every)).tolist()
    place = {number: n for n, number in enumerate(used)}
    note = "The picker of neighbors is live in the book."
    data = {
        "sheet": image_sheet(images[used]),
        "labels": [int(labels[number]) for number in used],
        "queries": [place[int(number)] for number in queries],
        "rows": {
            name: [[place[int(number)] for number in found] for found in neighbors]
            for name, neighbors in rows.items()
        },
    }
    put(
        {
            "text/html": f'<figure class="aecore-neighbors"><p class="aecore-static">{note}</p>'
            f"{script('aecore-data', data)}</figure>",
            "text/plain": note,
        }
    )
    caption_of(caption, runs)


def decoder_payload(model: Any) -> dict[str, Any]:
    """The model's decoder as JSON: layers in order, weights as base64 of little-endian float32.

    `model.decoder` holds linear and then transposed convolution layers; between them stand ReLUs
    and, before the first convolution, a reshape to `model.smallest`; a sigmoid ends it. Raises
    `TypeError` for any other network.
    """
    if not hasattr(model, "smallest"):
        raise TypeError(f"no in-page form of the decoder of {type(model).__name__}")
    layers: list[dict[str, Any]] = []
    for module in model.decoder:
        layer = _layer(module)
        if layer["type"] == "conv_transpose" and layers[-2]["type"] == "linear":
            layers.append({"type": "reshape", "shape": list(model.smallest)})
        layers += [layer, {"type": "relu"}]
    layers[-1] = {"type": "sigmoid"}
    return {"latent_dim": layers[0]["in"], "layers": layers}


def _layer(module: Any) -> dict[str, Any]:
    weights = {"weight": _base64(module.weight), "bias": _base64(module.bias)}
    if not hasattr(module, "output_padding"):
        return {"type": "linear", "in": module.in_features, "out": module.out_features, **weights}
    sizes = {"in": module.in_channels, "out": module.out_channels}
    for name in ("kernel_size", "stride", "padding", "output_padding"):
        sizes[name] = list(getattr(module, name))
    return {"type": "conv_transpose", **sizes, **weights}


def _base64(parameter: Any) -> str:
    values = np.asarray(parameter.detach().cpu().numpy(), dtype="<f4")
    return base64.b64encode(values.tobytes()).decode()
