"""Words for the images that a page is made of: notebooks are written for MNIST's digits."""

import html
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from aecore.page.claims import ANSWER, CLAIM

# What is known of them: `name`, `shape`, `counts`, names of `classes`, if `labeled`, if `mnist`.
Images = Mapping[str, Any]

MNIST: Images = {"mnist": True}
CODE = re.compile(r"(```.*?```|~~~.*?~~~|`[^`\n]+`|\]\([^)]*\))", re.S)
MARKUP = re.compile(r"(<script.*?</script>|<style.*?</style>|<[^>]*>)", re.S)
SPOKEN = re.compile(r'((?:alt|aria-label)=")([^"]*)(")')


def of(made: Mapping[str, Any]) -> Images:
    """The images that a notebook, of which this was `made` known, was executed with."""
    return made.get("images", MNIST)


def left_out(root: Path, images: Images) -> list[str]:
    """The pages, as `_toc.yml` calls them, that a book of these images does not have."""
    return [] if images["mnist"] else _table(root)["left_out"]


def prose(root: Path) -> list[str]:
    """The pages in `book/` whose words are for the images."""
    return _table(root)["prose"]


def several(images: Images) -> bool:
    """Whether there are classes to tell apart."""
    return images["mnist"] or (images["labeled"] and len(images["classes"]) > 1)


def put_in(page: NotebookNode, root: Path) -> NotebookNode:
    """The executed notebook, with words for its images in all that is read, but for its code."""
    images = of(page.metadata.get("aecore", {}))
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = in_markdown(cell.source, root, images)
        for data in (output.get("data", {}) for output in cell.get("outputs", ())):
            if "text/html" in data:
                data["text/html"] = in_html(data["text/html"], root, images)
            for kind in {ANSWER, CLAIM} & set(data):
                data[kind]["text"] = _change(root, images)(data[kind]["text"])
    if said := note(images):
        page.cells.insert(1, new_markdown_cell(f"*{_literal(said)}*"))
    return page


def in_markdown(text: str, root: Path, images: Images) -> str:
    """The text with words for these images, but for code and addresses in it."""
    change = _change(root, images)

    def code(part: str) -> str:
        return in_html(part, root, images) if part.startswith("```{raw} html") else part

    return "".join((code if n % 2 else change)(part) for n, part in enumerate(CODE.split(text)))


def in_html(markup: str, root: Path, images: Images) -> str:
    """The markup with words for these images in what is read, or read out."""
    change = _change(root, images)

    def spoken(tag: str) -> str:
        return SPOKEN.sub(lambda match: match[1] + change(match[2]) + match[3], tag)

    parts = MARKUP.split(markup)
    return "".join(spoken(part) if n % 2 else change(part) for n, part in enumerate(parts))


def note(images: Images) -> str:
    """A sentence on what images a page is made of; none on MNIST's, which it speaks of itself."""
    if images["mnist"]:
        return ""
    size = " × ".join(map(str, images["shape"]))
    train, test = (f"{count:,}" for count in images["counts"])
    names = [f"{n} {name}" if str(n) != name else name for n, name in enumerate(images["classes"])]
    shown = ", ".join(names if len(names) <= 40 else [*names[:39], f"… {names[-1]}"])
    classes = f"classes: {shown}" if images["labeled"] else "no labels"
    return f"Images: {images['name']}, {train} to train and {test} to test, of {size}; {classes}."


def _literal(text: str) -> str:
    """Markdown that says just this text: a name may look like markup."""
    return re.sub(r"([\\`*_\[\]{}$|])", r"\\\1", html.escape(text, quote=False))


def _change(root: Path, images: Images) -> Callable[[str], str]:
    if images["mnist"]:
        return lambda text: text
    phrases = _table(root)["other"] | ({} if several(images) else _table(root)["unlabeled"])
    by_word = {one.lower(): other for one, other in phrases.items()}
    longest = sorted(by_word, key=len, reverse=True)
    pattern = re.compile("|".join(f"({_pattern(one)})" for one in longest), re.I)
    pixels = math.prod(images["shape"])

    def put(match: re.Match) -> str:
        said = by_word[longest[match.lastindex - 1]].format(pixels=pixels)
        return said[:1].upper() + said[1:] if match[0][:1].isupper() else said

    return lambda text: pattern.sub(put, text)


def _pattern(phrase: str) -> str:
    """Of whole words, between which a line may end, with quotes as they are or as HTML has them."""
    words = r"\s+".join(map(re.escape, phrase.split()))
    words = words.replace('"', '(?:"|&quot;)').replace("'", "(?:'|&#x27;)")
    before, after = phrase[0].isalnum() * r"(?<!\w)", phrase[-1].isalnum() * r"(?!\w)"
    return before + words + after


@lru_cache
def _table(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "book" / "words.yaml").read_text(encoding="utf-8"))
