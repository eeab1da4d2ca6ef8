"""An autoencoder as scikit-learn has its transformers, for pipelines and searches over tables."""

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from aecore.data import Dataset
from aecore.spec import Spec, count
from aecore.training import Training


class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A dense autoencoder of rows X (n, p) of floats: `widths` down to `n_components`, and back.

    It trains in this process and stores nothing. Its last layer is linear, so rows may have any
    range; like other networks it learns best from columns of variance about 1. The parameters are
    fields of `Spec`; a wrong one raises `InvalidValue`, a `ValueError`, in `fit`.
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        widths: tuple[int, ...] = (64,),
        activation: str = "relu",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        batch_size: int = 256,
        epochs: int = 10,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.widths = widths
        self.activation = activation
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows X (n, p); the mean loss of each epoch is in `history_`."""
        rows = validate_data(self, X, dtype=np.float32)
        settings = {name: value for name, value in self.get_params().items()
                    if name not in ("n_components", "random_state")}  # fmt: skip
        seed = int(check_random_state(self.random_state).randint(2**31))
        layers = {"architecture": "dense", "latent_dim": count("n_components", self.n_components)}
        spec = Spec(**layers, output_activation="linear", seed=seed, **settings)
        images, labels = torch.from_numpy(rows.copy()), torch.zeros(len(rows), dtype=torch.int64)
        training = Training(spec, Dataset("rows", "", images, labels, images, labels))
        while not training.done:
            training.epoch()
        self.history_ = training.history
        # In double precision a row's code doesn't depend on the rows beside it.
        self.model_ = training.model.requires_grad_(False).eval().double()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Codes (n, n_components) of rows (n, p)."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float64, reset=False)
        return self.model_.encode(torch.from_numpy(rows.copy())).numpy()

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Rows (n, p) of codes (n, n_components)."""
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float64)
        return self.model_.decode(torch.from_numpy(codes.copy())).numpy()

    @property
    def _n_features_out(self) -> int:
        return self.n_components
