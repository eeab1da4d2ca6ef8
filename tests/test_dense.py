"""Dense networks written as text."""

from pathlib import Path

import pytest

from aecore import models
from aecore.checks import InvalidValue
from aecore.corruption import Masking
from aecore.data import load
from aecore.page.parameters import check, check_with, networks, parse_network
from aecore.page.reports import EXPERIMENTS
from aecore.publish import parameters
from aecore.spec import Spec

ROOT = Path(__file__).parent.parent


def test_widths_become_the_spec_of_a_network():
    texts = ["784-10", "pixels-512-128-10 noise 0.4"]
    plain, noisy = networks(texts, 784, Spec(architecture="dense", activation="sigmoid")).values()
    assert (plain.widths, plain.latent_dim, plain.corruption) == ((), 10, None)
    assert (noisy.widths, noisy.latent_dim, noisy.corruption) == ((512, 128), 10, Masking(0.4))
    sizes = [layer.in_features for layer in models.blank(noisy, (1, 28, 28)).encoder]
    assert sizes == [784, 512, 128]
    assert list(networks(texts, 784, Spec())) == ["784-10", "784-512-128-10, noise 0.4"]
    assert list(networks(texts[1:], 390, Spec())) == ["390-512-128-10, noise 0.4"]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "784",
            "784-",
            "784-0-10",
            "784--10",
            "784-1.5-10",
            "784-pixels-10",
            "-10",
            "",
            784,
            None,
        ),
        *("pixels", "pixelss-10", "pixels-10 noise 0.3 noise 0.3"),
        *("pixels-10 noise", "pixels-10 noise 1", "pixels-10 noise -0.1", "pixels-10 noise nan"),
    ],
)
def test_what_is_no_network_is_told_in_one_line(text):
    with pytest.raises(InvalidValue, match=r"^networks\[0\]=.*784-512-128-10") as told:
        parse_network("networks[0]", text)
    assert "\n" not in str(told.value)
    with pytest.raises(InvalidValue, match=r"^networks\[1\]="):
        check("networks", ["784-10", text], "list[str], a network")


def test_a_network_for_other_images_is_told(tiny):
    for value in (["pixels-9", "784-10"], "784-10"):
        with pytest.raises(InvalidValue, match=r"='784-10' .* for images of 144 pixels"):
            check_with({"n": value}, {"n": "str, a network"}, load(tiny))


def test_what_the_report_found_is_found_under_the_names_of_the_networks():
    written = parameters.known(ROOT / "notebooks" / "dense.ipynb").defaults["networks"]
    names = [parse_network("networks", text, 784)[0] for text in written]
    known = [one.network for one in EXPERIMENTS.values() if one.network]
    assert [f"{names[0]}, RMSProp 0.1", *names[1:]] == known
