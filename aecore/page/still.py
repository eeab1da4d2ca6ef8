"""A still of a figure: what a page shows in print, without scripts, and until its reader points.

Drawn from plotly's own description of the figure, as far as `curves` and `planes` make use of it.
"""

import base64
import html
import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image, ImageDraw
from plotly.colors import hex_to_rgb, unlabel_rgb

from aecore.page.style import COLORS, ORANGE, TEMPLATE, strokes

KINDS = {"scatter", "scattergl", "heatmap", "parcoords", "surface", "scatter3d"}
LETTER, ROW = 6.8, 20  # pixels: the mean width of a letter, the height of a line of the legend
DASHES = {"dash": "9 9", "dot": "3 3", "dashdot": "9 3 3 3", "longdash": "15 9"}
TURN = np.arange(10) * np.pi / 5
RAYS = np.where(np.arange(10) % 2, 0.55, 1.4)
MARKS = {  # corners, in halves of a marker's size
    "diamond": np.array([(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)]),
    "square": np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
    "star": np.stack([RAYS * np.sin(TURN), -RAYS * np.cos(TURN)], 1),
    "triangle-up": np.array([(0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
    "x": np.array([(-1, -0.5), (-0.5, -1), (0, -0.5), (0.5, -1), (1, -0.5), (0.5, 0), (1, 0.5),
                   (0.5, 1), (0, 0.5), (-0.5, 1), (-1, 0.5), (-0.5, 0)]),
}  # fmt: skip


def still(figure: go.Figure, width: int, height: int) -> str:
    """The figure as an SVG picture of so many pixels, its texts in the color of the page's text.

    Raises `ValueError` or `TypeError` for what it can't show: kinds of traces other than `KINDS`,
    dates, colors or sizes that differ from point to point.
    """
    kinds = {trace.type for trace in figure.data}
    if unknown := kinds - KINDS:
        raise ValueError(f"no still shows the kind {', '.join(sorted(unknown))}")
    if "surface" in kinds:
        parts = _scene(figure, width, height)
    elif "parcoords" in kinds:
        parts = _parallel(figure.data[0], width, height)
    else:
        parts = _plane(figure, width, height)
    box = {"viewBox": f"0 0 {width} {height}", "font_size": 13, "fill": "currentColor"}
    return _tag("svg", "".join(parts), xmlns="http://www.w3.org/2000/svg", **box)


def picture(pixels: np.ndarray, form: str, **options: int) -> str:
    """A picture (C, H, W) in [0, 1], C = 1, 3 or with alpha 4, clipped, as a data URL."""
    values = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0))
    image.save(file, form, **options)
    return f"data:image/{form.lower()};base64," + base64.b64encode(file.getvalue()).decode()


class _Axis:
    """An axis of a plane: the numbers from `low` to `high`, on the pixels from `start` to `end`."""

    def __init__(self, axis: Any, values: Sequence[Sequence[Any]], marked: bool) -> None:
        every = [value for of in values for value in of]
        words = axis.type == "category" or any(isinstance(value, str) for value in every)
        self.axis, self.names = axis, list(dict.fromkeys(every)) if words else None
        found = self.numbers(every)
        found = found[np.isfinite(found)]
        low, high = map(float, (found.min(), found.max()) if len(found) else (0, 1))
        flat = high - low <= 1e-9 * max(1.0, abs(low), abs(high))  # but for rounding
        room = 0.5 if words or flat else 0.05 * marked * (high - low)
        self.low, self.high = axis.range or (low - room, high + room)
        if axis.rangemode == "tozero" and low >= 0:
            self.low = 0.0
        self.start, self.end = 0.0, 1.0

    def numbers(self, values: Iterable[Any]) -> np.ndarray:
        if self.names is not None:
            return np.array([self.names.index(value) for value in values], dtype=float)
        numbers = np.array([np.nan if value is None else float(value) for value in values])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(numbers) if self.axis.type == "log" else numbers

    def at(self, values: Iterable[Any]) -> np.ndarray:
        """The pixels of values."""
        return self.place(self.numbers(values))

    def place(self, numbers: Any) -> Any:
        share = (np.asarray(numbers) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def marks(self) -> list[tuple[float, str]]:
        """The marks that have words beside them."""
        return [] if self.axis.showticklabels is False else self.ticks()

    def ticks(self) -> list[tuple[float, str]]:
        """The pixels at which the axis is marked, and with what."""
        if self.axis.tickvals is not None:
            words = self.axis.tickvals if self.axis.ticktext is None else self.axis.ticktext
            found = zip(self.numbers(self.axis.tickvals), map(str, words), strict=True)
        elif self.names is not None:
            found = enumerate(map(str, self.names))
        else:
            found = self._round()
        slack = 1e-6 * (self.high - self.low)
        inside = [(at, word) for at, word in found if self.low - slack <= at <= self.high + slack]
        return [(float(self.place(at)), word) for at, word in inside]

    def _round(self) -> list[tuple[float, str]]:
        """Round numbers, at least so many pixels apart as their words need."""
        apart = 40 if self.start > self.end else 60  # those of an upright axis are under each other
        least = (self.high - self.low) / max(2, abs(self.end - self.start) / apart)
        unit = 10.0 ** np.floor(np.log10(least))
        step = self.axis.dtick or next(n * unit for n in (1, 2, 5, 10) if n * unit >= least)
        every = range(int(self.low // step), int(self.high // step) + 2)
        return [(n * step, f"{n * step:,.8g}".replace("-", "−")) for n in every]


def _tag(name: str, content: str = "", **options: Any) -> str:
    given = ""
    for key, value in options.items():
        if value is not None:
            shown = round(value, 1) if isinstance(value, float) else html.escape(str(value))
            given += f' {key.replace("_", "-")}="{shown}"'
    return f"<{name}{given}>{content}</{name}>" if content else f"<{name}{given}/>"


def _text(x: float, y: float, words: Any, anchor: str = "middle", **options: Any) -> str:
    """Text at a place; of several lines the last one stands there."""
    lines = [html.escape(re.sub("<[^>]+>", "", line)) for line in str(words).split("<br>")]
    first = -1.3 * (len(lines) - 1)
    rows = [_tag("tspan", line, x=float(x), dy=f"{1.3 if n else first:g}em")
            for n, line in enumerate(lines)]  # fmt: skip
    body = lines[0] if len(lines) == 1 else "".join(rows)
    return _tag("text", body, x=float(x), y=float(y), text_anchor=anchor, **options) if body else ""


def _path(x: Sequence[float], y: Sequence[float], **options: Any) -> str:
    """A line through points, with gaps where they are NaN."""
    steps, command = [], "M"
    for here, there in zip(x, y, strict=False):  # the shorter ends it, as in plotly
        known = np.isfinite(here) and np.isfinite(there)
        steps += [f"{command}{here:.1f} {there:.1f}"] if known else []
        command = "L" if known else "M"
    return _tag("path", d="".join(steps), **options) if steps else ""


def _image(pixels: np.ndarray, box: Sequence[float], **options: Any) -> str:
    """Pixels (C, H, W) in [0, 1] over a box from its left and top to its right and bottom."""
    x, y, right, bottom = map(float, box)
    size = {"width": right - x, "height": bottom - y, "preserveAspectRatio": "none"}
    return _tag("image", href=picture(pixels, "PNG"), x=x, y=y, **size, **options)


def _plane(figure: go.Figure, width: int, height: int) -> list[str]:
    """Panels of curves, points and tables of colors, with their axes, notes and legend."""
    axes = _axes(figure)
    legend, rows = _legend(figure, width - 16)
    notes = [note for note in figure.layout.annotations if note.yref == "paper"]
    top = ROW * (rows + max((note.text.count("<br>") + 1 for note in notes), default=0)) + 12
    upright = [axis for name, axis in axes.items() if name.startswith("y")]
    level = [axis for name, axis in axes.items() if name.startswith("x")]
    for axis in upright:
        axis.start, axis.end = height, top  # so far only for the number of its marks
    longest = max((len(word) for axis in upright for _, word in axis.marks()), default=0)
    left = 16 + LETTER * longest + 24 * any(axis.axis.title.text for axis in upright)
    written = any(axis.marks() for axis in level), any(axis.axis.title.text for axis in level)
    bottom = height - 8 - 22 * sum(written)
    bars = [t for t in figure.data if t.type == "heatmap" and t.showscale is not False]
    right = width - (90 if bars else 12)
    for every, start, end in ((level, left, right), (upright, bottom, top)):
        for axis in every:
            domain = axis.axis.domain or (0, 1)
            axis.start, axis.end = (start + share * (end - start) for share in domain)
    frame, parts = (left, top, right, bottom), [legend]
    panels = [(axes[t.xaxis or "x"], axes[t.yaxis or "y"]) for t in figure.data]
    for x, y in dict.fromkeys(panels):
        if y.axis.scaleanchor:
            _square(x, y)
        parts += _grid(x, y)
    for number, (trace, (x, y)) in enumerate(zip(figure.data, panels, strict=True)):
        parts += _table(trace, x, y) if trace.type == "heatmap" else _curve(trace, x, y, number)
    parts += [part for trace in bars for part in _bar(trace, frame, width)]
    marks = (*figure.layout.shapes, *figure.layout.annotations)
    return parts + [_mark(mark, axes, frame) for mark in marks]


def _axes(figure: go.Figure) -> dict[str, _Axis]:
    """The axes by their name in a trace, such as x2. Those that match share what is on them."""
    axes = {}
    for letter, kind in (("x", go.layout.XAxis), ("y", go.layout.YAxis)):
        usual = TEMPLATE.layout[f"{letter}axis"].to_plotly_json()
        names = [trace[f"{letter}axis"] or letter for trace in figure.data]
        given = {name: figure.layout[f"{letter}axis{name[1:]}"] for name in names}
        shared = [given[name].matches or name for name in names]
        for name, axis in given.items():
            one = axis.matches or name
            traces = [t for t, of in zip(figure.data, shared, strict=True) if of == one]
            marked = any("markers" in (getattr(trace, "mode", "") or "") for trace in traces)
            values = [part for trace in traces for part in _values(trace, letter)]
            axes[name] = _Axis(kind(usual | axis.to_plotly_json()), values, marked)
    return axes


def _values(trace: Any, letter: str) -> list[Sequence[Any]]:
    """What a trace has along an axis: a table of numbers reaches half a cell beyond its ends."""
    values = trace[letter]
    if trace.type == "heatmap" and not isinstance(values[0], str):
        half = (values[1] - values[0]) / 2
        return [[values[0] - half, values[-1] + half]]
    if letter == "y" and trace.type == "scatter" and trace.error_y.array is not None:
        spread = trace.error_y
        return [np.add(values, spread.array), np.subtract(values, spread.arrayminus)]
    return [values]


def _square(x: _Axis, y: _Axis) -> None:
    """A unit of x becomes as long as one of y: what is longer shrinks around its middle."""
    units = [abs(axis.end - axis.start) / (axis.high - axis.low) for axis in (x, y)]
    for axis, unit in zip((x, y), units, strict=True):
        middle, half = (axis.start + axis.end) / 2, (axis.end - axis.start) / 2
        axis.start = middle - half * min(units) / unit
        axis.end = middle + half * min(units) / unit


def _grid(x: _Axis, y: _Axis) -> list[str]:
    ends, last = [], -np.inf
    if x.axis.showgrid is not False:
        ends += [(at, y.start, at, y.end) for at, _ in x.ticks()]
    if y.axis.showgrid is not False:
        ends += [(x.start, at, x.end, at) for at, _ in y.ticks()]
    left, low, right, high = np.reshape(ends, (-1, 4)).T
    parts = [_path(strokes(left, right), strokes(low, high), stroke="#80808040")]
    for at, word in x.marks():
        if at - LETTER * len(word) / 2 > last:  # else there is no room for it
            parts.append(_text(at, y.start + 18, word))
            last = at + LETTER * len(word) / 2 + 4
    parts += [_text(x.start - 6, at + 4, word, "end") for at, word in y.marks()]
    parts.append(_text((x.start + x.end) / 2, y.start + 40, x.axis.title.text or ""))
    left = x.start - 16 - LETTER * max((len(word) for _, word in y.marks()), default=0)
    middle = (y.start + y.end) / 2
    turned = f"rotate(-90 {left:.1f} {middle:.1f})"
    return [*parts, _text(left, middle, y.axis.title.text or "", transform=turned)]


def _curve(trace: Any, x: _Axis, y: _Axis, number: int) -> list[str]:
    own = COLORS[number % len(COLORS)]
    if not isinstance(trace.marker.color, str | None):
        raise TypeError("no still shows points of several colors")
    color, mode = trace.line.color or trace.marker.color or own, trace.mode or "lines+markers"
    across, up = x.at(trace.x), y.at(trace.y)
    parts = []
    if trace.fill == "toself":
        return [_path(across, up, fill=trace.fillcolor)]
    if "lines" in mode:
        look = {"stroke": color, "stroke_dasharray": DASHES.get(trace.line.dash), "fill": "none"}
        width = 2 if trace.line.width is None else trace.line.width
        stairs = trace.type == "scatter" and trace.line.shape == "hv"
        line = (np.repeat(across, 2)[1:], np.repeat(up, 2)[:-1]) if stairs else (across, up)
        parts.append(_path(*line, **look, stroke_width=width))
    if trace.type == "scatter" and trace.error_y.array is not None:
        high, low = y.at(trace.y + trace.error_y.array), y.at(trace.y - trace.error_y.arrayminus)
        bars = strokes(across, across), strokes(low, high)
        parts.append(_path(*bars, stroke=color, stroke_width=2))
    if "markers" in mode:
        parts.append(_markers(across, up, trace.marker, color))
    if "text" in mode:
        inside = "middle" in (trace.textposition or "middle")
        lift = 4 if inside else -(trace.marker.size or 6) / 2 - 4
        ink = trace.textfont.color
        around = {"stroke_width": 3, "paint_order": "stroke", "font_weight": 600}
        around["stroke"] = "#000" if ink else "var(--aecore-page, #fff)"
        font = {"font_size": trace.textfont.size, "fill": ink, **around}
        for at, there, word in zip(across, up, trace.text, strict=True):
            parts.append(_text(at, there + lift, word, **font))
    return parts


def _markers(x: Sequence[float], y: Sequence[float], marker: Any, color: str) -> str:
    """All markers of a trace as one path: circles as the round ends of lines of no length."""
    size = float(6 if marker.size is None else marker.size)
    points = [(a, b) for a, b in zip(x, y, strict=False) if np.isfinite(a) and np.isfinite(b)]
    if (symbol := marker.symbol or "circle") == "circle":
        dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in points)
        look = {"stroke": color, "stroke_width": size, "stroke_linecap": "round"}
        return _tag("path", d=dots, opacity=marker.opacity, **look) if dots else ""
    corners = [MARKS[symbol] * size / 2 + point for point in points]
    shapes = "".join("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in each) + "z" for each in corners)
    edge = {"stroke": marker.line.color} if marker.line.width else {}
    return _tag("path", d=shapes, fill=color, opacity=marker.opacity, **edge) if shapes else ""


def _legend(figure: go.Figure, width: int) -> tuple[str, int]:
    """The names of the curves in lines of that width, and how many lines there are."""
    shown = [t for t in figure.data if t.name and t.showlegend is not False and t.type != "heatmap"]
    if figure.layout.showlegend is False or len(shown) < 2:
        return "", 0
    title = figure.layout.legend.title.text or ""
    parts, y = [_text(8, ROW, title, "start")], float(ROW)
    x = 24 + LETTER * len(title) if title else 8.0
    for number, trace in enumerate(shown):
        words = trace.name
        if x > 8 and x + 34 + LETTER * len(words) > width:
            x, y = 8.0, y + ROW
        color = trace.line.color or trace.marker.color or COLORS[number % len(COLORS)]
        if trace.fill == "toself":
            sign = _path((x, x + 26), (y - 4,) * 2, stroke=trace.fillcolor, stroke_width=12)
        elif "lines" in (trace.mode or ""):
            look = {"stroke": color, "stroke_dasharray": DASHES.get(trace.line.dash)}
            sign = _path((x, x + 26), (y - 4,) * 2, stroke_width=2, **look)
        else:
            marker = go.scatter.Marker(size=8, symbol=trace.marker.symbol)
            sign = _markers([x + 13], [y - 4], marker, color)
        parts += [sign, _text(x + 32, y, words, "start")]
        x += 48 + LETTER * len(words)
    return "".join(parts), int(y // ROW)


def _colors(values: np.ndarray, scale: Any) -> np.ndarray:
    """Values in [0, 1] as colors (4, ...) of a plotly scale, clear where they are NaN."""
    stops = np.array([stop for stop, _ in scale])
    colors = [hex_to_rgb(c) if c.startswith("#") else unlabel_rgb(c) for _, c in scale]
    channels = [np.interp(values, stops, channel) / 255 for channel in np.array(colors, float).T]
    return np.stack([*np.nan_to_num(channels), np.isfinite(values).astype(float)])


def _ends(trace: Any) -> tuple[float, float]:
    """The values of a table that have the first and the last of its colors."""
    z = np.array(trace.z, dtype=float)
    known = z[np.isfinite(z)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    return (low if trace.zmin is None else trace.zmin, high if trace.zmax is None else trace.zmax)


def _table(trace: Any, x: _Axis, y: _Axis) -> list[str]:
    z = np.array(trace.z, dtype=float)
    low, high = _ends(trace)
    colors = _colors((z - low) / max(high - low, 1e-12), trace.colorscale)[:, ::-1]
    ends = [axis.place(axis.numbers(of)[[0, -1]]) for axis, of in ((x, trace.x), (y, trace.y))]
    half = [(b - a) / (2 * max(n - 1, 1)) for (a, b), n in zip(ends, z.shape[::-1], strict=True)]
    half = [h or (axis.end - axis.start) / 2 for h, axis in zip(half, (x, y), strict=True)]
    (left, right), (bottom, top) = ((a - h, b + h) for (a, b), h in zip(ends, half, strict=True))
    look = {"opacity": trace.opacity, "style": "image-rendering:pixelated"}
    parts = [_image(colors, (left, top, right, bottom), **look)]
    if trace.texttemplate and abs(x.end - x.start) / z.shape[1] > 36:  # else there is no room
        form = re.sub(r"%{z:(.+)}", r"{:\1}", trace.texttemplate)
        for row, up in zip(z, y.at(trace.y), strict=True):
            for value, at in zip(row, x.at(trace.x), strict=True):
                ink = "#fff" if value < (low + high) / 2 else "#000"
                words = form.format(value) if value == value else ""
                parts.append(_text(at, up + 4, words, fill=ink))
    return parts


def _bar(trace: Any, frame: Sequence[float], width: int) -> list[str]:
    """The scale of a table's colors, at its right."""
    axis = _Axis(go.layout.YAxis(), [_ends(trace)], marked=False)
    axis.start, axis.end = frame[3], frame[1]
    colors = _colors(np.linspace(1, 0, 64), trace.colorscale)[:, :, None]
    left, middle = frame[2] + 12, (frame[1] + frame[3]) / 2
    words = [_text(left + 18, at + 4, word, "start") for at, word in axis.ticks()]
    turned = {"transform": f"rotate(-90 {width - 6} {middle:.1f})"}
    title = _text(width - 6, middle, trace.colorbar.title.text or "", **turned)
    return [_image(colors, (left, frame[1], left + 12, frame[3])), *words, title]


def _mark(what: Any, axes: dict[str, _Axis], frame: Sequence[float]) -> str:
    """A line across the plane, or a note on it."""

    def place(value: Any, reference: str, low: float, high: float) -> float:
        if reference == "paper":
            return low + value * (high - low)
        axis = axes[reference.split()[0]]
        if reference.endswith("domain"):
            return axis.start + value * (axis.end - axis.start)
        return float(axis.at([value])[0])

    left, top, right, bottom = frame
    if isinstance(what, go.layout.Shape):
        x = [place(value, what.xref, left, right) for value in (what.x0, what.x1)]
        y = [place(value, what.yref, bottom, top) for value in (what.y0, what.y1)]
        return _path(x, y, stroke=what.line.color, stroke_width=2, stroke_dasharray="3 3")
    anchor = {"left": "start", "right": "end"}.get(what.xanchor, "middle")
    drop = {"top": 16, "bottom": -6}.get(what.yanchor, 4)
    x, y = place(what.x, what.xref, left, right), place(what.y, what.yref, bottom, top)
    shift = {"start": 4, "end": -4}.get(anchor, 0)
    return _text(x + shift, y + drop, what.text or "", anchor, font_size=what.font.size)


def _parallel(trace: Any, width: int, height: int) -> list[str]:
    """Every trial as a line from axis to axis."""
    at = np.linspace(50, width - 60, len(trace.dimensions))
    parts, lines = [], []
    for x, dimension in zip(at, trace.dimensions, strict=True):
        options = {"tickvals": dimension.tickvals, "ticktext": dimension.ticktext}
        axis = _Axis(go.layout.YAxis(options), [dimension.values], marked=False)
        axis.start, axis.end = height - 20.0, 60.0
        lines.append(axis.at(dimension.values))
        parts.append(_path((x, x), (axis.start, axis.end), stroke="#808080"))
        parts.append(_text(x, 36, dimension.label))
        parts += [_text(x + 6, mark + 4, word, "start") for mark, word in axis.ticks()]
    worth = np.array(trace.line.color, dtype=float)
    shades = _colors((worth - worth.min()) / max(np.ptp(worth), 1e-12), trace.line.colorscale)
    every = zip(np.stack(lines, 1), (255 * shades[:3].T).round().astype(np.uint8), strict=True)
    drawn = [_path(at, y, stroke=f"#{rgb.tobytes().hex()}", fill="none") for y, rgb in every]
    return drawn + parts


def _camera(
    scene: Any, low: np.ndarray, high: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, Callable[..., np.ndarray]]:
    """Where a scene's camera is, and a function from places to pixels and depth (3, ...).

    The camera looks at the box from `low` to `high`, on so many pixels.
    """
    size = np.array([scene.aspectratio[letter] for letter in "xyz"])
    eye, zenith, center = (
        np.array([scene.camera[of][letter] or 0.0 for letter in "xyz"], float)
        for of in ("eye", "up", "center")
    )
    eye *= 1.25 if width < height else 1  # a step back on a phone, as in figures.js
    ahead = (center - eye) / np.linalg.norm(center - eye)
    side = np.cross(ahead, zenith if zenith.any() else (0.0, 0, 1))
    side /= np.linalg.norm(side)
    focal = height / 2 / np.tan(np.pi / 8)

    def seen(*places: Any) -> np.ndarray:
        points = np.stack([np.asarray(place, dtype=float) for place in places], -1)
        from_eye = ((points - low) / (high - low) - 0.5) * size - eye
        depth, across, up = from_eye @ ahead, from_eye @ side, from_eye @ np.cross(side, ahead)
        x, y = width / 2 + focal * across / depth, height / 2 - focal * up / depth
        return np.stack([x, y, depth])

    return eye, seen


def _scene(figure: go.Figure, width: int, height: int) -> list[str]:
    """The surface as its camera sees it, painted from the back, with what stands on it."""
    surface, *on = figure.data
    scene, z = figure.layout.scene, np.array(surface.z, dtype=float)
    step = max(1, len(z) // 60)
    z = z[::step, ::step]
    x, y = np.meshgrid(surface.x[::step], surface.y[::step])
    every = [np.concatenate([np.ravel(of) for of in parts]).astype(float)
             for parts in zip((x, y, z), *((t.x, t.y, t.z) for t in on), strict=True)]  # fmt: skip
    low, high = (np.array([end(of) for of in every]) for end in (np.nanmin, np.nanmax))
    high = np.where(high > low, high, low + 1)  # a flat surface has a box too
    eye, seen = _camera(scene, low, high, width, height)
    parts = [_painted(seen(x, y, z), z, surface.colorscale, width, height)]
    for trace in on:
        across, up, _ = seen(trace.x, trace.y, trace.z)
        if "lines" in trace.mode:
            parts.append(_path(across, up, stroke=trace.line.color, stroke_width=1.5))
        if "markers" in trace.mode:
            parts.append(_markers(across, up, go.scatter.Marker(size=8), ORANGE))
        if "text" in trace.mode:
            words = zip(across, up, trace.text, strict=True)
            parts += [_text(a, b - 8, word) for a, b, word in words]
    middle, near = (low + high) / 2, np.where(eye > 0, high, low)
    ends = {"x": (middle[0], near[1], low[2]), "y": (near[0], middle[1], low[2])}
    for letter, end in ends.items():
        across, up, _ = seen(*end)
        parts.append(_text(across, up + 22, scene[f"{letter}axis"].title.text or ""))
    return parts


def _painted(places: np.ndarray, z: np.ndarray, scale: Any, width: int, height: int) -> str:
    """The squares of a surface, heights `z` (n, m) at `places` (3, n, m), the farthest first."""
    corners = np.stack(
        [places[:, :-1, :-1], places[:, 1:, :-1], places[:, 1:, 1:], places[:, :-1, 1:]]
    )
    heights = (z[:-1, :-1] + z[1:, 1:]) / 2
    shades = _colors((heights - np.nanmin(z)) / max(np.ptp(z), 1e-12), scale)
    shades = (255 * shades).round().astype(int).reshape(4, -1).T
    flat = corners.reshape(4, 3, -1)
    canvas = Image.new("RGBA", (2 * width, 2 * height))
    pen = ImageDraw.Draw(canvas)
    for n in np.argsort(-flat[:, 2].mean(0)):
        pen.polygon([tuple(2 * corner) for corner in flat[:, :2, n]], tuple(shades[n]))
    link = picture(np.asarray(canvas).transpose(2, 0, 1) / 255, "WEBP", quality=80)
    return _tag("image", href=link, width=width, height=height)
