"""Dense networks by their names: root mean squared errors, as the report on them has it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from aecore.analysis.errors import loss_curves, pca_errors, reconstruction_errors
from aecore.data import Dataset
from aecore.runs import Run
from aecore.spec import Spec


def tested(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """The table of `reconstruction_errors` of all runs, with columns `network` and `rmse`."""
    found = reconstruction_errors([run for group in runs.values() for run in group])
    names = [name for name, group in runs.items() for _ in group]
    return found.assign(network=names, rmse=np.sqrt(found["mse"]))


def histories(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Root mean squared error on held-out images: `network`, `epoch`, `rmse`, a row an epoch."""
    frames = {name: loss_curves(group) for name, group in runs.items()}
    curves = pd.concat(frames, names=["network"]).reset_index("network")
    return curves.assign(rmse=np.sqrt(curves["validation_loss"].astype(float)))


def pca_roots(data: Dataset, models: Mapping[str, Spec], train_images: int | None) -> pd.Series:
    """What PCA leaves with as many numbers as each named model; NaN for more than it has."""
    dims = {name: spec.latent_dim for name, spec in models.items()}
    errors = pca_errors(data, max(dims.values()), train_images).set_index("latent_dim")["mse"]
    return pd.Series({name: np.sqrt(errors.get(d, np.nan)) for name, d in dims.items()})
