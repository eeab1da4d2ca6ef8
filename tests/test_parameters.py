import re
import sys
from contextlib import nullcontext
from pathlib import Path

import papermill
import pytest
import yaml
from command import CHECKOUT, notebook

from aecore.checks import InvalidValue
from aecore.data import load
from aecore.page import parameters as page
from aecore.publish import batch, parameters
from aecore.publish.parameters import Known

NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))
PROFILES = CHECKOUT / "profiles.yaml"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_of_a_notebook_says_what_it_may_be_and_papermill_reads_it(notebook):
    known = parameters.known(notebook)
    assert parameters.checked(notebook.stem, known, {}) == known.defaults
    assert list(papermill.inspect_notebook(str(notebook))) == list(known.defaults)
    for name, description in known.descriptions.items():
        plain = description in ("int", "float", "str", "bool")
        assert (
            "," in description
            or (plain and name in page.Spec.__dataclass_fields__)
            or (name == "gaussian_mean" or description == "bool")  # which have no range
        ), (name, description)


@pytest.mark.parametrize("name", yaml.safe_load(PROFILES.read_text()))
def test_every_value_of_a_profile_passes(name):
    sections = parameters.profile(PROFILES, name)
    shared, published = sections.pop("all", {}), sections.pop("published", {})
    assert {*sections, *published} <= {notebook.stem for notebook in NOTEBOOKS}
    assert set(published.values()) <= {"paper"}
    used = set()
    for path in NOTEBOOKS:
        known = parameters.known(path)
        used |= set(known.defaults)
        overrides = {key: value for key, value in shared.items() if key in known.defaults}
        parameters.checked(path.stem, known, {**overrides, **sections.get(path.stem, {})})
    assert set(shared) <= used


@pytest.mark.parametrize(
    ("description", "bad", "good"),
    [
        ("str, a data set", "cifar10", "my.npz"),
        ("str, a device", "gpu", "cuda:1"),
        ("int, at least 1", 0, 5),
        ("int, at least 1", True, 1),
        ("int, at least 1", 2.5, 80),
        ("int, at least 1", "4.5", 4),
        ("int or None, at least 1", 0, None),
        ("float, above 0", float("nan"), 1e-3),
        ("float, above 0", 0, 1),
        ("float, at least 0", float("inf"), 0),
        ("float, at least 0, below 1", 1, 0.99),
        ("bool", 1, True),
        ("str", 3, "three"),
        ("list[int], at least 1", 4, [4]),
        ("list[int], at least 1", [], [1, 2]),
        ("list[float], at least 0, at most 1", [0.5, 1.01], [0, 1]),
        ("list[float], a low and a high end, above 0", [0.2, 0.1], [0.1, 0.1]),
        ("list[float], a low and a high end, above 0", [0, 0.1, 0.2], [1, 2]),
        ("str, one of adam sgd", "lion", "sgd"),
        ("int, at least 2, at most 500", 501, 500),
        ("int or None, a class", -1, 9),
        ("dict", 3, {}),
    ],
)
def test_a_value_that_is_not_allowed_is_told_with_its_name(description, bad, good):
    known = Known({"x": good}, {"x": description})
    assert parameters.checked("page", known, {}) == {"x": good}
    with pytest.raises(InvalidValue, match=r"^page: x.* is not allowed: must be ") as told:
        parameters.checked("page", known, {"x": bad})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "description", "value"),
    [
        ("[1, 2]", "list[int], at least 1", [1, 2]),
        ("1e-3", "float, above 0", 0.001),
        (["1e-3", 2], "list[float]", [0.001, 2.0]),
        ("None", "int or None, at least 1", None),
        ("None", "str or None", None),
        ("12", "str", "12"),
        ("0.01", "float", 0.01),
    ],
)
def test_a_text_that_reads_as_the_type_is_taken_for_it(text, description, value):
    assert (
        page.check("learning_rate" if "float" in description else "x", text, description) == value
    )


def test_fields_of_a_spec_have_its_checks_and_others_their_default_s_type():
    source = 'batch_size: "int" = 1\nwidth = 0.5\nnames: list = ["a"]\nfree = None\n'
    of = {name: text for name, (_, text) in page.described(source).items()}
    assert of == {"batch_size": "int", "width": "float", "names": "list", "free": "NoneType"}
    assert page.check("width", 2, of["width"]) == 2.0
    assert page.check("mine", 3, "Thing") == 3
    plain = {"__annotations__": {"epochs": int, "mine": object}, "epochs": "3", "mine": ()}
    assert page.recipe(plain).epochs == plain["epochs"] == 3
    for name, value in (("batch_size", 0), ("width", "wide"), ("names", 3)):
        with pytest.raises(InvalidValue, match=f"^{name}=.* is not allowed"):
            page.check(name, value, of[name])


def test_each_choice_of_epochs_needs_its_weight():
    words = "list[float], as many as choices"
    known = Known(
        {"choices": [1, 2], "weights": [1, 1]}, {"choices": "list[int]", "weights": words}
    )
    with pytest.raises(InvalidValue, match=r"search: weights=.* 3 numbers, one for each of "):
        parameters.checked("search", known, {"choices": [1, 2, 3]})


def test_a_class_that_the_data_have_not_is_told_with_the_notebook(tiny):
    known = Known({"end_class": 2}, {"end_class": "int, a class"})
    assert parameters.checked("morphing", known, {}, load(tiny)) == {"end_class": 2}
    assert parameters.checked("morphing", known, {"end_class": 3}) == {"end_class": 3}
    with pytest.raises(InvalidValue, match=r"^morphing: end_class=3 .* at most 2 for this data"):
        parameters.checked("morphing", known, {"end_class": 3}, load(tiny))


def test_a_parameter_that_a_notebook_lacks_is_told_with_those_it_has():
    with pytest.raises(InvalidValue, match=r"surface: unknown parameter 'size': known are steps"):
        parameters.checked("surface", Known({"steps": 3}, {"steps": "int"}), {"size": 1})


NOTEBOOK = [
    'latent_dims: "list[int], at least 1" = [1]\nseeds: "int, at least 1" = 1\n'
    'start_digit: "int or None, a class" = None\nlearning_rate: "float" = 0.01\n'
    'dataset: "str, a data set" = "mnist"',
    "from aecore.page import parameters\nspec = parameters.recipe(globals(), epochs=1)",
    "print(latent_dims, seeds, start_digit, spec.learning_rate)",
]


@pytest.fixture
def small(tmp_path, tiny):
    """A project with one notebook whose second cell reads its parameters."""
    path = tmp_path / "notebooks" / "small.ipynb"
    notebook(path, *NOTEBOOK)
    (tmp_path / "profiles.yaml").write_text(f"quick: {{all: {{dataset: {tiny}}}}}\n")
    return path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"latent_dims": "[1, 2]", "learning_rate": "1e-3"}, "[1, 2] 1 None 0.001"),
        ({"seeds": True}, "seeds=True is not allowed: must be a whole number at least 1"),
        ({"start_digit": 12}, "start_digit=12 is not allowed: must be a whole number at most 2"),
        ({"latent_dims": "some"}, "latent_dims='some' is not allowed: must be a list"),
    ],
)
def test_papermill_and_aecore_run_say_the_same_of_what_is_given(small, tiny, given, said, tmp_path):
    """As papermill's users type it (`-p` and YAML), and before a kernel starts."""
    output, good = tmp_path / "out.ipynb", "is not" not in said
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", f"{sys.prefix}/share/jupyter")
        with (
            nullcontext()
            if good
            else pytest.raises(
                papermill.PapermillExecutionError, match=("InvalidValue: " + re.escape(said))
            )
        ):
            parts = {**given, "dataset": tiny}
            papermill.execute_notebook(str(small), str(output), parts, progress_bar=False)
    if good:
        assert said in output.read_text()
        assert (
            page.recipe.__name__
            and not batch.run(
                [], "quick", overrides=given, root=tmp_path, out=tmp_path / "o", progress=False
            )[0].problem
        )
    else:
        with pytest.raises(InvalidValue, match="^small: " + re.escape(said)):
            batch.run([], "quick", overrides=given, root=tmp_path, out=tmp_path / "o")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("x=[1,2,4]", [1, 2, 4]),
        ("x=[1, 2.5]", [1, 2.5]),
        ("x=1.0e-3", 0.001),
        ("x=null", None),
        ("x=cuda:0", "cuda:0"),
        ("x=__import__('os')", "__import__('os')"),
    ],
)
def test_a_setting_is_data(setting, value):
    assert parameters.parse(setting) == ("x", value)


@pytest.mark.parametrize("setting", ["x", "=3", "a b=3", "x=[1,", "x=!!python/object:os.system 1"])
def test_a_setting_that_cannot_be_read_is_told_in_one_line(setting):
    with pytest.raises(InvalidValue) as told:
        parameters.parse(setting)
    assert setting in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": [{}]}'])
def test_a_file_that_is_no_notebook_is_told_in_one_line(tmp_path: Path, content):
    path = tmp_path / "torn.ipynb"
    path.write_text(content)
    with pytest.raises(InvalidValue, match=r"^torn.ipynb: its parameters can't be read .*$"):
        parameters.known(path)


def test_a_class_or_image_that_the_data_set_lacks_is_told(tiny):
    words = {"start_image": "int, a test image", "end_digit": "int or None, a class"}
    words |= {"start_digit": words["end_digit"], "end_image": words["start_image"]}
    good = {"start_image": 59, "end_image": 0, "start_digit": None, "end_digit": 2}
    page.check_with(good, words, load(tiny))
    for name, value in (("start_image", 60), ("end_digit", 3)):
        with pytest.raises(InvalidValue, match=f"{name}={value} .* for this data set"):
            page.check_with({**good, name: value}, words, load(tiny))
    with pytest.raises(InvalidValue, match="end_image=59 is not allowed: must differ from start"):
        page.check_with({**good, "end_image": 59}, words, load(tiny))
