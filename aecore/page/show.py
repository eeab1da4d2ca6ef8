"""What a notebook shows: figures, pictures and tables, with captions that say where they are from.

Each function displays a bundle that JupyterLab shows as it is and that the book brings to life with
the scripts of `book/assets`. Nothing here carries or asks for a library.
"""

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from aecore.page.still import picture, still

PLOTLY = "application/vnd.plotly.v1+json"
# Plotly's own default is a button that uploads the chart to its maker.
CONFIG = {"displaylogo": False, "responsive": True, "showSendToCloud": False}
SOURCE = "application/vnd.aecore.source+json"
KEYS_SHOWN = 4
MADE = {"device": "{}", "torch": "torch {}", "commit": "commit {}"}
NUMBER = re.compile(r"([+-]?[\d.,]+%?( ±\xa0[\d.,]+%?)?)?")  # or nothing
DESK, PHONE = 690, 350  # pixels that a still is wide


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
    behind it. `name` is how a prose page asks for the figure. With a `decoder` (see
    `networks.decoder`) of a 2-D code, pointing at a place of the figure's plane draws the image
    decoded there. With the name of a `sheet` (see `live.image_sheet`) pointing at a point shows
    the image whose number is the point's `customdata`.
    """
    drawing = _compact(json.loads(figure.to_json()))
    bundle = {"data": drawing["data"], "layout": drawing["layout"]}
    marks = {"name": name, "sheet": sheet}
    named = "".join(f' data-{key}="{escape(value)}"' for key, value in marks.items() if value)
    width = DESK - (140 if decoder else 0)  # of which the decoded image takes its part
    plot = f"{_stills(figure, alt, width)}{script('aecore-data', bundle)}"
    live = "" if decoder is None else script("aecore-decoder", decoder)
    markup = f'<figure class="aecore-figure"{named}>{plot}{live}</figure>'
    put(markup, alt, **{PLOTLY: {**bundle, "config": CONFIG}})
    caption_of(caption, runs)


def _stills(figure: Any, alt: str, width: int) -> str:
    """The figure as it looks before the page's scripts draw it: for a desk and for a phone.

    Several plots side by side keep their width on a phone, and scroll in their own box.
    """
    tall, kinds = int(figure.layout.height or 450), {trace.type for trace in figure.data}
    wide = len(list(figure.select_xaxes())) > 1 or "parcoords" in kinds
    low = tall if wide else min(tall, 330 if "surface" in kinds else 400)
    try:
        look = f'class="aecore-still" style="max-width:{width}px"'  # without our style sheet
        drawn = f'<div {look} aria-hidden="true">{still(figure, width, tall)}</div>'
        if not wide:  # hidden from pages without our style sheet
            look = 'class="aecore-still narrow" style="display:none"'
            drawn += f'<div {look} aria-hidden="true">{still(figure, PHONE, low)}</div>'
    except (TypeError, ValueError):  # not of the book's own figures, but of someone's section
        drawn = f'<p class="aecore-still">{escape(alt)}</p>'
    look = f'class="aecore-plot{" wide" if wide else ""}" style="--tall:{tall}px;--low:{low}px"'
    return f'<div {look} role="group" aria-label="{escape(alt)}">{drawn}</div>'


def pictures(rows: Mapping[str, Any], caption: str, *, alt: str, runs: Iterable[Any] = ()) -> None:
    """Displays rows of images under each other, each row with its label.

    `rows` maps a label to images (N, C, H, W) in [0, 1], C = 1 or 3, clipped where they leave it.
    `alt` says of every row what it shows; one without images is left out.
    """
    longest = max(map(len, rows.values()))
    lines = [
        f'<div><span>{escape(label)}</span><img src="{_strip(images)}" '
        f'alt="{escape(f"{label}: {alt}")}" '
        f'style="width:{100 * len(images) / longest:.4g}%;image-rendering:pixelated"></div>'
        for label, images in rows.items()
        if len(images)
    ]
    put(f'<figure class="aecore-pictures">{"".join(lines)}</figure>', alt)
    caption_of(caption, runs)


def table(
    frame: Any, caption: str, formats: Mapping[Any, str] | None = None, runs: Iterable[Any] = ()
) -> None:
    """Displays a pandas DataFrame as a table that scrolls in a box of its own on a narrow screen.

    `formats` maps a column to a format of its values, such as `{"test_mse": "{:.4f}"}`. A cell
    that holds several numbers, one a seed, shows their mean ± standard deviation.
    """
    shown = frame.copy()
    for name in frame:
        shown[name] = [_cell(value, (formats or {}).get(name)) for value in frame[name]]
    if type(frame.index).__name__ != "RangeIndex":
        names = "" if frame.index.names == [None] else None
        shown = shown.rename(index=_in_words).reset_index(names=names)
    shown = shown.rename(columns=_in_words)
    rows = [[_text(cell) for cell in row] for row in shown.itertuples(index=False)]
    numeric = [all(map(NUMBER.fullmatch, column)) for column in zip(*rows, strict=True)]
    head = _row(shown.columns, numeric, 'th scope="col"')
    body = "".join(_row(row, numeric, "td") for row in rows)
    cells = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
    # A box that scrolls has to be reached by keyboard, and says what it is.
    region = f'role="region" tabindex="0" aria-label="Table: {escape(caption)}"'
    put(f'<div class="aecore-table" {region}>{cells}</div>', str(frame))
    caption_of(caption, runs)


def _in_words(name: Any) -> str:
    return str(name).replace("_", " ")


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return "" if value is None or value != value else str(value)


def _row(cells: Sequence[str], numeric: Sequence[bool], tag: str) -> str:
    """A row of a table, its numbers to the right."""
    looks = [' class="number"' if number else "" for number in numeric]
    pairs = zip(cells, looks, strict=True)
    parts = [f"<{tag}{look}>{escape(cell)}</{tag[:2]}>" for cell, look in pairs]
    return f"<tr>{''.join(parts)}</tr>"


def spread(values: Iterable[float], form: str = "{:.4f}") -> str:
    """Mean ± standard deviation of the `values` of several seeds, as text.

    The mean alone where there is one value, nothing where there is none; NaN counts as none.
    """
    finite = np.array([value for value in np.ravel(list(values)) if value == value], dtype=float)
    if not len(finite):
        return ""
    mean = form.format(finite.mean())
    return mean if len(finite) == 1 else f"{mean} ± {form.format(finite.std(ddof=1)).lstrip('+')}"


def _cell(value: Any, form: str | None) -> Any:
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        largest = max((abs(of) for of in np.ravel(value) if of == of), default=0)
        usual = "{:.4f}" if largest < 10 else "{:.2f}" if largest < 1000 else "{:,.0f}"
        return spread(value, form or usual).replace("± ", "±\xa0")  # a line may end before it
    if isinstance(value, str):
        return sayable(value)
    if form is None:
        return value
    return "" if value is None or value != value else form.format(value)


def caption_of(caption: str, runs: Iterable[Any] = ()) -> None:
    """Displays the caption of what was displayed last, and the runs that its numbers are from."""
    source, caption = _source(list(runs)), sayable(caption)
    said = f"<p>{escape(caption)}</p>" if caption else ""
    if said or source:
        markup = f'<div class="aecore-caption">{said}{provenance([source] if source else [])}</div>'
        put(markup, caption, **({SOURCE: source} if source else {}))


def _source(runs: list[Any]) -> dict[str, list[str]]:
    """What there is to say of the runs behind a figure; nothing if there are none."""
    if not runs:
        return {}
    made = [run.provenance or {} for run in runs]
    facts = {name: [str(of[name]) for of in made if of.get(name)] for name in MADE}
    ended = [f"{run.key[:8]} in epoch {len(run.history)}" for run in runs if run.diverged]
    keys, seeds = [run.key[:8] for run in runs], [str(run.spec.seed) for run in runs]
    every = {"keys": keys, "seeds": seeds, **facts, "diverged": ended}
    return {name: list(dict.fromkeys(of)) for name, of in every.items()}


def provenance(sources: Sequence[Mapping[str, list[str]]]) -> str:
    """The runs behind one figure, or all those of a page, as one line; their keys when opened."""
    if not sources:
        return ""
    of = {name: list(dict.fromkeys(v for s in sources for v in s[name])) for name in sources[0]}
    keys = of["keys"]
    facts = [f"{_counted(len(keys), 'run')}, {_counted(len(of['seeds']), 'seed')}"]
    facts += [form.format(", ".join(of[name])) for name, form in MADE.items() if of[name]]
    facts += [f"diverged: {', '.join(of['diverged'])}"] if of["diverged"] else []
    line, codes = escape(" · ".join(facts)), " ".join(f"<code>{escape(key)}</code>" for key in keys)
    if len(keys) <= KEYS_SHOWN:
        return f'<p class="aecore-source">{line} · {codes}</p>'
    return f'<details class="aecore-source"><summary>{line}</summary><p>{codes}</p></details>'


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def put(markup: str, text: str, **bundle: Any) -> None:
    """Displays HTML, or for who can't show it the text, beside other forms by MIME type."""
    from IPython.display import display

    display({**bundle, "text/html": markup, "text/plain": text}, raw=True)


def script(kind: str, value: Any) -> str:
    """A script element that holds plain data for the page's own scripts, found by its class."""
    # "<" as an escape keeps any "</script>" or "<!--" inside a string from ending the element.
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" class="{kind}">{text}</script>'


def sayable(text: str) -> str:
    """A sentence with a word for each number in it that there is none for."""
    return re.sub(r"\bnan\b%?", "unknown", text)


def escape(text: Any) -> str:
    """Text that HTML shows as it is, in attributes too."""
    return html.escape(str(text), quote=True)


def _strip(images: Any) -> str:
    """Images (N, C, H, W) in [0, 1] side by side as a PNG in a data URL."""
    pixels = np.asarray(images, dtype=np.float32)
    pixels = np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, 1)))  # a dark line between two
    return picture(np.concatenate(list(pixels), axis=2)[:, :, :-1], "PNG")


def _compact(value: Any) -> Any:
    """The figure with its large arrays of doubles as float32, which halves the page."""
    if isinstance(value, dict):
        if value.get("dtype") == "f8" and len(value["bdata"]) > 2048:
            values = np.frombuffer(base64.b64decode(value["bdata"]), "<f8").astype("<f4")
            return {**value, "dtype": "f4", "bdata": base64.b64encode(values.tobytes()).decode()}
        return {key: _compact(part) for key, part in value.items()}
    return [_compact(part) for part in value] if isinstance(value, (list, tuple)) else value
