"""Figures of numbers against numbers: curves with bands over seeds, and tables as colors."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aecore.page.style import (
    COLORS,
    DASHES,
    GRAY,
    NAMED,
    area,
    band,
    curve,
    figure_of,
    line_of,
    panels_of,
    scale,
)  # fmt: skip

COUNTS = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
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
    colors = [{"color": color} for color in scale(len(groups))]
    for number, (value, rows) in enumerate(groups):
        label = str(value).replace("_", " ") if labels is None else labels[value]
        band(figure, rows, x, y, label, colors[number] if ordered else line_of(number))
    figure.update_xaxes(title=x_title or x.replace("_", " "))
    if x == "latent_dim":
        _ticks(figure, "latent dimension d", frame[x])
    if x in ("epoch", "step"):  # there is nothing between two of them
        reach = float(frame[x].max() - frame[x].min())
        figure.update_xaxes(dtick=next((n for n in COUNTS if n * 10 >= reach), 1))
    return figure.update_yaxes(title=y_title)


def error_by_dimension(errors: pd.DataFrame, pca: pd.DataFrame) -> go.Figure:
    """Test error against latent dimension: the autoencoder's band over seeds, and PCA's curve.

    Both frames have columns `latent_dim` and `mse`.
    """
    figure = bands(errors.assign(by="autoencoder"), "latent_dim", "mse", "by", "test MSE")
    curve(figure, pca["latent_dim"], pca["mse"], "PCA", {"color": COLORS[1], "dash": "dash"})
    _ticks(figure, "latent dimension d", [*errors["latent_dim"], *pca["latent_dim"]])
    return figure.update_yaxes(rangemode="tozero")


def error_by_size(
    errors: pd.DataFrame, x: str, by: str, x_title: str, form: str = "{}"
) -> go.Figure:
    """Test error against column `x`, a size, a band over seeds for each value of `by`.

    `errors` has columns `x`, `mse` and `by`. Both axes are logarithmic: what is as many times as
    good lies as far below. `form` writes the sizes.
    """
    figure = bands(errors, x, "mse", by, "test MSE", x_title)
    _ticks(figure, x_title, errors[x], form)
    ticks = [digit * 10.0**power for power in range(-4, 1) for digit in (1, 2, 3, 5)]
    return figure.update_yaxes(type="log", tickvals=ticks, ticktext=[*map(_plain, ticks)])


def error_by_level(
    errors: pd.DataFrame, by: str, level_title: str, labels: Mapping[object, str] | None = None
) -> go.Figure:
    """Test error against the strength of the corruption, a band over seeds for each value of `by`.

    `errors` has columns `level`, `mse` and `by`; `labels` names the values of `by`.
    """
    figure = bands(errors, "level", "mse", by, "test MSE", level_title, labels)
    return figure.update_yaxes(rangemode="tozero")


def with_widths(figure: go.Figure, pixels: int) -> go.Figure:
    """Beside each tenth of a hidden fraction the width of what is hidden, of so many `pixels`."""
    tenths = [part / 10 for part in range(11)]
    names = [f"{part:g} · {round(math.sqrt(part) * pixels)}" for part in tenths]
    title = f"{figure.layout.xaxis.title.text} · its width in pixels"
    return figure.update_xaxes(title=title, tickvals=tenths, ticktext=names)


def quality_by_rate(rates: pd.DataFrame) -> go.Figure:
    """PSNR against bytes an image on a logarithmic axis, a curve for each `method` and seed.

    `rates` has columns `method`, `seed`, `bytes` and `psnr`, and may have `picture`, the number of
    a point's image in a sheet. The seeds of a method share a color.
    """
    figure = figure_of(height=520)
    for number, (method, of) in enumerate(rates.groupby("method", sort=False)):
        for place, (_, rows) in enumerate(of.sort_values("bytes").groupby("seed", sort=False)):
            hover = "%{x:.2f} bytes: %{y:.2f} dB<extra>" + method + "</extra>"
            legend = {"legendgroup": method, "showlegend": place == 0, "hovertemplate": hover}
            marker = {"marker": {"size": 5}, "customdata": rows.get("picture")}
            curve(figure, rows["bytes"], rows["psnr"], method, line_of(number), **legend, **marker)
    decades = [digit * 10**power for power in range(-1, 4) for digit in (1, 2, 5)]
    names = [f"{tick:g}" for tick in decades]
    figure.update_xaxes(title="bytes an image", type="log", tickvals=decades, ticktext=names)
    return figure.update_yaxes(title="PSNR of the test images (dB)")


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
        curve(figure, np.arange(1, len(lengths) + 1), lengths, label, line_of(number))
    figure.update_xaxes(title="step", dtick=1)
    return figure.update_yaxes(title="RMS change of a pixel", rangemode="tozero")


def losses(
    histories: Mapping[str, Sequence[History]], columns: Mapping[str, str], title: str
) -> go.Figure:
    """Losses by epoch: a band over the histories for each name of both mappings.

    `columns` maps what a curve shows to the column of the history, or a term of such as pandas
    evaluates. A curve without a single value is left out.
    """
    parts = []
    for name, group in histories.items():
        for history in group:
            rows = pd.DataFrame(history).astype(float)
            for part, column in columns.items():
                label = ", ".join(filter(None, (name, part)))
                parts.append(rows[["epoch"]].assign(curve=label, loss=rows.eval(column)))
    frame = pd.concat(parts)
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
    columns = {}
    for part in ("train", "validation"):
        columns[f"squared error, {part}"] = f"{part}_loss - {part}_kl"
        columns[f"KL, {part}"] = f"{part}_kl"
    return losses({"": histories}, columns, "loss of an image")


def errors_by_labels(accuracies: pd.DataFrame) -> go.Figure:
    """Share of test images that are wrong against the number of labels, a band a `method`.

    `accuracies` has columns `method`, `labels` and `test`. Both axes are logarithmic.
    """
    wrong = accuracies.assign(wrong=1 - accuracies["test"])
    figure = bands(wrong, "labels", "wrong", "method", "test images that are wrong")
    _ticks(figure, "labels", wrong["labels"], "{:,}")
    ticks = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
    names = [f"{tick:.0%}" for tick in ticks]
    return figure.update_yaxes(type="log", tickvals=ticks, ticktext=names)


def by_neighbors(kept: pd.DataFrame, columns: Mapping[str, str]) -> go.Figure:
    """Each of `columns`, named by its title, against k: a panel each, with a curve for each model.

    `kept` has columns `model`, `metric` and `k` too. Means over seeds; L1 is dotted. Panels share
    their axis; a column without values has none.
    """
    columns = {name: title for name, title in columns.items() if kept[name].notna().any()}
    titles = [*columns.values()]
    figure = panels_of(1, len(columns), 460, subplot_titles=titles, shared_yaxes=True)
    lines = {model: line_of(n) for n, model in enumerate(dict.fromkeys(kept["model"]))}
    for n, column in enumerate(columns, 1):
        rows = kept.dropna(subset=column)
        for (model, metric), group in rows.groupby(["model", "metric"], sort=False):
            values, first = group.groupby("k")[column].mean(), n == 1 and metric == "L2"
            line = lines[model] if metric == "L2" else lines[model] | {"dash": DASHES[2]}
            hover = "k = %{x}: %{y:.4f}<extra>" + f"{model}, {metric}</extra>"
            place = {"row": 1, "col": n, "legendgroup": model, "showlegend": first}
            words = model.replace("_", " ")
            curve(figure, values.index, values, words, line, hovertemplate=hover, **place)
    _ticks(figure, "k", kept["k"])
    shown = kept[[*columns]].stack()
    if shown.max() > 20 * (least := shown[shown > 0].min()):  # else small ones lie on each other
        ticks = 10.0 ** np.arange(np.floor(np.log10(least)), 1)
        figure.update_yaxes(type="log", tickvals=ticks, ticktext=[*map(_plain, ticks)])
    return figure.update_layout(legend={"y": 1.1}, margin={"t": 110})


def heatmap(
    values: pd.DataFrame, x_title: str, y_title: str, value_title: str, digits: int = 3
) -> go.Figure:
    """A table of numbers as colors: its columns along x, its rows along y, each named.

    `digits` is how many digits after the point each cell shows.
    """
    figure = _colors(values, value_title, 140 + 44 * min(len(values), NAMED), digits + 1)
    if len(values) <= NAMED:
        figure.update_traces(texttemplate=f"%{{z:.{digits}f}}")
    figure.update_xaxes(title=x_title)
    return figure.update_yaxes(title=y_title)


def pair_heatmap(values: np.ndarray, title: str) -> go.Figure:
    """A symmetric matrix (K, K) over pairs of classes, each pair once."""
    pairs = np.where(np.tri(len(values), k=-1, dtype=bool), values, np.nan)
    frame = pd.DataFrame(pairs)
    frame = frame.iloc[1:, :-1] if len(frame) > 1 else frame
    figure = _colors(frame, title, 520, 2)
    figure.update_traces(hoverongaps=False)
    figure.update_xaxes(constrain="domain")
    return figure.update_yaxes(scaleanchor="x", constrain="domain")


def _colors(values: pd.DataFrame, title: str, height: int, digits: int) -> go.Figure:
    def names(labels: Any) -> list[str]:
        return [
            f"{label:g}" if isinstance(label, float) else str(label).replace("_", " ")
            for label in labels
        ]

    figure, hover = figure_of(height), f"%{{y}}, %{{x}}: %{{z:.{digits}f}}<extra></extra>"
    bar = {"title": {"text": title, "side": "right"}, "thickness": 12}
    table = {"x": names(values.columns), "y": names(values.index), "z": values.to_numpy("float32")}
    figure.add_heatmap(**table, colorscale="Viridis", colorbar=bar, hovertemplate=hover)
    for axis, every in (("x", table["x"]), ("y", table["y"])):
        some = every[:: -(-len(every) // NAMED)] if every else []
        getattr(figure, f"update_{axis}axes")(type="category", showgrid=False, tickvals=some)
    return figure


def error_distributions(errors: pd.DataFrame, threshold: float) -> go.Figure:
    """The distribution of `mse` for each `kind` of image, on a logarithmic axis, with a line."""
    kinds = list(dict.fromkeys(errors["kind"]))
    figure = figure_of(height=100 + 46 * len(kinds), showlegend=False)
    for number, kind in enumerate(kinds):
        values = np.log10(errors.loc[errors["kind"] == kind, "mse"].to_numpy().clip(1e-6))
        at, color = np.linspace(values.min(), values.max(), 160), line_of(number)["color"]
        # A kernel density estimate with Silverman's bandwidth, eq. 3.28 of his book (1986).
        width = max(1.06 * values.std() * len(values) ** -0.2, 0.01)
        density = np.exp(-(((at[:, None] - values) / width) ** 2) / 2).sum(1)
        base = np.full(len(at), len(kinds) - 1.0 - number)
        edge = base + 0.85 * density / density.max()
        area(figure, at, base, edge, color)
        look = {"mode": "lines", "line": {"width": 1.5, "color": color}, "hoverinfo": "skip"}
        figure.add_scatter(x=at, y=edge, name=kind, **look)
    ticks = [exponent + np.log10(digit) for exponent in range(-6, 1) for digit in (1, 3)]
    names = [_plain(10**tick, 1) for tick in ticks]
    figure.update_xaxes(title="reconstruction error (MSE)", tickvals=ticks, ticktext=names)
    figure.update_yaxes(tickvals=np.arange(len(kinds)), ticktext=kinds[::-1], showgrid=False)
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
    hover = "trial %{text}: %{x:.3g}, loss %{y:.4f}<extra></extra>"
    dots = {"mode": "markers", "marker": {"color": COLORS[0], "opacity": 0.7}}
    dots |= {"text": trials["trial"], "hovertemplate": hover}
    for number, field in enumerate(fields):
        place = {"row": number // 2 + 1, "col": number % 2 + 1}
        legend = {**place, "showlegend": number == 0}
        loss = {"x": trials[field], "y": trials["validation_loss"], "name": "trial"}
        figure.add_scatter(**loss, **dots, **legend, legendgroup="trial")
        if trends is not None:
            x, y, name = trends[field]["x"], trends[field]["y"], "median of a quarter of the trials"
            curve(figure, x, y, name, {"color": COLORS[1], "width": 3}, **legend, legendgroup="t")
        figure.update_xaxes(title=field.replace("_", " "), **place)
        if field in logarithmic:
            low, high = np.log10(trials[field].min()), np.log10(trials[field].max())
            ticks = 10.0 ** np.arange(np.floor(low), np.ceil(high) + 1)
            names = {"tickvals": ticks, "ticktext": [*map(_plain, ticks)]}
            figure.update_xaxes(type="log", **names, **place)
    return figure.update_yaxes(title="validation MSE", col=1)


def parallel_coordinates(
    trials: pd.DataFrame, fields: Sequence[str], logarithmic: Sequence[str] = ()
) -> go.Figure:
    """Every trial as a line through its hyper-parameters and its loss: blue is low, orange high."""
    finished = trials.dropna(subset="validation_loss")
    dimensions = []
    for field in (*fields, "validation_loss"):
        values, ticks = finished[field], {}
        if not pd.api.types.is_numeric_dtype(values):
            values, names = pd.factorize(values, sort=True)
            ticks = {"tickvals": [*range(len(names))], "ticktext": [*names]}
        elif pd.api.types.is_integer_dtype(values) and np.ptp(values) < 12:
            ticks = {"tickvals": [*range(values.min(), values.max() + 1)]}
        elif field in logarithmic:
            values = np.log10(values.astype(float))
            ticks = {"tickvals": np.linspace(values.min(), values.max(), 5)}
            ticks["ticktext"] = [_plain(10**tick) for tick in ticks["tickvals"]]
        dimensions.append({"label": field.replace("_", " "), "values": values, **ticks})
    colors = [[0, COLORS[0]], [1, COLORS[1]]]
    line = {"color": finished["validation_loss"].to_numpy(), "colorscale": colors}
    figure = figure_of(height=420, margin={"l": 60, "r": 60, "t": 60, "b": 30})
    return figure.add_parcoords(dimensions=dimensions, line=line, labelfont={"size": 13})


def fold_agreement(split: Sequence[float], folds: np.ndarray) -> go.Figure:
    """Losses on one split (n,) against those on k folds (n, k): their mean and their range."""
    figure, mean = figure_of(height=420, showlegend=False), folds.mean(1)
    ends = [float(np.nanmin([*split, *folds.flat])), float(np.nanmax([*split, *folds.flat]))]
    diagonal = {"color": GRAY, "dash": "dot"}
    figure.add_scatter(x=ends, y=ends, mode="lines", line=diagonal, hoverinfo="skip")
    bars = {"array": folds.max(1) - mean, "arrayminus": mean - folds.min(1), "color": COLORS[0]}
    hover = "trial %{pointNumber}: split %{x:.4f}, folds %{y:.4f}<extra></extra>"
    dots = {"mode": "markers", "marker": {"color": COLORS[0], "size": 8}, "hovertemplate": hover}
    figure.add_scatter(x=split, y=mean, error_y=bars, **dots)
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
        stairs = line_of(number) | {"shape": "hv"}
        hover = "%{x:,} images: %{y:.4f}<extra>" + sampler + "</extra>"
        options = {"marker": {"size": 5}, "hovertemplate": hover}
        curve(figure, rows["images"], rows["best"], sampler, stairs, **options)
    figure.update_xaxes(title="training images seen", rangemode="tozero")
    return figure.update_yaxes(title="best validation MSE so far")


def _ticks(figure: go.Figure, title: str, values: Any, form: str = "{}") -> None:
    """A logarithmic x axis with a tick at each of the values."""
    ticks = sorted(set(values))
    names = [form.format(tick) for tick in ticks]
    figure.update_xaxes(title=title, type="log", tickvals=ticks, ticktext=names)


def _plain(number: float, digits: int = 2) -> str:
    """A number without an exponent, to so many digits that count."""
    return np.format_float_positional(number, digits, fractional=False, trim="-")
