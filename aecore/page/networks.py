"""Networks and codecs as a page runs them: layers and tables as JSON, for `book/assets`."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aecore.models import FAMILIES


def decoder(run: Any) -> dict[str, Any] | None:
    """The run's decoder as JSON: layers in order, weights as base64 of little-endian float32.

    Linear and then transposed convolution layers; between them stand the activations and, before
    the first convolution, a reshape; a sigmoid ends it. None for an architecture that pages can't
    run. By its name another part of the page finds it.
    """
    return _payload(run, "f4", ("decoder",))


def network(run: Any) -> dict[str, Any] | None:
    """The run's encoder and decoder as JSON, like `decoder`, but with weights as float16.

    That costs less than 0.0005 of a pixel's range (root mean square, published runs on the test
    images); at an edge a single pixel may be off by some hundredths.
    """
    return _payload(run, "f2", ("encoder", "decoder"))


def linear(pca: Any, image_shape: Sequence[int]) -> dict[str, Any]:
    """The principal components of a `PCA` fitted to flat images, as JSON like `network`."""
    axes, mean = pca.components_, pca.mean_
    (d, p), of_codes = axes.shape, {"latent_dim": len(axes), "shape": list(image_shape)}
    there = {"type": "linear", "in": p, "out": d, "weight": axes, "bias": -axes @ mean}
    back = {"type": "linear", "in": d, "out": p, "weight": axes.T, "bias": mean}
    sides = {"encoder": [_encoded(there, "f2")], "decoder": [_encoded(back, "f2")]}
    return {**of_codes, "weights": "f2", **sides}


def _payload(run: Any, weights: str, of: Sequence[str]) -> dict[str, Any] | None:
    if not FAMILIES[run.spec.architecture].live:
        return None
    sides = {side: [_encoded(layer, weights) for layer in _side(run, side)] for side in of}
    of_codes = {"latent_dim": run.spec.latent_dim, "shape": list(run.image_shape)}
    return {"name": _name(sides), **of_codes, "weights": weights, **sides}


def _side(run: Any, side: str) -> list[dict]:
    """The layers of encoder or decoder, and the activations after them but for linear ones."""
    layers: list[dict[str, Any]] = []
    for module in getattr(run.model, side):
        layer = _layer(module)
        if layer["type"] == "conv_transpose" and layers[-2]["type"] == "linear":
            layers.append({"type": "reshape", "shape": list(run.model.smallest)})
        layers += [layer, {"type": run.spec.activation}]
    layers[-1] = {"type": "sigmoid" if side == "decoder" else "linear"}
    return [of for of in layers if "weight" in of or of["type"] != "linear"]


def _layer(module: Any) -> dict[str, Any]:
    weights = {"weight": module.weight.detach().cpu().numpy(), "bias": module.bias.detach().cpu()}
    if not hasattr(module, "kernel_size"):
        return {"type": "linear", "in": module.in_features, "out": module.out_features, **weights}
    names = ("kernel_size", "stride", "padding", "output_padding")
    sizes = {name: list(getattr(module, name)) for name in names}
    sizes |= {"in": module.in_channels, "out": module.out_channels}
    kind = "conv_transpose" if module.transposed else "conv"
    return {"type": kind, **sizes, **weights}


def _encoded(layer: dict[str, Any], weights: str) -> dict[str, Any]:
    """The layer with its weights, if it has any, as base64."""
    arrays = {name: np.asarray(layer[name], f"<{weights}") for name in ("weight", "bias")
              if name in layer}  # fmt: skip
    return layer | {name: base64.b64encode(a.tobytes()).decode() for name, a in arrays.items()}


def _name(of: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:12]


def codec(of: Any) -> dict[str, Any]:
    """A codec's step and cumulative frequencies as JSON, for `book/assets/codec.js`."""
    return {"step": of.step, "lows": np.asarray(of.prior.lows).tolist(), "tables": of.prior.tables}


def several(
    networks: Mapping[Any, dict[str, Any]], codes: Mapping[Any, Any] | None = None
) -> dict[str, Any]:
    """`networks` by what the page calls them, under one name, so that a page has them once.

    With the `codes` (N, d) of some images the page knows from where to where each number goes.
    """
    made = {str(key): of for key, of in networks.items()}
    every = {str(key): np.asarray(of).round(4) for key, of in (codes or {}).items()}
    ranges = {key: [of.min(0).tolist(), of.max(0).tolist()] for key, of in every.items()}
    shape = next(iter(made.values()))["shape"]
    return {"name": _name(made), "networks": made, "ranges": ranges, "shape": shape}
