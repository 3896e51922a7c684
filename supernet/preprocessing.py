"""What is done to a picture before a network sees it: said once, for training, files, reports and prediction alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

DIGIT, DIGIT_MARGIN = 28, 2  # pixels: NIST digits, and the black that is put around them
DEFAULT_WHITE = (65535.0, 1.0)  # 16 bits; floating point from 0 to 1
FITS = ("square", "digit")
JSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["size", "channels", "mean", "std"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10_000},
        "channels": {"enum": [1, 3]},
        "mean": {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 1},
            "minItems": 1,
            "maxItems": 3,
        },
        "std": {
            "type": "array",
            "items": {"type": "number", "minimum": 1e-6, "maximum": 1},
            "minItems": 1,
            "maxItems": 3,
        },
        # files from before have neither: "square", and DEFAULT_WHITE
        "fit": {"enum": list(FITS)},
        "white": {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "minItems": 2, "maxItems": 2},
    },
}


@dataclass(frozen=True)
class Preprocessing:
    """An upright PIL picture of 8 bits → (channels, size, size) float32.

    `fit` says how a picture becomes a square. "square": its middle square is cut out and resized (bilinear, antialiased).
    "digit": the same to 28 × 28 pixels, then 2 black pixels on each side, then resized; a NIST digit at size 32 is
    therefore not interpolated. `white` is the value that is white in files of more than 8 bits: of whole numbers, and of
    floating-point ones (`supernet.data.pictures.White`). `channels` is 1 (grey) or 3 (RGB). `mean` and `std` are per channel, of values in 0 … 1.
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: str = "square"
    white: tuple[float, float] = DEFAULT_WHITE

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Preprocessing:
        """From an object that JSON_SCHEMA allows. Raises ValueError if mean and std are not one value a channel."""
        lists = {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
        spec = cls(**{**content, **lists})
        if not len(spec.mean) == len(spec.std) == spec.channels:
            raise ValueError(f"mean and std need {spec.channels} values")
        return spec

    def pixels(self, picture: Image.Image) -> np.ndarray:
        """(channels, size, size) uint8: the picture's colours and its square."""
        picture = picture.convert("L" if self.channels == 1 else "RGB")
        if self.fit == "digit":
            picture = ImageOps.fit(picture, (DIGIT, DIGIT), Image.Resampling.BILINEAR)
            picture = ImageOps.expand(picture, border=DIGIT_MARGIN, fill=0)
        fitted = ImageOps.fit(picture, (self.size, self.size), Image.Resampling.BILINEAR)
        return np.asarray(fitted).reshape(self.size, self.size, self.channels).transpose(2, 0, 1)

    def normalised(self, pixels_CHW: np.ndarray) -> np.ndarray:
        """float32 of uint8 pixels (…, channels, size, size): to 0 … 1, minus mean, divided by std."""
        mean_C11, std_C11 = (np.array(values, np.float32)[:, None, None] for values in (self.mean, self.std))
        return (pixels_CHW.astype(np.float32) / np.float32(255) - mean_C11) / std_C11

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """(channels, size, size) float32: what the network is fed."""
        return self.normalised(self.pixels(picture))

    def words(self) -> str:
        """What a person has to do to feed the network, step by step."""
        size, colour = f"{self.size}x{self.size}", "grey" if self.channels == 1 else "RGB"
        if self.white != DEFAULT_WHITE:
            colour += f" (more than 8 bits: white is {self.white[0]:g}, of floating-point files {self.white[1]:g})"
        square = f"cut out the middle square (centre crop), resize it to {size} pixels (bilinear, antialiased)"
        if self.fit == "digit":
            square = (
                f"cut out the middle square (centre crop), resize it to {DIGIT}x{DIGIT} pixels (bilinear, antialiased), "
                f"put {DIGIT_MARGIN} black pixels on each side, resize that to {size} pixels"
            )
        return (
            f"turn the picture upright (EXIF), convert to 8 bits of {colour}, {square}, scale to [0, 1] (divide by 255), "
            f"subtract the mean ({_listed(self.mean)}), divide by std ({_listed(self.std)}); float32 NCHW"
        )

    def timm_config(self) -> dict[str, Any]:
        """The keys of a timm `pretrained_cfg` from which `timm.data.create_transform` makes the same of a picture.

        Of the right colours, that is: timm converts none. torchvision resizes before it crops, so that the two differ
        by a few of 255 levels where the sides' ratio is no whole number. Around a digit timm puts the mean, not black.
        """
        squares = {
            "square": {"crop_mode": "center", "crop_pct": 1.0},
            # timm divides by it and rounds down: just below, so that rounding cannot take a pixel away
            "digit": {"crop_mode": "border", "crop_pct": (DIGIT + 2 * DIGIT_MARGIN) / DIGIT - 1e-9},
        }
        return {
            "input_size": (self.channels, self.size, self.size),
            "interpolation": "bilinear",
            "mean": self.mean,
            "std": self.std,
            **squares[self.fit],
        }

    def metadata(self) -> dict[str, str]:
        """For a file that stands alone (ONNX): in words, and key by key for programs."""
        timm_keys = ("interpolation", "crop_mode", "crop_pct")
        return {
            "preprocessing": self.words(),
            "input_size": str(self.size),
            "channels": str(self.channels),
            "colour": "L" if self.channels == 1 else "RGB",
            "fit": self.fit,
            "mean": json.dumps(self.mean),
            "std": json.dumps(self.std),
            "white": json.dumps(self.white),
            "scale": "1/255",
            "layout": "NCHW",
            "antialias": "true",
            **{key: str(value) for key, value in self.timm_config().items() if key in timm_keys},
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Preprocessing:
        """What `metadata` wrote. Raises ValueError or KeyError for a file that does not say it."""
        size, channels = int(metadata["input_size"]), int(metadata["channels"])
        mean, std = (tuple(map(float, json.loads(metadata[key]))) for key in ("mean", "std"))
        fit, white = metadata.get("fit", "square"), json.loads(metadata.get("white", json.dumps(DEFAULT_WHITE)))
        if fit not in FITS or not len(mean) == len(std) == channels or min(std) <= 0 or channels not in (1, 3):
            raise ValueError("mean, std or fit do not fit the channels")
        whole, real = map(float, white)
        return cls(size, channels, mean, std, fit, (whole, real))


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
