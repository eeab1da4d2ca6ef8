from pathlib import Path

import pytest
import yaml
from command import CHECKOUT

from aecore import data
from aecore.checks import InvalidValue
from aecore.publish import parameters

NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))
PROFILES = CHECKOUT / "profiles.yaml"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_default_of_a_notebook_has_a_check_and_passes_it(notebook):
    known = parameters.defaults(notebook)
    assert known
    assert set(known) <= set(parameters.CHECKS)
    assert parameters.checked(notebook.stem, known, {}) == known


@pytest.mark.parametrize("name", yaml.safe_load(PROFILES.read_text()))
def test_every_value_of_a_profile_passes(name):
    sections = parameters.profile(PROFILES, name)
    shared = sections.pop("all", {})
    assert set(sections) <= {notebook.stem for notebook in NOTEBOOKS}
    used = set()
    for notebook in NOTEBOOKS:
        known = parameters.defaults(notebook)
        used |= set(known)
        overrides = {key: value for key, value in shared.items() if key in known}
        parameters.checked(notebook.stem, known, {**overrides, **sections.get(notebook.stem, {})})
    assert set(shared) <= used


def test_the_names_of_the_data_sets_are_those_that_can_be_loaded():
    assert parameters.DATASETS == data.DATASETS


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("dataset", "cifar10", "my.npz"),
        ("device", "gpu", "cuda:1"),
        ("seeds", 0, 5),
        ("seeds", True, 1),
        ("epochs", 2.5, 80),
        ("train_images", 0, None),
        ("learning_rate", float("nan"), 1e-3),
        ("learning_rate", 0, 1),
        ("weight_decay", float("inf"), 0),
        ("dropout", 1, 0.99),
        ("latent_dim", "4", 4),
        ("latent_dims", 4, [4]),
        ("latent_dims", [], [1, 2]),
        ("noise_levels", [0, -0.1], [0, 3]),
        ("occlusion_levels", [0.5, 1.01], [0, 1]),
        ("learning_rate_range", [0.1, 0.1], [0.01, 0.1]),
        ("learning_rate_range", [0, 0.1], [1, 2]),
        ("dropout_range", [0, 0.1, 0.2], [0.1, 0.1]),
        ("epoch_weights", [0.5, 0], [0.5, 0.5]),
        ("optimizer", "lion", "sgd"),
        ("validation", 0, 0.2),
        ("latent_points", 501, 500),
        ("samples", 0, 200),
        ("start_digit", -1, 9),
        ("steps", 1, 100),
    ],
)
def test_a_value_that_is_not_allowed_is_told_with_its_name(name, bad, good):
    assert parameters.checked("page", {name: good}, {}) == {name: good}
    with pytest.raises(InvalidValue) as told:
        parameters.checked("page", {name: good}, {name: bad})
    message = str(told.value)
    assert message.startswith(f"page: {name}")
    assert "must be" in message
    assert "\n" not in message


def test_each_choice_of_epochs_needs_its_weight():
    known = {"epoch_choices": [1, 2], "epoch_weights": [0.5, 0.5]}
    with pytest.raises(InvalidValue, match="must be 3 numbers"):
        parameters.checked("search", known, {"epoch_choices": [1, 2, 3]})


def test_a_parameter_that_a_notebook_lacks_is_told_with_those_it_has():
    with pytest.raises(InvalidValue, match="surface: unknown parameter 'size': known are steps"):
        parameters.checked("surface", {"steps": 3}, {"size": 1})


def test_a_new_parameter_of_ones_own_must_have_its_default_s_type():
    assert parameters.checked("mine", {"width": 0.5}, {"width": 2}) == {"width": 2.0}
    with pytest.raises(InvalidValue, match="mine: width='wide' is not allowed"):
        parameters.checked("mine", {"width": 0.5}, {"width": "wide"})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("x=[1,2,4]", [1, 2, 4]),
        ("x=[1, 2.5]", [1, 2.5]),
        ("x=1e-3", 0.001),
        ("x=[1e-3, 1E2]", [0.001, 100.0]),
        ("x=inf", float("inf")),
        ("x=None", None),
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
        parameters.defaults(path)


def test_an_image_that_the_data_set_lacks_is_told():
    parameters.checked_with_data("morphing", {"start_image": 59, "end_digit": 2}, 60, 3, 144)
    for values in ({"start_image": 60}, {"end_digit": 3}, {"query_image": 60}):
        with pytest.raises(InvalidValue, match=r"morphing: .* for this data set"):
            parameters.checked_with_data("morphing", values, 60, 3, 144)
