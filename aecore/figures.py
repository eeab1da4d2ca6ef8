"""The book's plotly figures, in one style that reads on light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots
from torch import Tensor

from aecore.latent import Plane
from aecore.search import marginal_trend

# Middle tones, so that each reads on white and on near-black, and apart for the color-blind.
COLORS = ("#3b82c4", "#e08214", "#2a9d6f", "#c2528b", "#8a6fd1", "#a8930a", "#6b7785",
          "#56b4d3", "#b5533c", "#7a9a2f")  # fmt: skip
ORANGE = "#ff9f1c"
GRAY = "#808080"
TEMPLATE = go.layout.Template(
    layout={
        "colorway": COLORS,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": GRAY, "size": 13},
        "margin": {"l": 60, "r": 16, "t": 24, "b": 48},
        "xaxis": {"gridcolor": "rgba(128,128,128,0.2)", "zeroline": False, "automargin": True},
        "yaxis": {"gridcolor": "rgba(128,128,128,0.2)", "zeroline": False, "automargin": True},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        "hoverlabel": {"namelength": -1},
    }
)


def _figure(height: int = 450, **layout: object) -> go.Figure:
    return go.Figure(layout={"template": TEMPLATE, "height": height, **layout})


def scale(count: int) -> list[str]:
    """`count` colors in an order, for curves of a quantity that grows."""
    return sample_colorscale("Plasma", np.linspace(0.1, 0.8, max(count, 2)))[:count]


def _faint(color: str, alpha: float = 0.18) -> str:
    parts = (
        [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        if color.startswith("#")
        else [int(float(part)) for part in color[4:-1].split(",")]
    )
    return f"rgba({parts[0]},{parts[1]},{parts[2]},{alpha})"


def _band(figure: go.Figure, frame: pd.DataFrame, x: str, label: str, color: str) -> None:
    """A curve of the mean of `mse` over seeds, with mean ± standard deviation as a band."""
    seeds = frame.groupby(x)["mse"].agg(["mean", "std"]).fillna(0.0)
    at, mean, std = seeds.index.to_numpy(), seeds["mean"].to_numpy(), seeds["std"].to_numpy()
    figure.add_scatter(
        x=np.concatenate([at, at[::-1]]),
        y=np.concatenate([mean + std, (mean - std)[::-1]]),
        fill="toself",
        fillcolor=_faint(color),
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=label,
    )
    figure.add_scatter(
        x=at,
        y=mean,
        customdata=std,
        name=label,
        legendgroup=label,
        mode="lines+markers",
        line={"color": color},
        hovertemplate="%{x}: %{y:.4f} ± %{customdata:.4f}<extra>" + label + "</extra>",
    )


def error_by_dimension(errors: pd.DataFrame, pca: pd.DataFrame) -> go.Figure:
    """Test error against latent dimension: the autoencoder's band over seeds, and PCA's curve.

    Both frames have columns `latent_dim` and `mse`.
    """
    figure = _figure()
    _band(figure, errors, "latent_dim", "autoencoder", COLORS[0])
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
    figure = _figure(legend={"title": "latent dimension"} if by == "latent_dim" else {})
    values = list(dict.fromkeys(errors[by]))
    colors = scale(len(values)) if by == "latent_dim" else COLORS
    for value, color in zip(values, colors, strict=False):
        label = str(value) if labels is None else labels[value]
        _band(figure, errors[errors[by] == value], "level", label, color)
    figure.update_xaxes(title=level_title)
    figure.update_yaxes(title="test MSE", rangemode="tozero")
    return figure


def mark_level(figure: go.Figure, level: float, text: str) -> go.Figure:
    """A vertical line at `level` with `text` beside it."""
    return figure.add_vline(level, line={"dash": "dot", "color": GRAY}, annotation_text=text)


def distance_surface(plane: Plane) -> go.Figure:
    """D(x, y) over the plane as a surface to turn, with the centroids as orange dots."""
    z, centroids = plane.distance.numpy(), plane.centroids
    figure = _figure(height=560, margin={"l": 0, "r": 0, "t": 40, "b": 0})
    figure.add_surface(
        x=plane.x.numpy(),
        y=plane.y.numpy(),
        z=z,
        customdata=plane.nearest.numpy().astype(np.uint8),
        colorscale="Viridis",
        showscale=False,
        contours={axis: {"highlight": False} for axis in "xyz"},
        hovertemplate="x %{x:.2f}, y %{y:.2f}<br>D %{z:.1f}<br>"
        "nearest centroid: %{customdata}<extra></extra>",
    )
    figure.add_scatter3d(
        x=centroids[:, 0].numpy(),
        y=centroids[:, 1].numpy(),
        z=np.full(len(centroids), 0.03 * float(z.max()), dtype=np.float32),
        text=[str(digit) for digit in range(len(centroids))],
        mode="markers",
        marker={"size": 5, "color": ORANGE, "line": {"color": "white", "width": 1}},
        hovertemplate="centroid of %{text}<extra></extra>",
    )
    cameras = {
        "frontal view": {"eye": {"x": 0.0, "y": -1.9, "z": 0.7}, "up": {"x": 0, "y": 0, "z": 1}},
        "vertical view": {"eye": {"x": 0.0, "y": 0.0, "z": 2.1}, "up": {"x": 0, "y": 1, "z": 0}},
    }
    figure.update_layout(
        showlegend=False,
        scene={
            "xaxis": {"title": "x"},
            "yaxis": {"title": "y"},
            "zaxis": {"title": "D(x, y)"},
            "aspectratio": {"x": 1, "y": 1, "z": 0.55},
            "camera": {"eye": {"x": 0.8, "y": -1.2, "z": 1.4}},
        },
        updatemenus=[
            {
                "type": "buttons",
                "direction": "right",
                "showactive": False,
                "x": 0,
                "xanchor": "left",
                "y": 1.0,
                "yanchor": "bottom",
                "buttons": [
                    {"label": label, "method": "relayout", "args": [{"scene.camera": camera}]}
                    for label, camera in cameras.items()
                ],
            }
        ],
    )
    return figure


def basin_map(plane: Plane) -> go.Figure:
    """Which centroid is nearest, as a map of colored basins with the centroids as stars."""
    classes = len(plane.centroids)
    steps = [
        [(digit + side) / classes, COLORS[digit % len(COLORS)]]
        for digit in range(classes)
        for side in (0, 1)
    ]
    figure = _figure(height=520)
    figure.add_heatmap(
        x=plane.x.numpy(),
        y=plane.y.numpy(),
        z=plane.nearest.numpy().astype(np.uint8),
        zmin=-0.5,
        zmax=classes - 0.5,
        colorscale=steps,
        showscale=False,
        opacity=0.55,
        hovertemplate="x %{x:.2f}, y %{y:.2f}: basin of %{z}<extra></extra>",
    )
    _stars(figure, plane.centroids)
    figure.update_xaxes(title="x", showgrid=False, constrain="domain")
    figure.update_yaxes(title="y", showgrid=False, scaleanchor="x", constrain="domain")
    return figure.update_layout(showlegend=False)


def code_scatter(codes: Tensor, labels: Tensor, centroids: Tensor) -> go.Figure:
    """2-D codes (N, 2) colored by label (N,), with the centroids (K, 2) as stars."""
    figure = _figure(height=560)
    for digit in range(len(centroids)):
        x, y = codes[labels == digit].numpy().T
        figure.add_scattergl(
            x=x,
            y=y,
            name=str(digit),
            mode="markers",
            marker={"size": 3, "color": COLORS[digit % len(COLORS)], "opacity": 0.6},
            hovertemplate="x %{x:.2f}, y %{y:.2f}<extra>" + str(digit) + "</extra>",
        )
    _stars(figure, centroids)
    figure.update_layout(legend={"itemsizing": "constant"})
    figure.update_xaxes(title="x", constrain="domain")
    return figure.update_yaxes(title="y", scaleanchor="x", constrain="domain")


def _stars(figure: go.Figure, centroids: Tensor) -> None:
    figure.add_scatter(
        x=centroids[:, 0].numpy(),
        y=centroids[:, 1].numpy(),
        text=[str(digit) for digit in range(len(centroids))],
        mode="markers+text",
        textposition="top center",
        textfont={"size": 16},
        marker={"symbol": "star", "size": 14, "color": ORANGE,
                "line": {"color": "black", "width": 1}},
        hovertemplate="centroid of %{text}<extra></extra>",
        showlegend=False,
    )  # fmt: skip


def step_lengths(moved: Mapping[str, Tensor]) -> go.Figure:
    """How far each step of a path moves the picture, a curve for each named path (steps - 1,)."""
    figure = _figure(height=340)
    for label, lengths in moved.items():
        steps = np.arange(1, len(lengths) + 1)
        figure.add_scatter(x=steps, y=lengths.numpy(), name=label, mode="lines+markers")
    figure.update_xaxes(title="step", dtick=1)
    return figure.update_yaxes(title="RMS change of a pixel", rangemode="tozero")


def pair_heatmap(values: np.ndarray, title: str) -> go.Figure:
    """A symmetric matrix (K, K) over pairs of classes, NaN on the diagonal."""
    classes = [str(digit) for digit in range(len(values))]
    figure = _figure(height=520)
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
        values = finished[field].to_numpy(dtype=float)
        dimension = {"label": field.replace("_", " "), "values": values}
        if field in logarithmic:
            low, high = np.log10(values.min()), np.log10(values.max())
            ticks = np.linspace(low, high, 5)
            dimension |= {"values": np.log10(values), "tickvals": ticks,
                          "ticktext": [f"{10**tick:.1e}" for tick in ticks]}  # fmt: skip
        dimensions.append(dimension)
    figure = _figure(height=420, margin={"l": 60, "r": 60, "t": 60, "b": 30})
    figure.add_parcoords(
        dimensions=dimensions,
        line={
            "color": finished["validation_loss"].to_numpy(),
            "colorscale": [[0, COLORS[0]], [1, COLORS[1]]],
        },
        labelfont={"size": 13},
    )
    return figure
