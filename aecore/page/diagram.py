"""A network as a drawing, made from its spec: the shape behind every layer, and its weights."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from aecore import models
from aecore.page.show import caption_of, escape, put
from aecore.spec import Spec

LARGEST = 76  # pixels a side of the image's box


def layers(spec: Spec, image_shape: Sequence[int]) -> list[dict[str, Any]]:
    """Every layer with weights, in the order in which an image passes: name, shape and weights.

    `shape` is that of its output of one image. First the image itself, a layer without weights.
    """
    model, found = models.build(spec, tuple(image_shape)).eval(), []

    def note(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        weights = sum(p.numel() for p in layer.parameters())
        name = type(layer).__name__
        found.append({"name": name, "shape": tuple(output.shape[1:]), "weights": weights})

    for layer in model.modules():
        if not list(layer.children()) and list(layer.parameters()):
            layer.register_forward_hook(note)
    with torch.inference_mode():
        model(torch.zeros(1, *image_shape))
    return [{"name": "image", "shape": tuple(image_shape), "weights": 0}, *found]


def diagram(spec: Spec, image_shape: Sequence[int], caption: str) -> None:
    """Displays the network of `spec` layer by layer: the encoder down, the decoder up again."""
    every = layers(spec, image_shape)
    code = next(n for n, layer in enumerate(every) if layer["shape"] == (spec.latent_dim,))
    side = max(image_shape[1:])
    halves = {"encoder": every[: code + 1], "decoder": every[code + 1 :]}
    longest = max(layer["shape"][0] for layer in every if len(layer["shape"]) == 1)
    rows = "".join(
        f"<div><strong>{half}</strong>"
        f"<ol>{''.join(_box(layer, side, longest) for layer in of)}</ol></div>"
        for half, of in halves.items()
    )
    shapes = " → ".join(_shape(layer) for layer in every)
    put(f'<figure class="aecore-diagram" aria-label="{escape(shapes)}">{rows}</figure>', shapes)
    caption_of(caption)


def _box(layer: dict[str, Any], side: int, longest: int) -> str:
    """A layer: images as a square by their size, flat ones as a column by the root of theirs."""
    shape, flat = layer["shape"], len(layer["shape"]) == 1
    height = LARGEST * ((shape[0] / longest) ** 0.5 if flat else max(shape[1:]) / side)
    style = f"height:{max(height, 6):.0f}px;width:{10 if flat else height:.0f}px"
    weights = f"{layer['weights']:,} weights" if layer["weights"] else escape(layer["name"])
    return f'<li><i style="{style}"></i><b>{_shape(layer)}</b><span>{weights}</span></li>'


def _shape(layer: dict[str, Any]) -> str:
    return " × ".join(map(str, layer["shape"]))
