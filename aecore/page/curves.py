"""Figures of numbers against numbers: curves with bands over seeds, and tables as colors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aecore.page.style import COLORS, DASHES, GRAY, area, band, figure_of, line_of, panels_of, scale

History = Sequence[Mapping[str, float | None]]  # a row an epoch, as in `Run.history`


def bands(
    frame: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    y_title: str,
    x_title: str | None = None,
    labels: Mapping[object, str] | None = None,
) -> go.Figure:
    """Column `y` against `x`, its mean and band over seeds, a curve for each value of `by`.

    An `x` of latent dimensions is drawn on a logarithmic axis; as `by` they are colored in order.
    `labels` names the values of `by`.
    """
    ordered = by == "latent_dim"
    figure = figure_of(legend={"title": "latent dimension"} if ordered else {})
    groups = list(frame.groupby(by, sort=False))
    lines = [{"color": c} for c in scale(len(groups))] if ordered else map(line_of, range(10**6))
    for (value, rows), line in zip(groups, lines, strict=False):
        band(figure, rows, x, y, str(value) if labels is None else labels[value], line)
    figure.update_xaxes(title=x_title or x.replace("_", " "))
    if x == "latent_dim":
        _ticks(figure, "latent dimension d", frame[x])
    return figure.update_yaxes(title=y_title)


def error_by_dimension(errors: pd.DataFrame, pca: pd.DataFrame) -> go.Figure:
    """Test error against latent dimension: the autoencoder's band over seeds, and PCA's curve.

    Both frames have columns `latent_dim` and `mse`.
    """
    figure = bands(errors.assign(by="autoencoder"), "latent_dim", "mse", "by", "test MSE")
    figure.add_scatter(
        x=pca["latent_dim"],
        y=pca["mse"],
        name="PCA",
        mode="lines+markers",
        line={"color": COLORS[1], "dash": "dash"},
        hovertemplate="%{x}: %{y:.4f}<extra>PCA</extra>",
    )
    _ticks(figure, "latent dimension d", [*errors["latent_dim"], *pca["latent_dim"]])
    return figure.update_yaxes(rangemode="tozero")


def error_by_level(
    errors: pd.DataFrame, by: str, level_title: str, labels: Mapping[object, str] | None = None
) -> go.Figure:
    """Test error against the strength of the corruption, a band over seeds for each value of `by`.

    `errors` has columns `level`, `mse` and `by`; `labels` names the values of `by`.
    """
    figure = bands(errors, "level", "mse", by, "test MSE", level_title, labels)
    return figure.update_yaxes(rangemode="tozero")


def mark_level(figure: go.Figure, levels: float | Sequence[float], text: str) -> go.Figure:
    """A vertical line at the mean of `levels`, with `text` beside it; none where all are NaN."""
    finite = [level for level in np.ravel(levels) if level == level]
    if not finite:
        return figure
    line = {"dash": "dot", "color": GRAY}
    return figure.add_vline(float(np.mean(finite)), line=line, annotation_text=text)


def mark_value(figure: go.Figure, value: float, text: str = "") -> go.Figure:
    """A horizontal line at `value` with `text` beside it."""
    return figure.add_hline(value, line={"dash": "dot", "color": GRAY}, annotation_text=text)


def step_lengths(moved: Mapping[str, Any]) -> go.Figure:
    """How far each step of a path moves the picture, a curve for each named path (steps - 1,)."""
    figure = figure_of(height=340)
    for number, (label, lengths) in enumerate(moved.items()):
        steps, heights = np.arange(1, len(lengths) + 1), np.asarray(lengths)
        figure.add_scatter(
            x=steps, y=heights, name=label, mode="lines+markers", line=line_of(number)
        )
    figure.update_xaxes(title="step", dtick=1)
    return figure.update_yaxes(title="RMS change of a pixel", rangemode="tozero")


def losses(
    histories: Mapping[str, Sequence[History]],
    columns: Mapping[str, Callable[[Mapping[str, float | None]], float | None] | str],
    title: str,
) -> go.Figure:
    """Losses by epoch: a band over the histories for each name of both mappings.

    `columns` maps what a curve shows to the column of the history, or a function of its row.
    """
    rows = []
    for name, group in histories.items():
        for part, column in columns.items():
            value = column if callable(column) else (lambda row, of=column: row.get(of))
            label = ", ".join(filter(None, (name, part)))
            rows += [(label, row["epoch"], value(row)) for history in group for row in history]
    frame = pd.DataFrame(rows, columns=["curve", "epoch", "loss"]).astype({"loss": float})
    known = frame.groupby("curve")["loss"].transform("count") > 0
    return bands(frame[known], "epoch", "loss", "curve", title).update_yaxes(rangemode="tozero")


def learning_curves(histories: Sequence[History], loss: str) -> go.Figure:
    """Training and validation loss by epoch, a band over the histories; `loss` names the axis."""
    return losses({"": histories}, {"train": "train_loss", "validation": "validation_loss"}, loss)


def training_losses(histories: Mapping[str, Sequence[History]]) -> go.Figure:
    """Training loss by epoch, a band over the histories of each named model.

    Losses of several kinds share the axis: compare those that have the same.
    """
    return losses(histories, {"": "train_loss"}, "training loss")


def loss_terms(histories: Sequence[History]) -> go.Figure:
    """The two terms of a variational autoencoder's loss by epoch, a band over the histories."""

    def rest(part: str) -> Callable[[Mapping[str, float | None]], float | None]:
        return lambda row: (
            None if row[f"{part}_loss"] is None else row[f"{part}_loss"] - row[f"{part}_kl"]
        )

    columns = {}
    for part in ("train", "validation"):
        columns |= {f"squared error, {part}": rest(part), f"KL, {part}": f"{part}_kl"}
    return losses({"": histories}, columns, "loss of an image")


def errors_by_labels(accuracies: pd.DataFrame) -> go.Figure:
    """Share of test images that are wrong against the number of labels, a band a `method`.

    `accuracies` has columns `method`, `labels` and `test`. Both axes are logarithmic.
    """
    wrong = accuracies.assign(wrong=1 - accuracies["test"])
    figure = bands(wrong, "labels", "wrong", "method", "test images that are wrong")
    _ticks(figure, "labels", wrong["labels"], "{:,}")
    ticks = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
    return figure.update_yaxes(
        type="log", tickvals=ticks, ticktext=[f"{tick:.0%}" for tick in ticks]
    )


def by_neighbors(kept: pd.DataFrame, columns: Mapping[str, str]) -> go.Figure:
    """Each of `columns`, named by its title, against k: a panel each, with a curve for each model.

    `kept` has columns `model`, `metric` and `k` too. Means over seeds; L1 is dotted. Panels share
    their axis.
    """
    titles = [*columns.values()]
    figure = panels_of(1, len(columns), 460, subplot_titles=titles, shared_yaxes=True)
    numbers = {model: n for n, model in enumerate(dict.fromkeys(kept["model"]))}
    for n, column in enumerate(columns):
        rows = kept.dropna(subset=column)
        for (model, metric), curve in rows.groupby(["model", "metric"], sort=False):
            values, line = curve.groupby("k")[column].mean(), line_of(numbers[model])
            figure.add_scatter(
                x=values.index,
                y=values,
                name=model,
                legendgroup=model,
                showlegend=n == 0 and metric == "L2",
                mode="lines+markers",
                line=line if metric == "L2" else {**line, "dash": DASHES[2]},
                hovertemplate="k = %{x}: %{y:.4f}<extra>" + f"{model}, {metric}</extra>",
                row=1,
                col=n + 1,
            )
    _ticks(figure, "k", kept["k"])
    return figure.update_layout(legend={"y": 1.1}, margin={"t": 110})


def heatmap(
    values: pd.DataFrame, x_title: str, y_title: str, value_title: str, digits: int = 3
) -> go.Figure:
    """A table of numbers as colors: its columns along x, its rows along y, each named.

    `digits` is how many digits after the point each cell shows.
    """
    figure = _colors(values, value_title, 140 + 44 * len(values), digits + 1)
    figure.update_traces(texttemplate=f"%{{z:.{digits}f}}")
    figure.update_xaxes(title=x_title)
    return figure.update_yaxes(title=y_title)


def pair_heatmap(values: np.ndarray, title: str) -> go.Figure:
    """A symmetric matrix (K, K) over pairs of classes, NaN on the diagonal."""
    figure = _colors(pd.DataFrame(np.asarray(values)), title, 520, 2)
    figure.update_xaxes(constrain="domain")
    return figure.update_yaxes(scaleanchor="x", constrain="domain")


def _colors(values: pd.DataFrame, title: str, height: int, digits: int) -> go.Figure:
    def names(labels: Any) -> list[str]:
        return [f"{label:g}" if isinstance(label, float) else str(label) for label in labels]

    figure = figure_of(height)
    figure.add_heatmap(
        x=names(values.columns),
        y=names(values.index),
        z=values.to_numpy(dtype=np.float32),
        colorscale="Viridis",
        colorbar={"title": {"text": title, "side": "right"}, "thickness": 12},
        hovertemplate=f"%{{y}}, %{{x}}: %{{z:.{digits}f}}<extra></extra>",
    )
    figure.update_xaxes(type="category", showgrid=False)
    return figure.update_yaxes(type="category", showgrid=False)


def error_distributions(errors: pd.DataFrame, threshold: float) -> go.Figure:
    """The distribution of `mse` for each `kind` of image, on a logarithmic axis, with a line."""
    kinds = list(dict.fromkeys(errors["kind"]))
    figure = figure_of(height=100 + 46 * len(kinds), showlegend=False)
    for number, kind in reversed(list(enumerate(kinds))):
        figure.add_violin(
            x=np.log10(errors.loc[errors["kind"] == kind, "mse"].to_numpy().clip(1e-6)),
            name=kind,
            orientation="h",
            side="positive",
            width=1.7,
            points=False,
            spanmode="hard",
            line={"width": 1.5, "color": line_of(number)["color"]},
            hoverinfo="skip",
        )
    ticks = [exponent + np.log10(digit) for exponent in range(-6, 1) for digit in (1, 3)]
    names = [f"{10**tick:.1g}" for tick in ticks]
    figure.update_xaxes(title="reconstruction error (MSE)", tickvals=ticks, ticktext=names)
    return mark_level(figure, float(np.log10(threshold)), "95 % of the test images")


def loss_by_hyperparameter(
    trials: pd.DataFrame,
    fields: Sequence[str],
    logarithmic: Sequence[str] = (),
    trends: Mapping[str, pd.DataFrame] | None = None,
) -> go.Figure:
    """Validation loss of every trial against each setting, with its trend: columns `x` and `y`."""
    rows = (len(fields) + 1) // 2
    spacing = {"shared_yaxes": True, "vertical_spacing": 0.2 if rows > 1 else 0}
    figure = panels_of(rows, 2, 80 + 260 * rows, **spacing)
    for number, field in enumerate(fields):
        place = {"row": number // 2 + 1, "col": number % 2 + 1, "showlegend": number == 0}
        figure.add_scatter(
            x=trials[field],
            y=trials["validation_loss"],
            name="trial",
            mode="markers",
            marker={"color": COLORS[0], "opacity": 0.7},
            text=[f"trial {trial}" for trial in trials["trial"]],
            hovertemplate="%{text}: %{x:.3g}, loss %{y:.4f}<extra></extra>",
            legendgroup="trial",
            **place,
        )
        if trends is not None:
            figure.add_scatter(
                x=trends[field]["x"],
                y=trends[field]["y"],
                name="median of a quarter of the trials",
                mode="lines+markers",
                line={"color": COLORS[1], "width": 3},
                legendgroup="trend",
                **place,
            )
        kind = "log" if field in logarithmic else "linear"
        title = field.replace("_", " ")
        figure.update_xaxes(title=title, type=kind, row=place["row"], col=place["col"])
    return figure.update_yaxes(title="validation MSE", col=1)


def parallel_coordinates(
    trials: pd.DataFrame, fields: Sequence[str], logarithmic: Sequence[str] = ()
) -> go.Figure:
    """Every trial as a line through its hyper-parameters and its loss: blue is low, orange high."""
    finished = trials.dropna(subset="validation_loss")
    dimensions = []
    for field in (*fields, "validation_loss"):
        dimension = {"label": field.replace("_", " "), "values": finished[field]}
        if not pd.api.types.is_numeric_dtype(finished[field]):
            names = sorted(set(finished[field]))
            places = finished[field].map(names.index)
            dimension |= {"values": places, "tickvals": [*range(len(names))], "ticktext": names}
        if field in logarithmic:
            values = np.log10(finished[field].astype(float))
            ticks = np.linspace(values.min(), values.max(), 5)
            names = [f"{10**tick:.1e}" for tick in ticks]
            dimension |= {"values": values, "tickvals": ticks, "ticktext": names}
        dimensions.append(dimension)
    colors = [[0, COLORS[0]], [1, COLORS[1]]]
    figure = figure_of(height=420, margin={"l": 60, "r": 60, "t": 60, "b": 30})
    figure.add_parcoords(
        dimensions=dimensions,
        line={"color": finished["validation_loss"].to_numpy(), "colorscale": colors},
        labelfont={"size": 13},
    )
    return figure


def fold_agreement(split: Sequence[float], folds: np.ndarray) -> go.Figure:
    """Losses on one split (n,) against those on k folds (n, k): their mean and their range."""
    figure, mean = figure_of(height=420, showlegend=False), folds.mean(1)
    ends = [float(np.nanmin([*split, *folds.flat])), float(np.nanmax([*split, *folds.flat]))]
    diagonal = {"color": GRAY, "dash": "dot"}
    figure.add_scatter(x=ends, y=ends, mode="lines", line=diagonal, hoverinfo="skip")
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

    The frames have columns `images` and `best`; around them lies the band of `luck`, between its
    `low` and `high`.
    """
    figure, shown = figure_of(), luck.dropna()
    at, low, high = (shown[name].to_numpy() for name in ("images", "low", "high"))
    area(figure, at, low, high, COLORS[0], name="random, in another order")
    for number, (sampler, rows) in enumerate(progress.items()):
        figure.add_scatter(
            x=rows["images"],
            y=rows["best"],
            name=sampler,
            mode="lines+markers",
            line={**line_of(number), "shape": "hv"},
            marker={"size": 5},
            hovertemplate="%{x:,} images: %{y:.4f}<extra>" + sampler + "</extra>",
        )
    figure.update_xaxes(title="training images seen", rangemode="tozero")
    return figure.update_yaxes(title="best validation MSE so far")


def _ticks(figure: go.Figure, title: str, values: Any, form: str = "{}") -> None:
    """A logarithmic x axis with a tick at each of the values."""
    ticks = sorted(set(values))
    names = [form.format(tick) for tick in ticks]
    figure.update_xaxes(title=title, type="log", tickvals=ticks, ticktext=names)
