"""Pictures without labels get the tensor of training, whatever runs the model; what cannot be read is told."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from test_preprocessing import LEVELS_OFF, folder, photo
from timm.data import create_transform, resolve_data_config
from torch import nn

from supernet.blocks.ops import arch_strings
from supernet.commands.main import main
from supernet.data import Batches, load_data
from supernet.errors import UserError
from supernet.export import export_onnx, onnx_metadata
from supernet.models import DERIVED, read_model, save_model
from supernet.network import build_network
from supernet.prediction import Classifier, find_pictures, load_classifier, predict_all
from supernet.preprocessing import Preprocessing
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture

SPACE = get_space("micro32")
OPS = tuple(layer.ops[0] for layer in SPACE.layers)
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with random weights, trained on the photos of `folder`, and its model.onnx."""
    path = tmp_path_factory.mktemp("predict")
    data = load_data(str(folder(path / "photos", photo(300, 100))), resolution=32, progress=False)
    arch = Architecture("micro32", OPS, arch_strings(SPACE, OPS), SPACE.stem_channels, SPACE.stem_stride, SPACE.head_channels,
                        data.preprocessing, CLASSES, {})  # fmt: skip
    torch.manual_seed(0)
    network = build_network(arch)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    (path / "run").mkdir()
    arch.save(path / "run" / "derived.json")
    save_model(path / "run", network, CLASSES, data.preprocessing, DERIVED)
    export_onnx(
        network, path / "run" / "model.onnx", data.preprocessing, onnx_metadata(data.preprocessing, CLASSES, arch)
    )
    return path / "run"


def test_a_wide_photo_gives_one_tensor_in_training_and_in_every_file(run: Path) -> None:
    data = load_data(str(run.parent / "photos"), resolution=32, progress=False)
    spec, file = data.preprocessing, run.parent / "photos" / "test0.png"
    trained_on = Batches(data.test, 1, shuffle=False, mean=spec.mean, std=spec.std).at(0).image[0].numpy()

    def fed(classifier: Classifier) -> np.ndarray:
        seen = []
        list(classifier._replace(probabilities=lambda x: seen.append(x) or np.zeros((1, 3))).predict([file]))
        return seen[0][0]

    for model in (run, run / "model.json", run / "model.onnx"):
        assert np.array_equal(fed(load_classifier(model)), trained_on), model
    network = timm.create_model(DERIVED, model_json=str(run / "model.json"), pretrained=True)
    timms = create_transform(**resolve_data_config({}, model=network))(Image.open(file)).numpy()
    assert (np.abs(timms - trained_on) * np.array(spec.std)[:, None, None]).mean() < LEVELS_OFF
    assert Architecture.load(run / "derived.json").input == read_model(run / "model.json").spec == spec


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_torch_and_onnxruntime_write_the_same_table(run: Path, tmp_path: Path) -> None:
    (tmp_path / "new" / "deeper").mkdir(parents=True)
    photo(200, 120, seed=1).save(tmp_path / "new" / "deeper" / "b, c.jpg")
    photo(60, 90, seed=2).convert("L").save(tmp_path / "new" / "a.TIF")
    (tmp_path / "new" / "notes.txt").write_text("not a picture")
    tables = []
    for number, model in enumerate((run, run / "model.onnx")):
        out = tmp_path / f"{number}.csv"
        main(["predict", "--model", str(model), "--data", str(tmp_path / "new"), "--out", str(out), "--all-classes"])
        tables.append(read(out))
    assert [row["file"] for row in tables[0]] == ["a.TIF", "deeper/b, c.jpg"]
    for ours, theirs in zip(*tables, strict=True):
        each = [float(ours[f"probability {name}"]) for name in CLASSES]
        assert sum(each) == pytest.approx(1, abs=1e-5) and max(each) == float(ours["probability"])
        assert ours["label"] == theirs["label"] == CLASSES[int(np.argmax(each))]
        assert float(theirs["probability"]) == pytest.approx(float(ours["probability"]), abs=1e-4)


def test_what_cannot_be_read_is_told_and_left_empty(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    arguments = ["predict", "--model", str(run), "--data", str(tmp_path), "--out"]
    with pytest.raises(SystemExit):
        main([*arguments, str(tmp_path / "none.csv")])
    assert "No picture can be read" in capsys.readouterr().err and not (tmp_path / "none.csv").exists()
    photo(40, 40).save(tmp_path / "good.png")
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, str(tmp_path / "out.csv")])
    assert stopped.value.code == 2
    told = capsys.readouterr()
    assert "Warning: no prediction: " in told.out and "1 of 2 pictures could not be read" in told.err
    assert [(row["file"], bool(row["label"])) for row in read(tmp_path / "out.csv")] == [("bad.png", False), ("good.png", True)]  # fmt: skip
    with pytest.raises(SystemExit):
        main([*arguments, str(tmp_path / "out.csv")])
    assert "is there already" in capsys.readouterr().err


def test_what_a_folder_has_and_an_option_without_effect(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(40, 40).save(tmp_path / "good.png")
    (tmp_path / "._good.png").write_bytes(b"what macOS leaves")
    (tmp_path / ".thumbs").mkdir()
    photo(40, 40).save(tmp_path / ".thumbs" / "small.png")
    arguments = ["predict", "--model", str(run), "--data", str(tmp_path), "--out", str(tmp_path / "out.csv")]
    main(arguments)
    assert [row["file"] for row in read(tmp_path / "out.csv")] == ["good.png"]
    for data in (tmp_path, tmp_path / "good.png"):
        with pytest.raises(SystemExit):
            main([*arguments[:4], str(data), "--out", str(tmp_path / "other.csv"), "--file-col", "picture"])
        assert "--file-col has no effect" in capsys.readouterr().err


def test_an_image_is_prepared_as_its_file(tmp_path: Path) -> None:
    """Turned upright, on a white ground, with 16 bits of the data's scale."""
    spec = Preprocessing(8, 3, (0.5,) * 3, (0.5,) * 3, white=(4095, 1.0))
    classifier = Classifier(tuple("abc") * 64, spec, lambda image_BCHW: image_BCHW.reshape(len(image_BCHW), -1))
    turned, clear = photo(20, 30), photo(20, 20, seed=1).convert("RGBA")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    clear.putalpha(Image.linear_gradient("L").resize((20, 20)))
    clear.save(tmp_path / "clear.png")
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 10).save(tmp_path / "deep.png")
    files = [tmp_path / f"{name}.png" for name in ("turned", "clear", "deep")]
    named = predict_all(classifier, [(file.name, file) for file in files])
    pictures = [(file.name, Image.open(file)) for file in files]
    assert np.array_equal(predict_all(classifier, pictures).prob_NC, named.prob_NC) and not named.unreadable
    shut = Image.open(files[0])
    shut.close()
    assert "not a readable image" in predict_all(classifier, [*pictures, ("shut", shut)]).unreadable["shut"]


def test_a_model_that_gives_no_numbers_names_no_class(tmp_path: Path) -> None:
    spec = Preprocessing(8, 3, (0.5,) * 3, (0.5,) * 3)
    broken = Classifier(("a", "b"), spec, lambda image_BCHW: np.full((len(image_BCHW), 2), np.nan))
    with pytest.raises(UserError, match="outputs are not finite"):
        list(broken.predict([photo(20, 20)]))


def test_colour_for_a_grey_model_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = Preprocessing(8, 1, (0.5,), (0.5,))
    network = nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten())
    export_onnx(network, tmp_path / "model.onnx", spec, onnx_metadata(spec, ("a", "b")))
    (tmp_path / "photos").mkdir()
    photo(40, 40).save(tmp_path / "photos" / "colour.png")
    photo(40, 40, seed=1).convert("L").save(tmp_path / "photos" / "grey.png")
    arguments = ["--model", str(tmp_path / "model.onnx"), "--data", str(tmp_path / "photos"), "--out"]
    main(["predict", *arguments, str(tmp_path / "out.csv")])
    assert "1 of 2 pictures is in colour, such as colour.png: the model is for grey" in capsys.readouterr().out
    (tmp_path / "photos" / "metadata.csv").write_text("file_name,label\ncolour.png,a\ngrey.png,b\n")
    main(["evaluate", *arguments, str(tmp_path / "run"), "--bootstrap", "0"])
    assert "Note: 1 of 2 pictures is in colour, such as" in capsys.readouterr().out
    (tmp_path / "photos" / "colour.png").unlink()
    main(["predict", *arguments, str(tmp_path / "out2.csv")])
    assert "in colour" not in capsys.readouterr().out


def test_an_onnx_file_whose_metadata_is_no_text(run: Path, tmp_path: Path) -> None:
    content = (run / "model.onnx").read_bytes()
    at = content.rindex(b"bilinear")
    (tmp_path / "model.onnx").write_bytes(content[:at] + b"\xff\xfe" + content[at + 2 :])
    with pytest.raises(UserError, match="does not load"):
        load_classifier(tmp_path / "model.onnx")


def test_a_table_gives_the_pictures_and_their_order(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        photo(40, 40, seed=ord(name[0])).save(tmp_path / name)
    (tmp_path / "list.csv").write_text("picture;who\nb.png;x\n a.png ;y\ngone.png;z\n")
    arguments = [
        "predict",
        "--model",
        str(run),
        "--data",
        str(tmp_path / "list.csv"),
        "--out",
        str(tmp_path / "out.csv"),
    ]
    with pytest.raises(SystemExit):
        main(arguments)
    assert 'no column "file_name"' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--file-col", "picture"])
    assert "1 of 3 pictures could not be read" in capsys.readouterr().err
    rows = read(tmp_path / "out.csv")
    assert [(row["file"], bool(row["label"])) for row in rows] == [
        ("b.png", True),
        ("a.png", True),
        ("gone.png", False),
    ]
    (tmp_path / "one.csv").write_text("file_name\na.png\n")
    main([*arguments[:4], str(tmp_path / "one.csv"), "--out", str(tmp_path / "one-out.csv")])
    assert read(tmp_path / "one-out.csv")[0] == rows[1]


@pytest.mark.parametrize(
    ("model", "words"),
    [("nowhere", "does not exist"), ("nowhere.onnx", "does not exist"), ("bad.onnx", "does not load"), ("plain.onnx", "does not name its classes")],
)  # fmt: skip
def test_a_model_that_says_too_little_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, words: str
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    if model == "plain.onnx":
        spec = Preprocessing(8, 3, (0.5,) * 3, (0.5,) * 3)
        export_onnx(nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten()), tmp_path / model, spec, {})
    photo(40, 40).save(tmp_path / "good.png")
    with pytest.raises(SystemExit) as stopped:
        main(["predict", "--model", str(tmp_path / model), "--data", str(tmp_path), "--out", str(tmp_path / "out.csv")])
    assert stopped.value.code == 2 and words in capsys.readouterr().err


def test_an_onnx_file_must_say_how_pictures_are_prepared_and_have_one_output_a_class(run: Path, tmp_path: Path) -> None:
    spec = read_model(run / "model.json").spec
    network = read_model(run / "model.json").network
    for metadata, words in (
        ({"classes": '["a", "b", "c"]'}, "how pictures are prepared"),
        (onnx_metadata(spec, ("a", "b")), "names 2 classes and has 3 outputs"),
        (onnx_metadata(replace(spec, size=16), CLASSES), "of another input"),
    ):
        export_onnx(network, tmp_path / "m.onnx", spec, metadata)
        with pytest.raises(UserError, match=words):
            load_classifier(tmp_path / "m.onnx")


def test_a_segmenter_with_as_many_classes_as_pixels_a_side_is_no_classifier(tmp_path: Path) -> None:
    spec, names = Preprocessing(8, 3, (0.5,) * 3, (0.5,) * 3), tuple("abcdefgh")
    export_onnx(nn.Conv2d(3, 8, 1), tmp_path / "m.onnx", spec, onnx_metadata(spec, names))
    with pytest.raises(UserError, match=r"m\.onnx is not an image classifier with one input and one output"):
        load_classifier(tmp_path / "m.onnx")


def test_pictures_of_more_than_8_bits_keep_the_scale_of_training(tmp_path: Path) -> None:
    """12 bits in training: a dark picture alone would be taken for one of fewer bits."""
    dark = np.full((40, 40), 500, np.uint16)
    dark[::2] = 100
    Image.fromarray(dark).save(tmp_path / "dark.png")
    spec = Preprocessing(8, 1, (0.0,), (1.0,), white=(4095.0, 1.0))
    seen = []
    classifier = Classifier(CLASSES, spec, lambda x: seen.append(x) or np.zeros((1, 3)))
    list(classifier.predict(file for _, file in find_pictures(tmp_path)))
    assert seen[0].mean() == pytest.approx(300 / 4095, abs=1 / 255)
    assert Preprocessing.from_metadata(spec.metadata()) == spec and "4095" in spec.words()
    assert replace(spec, white=(65535, 1.0)) == replace(spec, white=(65535.0, 1.0))
