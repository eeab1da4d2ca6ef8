"""Figures of a plane of codes: surfaces, basins, and points that stand for images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from torch import Tensor

from aecore.analysis.latent import Plane
from aecore.page.style import COLORS, ORANGE, TEMPLATE, figure_of


def distance_surface(plane: Plane) -> go.Figure:
    """D(x, y) over the plane as a surface to turn, with the centroids as orange dots."""
    z, centroids = plane.distance.numpy(), plane.centroids
    figure = figure_of(height=560, margin={"l": 0, "r": 0, "t": 40, "b": 0})
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
    figure = figure_of(height=520)
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
    figure = figure_of(height=560)
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


def projections(panels: Mapping[str, np.ndarray], labels: np.ndarray) -> go.Figure:
    """Points (N, 2) colored by label (N,) in panels side by side, each under its name.

    `customdata` of a point is the number of its image, which the book shows on pointing at it.
    """
    figure = make_subplots(
        1, len(panels), subplot_titles=[*panels], horizontal_spacing=0.03
    ).update_layout(template=TEMPLATE, height=460, margin={"l": 8, "r": 8, "t": 84, "b": 8})
    for column, points in enumerate(panels.values(), start=1):
        for digit in range(int(labels.max()) + 1):
            numbers = np.flatnonzero(labels == digit)
            figure.add_scatter(
                x=points[numbers, 0],
                y=points[numbers, 1],
                customdata=numbers.astype(np.uint16),
                name=str(digit),
                legendgroup=str(digit),
                showlegend=column == 1,
                mode="markers",
                marker={"size": 4, "color": COLORS[digit % len(COLORS)], "opacity": 0.75},
                hovertemplate=f"{digit}: test image %{{customdata}}<extra></extra>",
                row=1,
                col=column,
            )
        axis = "x" if column == 1 else f"x{column}"
        figure.update_yaxes(scaleanchor=axis, constrain="domain", row=1, col=column)
    figure.update_layout(legend={"itemsizing": "constant", "y": 1.13})
    figure.update_xaxes(showticklabels=False, constrain="domain")
    return figure.update_yaxes(showticklabels=False)


def small_scatters(panels: Mapping[str, np.ndarray], labels: np.ndarray) -> go.Figure:
    """Points (N, 2) colored by label (N,), four panels a row; of a panel with fewer, the first."""
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[*panels],
        horizontal_spacing=0.03,
        vertical_spacing=0.14 / rows,
    ).update_layout(template=TEMPLATE, height=80 + 250 * rows)
    for number, points in enumerate(panels.values()):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        for label in range(int(labels.max()) + 1):
            x, y = points[labels[: len(points)] == label].T
            figure.add_scatter(
                x=x.astype(np.float32),
                y=y.astype(np.float32),
                name=str(label),
                legendgroup=str(label),
                showlegend=number == 0,
                mode="markers",
                marker={"size": 3, "color": COLORS[label % len(COLORS)], "opacity": 0.6},
                hoverinfo="name",
                **place,
            )
    figure.update_layout(
        legend={"itemsizing": "constant", "y": 1.08}, margin={"l": 8, "r": 8, "t": 72, "b": 8}
    )
    figure.update_xaxes(showticklabels=False)
    return figure.update_yaxes(showticklabels=False)
