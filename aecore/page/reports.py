"""What the five student reports did and measured: the experiments that the book repeats."""

from dataclasses import dataclass

REPORTS = {
    "A": "Compressing MNIST dataset with autoencoders",
    "B": "Report of homework 4",
    "C": "Does an autoencoder keep the neighborhood?",
    "D": "Unsupervised deep learning, assignment 2",
    "E": "A denoising autoencoder for 10 numbers",
}


@dataclass(frozen=True)
class Experiment:
    """One experiment of a report: what was done, what was found, and the notebook with ours."""

    done: str
    found: str
    notebook: str


EXPERIMENTS = {
    "A1": Experiment(
        "random search, about 180 configurations at d = 4: learning rate, L2, dropout, epochs",
        "best: lr 0.013, L2 1e-4, dropout 0.022, 40 epochs; the loss rises with L2 and depends on "
        "nothing else; k-fold differs negligibly from the single split",
        "search",
    ),
    "A2": Experiment(
        "d = 1, 2, 4, 8, 16 with the best configuration",
        "the clean test loss falls monotonically with d",
        "tradeoff",
    ),
    "A3": Experiment(
        "the same models on test images with Gaussian noise",
        "larger codes lose more as noise grows; d = 1, 2 nearly flat",
        "tradeoff",
    ),
    "A4": Experiment(
        "the same models on partly occluded test images", "the same trend, not smooth", "tradeoff"
    ),
    "A5": Experiment(
        "A2 to A4 with denoising autoencoders",
        "qualitatively identical, slightly better",
        "denoising",
    ),
    "A6": Experiment(
        "d = 2: centroids of the classes, samples from their bounding box, scatter",
        "figure",
        "surface",
    ),
    "A7": Experiment(
        "the surface D(x, y) on 10,000 points",
        "smooth around centroids, sharp ridges between basins; 4 and 9 adjacent; 3, 5, 8 adjacent",
        "surface",
    ),
    "B1": Experiment(
        "random search, 30 models at d = 4, 45 epochs, 3-fold cross-validation",
        "best: lr 1.2e-3, L2 8.8e-5, dropout 0.15",
        "search",
    ),
    "B2": Experiment("d sweep, 80 epochs, early stopping", "loss falls with d", "tradeoff"),
    "B3": Experiment("final model, d = 6, loss curves", "test MSE 0.028", "tradeoff"),
    "B4": Experiment(
        "the final model under Gaussian noise and occlusion",
        "σ = 0.45: 0.033; 20 % hidden: 0.05",
        "denoising",
    ),
    "B5": Experiment(
        "denoiser trained at σ = 0.45 against the plain model over all σ",
        "0.0304 at σ = 0.45; slightly worse at low σ, better at high σ",
        "denoising",
    ),
    "B6": Experiment("t-SNE of the 6-D test codes", "figure: digits cluster", "projections"),
    "B7": Experiment(
        "morphing 4 to 9 and 6 to 9 in 10 steps between centroids",
        "figures: no harsh change",
        "morphing",
    ),
    "B8": Experiment("reconstructions of noisy and occluded digits", "figures", "denoising"),
    "C1": Experiment(
        "four dense models 784-128-64-12-2, linear or ReLU, L1 or MSE, 100 epochs",
        "nonlinearity improves the representation: loss curves, reconstructions, scatters",
        "neighbors",
    ),
    "C2": Experiment(
        "the 200 nearest neighbors of all 60,000 images before and after encoding: score@k",
        "L2, k = 5, 10, 20, 50: relu_mse .0278 .0435 .0670 .1122; relu_l1 .0223 .0367 .0577 .1007; "
        "linear_mse .0051 .0082 .0137 .0257; linear_l1 .0022 .0037 .0063 .0123",
        "neighbors",
    ),
    "C3": Experiment("score@20 for each label", "0 and 1 highest", "neighbors"),
    "C4": Experiment(
        "agreement of labels among neighbors, encoded minus original",
        "relu_mse L2: -.206 -.197 -.183 -.159",
        "neighbors",
    ),
    "C5": Experiment(
        "summed absolute difference of those rates",
        "relu_mse L1: 5985.5 5665.2 5193.4 4417.0",
        "neighbors",
    ),
    "C6": Experiment("cost", "one day for all models on a 4 GB machine", "neighbors"),
    "D1": Experiment(
        "Optuna search, 100 trials: d, optimizer, learning rate, batch size, dropout",
        "best: d = 33, Adam, lr 5.4e-3, batch 128, dropout 0.012",
        "search",
    ),
    "D2": Experiment("the best model, d = 33, 50 epochs", "test MSE 0.0087", "tradeoff"),
    "D3": Experiment(
        "denoising of mixed noise: Gaussian N(0.5, 0.3), salt & pepper, speckle, clipped",
        "test MSE 0.03",
        "noise",
    ),
    "D4": Experiment(
        "variational autoencoder, d = 33, up to 100 epochs",
        "reconstructions a bit worse; a smooth 0 to 9 transition; codes more regular",
        "variational",
    ),
    "D5": Experiment(
        "PCA and t-SNE of codes; 2-D autoencoder and 2-D variational autoencoder",
        "figures: digits cluster; the variational clusters better separated, more regular",
        "projections",
    ),
    "D6": Experiment(
        "a classifier on the frozen encoder",
        "98.1 % on validation and test, 99 % on train, in 22 epochs",
        "transfer",
    ),
    "D7": Experiment("learning curves of D2 and D6", "figures", "transfer"),
    "E1": Experiment("dense sigmoid network 784-10", "root MSE 0.206", "dense"),
    "E2": Experiment("784-128-10, Adam, learning rate 0.01", "root MSE 0.136", "dense"),
    "E3": Experiment("784-128-128-10", "root MSE 0.132", "dense"),
    "E4": Experiment("the same, trained with 30 % noise", "root MSE 0.130", "dense"),
    "E5": Experiment("784-512-128-10, Adam 0.01, noise 0.4", "root MSE 0.127", "dense"),
    "E6": Experiment("the same with a code of 1 unit", "root MSE 0.213", "dense"),
}
