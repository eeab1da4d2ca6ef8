"""Figures of a plane of codes: surfaces, basins, and points that stand for images.

A plane has `x` and `y` (points,), `distance` and `nearest` (points, points), `codes` (N, 2) and
`centroids` (K, 2), as `analysis.latent.plane` makes it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from aecore.page.style import COLORS, GRAY, NAMED, ORANGE, figure_of, marker_of, panels_of, strokes

CENTROID = "centroid: %{text}<extra></extra>"  # on pointing at it
UPRIGHT = {"x": 0, "y": 0, "z": 1}
CAMERAS = {
    "frontal view": {"eye": {"x": 0.0, "y": -2.0, "z": 0.7}, "up": UPRIGHT},
    "vertical view": {"eye": {"x": 0.0, "y": -1e-3, "z": 2.2}, "up": UPRIGHT},
}


def distance_surface(plane: Any) -> go.Figure:
    """D(x, y) over the plane as a surface to turn, with the centroids as pins that stand on it."""
    z, (x, y) = plane.distance.numpy(), plane.centroids.numpy().T
    figure = figure_of(height=430, margin={"l": 0, "r": 0, "t": 0, "b": 0}, showlegend=False)
    grid = {"x": plane.x.numpy(), "y": plane.y.numpy(), "z": z}
    hover = "x %{x:.2f}, y %{y:.2f}<br>D %{z:.1f}<br>nearest centroid: %{customdata}<extra></extra>"
    look = {"colorscale": "Viridis", "showscale": False, "hovertemplate": hover}
    look["contours"] = {axis: {"highlight": False} for axis in "xyz"}
    figure.add_surface(**grid, **look, customdata=_small(plane.nearest.numpy()))
    # The heads are above the surface and apart, so that none hides which class is where.
    (left, up), top = _beside(plane.centroids.numpy()).T, np.full(len(x), 1.04 * float(z.max()))
    stems = {"x": strokes(x, left), "y": strokes(y, up), "z": strokes(np.zeros(len(x)), top)}
    line = {"color": ORANGE, "width": 3}
    figure.add_scatter3d(**stems, mode="lines", line=line, hoverinfo="skip")
    dots = {"size": 5, "color": ORANGE, "line": {"color": "white", "width": 1}}
    look = {"mode": "markers+text", "marker": dots, "text": _names(plane.centroids)}
    figure.add_scatter3d(x=left, y=up, z=top, **look, hovertemplate=CENTROID)
    buttons = [{"label": label, "method": "relayout", "args": [{"scene.camera": camera}]}
               for label, camera in CAMERAS.items()]  # fmt: skip
    place = {"x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom", "direction": "right"}
    menu = {"type": "buttons", "showactive": False, "buttons": buttons, **place}
    titles = {"xaxis": "x", "yaxis": "y", "zaxis": "D"}
    marks = {"nticks": 5, "tickfont": {"size": 11}}
    scene = {axis: {"title": {"text": title}, **marks} for axis, title in titles.items()}
    scene["aspectratio"] = {"x": 1, "y": 1, "z": 0.55}
    scene["camera"] = {"eye": {"x": 0.8, "y": -1.4, "z": 1.15}}
    scene["camera"]["center"] = {"x": 0, "y": 0, "z": -0.12}
    return figure.update_layout(scene=scene, updatemenus=[menu])


def basin_map(plane: Any) -> go.Figure:
    """Which centroid is nearest, as a map of colored basins with the centroids as dots."""
    classes = len(plane.centroids)
    steps = [(number, side) for number in range(classes) for side in (0, 1)]
    colors = [[(n + side) / classes, COLORS[n % len(COLORS)]] for n, side in steps]
    figure = figure_of(height=520, showlegend=False)
    basins = {"x": plane.x.numpy(), "y": plane.y.numpy(), "z": _small(plane.nearest.numpy())}
    look = {"zmin": -0.5, "zmax": classes - 0.5, "colorscale": colors, "showscale": False}
    look["hovertemplate"] = "x %{x:.2f}, y %{y:.2f}: basin of %{z}<extra></extra>"
    figure.add_heatmap(**basins, **look, opacity=0.55)
    figure.update_xaxes(showgrid=False).update_yaxes(showgrid=False)
    return _named(figure, plane.centroids)


def stretch_map(plane: Any, stretch: Any, ellipses: Any) -> go.Figure:
    """A decoder's `stretch` (points, points) over a plane, and `ellipses` (N, points, 2) on it."""
    figure = figure_of(height=520, showlegend=False)
    look = {"colorscale": "Viridis", "colorbar": {"thickness": 12}}
    hover = "x %{x:.2f}, y %{y:.2f}<br>log stretch %{z:.2f}<extra></extra>"
    values = {"x": plane.x.numpy(), "y": plane.y.numpy(), "z": stretch.float().numpy()}
    figure.add_heatmap(**values, **look, hovertemplate=hover)
    rings = np.pad(ellipses.numpy(), ((0, 0), (0, 1), (0, 0)), constant_values=np.nan)
    x, y = rings.reshape(-1, 2).T
    line = {"color": "white", "width": 1}
    figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip")
    figure.update_xaxes(showgrid=False).update_yaxes(showgrid=False)
    return _named(figure, plane.centroids, "white")


def code_scatter(codes: Any, labels: Any, centroids: Any) -> go.Figure:
    """2-D codes (N, 2) colored by label (N,), with the centroids (K, 2) as stars."""
    figure = figure_of(height=560, legend={"itemsizing": "constant"})
    for number in range(len(centroids)):
        x, y = codes[labels == number].numpy().T
        marker = {"size": 3, "opacity": 0.6, **marker_of(number)}
        hover = f"x %{{x:.2f}}, y %{{y:.2f}}<extra>{number}</extra>"
        look = {"mode": "markers", "marker": marker, "hovertemplate": hover}
        look["showlegend"] = 1 < len(centroids) <= NAMED
        figure.add_scattergl(x=x, y=y, name=str(number), **look)
    return _named(figure, centroids)


def _named(figure: go.Figure, centroids: Any, color: str | None = None) -> go.Figure:
    """The figure of a plane with its axes, and the centroids as dots, each with its number."""
    x, y = centroids.numpy().T
    left, up = _beside(centroids.numpy()).T
    look = {"mode": "lines", "line": {"color": color or GRAY, "width": 1}, "hoverinfo": "skip"}
    # Plotly draws what is in WebGL over all else, so on such points the names have to be too.
    add = figure.add_scattergl if figure.data[0].type == "scattergl" else figure.add_scatter
    add(x=strokes(x, left), y=strokes(y, up), **look, showlegend=False)
    edge = {"color": "black", "width": 1}
    dots = {"mode": "markers", "marker": {"size": 8, "color": ORANGE, "line": edge}}
    about = {"text": _names(centroids), "hovertemplate": CENTROID, "showlegend": False}
    add(x=x, y=y, **dots, **about)
    add(x=left, y=up, **_labels(_names(centroids), color))
    figure.update_xaxes(title="x", constrain="domain")
    return figure.update_yaxes(title="y", scaleanchor="x", constrain="domain")


def _beside(centroids: np.ndarray) -> np.ndarray:
    """Places (K, 2) for the names of centroids, beside them and apart."""
    gap = 0.055 * np.ptp(centroids, axis=0).max() or 1.0
    return _apart(centroids, gap, (1, 1.6, 2.4, 3.4))


def _apart(points: np.ndarray, gap: float, rings: Sequence[float]) -> np.ndarray:
    """Places (K, 2) for the names of points, about `gap` from each other and on none of the points.

    The place is searched on `rings` around its point, whose radius is in units of `gap`; where the
    first ring is 0 a name may stand on a point.
    """
    turns = 2 * np.pi * np.arange(16) / 16
    circle = np.stack([np.cos(turns), np.sin(turns)], 1)
    tries = gap * np.concatenate([radius * circle for radius in rings])
    taken, found = [*points] if rings[0] else [np.full(2, np.inf)], []
    for point in points:
        free = np.linalg.norm((point + tries)[:, None] - taken, axis=2).min(1)
        found.append(point + tries[np.argmax(np.minimum(free, 0.99 * gap))])
        taken.append(found[-1])
    return np.array(found)


def _labels(names: Sequence[str], color: str | None = None, size: int = 16) -> dict[str, Any]:
    """A trace of the names alone, which read on whatever lies behind them."""
    font = {"size": size, "weight": "bold", "color": color}
    look = {"mode": "text", "hoverinfo": "skip", "showlegend": False}
    return {**look, "text": names, "textfont": font}


def _names(centroids: Any) -> list[str]:
    return _some(range(len(centroids))) if len(centroids) > 1 else ["mean"]


def _some(classes: Sequence[int] | np.ndarray) -> list[str]:
    """The classes as text; of more than `NAMED` most are left empty: they would hide each other."""
    apart = -(-len(classes) // NAMED)
    return ["" if place % apart else str(label) for place, label in enumerate(classes)]


def projections(panels: Mapping[str, np.ndarray], labels: np.ndarray) -> go.Figure:
    """Points (N, 2) colored by label (N,) in panels side by side, each under its name.

    `customdata` of a point is the number of its image, which the book shows on pointing at it.
    """
    figure = _scatters(panels, labels, len(panels), 460, {"size": 4, "opacity": 0.75}, 16)
    figure.for_each_yaxis(lambda axis: axis.update(scaleanchor=axis.anchor, constrain="domain"))
    figure.update_layout(legend={"y": 1.13}, margin={"t": 84})
    return figure.update_xaxes(constrain="domain")


def small_scatters(panels: Mapping[str, np.ndarray], labels: np.ndarray) -> go.Figure:
    """Points (N, 2) colored by label (N,), four panels a row; of a panel with fewer, the first."""
    columns = min(4, len(panels))
    height = 80 + 250 * -(-len(panels) // columns)
    figure = _scatters(panels, labels, columns, height, {"size": 3, "opacity": 0.6}, 12)
    figure.update_traces(customdata=None, hovertemplate=None, hoverinfo="name")
    return figure.update_layout(legend={"y": 1.08}, margin={"t": 72})


def _scatters(
    panels: Mapping[str, np.ndarray],
    labels: np.ndarray,
    columns: int,
    height: int,
    marker: dict,
    names: int,
) -> go.Figure:
    """The panels, with markers that look so, and with names of the classes of so many pixels."""
    rows, several = -(-len(panels) // columns), bool(np.ptp(labels))
    spacing = {"horizontal_spacing": 0.03, "vertical_spacing": 0.14 / rows}
    titles = [name.replace("_", " ") for name in panels]
    figure = panels_of(rows, columns, height, subplot_titles=titles, **spacing)
    for panel, points in enumerate(panels.values()):
        for number in range(int(labels.max()) + 1):
            shown, name = np.flatnonzero(labels[: len(points)] == number), str(number)
            x, y = points[shown].astype(np.float32).T
            look = {"mode": "markers", "marker": {**marker, **marker_of(number)}}
            of = f"{name}: " if several else ""
            look["hovertemplate"] = f"{of}test image %{{customdata}}<extra></extra>"
            listed = several and panel == 0 and int(labels.max()) < NAMED
            legend = {"name": name, "legendgroup": name, "showlegend": listed}
            place = {"row": panel // columns + 1, "col": panel % columns + 1}
            figure.add_scattergl(x=x, y=y, customdata=_small(shown), **look, **legend, **place)
        if several:
            figure.add_scattergl(**_middles(points, labels, names), **place)
    figure.update_layout(legend={"itemsizing": "constant"}, margin={"l": 8, "r": 8, "b": 8})
    figure.update_xaxes(showticklabels=False)
    return figure.update_yaxes(showticklabels=False)


def _middles(points: np.ndarray, labels: np.ndarray, size: int) -> dict[str, Any]:
    """The name of every class near the median of its points, since not everyone tells its color."""
    of = labels[: len(points)]
    medians = np.array([np.median(points[of == number], axis=0) for number in np.unique(of)])
    gap = (0.06 if size > 12 else 0.1) * np.ptp(points, axis=0).max()
    x, y = _apart(medians, gap, (0, 1, 1.6, 2.4)).T
    return {"x": x, "y": y, **_labels(_some(np.unique(of)), size=size)}


def _small(numbers: np.ndarray | Sequence[int]) -> np.ndarray:
    """Whole numbers from 0 on in the smallest type that holds them, which makes small pages."""
    numbers = np.asarray(numbers)
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))
