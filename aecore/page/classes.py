"""Cells that tell classes apart, in a notebook of images without labels or all of one class."""

from typing import Any

from aecore.page.show import escape, put

MARK = "# needs classes"  # the first line of such a cell
NEEDS = "application/vnd.aecore.needs+json"


class _Instead:
    """What IPython makes of a cell with the mark: the one sentence, and nothing of it runs."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __call__(self, lines: list[str]) -> list[str]:
        if not lines or lines[0].strip() != MARK:
            return lines
        return [f"from {__name__} import missing\n", f"missing({self.why!r})\n"]


def expect(data: Any) -> None:
    """From now on cells of this notebook with the mark run only if `data` has several classes.

    Otherwise each says in one sentence why not. Without IPython everything runs.
    """
    from IPython import get_ipython

    if (shell := get_ipython()) is None:
        return
    others = [one for one in shell.input_transformers_post if not isinstance(one, _Instead)]
    why = "are all of one" if data.labeled else "have no labels"
    instead = [_Instead(f"This tells classes apart, and the images here {why}.")]
    shell.input_transformers_post[:] = others + (instead if data.tested < 2 else [])


def missing(why: str) -> None:
    """Displays the sentence that stands where a cell did not run."""
    put(f'<p class="aecore-needs">{escape(why)}</p>', why, **{NEEDS: {"text": why}})
