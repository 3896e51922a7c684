"""One picture gives one tensor, whoever prepares it: training, the object, its metadata, timm."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from timm.data import create_transform, resolve_data_config

from supernet.data import Batches, load_data
from supernet.preprocessing import Preprocessing

SPEC = Preprocessing(32, 3, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
LEVELS_OFF = 3 / 255  # on average, between torchvision's order of resize and crop, and ours


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth, as photos are, and different everywhere."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def folder(path: Path, picture: Image.Image, per_split: int = 4) -> Path:
    path.mkdir()
    rows = [("file_name", "label", "group", "split")]
    for split in ("train", "val", "test"):
        for n in range(per_split):
            other = photo(*picture.size, seed=len(rows))
            (picture if (split, n) == ("test", 0) else other).save(path / f"{split}{n}.png")
            rows.append((f"{split}{n}.png", "ab"[n % 2], "uv"[n // 2 % 2], split))
    with (path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize(("width", "height"), [(300, 100), (100, 300), (96, 96), (20, 61), (457, 100)])
def test_training_its_object_and_timm_see_the_same_tensor(tmp_path: Path, width: int, height: int) -> None:
    picture = photo(width, height)
    data = load_data(str(folder(tmp_path / "photos", picture)), resolution=32, progress=False)
    spec = data.preprocessing
    assert (spec.size, spec.channels, spec.fit) == (32, 3, "square")
    trained_on = Batches(data.test, 4, shuffle=False, mean=spec.mean, std=spec.std).at(0).image[0].numpy()
    assert np.array_equal(spec(picture), trained_on)
    assert np.array_equal(Preprocessing.from_metadata(spec.metadata())(picture), trained_on)
    assert np.array_equal(Preprocessing.from_json(json.loads(json.dumps(asdict(spec))))(picture), trained_on)
    timms = create_transform(**resolve_data_config({}, pretrained_cfg=spec.timm_config()))(picture).numpy()
    difference = np.abs(timms - trained_on) * np.array(spec.std)[:, None, None]
    assert difference.mean() < LEVELS_OFF
    if width % height == 0:  # then the two orders of crop and resize are one
        assert difference.max() < 1.01 / 255


def test_the_words_are_what_is_done() -> None:
    picture = photo(300, 100)
    words = SPEC.words()
    for step in (
        "upright",
        "RGB",
        "middle square",
        "32x32",
        "bilinear",
        "antialiased",
        "divide by 255",
        "divide by std",
    ):
        assert step in words
    middle = picture.crop((100, 0, 200, 100)).resize((32, 32), Image.Resampling.BILINEAR)
    by_hand = (np.asarray(middle).transpose(2, 0, 1) / 255 - np.array(SPEC.mean)[:, None, None]) / np.array(SPEC.std)[:, None, None]  # fmt: skip
    assert (
        np.abs(SPEC(picture) - by_hand).mean() < 0.1 / 255 / 0.2
    )  # at the very edge the filter sees beyond the square
    squeezed = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(squeezed.transpose(2, 0, 1) - SPEC.pixels(picture).astype(float)).mean() > 10  # a crop is no squeeze


def test_metadata_is_there_for_programs_too() -> None:
    found = SPEC.metadata()
    assert found["interpolation"] == "bilinear" and found["crop_mode"] == "center" and float(found["crop_pct"]) == 1
    assert json.loads(found["mean"]) == [0.4, 0.5, 0.6] and found["colour"] == "RGB" and found["layout"] == "NCHW"
    assert all(isinstance(value, str) for value in found.values())
    before = {key: value for key, value in found.items() if key in ("input_size", "channels", "mean", "std")}
    assert Preprocessing.from_metadata(before) == SPEC  # an ONNX file from before
    for broken in ({"mean": "[0.1]"}, {"std": "[0, 1, 1]"}, {"fit": "squeeze"}, {"channels": "x"}):
        with pytest.raises(ValueError, match=r"channels|literal"):
            Preprocessing.from_metadata({**found, **broken})


@pytest.mark.parametrize("size", [32, 48, 224])
def test_a_digit_as_a_picture_is_the_digit_of_training(size: int) -> None:
    data = load_data("writers", resolution=size, max_train=20, max_eval=20)
    spec = data.preprocessing
    assert spec.fit == "digit" and spec.channels == 1
    pixels = data.test.images_NCHW[0]
    if size == 32:
        digit = Image.fromarray(pixels[0, 2:-2, 2:-2])
        assert np.array_equal(spec.pixels(digit), pixels)
        assert np.array_equal(spec.pixels(digit.convert("RGB")), pixels)
        timms = create_transform(**resolve_data_config({}, pretrained_cfg=spec.timm_config()))(digit).numpy()
        assert np.abs(timms[:, 2:-2, 2:-2] - spec(digit)[:, 2:-2, 2:-2]).max() < 1e-5  # around it timm puts the mean
    assert pixels.shape == (1, size, size) and not pixels[:, : size // 32].any()


def test_grey_and_colour() -> None:
    picture = photo(60, 40)
    grey = replace(SPEC, channels=1, mean=(0.5,), std=(0.25,))
    assert np.array_equal(grey.pixels(picture)[0], np.asarray(ImageOps.fit(picture.convert("L"), (32, 32), Image.Resampling.BILINEAR)))  # fmt: skip
    assert grey(picture).dtype == np.float32 and SPEC(picture.convert("L")).shape == (3, 32, 32)
