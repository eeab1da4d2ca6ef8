"""What a notebook puts on its page: figures, tables, answers and checked claims.

Each function displays a bundle that JupyterLab shows as it is and that the book brings to life with
the scripts of `book/assets`. Nothing here carries or asks for a library.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from aecore.page.markup import caption_of, encoded, escape, put, script

PLOTLY = "application/vnd.plotly.v1+json"

# Plotly's own default is a button that uploads the chart to its maker.
_CONFIG = {"displaylogo": False, "responsive": True, "showSendToCloud": False}


def show(
    figure: Any,
    caption: str,
    *,
    alt: str,
    runs: Iterable[Any] = (),
    name: str | None = None,
    decoder: Mapping[str, Any] | None = None,
    sheet: str | None = None,
) -> None:
    """Displays a plotly figure, its caption, and where its numbers come from.

    `alt` says what the figure shows to someone who can't see it. `runs` are the trained models
    behind it. `name` is how a prose page asks for the figure (`<!-- figure: notebook/name -->`).
    With a `decoder` (see `decoder_payload`) of a 2-D code, pointing at a place of the figure's
    plane draws the image decoded there. With the name of a `sheet` (see `image_sheet`) pointing at
    a point shows the image whose number is the point's `customdata`.
    """
    drawing = _compact(json.loads(figure.to_json()))
    bundle = {"data": drawing["data"], "layout": drawing["layout"]}
    height = int(drawing["layout"].get("height") or 450)
    named = f' data-name="{escape(name)}"' if name else ""
    named += f' data-sheet="{escape(sheet)}"' if sheet else ""
    parts = [
        f'<div class="aecore-plot" role="img" aria-label="{escape(alt)}" '
        f'style="height:{height}px"></div>',
        script("aecore-data", bundle),
    ]
    if decoder is not None:
        parts.append(script("aecore-decoder", decoder))
    put(
        {
            PLOTLY: {**bundle, "config": _CONFIG},
            "text/html": f'<figure class="aecore-figure"{named}>{"".join(parts)}</figure>',
            "text/plain": alt,
        }
    )
    caption_of(caption, runs)


def pictures(rows: Mapping[str, Any], caption: str, *, alt: str, runs: Iterable[Any] = ()) -> None:
    """Displays rows of images under each other, each row with its label.

    `rows` maps a label to images (N, C, H, W) in [0, 1], C = 1 or 3, clipped where they leave it.
    `alt` says of every row what it shows.
    """
    longest = max(map(len, rows.values()))
    lines = [
        f'<div><span>{escape(label)}</span><img src="{_strip(images)}" '
        f'alt="{escape(f"{label}: {alt}")}" '
        f'style="width:{100 * len(images) / longest:.4g}%;image-rendering:pixelated"></div>'
        for label, images in rows.items()
    ]
    markup = f'<figure class="aecore-pictures">{"".join(lines)}</figure>'
    put({"text/html": markup, "text/plain": alt})
    caption_of(caption, runs)


def _strip(images: Any) -> str:
    """Images (N, C, H, W) in [0, 1] side by side as a PNG in a data URL."""
    pixels = np.asarray(images, dtype=np.float32)
    pixels = np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, 1)))  # a dark line between two
    return encoded(np.concatenate(list(pixels), axis=2)[:, :, :-1], "PNG")


def table(
    frame: Any, caption: str, formats: Mapping[Any, str] | None = None, runs: Iterable[Any] = ()
) -> None:
    """Displays a pandas DataFrame as a table that scrolls in a box of its own on a narrow screen.

    `formats` maps a column to a format of its values, such as `{"test_mse": "{:.4f}"}`.
    """
    formatters = {
        str(column).replace("_", " "): (
            lambda value, form=form: "" if value != value else form.format(value)
        )
        for column, form in (formats or {}).items()
    }
    numbered = type(frame.index).__name__ == "RangeIndex"
    flat = frame if numbered or frame.index.names == [None] else frame.reset_index()
    shown = flat.rename(columns=lambda name: str(name).replace("_", " ")).rename_axis(columns=None)
    cells = shown.to_html(
        index=flat is frame and not numbered, formatters=formatters, border=0, na_rep=""
    )
    cells = cells.replace(' style="text-align: right;"', "").replace(' class="dataframe"', "")
    put({"text/html": f'<div class="aecore-table">{cells}</div>', "text/plain": str(frame)})
    caption_of(caption, runs)


def _compact(value: Any) -> Any:
    """The figure with its large arrays of doubles as float32, which halves the page."""
    if isinstance(value, dict):
        if value.get("dtype") == "f8" and len(value["bdata"]) > 2048:
            values = np.frombuffer(base64.b64decode(value["bdata"]), "<f8").astype("<f4")
            return {**value, "dtype": "f4", "bdata": base64.b64encode(values.tobytes()).decode()}
        return {key: _compact(part) for key, part in value.items()}
    return [_compact(part) for part in value] if isinstance(value, (list, tuple)) else value


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation of the `values` of several seeds, as text.

    The mean alone where there is one value, nothing where there is none; NaN counts as none.
    """
    values = pd.Series(values, dtype=float).dropna()
    if values.empty:
        return ""
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {values.std():.{digits}f}"
