"""The look of every figure: colors that read on light and dark pages, and the band over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

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


def figure_of(height: int = 450, **layout: object) -> go.Figure:
    """An empty figure of so many pixels in the book's style; `layout` goes to plotly."""
    return go.Figure(layout={"template": TEMPLATE, "height": height, **layout})


def scale(count: int) -> list[str]:
    """`count` colors in an order, for curves of a quantity that grows."""
    return sample_colorscale("Plasma", np.linspace(0.1, 0.8, max(count, 2)))[:count]


def faint(color: str, alpha: float = 0.18) -> str:
    """A color of `COLORS` or `scale`, let through to `alpha`."""
    parts = (
        [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        if color.startswith("#")
        else [int(float(part)) for part in color[4:-1].split(",")]
    )
    return f"rgba({parts[0]},{parts[1]},{parts[2]},{alpha})"


def band(figure: go.Figure, frame: pd.DataFrame, x: str, label: str, color: str) -> None:
    """A curve of the mean of `mse` over seeds, with mean ± standard deviation as a band."""
    seeds = frame.groupby(x)["mse"].agg(["mean", "std"]).fillna(0.0)
    at, mean, std = seeds.index.to_numpy(), seeds["mean"].to_numpy(), seeds["std"].to_numpy()
    figure.add_scatter(
        x=np.concatenate([at, at[::-1]]),
        y=np.concatenate([mean + std, (mean - std)[::-1]]),
        fill="toself",
        fillcolor=faint(color),
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
