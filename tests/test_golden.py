"""Files that an earlier version wrote still load (tests/golden/README.md); its checkpoint is refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import supernet.timm_entry  # noqa: F401  registers the model with timm
from supernet.commands.comparison import read_baseline
from supernet.commands.main import main
from supernet.costs.latency import load_table
from supernet.data import load_data
from supernet.engine.checkpoint import read_checkpoint
from supernet.engine.runs import RunFolder
from supernet.errors import UserError
from supernet.network import build_network
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture

GOLDEN = Path(__file__).parent / "golden"


def write_pictures(folder: Path) -> Path:
    """180 grey pictures of two classes and two groups: a bright field above or below, on noise."""
    folder.mkdir()
    lines = ["file_name,label,group"]
    for n in range(180):
        picture = np.random.default_rng(n).integers(0, 120, (32, 32), dtype=np.uint8)
        top = 4 if n % 2 else 18
        picture[top : top + 10, 8:24] += 100
        Image.fromarray(picture).save(folder / f"{n:03}.png")
        lines.append(f"{n:03}.png,{'above' if n % 2 else 'below'},{'a' if n % 3 else 'b'}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_table_gives_the_latency_that_the_architecture_states() -> None:
    arch, table = Architecture.load(GOLDEN / "search"), load_table(str(GOLDEN / "rpi4.json"))
    assert arch.predicted_ms is not None
    assert table.predict_ms(get_space(arch.space), arch.ops) == pytest.approx(arch.predicted_ms, rel=1e-12)


def test_the_architecture_is_built_and_its_model_loads(tmp_path: Path) -> None:
    arch = Architecture.load(GOLDEN / "search")
    network = build_network(arch).eval()
    for name in ("model.json", "derived.json"):
        shutil.copy(GOLDEN / "train" / name, tmp_path)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    loaded = timm.create_model("supernet_derived", model_json=str(tmp_path / "model.json"), pretrained=True).eval()
    x = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), network(x))


def test_the_run_folders_rows_and_predictions_are_read(tmp_path: Path) -> None:
    for command in ("search", "train"):
        rows = RunFolder(GOLDEN / command).rows()
        assert rows and all(np.isfinite(row["loss"]) for row in rows)
    data = load_data(str(write_pictures(tmp_path / "pics")), resolution=32, seed=1)
    assert Architecture.load(GOLDEN / "search").data["fingerprint"] == data.fingerprint
    assert read_baseline(str(GOLDEN / "train"), data)["prob"].shape == (len(data.test), 2)


def test_its_checkpoint_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="an earlier version wrote it") as caught:
        read_checkpoint(GOLDEN / "search" / "checkpoint.pt")
    assert "\n" not in str(caught.value)
    shutil.copytree(GOLDEN / "search", tmp_path / "search")
    with pytest.raises(SystemExit) as ended:
        main(["search", "--resume", str(tmp_path / "search")])
    assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1
