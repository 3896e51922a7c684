"""The Python functions do what the commands do, with the same options, and are shown in a notebook."""

from __future__ import annotations

import csv
import gc
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from test_preprocessing import folder, photo

import supernet
import supernet.api
from supernet import Table, evaluate, load_data, predict, search, train
from supernet.api_options import DataOptions, SearchOptions, TrainOptions
from supernet.config import CommonConfig, SearchConfig, TrainConfig
from supernet.errors import UserError

ARGUMENTS = {"out", "resume", "data"}  # of the functions themselves


def test_the_functions_options_are_the_commands() -> None:
    for options, config, own in ((SearchOptions, SearchConfig, {"device"}), (TrainOptions, TrainConfig, {"arch"})):
        names = {item.name for item in fields(config)} - ARGUMENTS - own
        hints = get_type_hints(config)
        assert get_type_hints(options) == {name: hints[name] for name in names}
    hints = get_type_hints(CommonConfig)
    assert get_type_hints(DataOptions) == {name: hints[name] for name in get_type_hints(DataOptions)}


def test_every_public_name_is_documented() -> None:
    """In docs/python.md, and every public attribute of what comes back."""
    text = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")
    for name in supernet.api.__all__:
        own = getattr(supernet.api, name)
        assert f"`{name}" in text or name == "Report", name
        for attribute in vars(own) if isinstance(own, type) else ():
            assert (
                attribute.startswith("_")
                or f"`{attribute}" in text
                or f"`.{attribute}`" in text
                or f".{attribute}(" in text
            ), attribute
            assert getattr(own, "__doc__", None)


def test_importing_the_package_loads_neither_torch_nor_timm() -> None:
    code = "import sys, supernet; assert not {'torch', 'timm', 'pandas'} & set(sys.modules); assert 'search' in dir(supernet)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="searhc"):
        _ = supernet.searhc


def test_search_train_predict_and_evaluate_without_a_folder(tmp_path: Path, digits: str) -> None:
    data = load_data(digits, max_train=64)
    assert data.classes == tuple("0123456789") and "student" in data._repr_html_() and len(data.grouped.train) == 64
    options = {"space": "micro32", "batch_size": 32, "threads": 1}
    found = search(data, Table("rpi4"), budget_ms=10, quick=True, eval_images=256, **options)
    assert found.report["asked"]["max_train"] == 64 and found.derived.predicted_ms <= 10
    assert Table("rpi4").predict_ms(found) == pytest.approx(found.derived.predicted_ms)
    assert "10 ms on rpi4" in found._repr_html_() and found.report._repr_html_().startswith("<iframe")
    assert tuple(found.front[0]["ops"]) == found.derived.ops
    trained = train(found, quick=True, bootstrap=20, export="onnx", fairness_weight=0.5)
    assert trained.derived.ops == found.derived.ops and trained.report["asked"]["fairness_weight"] == 0.5
    assert trained.model(torch.zeros(1, 1, 32, 32)).shape == (1, 10) and list(trained.files) == ["model.onnx"]
    assert "accuracy parity gap by writer" in trained._repr_html_()
    picture = photo(40, 40)
    result = predict(trained, [picture, tmp_path / "gone.png"])
    assert list(result.table["file"]) == ["0", str(tmp_path / "gone.png")] and len(result.unreadable) == 1
    assert np.isnan(result.prob_NC[1]).all() and result.prob_NC[0].sum() == pytest.approx(1)
    assert f"{result.table['probability'][0]:.6f}" in result.save(tmp_path / "out.csv").read_text()
    again = evaluate(trained, digits, bootstrap=20)
    assert again.metrics["accuracy"]["value"] == pytest.approx(trained.metrics["accuracy"]["value"], abs=2 / 300)
    where = found.folder
    kept = found.save(tmp_path / "kept")
    del found, again
    gc.collect()
    assert (kept / "derived.json").is_file() and not where.exists(), "nobody refers to it any more"


def test_photos_of_ones_own(tmp_path: Path) -> None:
    photos = folder(tmp_path / "photos", photo(60, 50))
    trained = train("test_resnet", photos, quick=True, resolution=32, bootstrap=0, export="none", out=tmp_path / "run")
    assert trained.derived is None and trained.folder == tmp_path / "run"
    result = predict(tmp_path / "run", photos)
    with (photos / "metadata.csv").open(newline="") as file:
        assert sorted(result.table["file"]) == sorted(row["file_name"] for row in csv.DictReader(file))
    assert list(result.table.columns) == ["file", "label", "probability", "probability a", "probability b"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: search("writers", budget=10), '"budget" is no option'),
        (lambda: search("writers", budget_ms=-1), "budget_ms"),
        (lambda: search("writers", budget_ms="10"), "budget_ms"),
        (lambda: search("nowhere"), "nowhere"),
        (lambda: Table("rpi5"), "rpi5"),
        (lambda: predict("nowhere", "."), "No picture|does not exist"),
        (lambda: predict("nowhere", [np.zeros((8, 8))]), "Picture 0 is of type ndarray: give files or PIL images"),
        (lambda: load_data("writers", fairness="nonsense"), "nonsense"),
        (lambda: load_data("writers", batch_size=-5), "batch_size: must be at least 2"),
        (lambda: load_data("writers", max_train="5"), "max_train: '5' is not of type int"),
        (lambda: load_data("writers", seed=-1), "seed: must be at least 0"),
        (lambda: load_data("writers", resolution=33.5), "resolution: 33.5 is not of type int"),
        (lambda: load_data("writers", file_col="name"), "--file-col has no effect with --data writers"),
        (lambda: load_data("writers", group_mix="pupil=0.1"), "pupil"),
    ],
)
def test_a_mistake_is_one_line(call: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        call()  # type: ignore[operator]
