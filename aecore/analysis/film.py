"""A training watched: what the network draws, and where its codes lie, after every epoch."""

import base64
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from aecore.data import as_floats, load, one_of_each
from aecore.engine.measured import Where, of_runs
from aecore.engine.pool import seen
from aecore.runs import Run
from aecore.training import Training

FILM = 1  # goes up whenever a change alters what these functions return


@dataclass(frozen=True)
class Film:
    """Of E epochs, the first of them before any training, and K images, one of each class.

    E is 0 for a run that diverged.
    """

    originals: Tensor  # (K, C, H, W) in [0, 1]
    drawn: Tensor  # (E, K, C, H, W): their reconstructions
    codes: Tensor  # (E, N, d): those of the first N test images
    labels: Tensor  # (N,)
    losses: list[float]  # (E,): mean squared error of the N images


def film(run: Run, images: int = 500, **where: Unpack[Where]) -> Film:
    """The training of `run` once more, looked at after each epoch, with the first test `images`."""
    data = load(run.spec.dataset)
    labels = data.test_labels[:images]
    size = len(run.history) * (run.spec.train_images or len(data.train_images))
    asked = "film", FILM, _watched, [run], "watching a training", lambda _: size
    blank = {"drawn": "", "codes": "", "losses": []}
    [shown] = of_runs(*asked, **where, blank=lambda run: blank, images=images)
    originals = as_floats(data.test_images[one_of_each(data.test_labels)])
    drawn = np.frombuffer(base64.b64decode(shown["drawn"]), np.uint8).copy()
    codes = np.frombuffer(base64.b64decode(shown["codes"]), "<f4").copy()
    return Film(
        originals,
        torch.from_numpy(drawn).reshape(-1, *originals.shape) / 255,
        torch.from_numpy(codes).reshape(-1, len(labels), run.spec.latent_dim),
        labels,
        shown["losses"],
    )


def _watched(run: Run, images: int) -> dict[str, Any]:
    data = load(run.spec.dataset)
    training = Training(run.spec, data)
    first = as_floats(data.test_images[:images])
    originals = as_floats(data.test_images[one_of_each(data.test_labels)])
    drawn, codes, losses = [], [], []
    while True:
        model = training.model.eval()
        with torch.inference_mode():
            z = model.encode(first)
            codes.append(z.numpy())
            losses.append(float((model.decode(z) - first).square().mean()))
            drawn.append((model.decode(model.encode(originals)) * 255).round().byte().numpy())
        if training.done:
            break
        training.epoch(seen)
    return {"drawn": _text(drawn, np.uint8), "codes": _text(codes, "<f4"), "losses": losses}


def _text(arrays: list[np.ndarray], kind: Any) -> str:
    return base64.b64encode(np.stack(arrays).astype(kind).tobytes()).decode()
