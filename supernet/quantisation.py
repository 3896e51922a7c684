"""int8 ONNX by onnxruntime's static quantiser, and what it costs: compared with float32, overall and by group."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from latency_luts.files import write_whole
from supernet.data import Batches, GroupedData, Split
from supernet.errors import UserError
from supernet.export import require
from supernet.fairness import get_notion
from supernet.metrics import evaluate_predictions
from supernet.onnx_model import ExportedModel, OnnxModel

if TYPE_CHECKING:
    import onnx

LEAST_AGREEMENT = 0.98  # same class as float32
MOST_LOST = 0.01  # of accuracy, or added to a gap
EIGHT_BITS = 0.005  # agreement that they must bring: on some machines they overflow
CALIBRATION_IMAGES, JUDGED_IMAGES = 128, 2048
HISTOGRAM_PIXELS = 32 * 64 * 64  # onnxruntime keeps every activation of all images for a histogram


class Setting(NamedTuple):
    """How scales are found.

    calibration: of the activations, onnxruntime's "MinMax", "Percentile" (99.999%) or "Entropy"
    weight_bits: 7 or 8, per channel; the eighth overflows on x86 without VNNI
    """

    calibration: str = "MinMax"
    weight_bits: int = 7

    def words(self) -> str:
        """For reports."""
        return f"{self.calibration} calibration, {self.weight_bits}-bit weights per channel"


# In the order in which they are tried, until one is good.
SETTINGS = (
    Setting(), Setting("Percentile"), Setting("Entropy"), Setting("MinMax", 8), Setting("Percentile", 8), Setting("Entropy", 8),
)  # fmt: skip


def quantise(model: onnx.ModelProto, images_BCHW: np.ndarray, setting: Setting | None = None) -> onnx.ModelProto:
    """Static QDQ quantisation, calibrated one image at a time: uint8 activations, int8 weights per channel.

    The default setting is the one of onnxruntime's that is fast and right on x86 and ARM alike.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self, images_BCHW: np.ndarray) -> None:
            self._images: Iterator[np.ndarray] = iter(images_BCHW)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {"input": image[None]}

    setting = setting or Setting()
    if setting.calibration != "MinMax":
        images_BCHW = images_BCHW[: max(4, HISTOGRAM_PIXELS // int(np.prod(images_BCHW.shape[2:])))]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        prepared, out = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        copied = onnx.ModelProto.FromString(
            model.SerializeToString()
        )  # quant_pre_process moves its weights into a file
        quant_pre_process(copied, str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(out), Images(images_BCHW), quant_format=QuantFormat.QDQ, per_channel=True,
            reduce_range=setting.weight_bits == 7, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, setting.calibration),
        )  # fmt: skip
        return onnx.load(str(out))


class Form(NamedTuple):
    """An int8 form of a network.

    setting: how it was made, in words.  weight_bits: 7 or 8.  content: the file's.  model: the same, to be asked
    """

    setting: str
    weight_bits: int
    content: bytes
    model: ExportedModel


def quantise_best(source: Path, path: Path, data: GroupedData, notion: str) -> dict[str, Any]:
    """Writes `path`, the int8 form of the float32 model `source`, and returns what it costs (see `judge`).

    Calibrated on search-train, by each of the settings in turn. The file's metadata is that of `source`, and its setting.
    """
    require("onnx", "onnxruntime")
    import onnx

    model, float32 = onnx.load(str(source)), OnnxModel(source)
    calibration = calibration_images(float32, data)

    def forms() -> Iterator[Form]:
        for setting in SETTINGS:
            quantised = quantise(model, calibration, setting)
            stated = {"dtype": "int8", "quantisation": setting.words()}
            onnx.helper.set_model_props(quantised, {p.key: p.value for p in model.metadata_props} | stated)
            content = quantised.SerializeToString()
            yield Form(setting.words(), setting.weight_bits, content, OnnxModel(content))

    content, told = judge(float32, forms(), data, notion)
    write_whole(path, content)
    return told


def judge(
    float32: ExportedModel, forms: Iterable[Form], data: GroupedData, notion: str
) -> tuple[bytes, dict[str, Any]]:
    """(content of the form that is kept, what it costs).

    The forms are tried in turn, until one loses little on search-val (see `warnings`); else the one that agrees most often with
    float32 is kept. What it costs: `setting`, `tried`, `val` and `test` (see `compare`), and `warnings`, of search-val.
    """
    judged = _some(data.val)
    float_prob_VC = float32.probabilities(_prepared(data, judged))
    found: list[tuple[Form, dict[str, Any]]] = []
    for form in forms:
        compared = compare(float_prob_VC, form.model.probabilities(_prepared(data, judged)), judged, data, notion)
        found.append((form, compared))
        if not warnings(compared, "search-val"):
            break
    form, compared = max(found, key=lambda item: item[1]["agreement"] - EIGHT_BITS * (item[0].weight_bits == 8))
    float_prob_NC, int8_prob_NC = (model.probabilities(_prepared(data, data.test)) for model in (float32, form.model))
    return form.content, {
        "setting": form.setting,
        "tried": {tried.setting: result["agreement"] for tried, result in found},
        "val": compared,
        "test": compare(float_prob_NC, int8_prob_NC, data.test, data, notion),
        "warnings": warnings(compared, "search-val"),
    }


def calibration_images(model: ExportedModel, data: GroupedData) -> np.ndarray:
    """Preprocessed images of search-train. Raises UserError where they are not what the model is fed."""
    spec = data.preprocessing
    if (spec.channels, spec.size, spec.size) != model.shape_CHW:
        raise UserError(f"{model.name} is fed {model.shape_CHW}, the images of {data.name} are {data.train.images_NCHW.shape[1:]}.")  # fmt: skip
    batches = Batches(data.train, min(CALIBRATION_IMAGES, len(data.train)), mean=spec.mean, std=spec.std)
    return np.ascontiguousarray(batches.at(0).image.numpy())


def compare(
    float_prob_NC: np.ndarray, int8_prob_NC: np.ndarray, split: Split, data: GroupedData, notion: str
) -> dict[str, Any]:
    """`images`, `agreement` (share with the same class), and of `float32` and `int8` each: `accuracy`, and by attribute
    the accuracy of each group and the gap of the notion (None where it is unknown)."""

    def scores(prob_NC: np.ndarray) -> dict[str, Any]:
        report = evaluate_predictions(
            prob_NC, split.label_N, split.group_NA, data.classes, data.attributes, n_boot=0,
            notions={notion: get_notion(notion)},
        )  # fmt: skip
        return {
            "accuracy": report["accuracy"]["value"],
            "attributes": {
                attribute: {
                    "groups": {name: group["accuracy"]["value"] for name, group in own["groups"].items()},
                    "gap": own["gaps"][notion]["value"],
                }
                for attribute, own in report["attributes"].items()
            },
        }

    return {
        "images": len(split),
        "agreement": float((float_prob_NC.argmax(1) == int8_prob_NC.argmax(1)).mean()),
        "float32": scores(float_prob_NC),
        "int8": scores(int8_prob_NC),
    }


def warnings(compared: Mapping[str, Any], split: str) -> list[str]:
    """A line for each way in which int8 loses more than a little: another class, accuracy, a gap."""
    float32, int8, images = compared["float32"], compared["int8"], f"{compared['images']:,} {split} images"
    lines = []
    if compared["agreement"] < LEAST_AGREEMENT:
        lines.append(f"int8 gives the class of float32 on only {compared['agreement']:.1%} of {images}.")
    if int8["accuracy"] < float32["accuracy"] - MOST_LOST:
        lines.append(f"int8 loses accuracy: {int8['accuracy']:.1%}, float32 {float32['accuracy']:.1%} on {images}.")
    for attribute, own in int8["attributes"].items():
        before, after = float32["attributes"][attribute]["gap"], own["gap"]
        if before is not None and after is not None and after > before + MOST_LOST:
            lines.append(
                f"int8 has a larger gap by {attribute}: {100 * after:.1f} points, float32 {100 * before:.1f} on {images}."
            )
    return lines


def _some(split: Split) -> Split:
    """At most JUDGED_IMAGES of a split, always the same."""
    index = np.sort(np.random.default_rng(0).permutation(len(split))[:JUDGED_IMAGES])
    return Split(split.images_NCHW[index], split.label_N[index], split.group_NA[index])


def _prepared(data: GroupedData, split: Split) -> Iterator[np.ndarray]:
    """(C, H, W) each, as the network is fed: one at a time, since all of a large split may not fit into memory."""
    return (data.preprocessing.normalised(pixels_CHW) for pixels_CHW in split.images_NCHW)
