"""Images in every form that people have: the same pixels and classes, or one line that says no."""

import gzip
import os
import pickle
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from aecore.data import load
from aecore.store import conversion, forms, sources
from aecore.store.sources import DataError

RANDOM = np.random.default_rng(0)
TRAIN = RANDOM.integers(0, 256, (24, 9, 9), np.uint8)
TRAIN[0, 0, :2] = 0, 255  # the whole range
TEST = RANDOM.integers(0, 256, (12, 9, 9), np.uint8)
OF_TRAIN, OF_TEST = np.arange(24) % 3, np.arange(12) % 3


def ours(train=TRAIN, of_train=OF_TRAIN, test=TEST, of_test=OF_TEST, **more) -> dict:
    arrays = {"train_images": train, "train_labels": of_train}
    return {**arrays, "test_images": test, "test_labels": of_test, **more}


def both(convert) -> dict:
    """The documented form, with other images."""
    return ours(convert(TRAIN), test=convert(TEST))


@pytest.fixture
def read(tmp_path):
    """Arrays written as an .npz file and read again."""

    def read_again(arrays, option=""):
        np.savez(tmp_path / "mine.npz", **arrays)
        return load(f"{tmp_path / 'mine.npz'}{option}")

    return read_again


def same(data, train=TRAIN, test=TEST) -> bool:
    """Whether images and labels are exactly those, in their order."""
    assert data.train_images.dtype == torch.uint8 and data.train_labels.dtype == torch.int64
    parts = ((data.train_images, train), (data.test_images, test))
    alike = all(np.array_equal(found[:, 0].numpy(), given) for found, given in parts)
    return alike and [*data.train_labels] == [*OF_TRAIN] and [*data.test_labels] == [*OF_TEST]


def test_the_documented_form_is_read_as_it_is_and_keeps_its_digest(read):
    data = read(ours())
    assert same(data) and data.said == () and data.names == ("0", "1", "2") and data.labeled
    # Stored runs have their keys from it: SHA-256 of name, type, shape and bytes of each array.
    assert data.digest[:16] == "a78f730c58dd1a8e"


def test_keras_file(read):
    assert same(read({"x_train": TRAIN, "y_train": OF_TRAIN, "x_test": TEST, "y_test": OF_TEST}))


def test_medmnist_file(read):
    colors = [np.stack([x, x // 2, 255 - x], -1) for x in (TRAIN, TEST)]  # channels last
    column = {"of_train": OF_TRAIN[:, None].astype("u1"), "of_test": OF_TEST[:, None]}
    more = {"val_images": colors[0][:5], "val_labels": OF_TRAIN[:5]}
    data = read(ours(colors[0], test=colors[1], **column, **more))
    assert data.train_images.shape == (24, 3, 9, 9) and same(data)
    assert torch.equal(data.test_images[:, 1], data.test_images[:, 0] // 2)
    assert "val_images, val_labels: left out, neither for training nor for testing" in data.said


@pytest.mark.parametrize(
    ("convert", "said"),
    [
        (lambda x: x.astype("i8"), "int64 within 0 … 255 became bytes, nothing lost"),
        (lambda x: x.astype("u2"), "uint16 within 0 … 255 became bytes, nothing lost"),
        (lambda x: x.astype("u2") * 257, "16 bits became bytes 0 … 255, nothing lost"),
        (lambda x: x / np.float32(255), "floats 0 … 1 became bytes 0 … 255, nothing lost"),
        (lambda x: (x / 255).astype("f2"), "floats 0 … 1 became bytes 0 … 255, rounded to"),
        (lambda x: x / np.float32(127.5) - 1, "floats −1 … 1 became bytes 0 … 255, nothing lost"),
        (lambda x: x.astype("f8"), "floats 0 … 255 became bytes 0 … 255, nothing lost"),
        (lambda x: x / 255 + 1e-7, "floats 0 … 1 became bytes 0 … 255, nothing lost"),
        (lambda x: x.reshape(-1, 81), "rows of 81 pixels are squares of 9 × 9"),
        (lambda x: x[..., None], "channels came last, and stand first"),
        (lambda x: x[:, None], None),
    ],
)
def test_every_type_and_shape_gives_the_same_bytes(read, convert, said):
    data = read(both(convert))
    assert same(data)
    assert not said or data.said[0].startswith(said)


@pytest.mark.parametrize("convert", [lambda x: x > 99, lambda x: (x > 99).astype("u1")])
def test_black_and_white_are_0_and_255(read, convert):
    data = read(both(convert))
    assert same(data, (TRAIN > 99) * 255, (TEST > 99) * 255) and len(data.said) == 1


def test_floats_are_rounded_to_the_nearest_byte_and_that_is_said(read):
    data = read(both(lambda x: np.clip(x / 255 + 0.4 / 255, 0, 1)))
    assert same(data) and "rounded to the nearest of 256 levels" in data.said[0]
    data = read(both(lambda x: np.clip(x / 255 + 0.6 / 255, 0, 1)))
    assert same(data, np.minimum(TRAIN.astype(int) + 1, 255), np.minimum(TEST.astype(int) + 1, 255))


@pytest.mark.parametrize(("ink", "ground", "name"), [(200, 0, "black"), (30, 255, "white")])
def test_transparent_images_are_put_on_what_shows_them(read, ink, ground, name):
    opacity = TRAIN.astype(np.uint8)
    layers = np.stack([np.full_like(TRAIN, ink)] * 3 + [opacity], -1)
    data = read(ours(layers, test=layers[:12]))
    share = opacity / 255
    assert np.array_equal(data.train_images[:, 2], np.rint(ink * share + ground * (1 - share)))
    assert f"transparent images were put on {name}" in data.said
    opaque = np.concatenate([layers[..., :3], np.full_like(layers[..., :1], 255)], -1)
    assert (read(ours(opaque, test=opaque[:12])).train_images == ink).all()


@pytest.mark.parametrize(
    ("labels", "names", "said"),
    [
        (lambda y: y + 1, "1 2 3", "labels 1, 2, 3 became classes 0 … 2"),
        (lambda y: 5 * y, "0 5 10", "labels 0, 5, 10 became classes 0 … 2"),
        (lambda y: y.astype("f4"), "0 1 2", None),
        (lambda y: np.array(["2 a", "10 b", "c"])[y], "2 a,10 b,c", "texts became classes 0 … 2"),
        (lambda y: np.array([b"a", b"b", b"\xc3\xbc"])[y], "a b ü", "texts became"),
        (lambda y: np.eye(3, dtype="f4")[y], "0 1 2", "one-hot labels are the numbers of their 3"),
    ],
)
def test_labels_become_classes_in_order_and_keep_their_names(read, labels, names, said):
    data = read(ours(of_train=labels(OF_TRAIN), of_test=labels(OF_TEST)))
    assert same(data) and data.classes == 3
    assert data.names == tuple(names.split("," if "," in names else " "))
    assert [one.startswith(said) for one in data.said] == ([True] if said else [])


def test_images_without_labels_are_of_one_class(read):
    data = read({"train_images": TRAIN, "test_images": TEST})
    assert not data.labeled and data.classes == 1 and not data.train_labels.any()
    assert sorted(map(bytes, data.train_images.numpy())) == sorted(map(bytes, TRAIN))
    assert not np.array_equal(data.train_images[:, 0], TRAIN)  # they may have been sorted


def test_transposed_images_are_turned_where_the_path_says_so(read):
    turned = both(lambda x: x.swapaxes(1, 2))
    assert same(read(turned, "#transpose")) and not same(read(turned))
    assert read(turned, "#transpose").name == "mine"
    with pytest.raises(DataError, match="no such file"):
        read(turned, "#rotate")


def test_sorted_classes_are_shuffled_the_same_way_every_time(read, tmp_path):
    order = np.argsort(OF_TRAIN, kind="stable")
    data = read(ours(TRAIN[order], OF_TRAIN[order]))
    assert set(data.train_labels[:10].tolist()) == {0, 1, 2}
    found = {
        bytes(x): int(y) for x, y in zip(data.train_images.numpy(), data.train_labels, strict=True)
    }
    assert found == {bytes(x): y for x, y in zip(TRAIN, OF_TRAIN, strict=True)}
    assert data.said == ("train_images, sorted by class, were shuffled (seed 0)",)
    assert np.array_equal(data.test_images[:, 0], TEST)
    np.savez(tmp_path / "again.npz", **ours(TRAIN[order], OF_TRAIN[order]))
    assert load(str(tmp_path / "again.npz")).digest == data.digest
    assert conversion.shuffled(6).tolist() == [5, 2, 1, 3, 0, 4]  # in every version


@pytest.mark.parametrize(
    ("labels", "sorted_"),
    [
        (np.repeat([2, 0, 1], 20), True),  # blocks, in whatever order
        (np.tile(np.repeat([0, 1, 2], 20), 2), True),  # two sorted sets, one after the other
        (np.repeat(np.arange(50), 2), True),
        (np.random.RandomState(0).randint(0, 10, 1000), False),
        (np.random.RandomState(0).randint(0, 2, 50), False),
        (np.arange(60) % 3, False),
        (np.zeros(60), False),
        (np.arange(60), False),
    ],
)
def test_sorted_is_what_leaves_classes_out(labels, sorted_):
    assert conversion.grouped(labels) is sorted_


def test_kaggle_csv_is_divided_class_by_class(tmp_path):
    def written(name, head, rows):
        lines = [",".join(map(str, row)) for row in rows]
        (tmp_path / name).write_text("\n".join([*head, *lines]) + "\n")
        return load(str(tmp_path / name))

    rows = [[y, *x.ravel()] for x, y in zip(TRAIN, OF_TRAIN, strict=True)]
    head = ",".join(["label", *(f"pixel{n}" for n in range(81))])
    data = written("kaggle.csv", [head], rows)
    assert data.test_labels.bincount().tolist() == [2, 2, 2] and len(data.train_labels) == 18
    every = torch.cat([data.train_images, data.test_images]).numpy()
    labels = torch.cat([data.train_labels, data.test_labels]).tolist()
    given = {bytes(x): y for x, y in zip(TRAIN, OF_TRAIN, strict=True)}
    assert {bytes(x): y for x, y in zip(every, labels, strict=True)} == given
    assert "one set: 20% of every class drawn for testing, at random (seed 0)" in data.said
    assert written("bare.csv", [], rows).digest == data.digest
    last = ",".join([*(f"pixel{n}" for n in range(81)), "class"])
    named = written("last.csv", [last], [[*row[1:], "abc"[row[0]]] for row in rows])
    assert named.digest == data.digest and named.names == ("a", "b", "c")
    assert not written("test.csv", [head[6:]], [row[1:] for row in rows]).labeled
    with pytest.raises(DataError, match="image 24 lacks a value"):
        written("torn.csv", [head], [*rows[:-1], rows[-1][:40]])
    with pytest.raises(DataError, match="column name has texts"):
        written("texts.csv", ["label,name"], [[0, "a"], [1, "b"]])


def test_svhn_file(tmp_path):
    colors = np.stack([TRAIN, TRAIN // 2, 255 - TRAIN])  # (C, N, H, W)
    digits = np.arange(24) % 10
    given = {"X": colors.transpose(2, 3, 0, 1), "y": np.where(digits == 0, 10, digits)[:, None]}
    savemat(tmp_path / "svhn.mat", given)
    data = load(str(tmp_path / "svhn.mat"))
    every = torch.cat([data.train_images, data.test_images])
    labels = torch.cat([data.train_labels, data.test_labels]).tolist()
    found = {bytes(x): y for x, y in zip(every[:, 0].numpy(), labels, strict=True)}
    assert found == {bytes(x): y for x, y in zip(TRAIN, digits, strict=True)}
    assert torch.equal(every[:, 2], 255 - every[:, 0]) and data.names == tuple("0123456789")
    assert "the label 10 is the digit 0, as in SVHN" in data.said


def test_emnist_structure(tmp_path):
    def part(images, labels):  # MATLAB's way: columns first
        return {"images": images.swapaxes(1, 2).reshape(-1, 81), "labels": labels[:, None] + 1}

    parts = {"train": part(TRAIN, OF_TRAIN), "test": part(TEST, OF_TEST)}
    savemat(tmp_path / "emnist.mat", {"dataset": parts})
    assert same(load(f"{tmp_path / 'emnist.mat'}#transpose"))


def test_an_array_of_images_is_divided(tmp_path):
    np.save(tmp_path / "x.npy", TRAIN)
    data = load(str(tmp_path / "x.npy"))
    assert not data.labeled and (len(data.train_images), len(data.test_images)) == (19, 5)
    every = torch.cat([data.train_images, data.test_images]).numpy()
    assert sorted(map(bytes, every)) == sorted(map(bytes, TRAIN))


def test_a_folder_with_a_file_for_each_part(tmp_path):
    svhn, npy, csv = (tmp_path / name for name in ("svhn", "npy", "csv"))
    for folder in (svhn, npy, csv):
        folder.mkdir()
    for part, x, y in (("train", TRAIN, OF_TRAIN), ("test", TEST, OF_TEST)):
        digits = np.where(y == 0, 10, y)[:, None]  # no part has all ten
        savemat(svhn / f"{part}_32x32.mat", {"X": x.transpose(1, 2, 0), "y": digits})
        np.save(npy / f"X_{part}.npy", x)
        np.save(npy / f"y_{part}.npy", y)
        rows = [
            ",".join(map(str, [label, *image.ravel()])) for image, label in zip(x, y, strict=True)
        ]
        (csv / f"own-{part}.csv").write_text("\n".join(rows))
    assert all(same(load(str(folder))) for folder in (svhn, npy, csv))
    (csv / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    assert "sample_submission.csv: passed over" in load(str(csv)).said
    (csv / "own-test.csv").write_text("\n".join(row.partition(",")[2] for row in rows))
    with pytest.raises(DataError, match="name the part with labels alone"):
        load(str(csv))
    np.savez(npy / "train.npz", **ours())
    with pytest.raises(DataError, match="5 files of images"):
        load(str(npy))


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def drop_in(folder: Path) -> Path:
    """Idx files of others under MNIST's names."""
    folder.mkdir()
    arrays = (TRAIN, OF_TRAIN.astype("u1"), TEST, OF_TEST.astype("u1"))
    for name, array in zip(sources.FILES, arrays, strict=True):
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    return folder


def test_a_folder_of_idx_files(tmp_path):
    folder = drop_in(tmp_path / "other")
    (folder / sources.FILES[0]).write_bytes(idx(TRAIN))  # unzipped, beside itself
    assert same(load(str(folder))) and load(str(folder)).name == "other"
    (folder / f"{sources.FILES[2]}.gz").write_bytes(gzip.compress(idx(TEST)[:-9]))
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz is damaged"):
        load(str(folder))


def test_whole_files_under_mnists_names_are_not_called_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("AECORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AECORE_DATA", str(drop_in(tmp_path / "other")))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sources._find(tmp_path / "other", sources.FILES[0], sources.MD5["mnist"][0], "mnist")
    (line,) = (str(one.message) for one in said)
    passed = f"passed over (--dataset {tmp_path / 'other'} reads them)"
    assert line.endswith(f"is whole, but not one of MNIST's files: {passed}")


def pictures(folder: Path, images=TRAIN, labels=OF_TRAIN, ending="png") -> Path:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "abc"[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.{ending}")
    return folder


def content(images, labels) -> list:
    return sorted((bytes(x), int(y)) for x, y in zip(np.asarray(images), labels, strict=True))


def test_a_folder_of_pictures_with_train_and_test(tmp_path):
    pictures(tmp_path / "own" / "train")
    pictures(tmp_path / "own" / "test", TEST, OF_TEST, "bmp")
    (tmp_path / "own" / "train" / "a" / ".ipynb_checkpoints").mkdir()
    for hidden in ("train/a/.ipynb_checkpoints/0.png", "train/a/.DS_Store"):
        (tmp_path / "own" / hidden).write_bytes(b"no picture")
    (tmp_path / "own" / "train" / "a" / "notes.txt").write_text("no picture")
    (tmp_path / "own" / "train" / "empty").mkdir()
    data = load(str(tmp_path / "own"))
    assert data.names == ("a", "b", "c") and data.name == "own"
    assert content(data.train_images, data.train_labels) == content(TRAIN, OF_TRAIN)
    assert content(data.test_images, data.test_labels) == content(TEST, OF_TEST)
    assert set(data.train_labels[:10].tolist()) == {0, 1, 2}
    assert "train/: 1 files passed over (no picture, or in no folder of a class)" in data.said
    (tmp_path / "own" / "train").rename(tmp_path / "own" / "training")
    (tmp_path / "own" / "test").rename(tmp_path / "own" / "val")
    assert load(str(tmp_path / "own")).digest == data.digest
    (tmp_path / "own" / "val").rename(tmp_path / "own" / "other")
    with pytest.raises(DataError, match="train/ has no test/ beside it"):
        load(str(tmp_path / "own"))


def test_a_folder_with_a_folder_a_class_is_divided(tmp_path):
    folder = pictures(tmp_path / "zip" / "own")
    data = load(str(tmp_path / "zip"))  # as it is unpacked, with a folder around it
    assert data.test_labels.bincount().tolist() == [2, 2, 2]
    every = torch.cat([data.train_images, data.test_images])
    labels = torch.cat([data.train_labels, data.test_labels])
    assert content(every, labels) == content(TRAIN, OF_TRAIN)
    assert load(str(folder)).digest == data.digest
    Image.fromarray(TEST[0]).save(folder / "a" / "new.png")
    assert len(load(str(folder)).train_images) + len(load(str(folder)).test_images) == 25


def test_pictures_alone_are_unlabeled(tmp_path):
    for number, image in enumerate(TRAIN):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    data = load(str(tmp_path))
    every = torch.cat([data.train_images, data.test_images])
    assert not data.labeled and content(every, [0] * 24) == content(TRAIN, [0] * 24)


def written(folder: Path, *images: Image.Image) -> np.ndarray:
    """All that is read of the pictures, (N, C, H, W) in the order of their sums."""
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    data = load(str(folder))
    every = torch.cat([data.train_images, data.test_images]).numpy()
    return every[np.argsort(every.sum((1, 2, 3)))]


def test_pictures_of_every_kind_of_pixels(tmp_path):
    gray = Image.new("L", (6, 5), 10)
    color = Image.new("RGB", (6, 5), (10, 200, 30))
    palette = color.quantize(4)
    found = written(tmp_path, gray, color, palette)
    assert found.shape == (3, 3, 5, 6) and (found[0] == 10).all()
    assert found[1:, :, 0, 0].tolist() == [[10, 200, 30]] * 2


@pytest.mark.parametrize(
    ("images", "pixels"),
    [
        ((Image.new("1", (4, 4), 1), Image.new("L", (4, 4), 7)), [[7], [255]]),
        ((Image.new("RGB", (4, 4), (9, 9, 9)), Image.new("L", (4, 4), 7)), [[7], [9]]),
        (
            (Image.fromarray(np.full((4, 4), 257 * 30, "u2")), Image.new("L", (4, 4), 40)),
            [[30], [40]],
        ),
        ((Image.new("LA", (4, 4), (200, 51)), Image.new("L", (4, 4), 250)), [[40] * 3, [250] * 3]),
    ],
)
def test_pictures_of_two_kinds_become_alike(tmp_path, images, pixels):
    assert written(tmp_path, *images)[:, :, 0, 0].tolist() == pixels


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (ours(of_train=np.eye(24, 3, dtype=int) + 1), "not several .multi-label"),
        (ours(of_test=OF_TEST + 0.5), "test_labels: float64"),
        (ours(of_test=OF_TEST.astype(str)), "some labels are numbers, others texts"),
        (ours(TRAIN.astype("f4"), test=TEST), "differ in type"),
        (both(lambda x: x * 2.0), "float64 .* 0 … 510"),
        (both(lambda x: x.astype("i4") - 9), "int32 .*-9 … 246"),
        (both(lambda x: np.where(x > 9, np.nan, x)), "nan … nan"),
        (both(lambda x: x.astype("c8")), "complex64"),
        (both(lambda x: x[:, :8].reshape(-1, 72)), r"\(24, 72\)"),
        (both(lambda x: x[:, None, None]), r"\(24, 1, 1, 9, 9\)"),
        (ours(np.array([x[: 5 + n % 2] for n, x in enumerate(TRAIN)], object)), "Python objects"),
        ({"weights": TRAIN}, "an array is missing; .*there are weights"),
        ({"x_train": TRAIN, "y_train": OF_TRAIN}, "an array is missing"),
        (ours(TRAIN[:3], [0, 1, 2], TEST[:0], []), r"test_images: uint8 \(0, 9, 9\)"),
    ],
)
def test_what_is_no_set_of_images_is_one_clear_line(read, tmp_path, changed, said):
    with pytest.raises(DataError, match=said) as caught:
        read(changed)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.npz'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "damaged", "said"),
    [
        ("a.npz", b"", "the file is empty"),
        ("a.npz", b"<!DOCTYPE html><html>404", "a web page"),
        ("a.csv", b"\n <html>404", "a web page"),
        ("a.npz", b"PK\3\4 torn", "only a part"),
        ("a.npy", pickle.dumps([1]), "a pickle could run code"),
        ("a.npy", b"\x93NUMPY\1\0torn", "cannot be read"),
        ("a.mat", b"MATLAB 5.0 MAT-file torn", "cannot be read"),
        ("a.csv", b"label,a\n1,2\n1,2,3,4\n", "cannot be read"),
        ("a.pkl", b"anything", "no form that is known: .npz, .npy, .csv, .mat, or a folder"),
        ("a/0.png", b"\x89PNG torn", "0.png is no whole picture"),
        ("a/notes.txt", b"text", "no images in a/"),
    ],
)
def test_a_torn_file_is_one_clear_line(tmp_path, name, damaged, said):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=said) as caught:
        load(str(tmp_path / name.partition("/")[0]))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("place", "value"), [(481, 214), (185, 240)])
def test_a_mat_file_that_crashes_its_reader_is_one_clear_line(tmp_path, place, value):
    """The sizes of its parts in the file are wrong: SciPy reads where no memory is."""
    path = tmp_path / "a.mat"
    images = np.arange(240, dtype=np.uint8).reshape(4, 4, 3, 5)
    savemat(path, {"X": images, "y": np.arange(1, 6, dtype=np.uint8)[:, None]})
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mat: (damaged|cannot be read)") as caught:
        load(str(path))
    assert "\n" not in str(caught.value)


def test_pictures_of_two_sizes_are_named(tmp_path):
    for number, side in enumerate((5, 5, 6)):
        Image.new("L", (side, 5)).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"1.png is of 5 × 5 pixels, 2.png of 5 × 6"):
        load(str(tmp_path))


def test_a_torn_picture_is_named(tmp_path):
    image = Image.fromarray(RANDOM.integers(0, 256, (50, 50), np.uint8))
    image.save(tmp_path / "0.png")
    image.save(tmp_path / "1.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes()[:900])
    with pytest.raises(DataError, match=r"1\.png is no whole picture"):
        load(str(tmp_path))


def test_a_path_is_told_from_a_name_and_resolved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    assert not forms.is_path("mnist") and not forms.is_path("cifar10")
    assert forms.is_path("./mnist") and forms.is_path("a.NPZ") and forms.is_path("a.csv#transpose")
    (tmp_path / "cifar10").mkdir()
    assert forms.resolved("cifar10") == str(tmp_path.resolve() / "cifar10")
    assert forms.resolved("fashion_mnist") == "fashion_mnist"
    assert forms.resolved("a.npz#transpose") == f"{tmp_path.resolve() / 'a.npz'}#transpose"


def test_names_that_are_no_utf8_are_told_or_shown(tmp_path):
    """No notebook can hold such a path; a class's name is shown with the bytes that it has."""
    place = os.fsencode(tmp_path) + b"/b\xe4r"
    for name in (b"b\xe4r", b"dog"):
        os.makedirs(place + b"/" + name)
        for number in range(3):
            pixels = RANDOM.integers(0, 256, (5, 5), np.uint8)
            Image.fromarray(pixels).save(os.fsdecode(place + b"/" + name + b"/\xe4%d.png" % number))
    with pytest.raises(DataError, match=r"b\\xe4r: its name is no UTF-8"):
        load(os.fsdecode(place))
    os.rename(place, tmp_path / "animals")
    assert load(str(tmp_path / "animals")).names == (r"b\xe4r", "dog")


def test_a_class_that_is_not_tested_is_the_last(read):
    """So that those among the test images are numbered from 0 without a gap."""
    data = read(ours(of_test=np.where(OF_TEST == 1, 2, OF_TEST)))
    assert data.names == ("0", "2", "1") and (data.classes, data.tested) == (3, 2)
    assert [*data.train_labels] == [(0, 2, 1)[label] for label in OF_TRAIN]
    assert set(data.test_labels.tolist()) == {0, 1}
    assert data.said == (
        "no test image is of class 1: the last of the classes, left out where classes are compared",
    )
