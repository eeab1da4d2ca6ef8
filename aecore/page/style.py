"""The look of every figure: colors that read on light and dark pages, and the band over seeds."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb, sample_colorscale, unlabel_rgb
from plotly.subplots import make_subplots

# Middle tones, so that each reads on white and on near-black, and apart for the color-blind.
COLORS = ("#3b82c4", "#cf7a12", "#2a9d6f", "#c2528b", "#8a6fd1", "#a8930a", "#6b7785",
          "#3d9fc0", "#b5533c", "#7a9a2f")  # fmt: skip
ORDERED = ("#2f7fd6", "#8a63d8", "#c4529a", "#d9573c", "#b8770a")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "x", "diamond", "triangle-up", "square")
ORANGE = "#ff9f1c"
GRAY = "#808080"
AXIS = {"gridcolor": "rgba(128,128,128,0.2)", "zeroline": False, "automargin": True}
AXIS |= {"exponentformat": "none", "separatethousands": True}
TEMPLATE = go.layout.Template(
    layout={
        "colorway": COLORS,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": GRAY, "size": 13},
        "margin": {"l": 60, "r": 16, "t": 24, "b": 48},
        "xaxis": AXIS,
        "yaxis": AXIS,
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        "hoverlabel": {"namelength": -1},
    }
)

NAMED = 30  # of more classes than these, only some are named in a figure, and none in a legend


def figure_of(height: int = 450, **layout: Any) -> go.Figure:
    """An empty figure of so many pixels in the book's style; `layout` goes to plotly."""
    return go.Figure(layout={"template": TEMPLATE, "height": height, **layout})


def panels_of(rows: int, columns: int, height: int, **options: Any) -> go.Figure:
    """An empty figure of several panels in the book's style; `options` go to plotly."""
    return make_subplots(rows, columns, **options).update_layout(template=TEMPLATE, height=height)


def line_of(number: int) -> dict[str, str]:
    """The line of curve `number`: after ten colors they come again with other dashes."""
    dash = DASHES[number // len(COLORS) % len(DASHES)]
    return {"color": COLORS[number % len(COLORS)], "dash": dash}


def marker_of(number: int) -> dict[str, str]:
    """The marker of class `number`: after ten colors they come again with other symbols."""
    symbol = SYMBOLS[number // len(COLORS) % len(SYMBOLS)]
    return {"color": COLORS[number % len(COLORS)], "symbol": symbol}


def scale(count: int) -> list[str]:
    """`count` colors in an order, for curves of a quantity that grows."""
    return sample_colorscale(ORDERED, np.linspace(0, 1, max(count, 2)))[:count]


def faint(color: str) -> str:
    """A color of `COLORS` or `scale` that lets through what is behind it."""
    red, green, blue = hex_to_rgb(color) if color.startswith("#") else unlabel_rgb(color)
    return f"rgba({red:.0f},{green:.0f},{blue:.0f},0.18)"


def curve(figure: go.Figure, x: Any, y: Any, label: str, line: dict, **options: Any) -> None:
    """A line with markers that says its label and values; `options` go to plotly."""
    usual = {"mode": "lines+markers", "hovertemplate": "%{x}: %{y:.4f}<extra>" + label + "</extra>"}
    figure.add_scatter(x=x, y=y, name=label, line=line, **usual | options)


def band(
    figure: go.Figure, frame: pd.DataFrame, x: str, y: str, label: str, line: dict[str, str]
) -> None:
    """A curve of the mean of `y` over seeds, with mean ± standard deviation as a band.

    Runs that diverged, whose `y` is NaN, are left out, and the legend says how many points that is.
    """
    lost = int(frame[y].isna().sum())
    label += f" ({lost} {'value' if lost == 1 else 'values'} diverged)" if lost else ""
    seeds = frame.dropna(subset=y).groupby(x)[y].agg(["mean", "std"])
    at, mean, std = seeds.index.to_numpy(), seeds["mean"].to_numpy(), seeds["std"].fillna(0.0)
    area(figure, at, mean - std, mean + std, line["color"], showlegend=False, legendgroup=label)
    hover = "%{x}: %{y:.4f} ± %{customdata:.4f}<extra>" + label + "</extra>"
    options = {"customdata": std, "legendgroup": label, "hovertemplate": hover}
    curve(figure, at, mean, label, line, **options)


def strokes(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Coordinates (3 n,) of lines from each `start` (n,) to its `end` (n,), a gap after each."""
    return np.stack([start, end, np.full(len(start), np.nan)], 1).ravel()


def area(figure: go.Figure, x: Any, low: Any, high: Any, color: str, **options: Any) -> None:
    """The area between two curves."""
    around = {"x": np.concatenate([x, x[::-1]]), "y": np.concatenate([high, low[::-1]])}
    look = {"fill": "toself", "fillcolor": faint(color), "mode": "lines", "line": {"width": 0}}
    figure.add_scatter(**around, **look, hoverinfo="skip", **options)
