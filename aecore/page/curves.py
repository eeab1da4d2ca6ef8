"""Figures of numbers against numbers: curves with bands over seeds, and tables as colors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from torch import Tensor

from aecore.page.style import COLORS, GRAY, TEMPLATE, band, faint, figure_of, scale
from aecore.search.trends import marginal_trend, ranks


def error_by_dimension(errors: pd.DataFrame, pca: pd.DataFrame) -> go.Figure:
    """Test error against latent dimension: the autoencoder's band over seeds, and PCA's curve.

    Both frames have columns `latent_dim` and `mse`.
    """
    figure = figure_of()
    band(figure, errors, "latent_dim", "autoencoder", COLORS[0])
    figure.add_scatter(
        x=pca["latent_dim"],
        y=pca["mse"],
        name="PCA",
        mode="lines+markers",
        line={"color": COLORS[1], "dash": "dash"},
        hovertemplate="%{x}: %{y:.4f}<extra>PCA</extra>",
    )
    dims = sorted(set(errors["latent_dim"]) | set(pca["latent_dim"]))
    figure.update_xaxes(title="latent dimension d", type="log", tickvals=dims, ticktext=dims)
    figure.update_yaxes(title="test MSE", rangemode="tozero")
    return figure


def error_by_level(
    errors: pd.DataFrame, by: str, level_title: str, labels: Mapping[object, str] | None = None
) -> go.Figure:
    """Test error against the strength of the corruption, a band over seeds for each value of `by`.

    `errors` has columns `level`, `mse` and `by`; `labels` names the values of `by`.
    """
    figure = figure_of(legend={"title": "latent dimension"} if by == "latent_dim" else {})
    values = list(dict.fromkeys(errors[by]))
    colors = scale(len(values)) if by == "latent_dim" else COLORS
    for value, color in zip(values, colors, strict=False):
        label = str(value) if labels is None else labels[value]
        band(figure, errors[errors[by] == value], "level", label, color)
    figure.update_xaxes(title=level_title)
    figure.update_yaxes(title="test MSE", rangemode="tozero")
    return figure


def mark_level(figure: go.Figure, level: float, text: str) -> go.Figure:
    """A vertical line at `level` with `text` beside it."""
    return figure.add_vline(level, line={"dash": "dot", "color": GRAY}, annotation_text=text)


def step_lengths(moved: Mapping[str, Tensor]) -> go.Figure:
    """How far each step of a path moves the picture, a curve for each named path (steps - 1,)."""
    figure = figure_of(height=340)
    for label, lengths in moved.items():
        steps = np.arange(1, len(lengths) + 1)
        figure.add_scatter(x=steps, y=lengths.numpy(), name=label, mode="lines+markers")
    figure.update_xaxes(title="step", dtick=1)
    return figure.update_yaxes(title="RMS change of a pixel", rangemode="tozero")


def pair_heatmap(values: np.ndarray, title: str) -> go.Figure:
    """A symmetric matrix (K, K) over pairs of classes, NaN on the diagonal."""
    classes = [str(digit) for digit in range(len(values))]
    figure = figure_of(height=520)
    figure.add_heatmap(
        x=classes,
        y=classes,
        z=values.astype(np.float32),
        colorscale="Viridis",
        colorbar={"title": {"text": title, "side": "right"}, "thickness": 12},
        hovertemplate="%{y} and %{x}: %{z:.2f}<extra></extra>",
    )
    figure.update_xaxes(type="category", showgrid=False, constrain="domain")
    return figure.update_yaxes(type="category", showgrid=False, scaleanchor="x", constrain="domain")


def loss_by_hyperparameter(
    trials: pd.DataFrame, fields: Sequence[str], logarithmic: Sequence[str] = ()
) -> go.Figure:
    """Validation loss of every trial against each hyper-parameter, with the marginal trend."""
    rows = (len(fields) + 1) // 2
    figure = make_subplots(rows, 2, shared_yaxes=True, vertical_spacing=0.2 if rows > 1 else 0)
    figure.update_layout(template=TEMPLATE, height=80 + 260 * rows)
    for number, field in enumerate(fields):
        place = {"row": number // 2 + 1, "col": number % 2 + 1}
        figure.add_scatter(
            x=trials[field],
            y=trials["validation_loss"],
            name="trial",
            mode="markers",
            marker={"color": COLORS[0], "opacity": 0.7},
            text=[f"trial {trial}" for trial in trials["trial"]],
            hovertemplate="%{text}: %{x:.3g}, loss %{y:.4f}<extra></extra>",
            showlegend=number == 0,
            legendgroup="trial",
            **place,
        )
        trend = marginal_trend(trials[field], trials["validation_loss"])
        figure.add_scatter(
            x=trend["x"],
            y=trend["y"],
            name="median of a quarter of the trials",
            mode="lines+markers",
            line={"color": COLORS[1], "width": 3},
            showlegend=number == 0,
            legendgroup="trend",
            **place,
        )
        kind = "log" if field in logarithmic else "linear"
        figure.update_xaxes(title=field.replace("_", " "), type=kind, **place)
    figure.update_yaxes(title="validation MSE", col=1)
    return figure


def parallel_coordinates(
    trials: pd.DataFrame, fields: Sequence[str], logarithmic: Sequence[str] = ()
) -> go.Figure:
    """Every trial as a line through its hyper-parameters and its loss: blue is low, orange high."""
    finished = trials.dropna(subset="validation_loss")
    dimensions = []
    for field in (*fields, "validation_loss"):
        values = ranks(finished[field]).to_numpy(dtype=float)
        dimension = {"label": field.replace("_", " "), "values": values}
        if not pd.api.types.is_numeric_dtype(finished[field]):
            names = sorted(set(finished[field]))
            dimension |= {"tickvals": list(range(len(names))), "ticktext": names}
        if field in logarithmic:
            low, high = np.log10(values.min()), np.log10(values.max())
            ticks = np.linspace(low, high, 5)
            dimension |= {"values": np.log10(values), "tickvals": ticks,
                          "ticktext": [f"{10**tick:.1e}" for tick in ticks]}  # fmt: skip
        dimensions.append(dimension)
    figure = figure_of(height=420, margin={"l": 60, "r": 60, "t": 60, "b": 30})
    figure.add_parcoords(
        dimensions=dimensions,
        line={
            "color": finished["validation_loss"].to_numpy(),
            "colorscale": [[0, COLORS[0]], [1, COLORS[1]]],
        },
        labelfont={"size": 13},
    )
    return figure


def bands(frame: pd.DataFrame, x: str, y: str, by: str, y_title: str) -> go.Figure:
    """Column `y` against `x`, its mean and band over seeds, a curve for each value of `by`.

    An `x` of latent dimensions is drawn on a logarithmic axis; as `by` they are colored in order.
    """
    figure = figure_of(legend={"title": "latent dimension"} if by == "latent_dim" else {})
    groups = list(frame.groupby(by, sort=False))
    colors = scale(len(groups)) if by == "latent_dim" else COLORS
    for number, (label, rows) in enumerate(groups):
        band(figure, rows.assign(mse=rows[y]), x, str(label), colors[number % len(colors)])
    figure.update_xaxes(title=x.replace("_", " "))
    if x == "latent_dim":
        dims = sorted(set(frame[x]))
        figure.update_xaxes(title="latent dimension d", type="log", tickvals=dims, ticktext=dims)
    return figure.update_yaxes(title=y_title)


def loss_terms(histories: Sequence[Sequence[Mapping[str, float | None]]]) -> go.Figure:
    """The two terms of a variational autoencoder's loss by epoch, a band over the histories.

    Each history has a row an epoch with `epoch` and the losses and KL terms of `Run.history`.
    """
    rows = []
    for row in (row for history in histories for row in history):
        for part in ("train", "validation"):
            if row.get(f"{part}_loss") is not None:
                loss, kl = row[f"{part}_loss"], row[f"{part}_kl"]
                rows.append((f"squared error, {part}", row["epoch"], loss - kl))
                rows.append((f"KL, {part}", row["epoch"], kl))
    frame = pd.DataFrame(rows, columns=["term", "epoch", "loss"])
    figure = bands(frame, "epoch", "loss", "term", "loss of an image")
    return figure.update_yaxes(rangemode="tozero")


def error_distributions(errors: pd.DataFrame, threshold: float) -> go.Figure:
    """The distribution of `mse` for each `kind` of image, on a logarithmic axis, with a line."""
    kinds = list(dict.fromkeys(errors["kind"]))
    figure = figure_of(height=100 + 46 * len(kinds), showlegend=False)
    for kind in reversed(kinds):
        figure.add_violin(
            x=np.log10(errors.loc[errors["kind"] == kind, "mse"].to_numpy().clip(1e-6)),
            name=kind,
            orientation="h",
            side="positive",
            width=1.7,
            points=False,
            spanmode="hard",
            line={"width": 1.5, "color": COLORS[kinds.index(kind) % len(COLORS)]},
            hoverinfo="skip",
        )
    ticks = [exponent + np.log10(digit) for exponent in range(-6, 1) for digit in (1, 3)]
    figure.update_xaxes(
        title="reconstruction error (MSE)", tickvals=ticks, ticktext=[f"{10**t:.1g}" for t in ticks]
    )
    return mark_level(figure, float(np.log10(threshold)), "95 % of the test images")


def fold_agreement(split: Sequence[float], folds: np.ndarray) -> go.Figure:
    """Losses on one split (n,) against those on k folds (n, k): their mean and their range."""
    figure, mean = figure_of(height=420, showlegend=False), folds.mean(1)
    ends = [float(np.nanmin([*split, *folds.flat])), float(np.nanmax([*split, *folds.flat]))]
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": GRAY, "dash": "dot"},
                       hoverinfo="skip")  # fmt: skip
    figure.add_scatter(
        x=split,
        y=mean,
        mode="markers",
        marker={"color": COLORS[0], "size": 8},
        error_y={
            "array": folds.max(1) - mean,
            "arrayminus": mean - folds.min(1),
            "color": COLORS[0],
        },
        text=[f"trial {number}" for number in range(len(mean))],
        hovertemplate="%{text}: split %{x:.4f}, folds %{y:.4f}<extra></extra>",
    )
    figure.update_xaxes(title="validation MSE, single split")
    return figure.update_yaxes(title="validation MSE, mean of the folds")


def search_progress(progress: Mapping[str, pd.DataFrame], luck: pd.DataFrame) -> go.Figure:
    """Best loss so far against images seen, a staircase for each sampler.

    The frames are those of `trends.progress`; around them lies the band of `trends.luck`.
    """
    figure, shown = figure_of(), luck.dropna()
    figure.add_scatter(
        x=np.concatenate([shown["images"], shown["images"][::-1]]),
        y=np.concatenate([shown["high"], shown["low"][::-1]]),
        fill="toself",
        fillcolor=faint(COLORS[0]),
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
        name="random, in another order",
    )
    for (sampler, rows), color in zip(progress.items(), COLORS, strict=False):
        figure.add_scatter(
            x=rows["images"],
            y=rows["best"],
            name=sampler,
            mode="lines+markers",
            line={"color": color, "shape": "hv"},
            marker={"size": 5},
            hovertemplate="%{x:,} images: %{y:.4f}<extra>" + sampler + "</extra>",
        )
    figure.update_xaxes(title="training images seen", rangemode="tozero")
    return figure.update_yaxes(title="best validation MSE so far")


def heatmap(
    values: pd.DataFrame, x_title: str, y_title: str, value_title: str, digits: int = 3
) -> go.Figure:
    """A table of numbers as colors: its columns along x, its rows along y, each named.

    `digits` is how many digits after the point each cell shows.
    """
    figure = figure_of(height=140 + 44 * len(values))
    figure.add_heatmap(
        x=[f"{column:g}" if isinstance(column, float) else str(column) for column in values],
        y=[f"{row:g}" if isinstance(row, float) else str(row) for row in values.index],
        z=values.to_numpy(dtype=np.float32),
        texttemplate=f"%{{z:.{digits}f}}",
        colorscale="Viridis",
        colorbar={"title": {"text": value_title, "side": "right"}, "thickness": 12},
        hovertemplate=f"%{{y}}, %{{x}}: %{{z:.{digits + 1}f}}<extra></extra>",
    )
    figure.update_xaxes(title=x_title, type="category", showgrid=False)
    return figure.update_yaxes(title=y_title, type="category", showgrid=False)


def training_losses(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float | None]]]],
) -> go.Figure:
    """Training loss by epoch, a band over the histories of each named model.

    Losses of several kinds share the axis: compare those that have the same.
    """
    rows = [
        (name, row["epoch"], row["train_loss"])
        for name, group in histories.items()
        for history in group
        for row in history
    ]
    frame = pd.DataFrame(rows, columns=["model", "epoch", "loss"])
    figure = bands(frame, "epoch", "loss", "model", "training loss")
    return figure.update_yaxes(rangemode="tozero")


def by_neighbors(kept: pd.DataFrame, columns: Mapping[str, str]) -> go.Figure:
    """Each of `columns`, named by its title, against k: a panel each, with a curve for each model.

    `kept` is a table of `neighborhood.keeping`. Means over seeds; L1 is dashed. Panels share
    their axis.
    """
    figure = make_subplots(1, len(columns), subplot_titles=[*columns.values()], shared_yaxes=True)
    figure.update_layout(template=TEMPLATE, height=460, margin={"t": 110})
    colors = dict(zip(dict.fromkeys(kept["model"]), COLORS, strict=False))
    for n, column in enumerate(columns):
        rows = kept.dropna(subset=column)
        for (model, metric), curve in rows.groupby(["model", "metric"], sort=False):
            values = curve.groupby("k")[column].mean()
            figure.add_scatter(
                x=values.index,
                y=values,
                name=model,
                legendgroup=model,
                showlegend=n == 0 and metric == "L2",
                mode="lines+markers",
                line={"color": colors[model], "dash": "solid" if metric == "L2" else "dot"},
                hovertemplate="k = %{x}: %{y:.4f}<extra>" + f"{model}, {metric}</extra>",
                row=1,
                col=n + 1,
            )
    ticks = sorted(set(kept["k"]))
    figure.update_xaxes(title="k", type="log", tickvals=ticks, ticktext=ticks)
    return figure.update_layout(legend={"y": 1.1})


def learning_curves(
    histories: Sequence[Sequence[Mapping[str, float | None]]], loss: str
) -> go.Figure:
    """Training and validation loss by epoch, a band over the histories; `loss` names the axis."""
    rows = [
        (part, row["epoch"], row[f"{part}_loss"])
        for history in histories
        for row in history
        for part in ("train", "validation")
        if row[f"{part}_loss"] is not None
    ]
    frame = pd.DataFrame(rows, columns=["images", "epoch", "loss"])
    return bands(frame, "epoch", "loss", "images", loss).update_yaxes(rangemode="tozero")


def errors_by_labels(accuracies: pd.DataFrame) -> go.Figure:
    """Share of test images that are wrong against the number of labels, a band a `method`.

    `accuracies` has columns `method`, `labels` and `test`. Both axes are logarithmic.
    """
    wrong = accuracies.assign(wrong=1 - accuracies["test"])
    figure = bands(wrong, "labels", "wrong", "method", "test images that are wrong")
    counts = sorted(set(wrong["labels"]))
    figure.update_xaxes(
        title="labels", type="log", tickvals=counts, ticktext=[f"{n:,}" for n in counts]
    )
    ticks = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
    figure.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:.0%}" for tick in ticks])
    return figure
