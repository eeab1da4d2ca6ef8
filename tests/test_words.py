"""Pages of other images than MNIST's: their words, and what is left out without classes."""

from types import SimpleNamespace

import nbformat
import pytest
import torch
from command import CHECKOUT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from aecore.data import one_of_each
from aecore.page import claims, classes
from aecore.page.show import caption_of
from aecore.publish import appendix, words

SHAPES = {"mnist": False, "name": "shapes", "counts": [480, 160], "shape": [3, 32, 32]}
SHAPES |= {"labeled": True, "classes": ["circle", "cross"]}
UNLABELED = SHAPES | {"labeled": False, "classes": ["0"]}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("What does a digit cost?", "What does an image cost?"),
        ("A digit; digits. Digits", "An image; images. Images"),
        ("never told which\ndigit an image shows", "never told of which class an image is"),
        ("images of the same\n  digit", "images of the same class"),
        ("784-128-10 takes the 784 pixels", "3072-128-10 takes the 3072 pixels"),
        ("`digit`, [a digit](digit.ipynb) and 1784", "`digit`, [an image](digit.ipynb) and 1784"),
        ("```bash\nrun digits\n```", "```bash\nrun digits\n```"),
        ("```{raw} html\n<a href='digit'>digit</a>\n```",
         "```{raw} html\n<a href='digit'>image</a>\n```"),
        ("Digital, digitize", "Digital, digitize"),
    ],
)  # fmt: skip
def test_a_page_speaks_of_its_images(written, said):
    assert words.in_markdown(written, CHECKOUT, SHAPES) == said
    assert words.in_markdown(written, CHECKOUT, words.MNIST) == written


def test_what_is_read_out_is_changed_and_data_are_not():
    markup = '<img alt="one digit of each class"><script>{"digit": 784}</script><p id="digit">digit'
    said = '<img alt="some test images"><script>{"digit": 784}</script><p id="digit">image'
    assert words.in_html(markup, CHECKOUT, UNLABELED) == said


def test_a_page_names_its_images():
    what = "Images: shapes, 480 to train and 160 to test, of 3 × 32 × 32; "
    assert words.note(SHAPES) == f"{what}classes: 0 circle, 1 cross."
    assert words.note(UNLABELED) == f"{what}no labels."
    assert words.note(words.MNIST) == ""


def test_a_name_that_looks_like_markup_is_text():
    page = new_notebook(cells=[new_markdown_cell("# One")])
    page.metadata["aecore"] = {"images": UNLABELED | {"name": "<script> *a* [b](c)"}}
    said = words.put_in(page, CHECKOUT).cells[1].source
    assert said.startswith(r"*Images: &lt;script&gt; \*a\* \[b\](c), 480 to train")


def test_every_phrase_stands_in_the_book_or_is_a_word():
    """A sentence that is written anew takes its phrase along."""
    table = words._table(CHECKOUT)
    notebooks = [nbformat.read(p, as_version=4) for p in (CHECKOUT / "notebooks").glob("*.ipynb")]
    texts = [cell.source.replace('"\n    "', "") for page in notebooks for cell in page.cells]
    texts += [(CHECKOUT / "book" / f"{name}.md").read_text() for name in table["prose"]]
    text = " ".join(" ".join(texts).replace('"', " ").split()).lower()
    phrases = {one: one.replace('"', " ") for one in (*table["other"], *table["unlabeled"])}
    assert [
        one for one, plain in phrases.items() if " ".join(plain.split()).lower() not in text
    ] == []


def test_cells_that_need_classes_say_why_they_did_not_run(monkeypatch, shown):
    shell = SimpleNamespace(input_transformers_post=[])
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    marked, other = ["# needs classes\n", "raise\n"], ["1 + 1\n"]
    for data, why in (
        (SimpleNamespace(tested=1, labeled=False), "the images here have no labels."),
        (SimpleNamespace(tested=1, labeled=True), "the images here are all of one."),
    ):
        classes.expect(data)
        [transform] = shell.input_transformers_post
        assert transform(other) == other
        exec("".join(transform(marked)))
        assert shown[-1]["text/plain"].endswith(why)
    classes.expect(SimpleNamespace(tested=2, labeled=True))
    assert shell.input_transformers_post == []


def test_a_section_says_once_what_it_needs():
    data = {classes.NEEDS: {"text": "why"}, "text/html": "why"}

    def cell():
        return new_code_cell(outputs=[new_output("display_data", data)])

    head, text = new_markdown_cell("## One"), new_markdown_cell("Some prose.")
    page = new_notebook(cells=[head, cell(), text, cell(), new_markdown_cell("## Two"), cell()])
    appendix.arranged(page)
    assert [len(one.get("outputs", [])) for one in page.cells] == [0, 1, 0, 0, 0, 1]


def test_no_sentence_has_a_number_that_there_is_not(shown):
    unknown = float("nan")
    claims.claim("c", f"It is {unknown:.2f}, a banana {unknown:.0%}.", unknown > 1)
    record = shown[-1][claims.CLAIM]
    assert (record["text"], record["holds"]) == ("It is unknown, a banana unknown.", None)
    claims.answer(f"From {unknown:.1f} to {3:.1f}.")
    assert shown[-1][claims.ANSWER]["text"] == "From unknown to 3.0."
    caption_of(f"At {unknown:.1f}.")
    assert "At unknown." in shown[-1]["text/html"]


def test_of_one_class_ten_images_stand_for_all():
    assert one_of_each(torch.zeros(12, dtype=torch.int64)).tolist() == [*range(10)]
    assert one_of_each(torch.tensor([2, 0, 2, 1])).tolist() == [1, 3, 0]
