"""TensorBoard's files, read back with TensorBoard."""

import dataclasses
import io
import os

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aecore.checks import InvalidValue
from aecore.data import as_floats, load
from aecore.page import tensorboard as events
from aecore.page.parameters import check, networks
from aecore.runs import fit
from aecore.spec import Spec
from aecore.store.paths import writable_folder


@pytest.fixture(scope="module")
def runs(tiny):
    recipe = Spec(dataset=tiny, epochs=3, validation=0.2, batch_size=64)
    models = networks(["pixels-8-3", "144-3 noise 0.25"], 144, recipe)
    return dict(zip(models, fit(models.values(), device="cpu"), strict=True))


def read(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    return accumulator.Reload()


def test_tensorboard_reads_the_history_and_the_images(runs, tiny, tmp_path):
    images = load(tiny).test_images[:4]
    files = events.write(runs, tmp_path / "new" / "folder", images)
    assert [file.parent.name for file in files] == ["144-8-3", "144-3_noise_0.25"]
    for file, run in zip(files, runs.values(), strict=True):
        found = read(file.parent)
        assert set(found.Tags()["scalars"]) == {"train_loss", "validation_loss"}
        for tag in found.Tags()["scalars"]:
            points = [(event.step, event.value) for event in found.Scalars(tag)]
            expected = [(row["epoch"], np.float32(row[tag])) for row in run.history]
            assert points == expected
        (picture,) = found.Images(events.PICTURES)
        pixels = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)), dtype=float)[
            ..., 0
        ]
        assert pixels.shape == (picture.height, picture.width) == (2 * 12 * 4, 4 * 12 * 4)
        small = pixels[::4, ::4].reshape(2, 12, 4, 12).transpose(0, 2, 1, 3) / 255
        floats = as_floats(images)
        for row, wanted in zip(small, (floats, run.reconstruct(floats)), strict=True):
            assert np.abs(row - wanted[:, 0].numpy()).max() < 0.5 / 255 + 1e-6


def test_what_a_run_has_drawn_needs_no_network(runs, tiny, tmp_path):
    images, (name, run) = load(tiny).test_images[:4], next(iter(runs.items()))
    without = dataclasses.replace(run, weights={})
    (file,) = events.write({name: without}, tmp_path, images, [run.reconstruct(images)])
    (own,) = events.write({name: run}, tmp_path / "own", images)
    pictures = [read(of.parent).Images(events.PICTURES)[0] for of in (file, own)]
    assert pictures[0].encoded_image_string == pictures[1].encoded_image_string


def test_written_twice_no_curve_is_drawn_twice(runs, tiny, tmp_path):
    images = load(tiny).test_images[:4]
    name, run = next(iter(runs.items()))
    place = tmp_path / events.readable(name)
    place.mkdir()
    (place / "notes.txt").write_text("somebody's own")
    for _ in range(2):
        events.write(runs, tmp_path, images)
    assert [event.step for event in read(place).Scalars("train_loss")] == [1, 2, 3]
    assert len(list(place.iterdir())) == 2
    assert len(run.history) == 3


def test_colored_images_are_written_in_color(tmp_path):
    class Inverting:
        history = ()

        def reconstruct(self, images):
            return 1 - images

    images = torch.zeros(2, 3, 5, 7)
    images[:, 0] = 1  # red
    (file,) = events.write({"a": Inverting()}, tmp_path, images)
    (picture,) = read(file.parent).Images(events.PICTURES)
    pixels = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)))
    assert pixels.shape == (40, 56, 3)
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[-1, -1].tolist() == [0, 255, 255]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("784-512-128-10, noise 0.4, seed 0", "784-512-128-10_noise_0.4_seed_0"),
        ("../up/<and> away", "up_and_away"),
        ("...", "run"),
    ],
)
def test_a_folder_is_named_after_its_run(name, folder):
    assert events.readable(name) == folder


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_trained(tmp_path):
    (tmp_path / "file").write_text("in the way")
    way = str(tmp_path / "file" / "events")
    with pytest.raises(InvalidValue, match=r"logdir=.* must be the path of a folder that can be"):
        events.folder(way, "mnist")
    with pytest.raises(InvalidValue, match=r"logdir=.* is no folder\)"):
        check("logdir", way, "str or None, a folder")
    for odd in ("", "a\0b", "x" * 5000, 3):
        with pytest.raises(InvalidValue, match="folder"):
            writable_folder("logdir", odd)
    assert not (tmp_path / "new").exists()
    assert writable_folder("logdir", str(tmp_path / "new" / "er")) == tmp_path / "new" / "er"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InvalidValue, match="can't be written"):
        writable_folder("logdir", str(tmp_path / "new"))


def test_the_command_names_no_folder_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("AECORE_HOME", str(tmp_path))
    folder = events.folder(None, "fashion_mnist")
    shown = 'tensorboard --logdir "$AECORE_HOME/tensorboard/fashion_mnist"'
    assert events.command(folder) == shown
    monkeypatch.delenv("AECORE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert events.command(folder) == shown.replace("AECORE_HOME", "HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    assert events.command(folder) == 'tensorboard --logdir "tensorboard/fashion_mnist"'
