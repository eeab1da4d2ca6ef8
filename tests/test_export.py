"""Networks taken elsewhere: what ONNX Runtime makes of an exported file."""

import sys

import numpy as np
import onnxruntime
import pytest

from aecore import models
from aecore.checks import InvalidValue
from aecore.runs import Run
from aecore.spec import Spec

KINDS = [
    {"architecture": "conv"},
    {"architecture": "dense", "widths": (20,), "tied": True, "centered": True},
    {"architecture": "vae", "loss": "elbo"},
    {"architecture": "residual"},
]


def untrained(**fields):
    spec = Spec(**fields)
    weights = models.build(spec, (1, 12, 13), 3).state_dict()
    arrays = {name: value.contiguous().numpy() for name, value in weights.items()}
    return Run("", spec, (1, 12, 13), [], 1, {}, weights=arrays)


@pytest.mark.parametrize("fields", KINDS, ids=lambda fields: fields["architecture"])
def test_onnx_runtime_computes_the_same(fields, tmp_path):
    run, path = untrained(**fields), tmp_path / "model.onnx"
    run.export(path)
    session = onnxruntime.InferenceSession(path)
    random = np.random.default_rng(0)
    for count in (1, 7):
        images = random.random((count, 1, 12, 13), dtype=np.float32)
        codes, again = session.run(["codes", "reconstructions"], {"images": images})
        np.testing.assert_allclose(codes, run.encode(images), atol=1e-5)
        np.testing.assert_allclose(again, run.reconstruct(images), atol=1e-5)


def test_what_cannot_be_exported_is_told_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(InvalidValue, match="a classifier has no reconstruction"):
        untrained(architecture="classifier", loss="cross_entropy").export(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InvalidValue, match=r"pip install 'aecore\[export\]'"):
        untrained().export(tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
