"""What `aecore compress` codes with: networks by one recipe, and a choice among them."""

from collections.abc import Sequence

import pandas as pd

from aecore import checks
from aecore.checks import InvalidValue
from aecore.codec import curves
from aecore.codec.transforms import Autoencoder, Codec
from aecore.data import load
from aecore.runs import fit, sweep
from aecore.spec import Spec

DIMS, STEPS = (1, 2, 4, 6, 8, 16, 33), (0.5, 1, 1.5, 2, 3, 4)  # what there is to choose from
RECIPE = Spec(epochs=20, learning_rate=0.01, batch_size=128, schedule="one_cycle")


def codec_of(dataset: str, latent_dim: int, step: float) -> Codec:
    """The codec of so many numbers and that step for a data set, read or trained.

    Raises `InvalidValue` for what is no dimension or step.
    """
    step = checks.real("step", step, above=0)
    (run,) = fit(RECIPE.replace(dataset=dataset, latent_dim=latent_dim))
    transform, train = Autoencoder.of(run), load(dataset).train_images
    return Codec.learned(transform, step, transform.encode(train))


def rates(dataset: str, dims: Sequence[int], steps: Sequence[float]) -> pd.DataFrame:
    """The table of `curves.autoencoder_rates` of one network for each of `dims`.

    Raises `InvalidValue` for what is no dimension or step.
    """
    steps = [checks.real("step", step, above=0) for step in steps]
    return curves.autoencoder_rates(fit(sweep(RECIPE, dataset=dataset, latent_dim=dims)), steps)


def chosen(rates: pd.DataFrame, most: float) -> tuple[int, float]:
    """Dimension and step that err least on training images with so many bytes an image at most.

    Raises `InvalidValue` where none takes as little.
    """
    fits = rates[rates["train_bytes"] <= checks.real("rate", most, above=0)]
    if fits.empty:
        least = rates["train_bytes"].min()
        raise InvalidValue.of("rate", most, f"at least {least:.2f} bytes an image")
    best = fits.loc[fits["train_mse"].idxmin()]
    return int(best["latent_dim"]), float(best["step"])
