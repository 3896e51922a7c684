"""Options: each has its text, range and effect in one place, and everything else follows from that."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from supernet import bars
from supernet.command_line import described, from_options, to_file, with_file
from supernet.commands.exports import _in_order
from supernet.commands.inherited import inherit
from supernet.commands.main import main
from supernet.commands.opening import check
from supernet.config import ASK_TELL, INHERITED, PENALTIES, SearchConfig, TrainConfig
from supernet.errors import UserError
from supernet.fairness import METHODS
from supernet.options import check_effect, check_values, flag, interval, kinds
from supernet.spaces.architecture import Architecture
from supernet.strategies import ASK_TELL as ASK_TELL_STRATEGIES
from supernet.strategies import STRATEGIES
from supernet.strategies.differentiable import RELAXATIONS
from supernet.strategies.evaluators import EVALUATORS
from tests.test_architecture import architecture

BOTH = [SearchConfig, TrainConfig]
COMMAND = {SearchConfig: "search", TrainConfig: "train"}
EVERY = [(kind, item) for kind in BOTH for item in fields(kind)]
NAMES = [f"{COMMAND[kind]} {flag(item.name)}" for kind, item in EVERY]
WRONG = ["0", "-1", "nan", "inf", "-inf", "1e309", "12345678901234567890", "many", "", "1;2", "9" * 5000]


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(list(argv))
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2 and line.startswith("supernet: error: ") and len(line) < 500
    return line


@pytest.mark.parametrize(("kind", "item"), EVERY, ids=NAMES)
def test_an_option_says_what_it_takes_and_its_defaults_are_that(kind: type[Any], item: Any) -> None:
    assert len(item.metadata["help"]) <= 80, "a line of a terminal"
    number = kinds(kind)[item.name][0] in (int, float)
    assert number == (item.metadata["within"] is not None)
    if number:
        assert f"in {item.metadata['within'].text}" in described(kind, item.name)
    for value in (item.default, item.metadata["quick"]):
        if value is not None:
            check_values(kind, {item.name: value}, "default")
    for need in item.metadata["where"]:
        assert need.option in kind.__dataclass_fields__


@pytest.mark.parametrize(("kind", "item"), [e for e in EVERY if e[1].metadata["within"]],
                         ids=[n for n, e in zip(NAMES, EVERY, strict=True) if e[1].metadata["within"]])  # fmt: skip
def test_a_number_out_of_range_is_one_line(capsys: pytest.CaptureFixture[str], kind: type[Any], item: Any) -> None:
    inside = item.metadata["within"]
    for text in WRONG:
        try:
            value = kinds(kind)[item.name][0](text)
        except ValueError:
            value = None
        if value is not None and inside.fault(value) is None:
            continue
        assert flag(item.name) in refused(capsys, COMMAND[kind], f"{flag(item.name)}={text}")
        with pytest.raises(UserError, match=rf"config\.json: {item.name}: "):
            check_values(kind, {item.name: text if value is None else value}, "config.json")


@pytest.mark.parametrize(
    ("text", "value", "words"),
    [("[0, 1)", 1, "below 1"), ("[0, 1)", -0.1, "at least 0"), ("(0, 1e6]", 0, "above 0"), ("(0, 1e6]", 1e7, "at most 1000000"),
     ("[0, 1]", float("nan"), "finite"), ("[0, 1]", float("inf"), "finite"), ("[0, 1)", 0, None), ("(0, 1]", 1, None)],
)  # fmt: skip
def test_intervals_are_as_in_mathematics(text: str, value: float, words: str | None) -> None:
    found = interval(text).fault(value)
    assert found is None if words is None else found is not None and words in found


@pytest.mark.parametrize(
    "argv",
    ["train --opt nonsense --arch x", "train --opt lbfgs --arch x", "train --opt adahessian --arch x", "train --smoothing 2",
     "train --drop 2", "train --drop-path 1e30", "train --ema-decay 5", "search --compute-device meta", "search --compute-device cuda:999999999999999",
     "search --seed 12345678901234567890", "search --max-train 12345678901234567890", "search --precision fp16", "search --precision float32,bf16", "search --strategy random,evolution", "search --device rpi4 --devices pixel3,pixel1",
     f"search --epochs {'9' * 400}", "train --export onyx", "train --arch x --export onnx,none",
     "search --strategy magic", "search --objectives error,speed", "lut sample --out x --seed -1", "lut sample --out x -n 0",
     "lut export --out x --channels 999999999", "lut export --out x --classes 1", "lut build --device x --threads 100000", "lut build --device x --rounds 0",
     "verify --model x --budget-ms 0", "verify --model x --budget-ms nan", "verify --model x --threads 100000", "search --nothing", "nothing"],
)  # fmt: skip
def test_what_no_command_can_take_is_one_line(capsys: pytest.CaptureFixture[str], argv: str) -> None:
    refused(capsys, *argv.split())


@pytest.mark.parametrize(
    "argv",
    [*(f"search {o}" for o in ("--evaluations 9", "--max-seconds 9", "--evaluator supernet", "--objectives gap", "--storage x")),
     *(f"search --strategy nsga2 {o}" for o in ("--relaxation score", "--paths 3", "--alpha-lr 1", "--candidates 3", "--latency-weight 1")),
     "search --relaxation score --temperature 2", "search --relaxation score --temperature-end 2", "search --paths 3", "search --strategy evolution --storage x",
     "search --strategy random --evaluator scratch --lr 1", "search --strategy random --evaluator scratch --anchor 1",
     "search --fairness-weight 2 --max-gap .1", "search --fairness-weight 2 --fairness-method dro", "search --max-gap .1 --fairness-method dro,balance",
     "search --file-col x", "search --data mnist:x --file-col x", "train --arch mobilenetv2_050 --no-augment --augmentation trivial",
     *(f"search --strategy {s} --{o}" for s in ("blockwise", "uniform") for o in ("lr .1", "epochs 5", "warmup-epochs 3", "anchor 1")),
     "search --strategy one-shot --trained 20 --lr .1"],
)  # fmt: skip
def test_an_option_without_effect_is_refused(capsys: pytest.CaptureFixture[str], argv: str) -> None:
    assert "has no effect with --" in refused(capsys, *argv.split())


@pytest.mark.parametrize(
    "given",
    [{"strategy": "nsga2", "storage": "x", "evaluations": 3}, {"relaxation": "softmax", "temperature": 2.0}, {"relaxation": "score", "paths": 4, "lr": 0.1}, {"space": "flex32", "paths": 4},
     {"fairness_weight": 2.0, "fairness_method": "balance, gap"}, {"fairness_method": "minimax,hsic", "max_gap": 0.1}, {"data": "photos.csv", "file_col": "x"}],
)  # fmt: skip
def test_an_option_with_effect_passes(given: dict[str, Any]) -> None:
    check_effect(SearchConfig(**given), given)


def test_bootstrap_is_of_training_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--bootstrap" in refused(capsys, "search", "--bootstrap", "20")


def test_names_that_config_repeats_are_those_of_the_registries() -> None:
    choices = {name: item.metadata["choices"] for name, item in SearchConfig.__dataclass_fields__.items()}
    assert set(choices["strategy"]) == {"", *STRATEGIES} and set(ASK_TELL) == set(ASK_TELL_STRATEGIES)
    assert set(choices["relaxation"]) == {"", *RELAXATIONS} and set(choices["evaluator"]) == set(EVALUATORS)
    assert set(PENALTIES) == {name for name, method in METHODS.items() if method.penalty}
    assert set(INHERITED) <= {item.name for item in fields(SearchConfig)} & {item.name for item in fields(TrainConfig)}


@pytest.mark.parametrize("kind", BOTH)
def test_help_is_short_and_help_all_has_everything(capsys: pytest.CaptureFixture[str], kind: type[Any]) -> None:
    shown = {}
    for option in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as stopped:
            main([COMMAND[kind], option])
        shown[option] = {w.strip(",") for w in capsys.readouterr().out.split("\n\n--")[0].split() if w.startswith("--")}
        assert stopped.value.code == 0
    every = {flag(item.name) for item in fields(kind)}
    assert every <= shown["--help-all"] and {"--config", "--quick", "--resume", "--seed"} <= shown["--help"]
    assert len(every & shown["--help"]) <= 28 < len(every)


def options(**given: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"quick": False, **given})


def test_command_line_over_file_over_quick_over_default(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("\ufeffseed: 3\nepochs: 5\nlr: 0.5\ndata: 'writers'\n", encoding="utf-8")
    merged = with_file(SearchConfig, options(config=file, seed=4, quick=True))
    config = from_options(SearchConfig, merged)
    assert (config.seed, config.epochs, config.lr, config.warmup_epochs, config.batch_size) == (4, 5, 0.5, 1, 32)
    assert {"seed", "epochs", "lr"} <= set(vars(merged)) and "config" not in vars(merged)


@pytest.mark.parametrize(
    ("text", "words"),
    [("sed: 3", '"sed" is no option. Did you mean "seed"'), ("seed: -1", "seed: must be at least 0"), ("seed: 1.5", "seed: 1.5 is not of type int"),
     ("lr: 2e-3", "lr: '2e-3' is not of type float"), ("lr: .nan", "lr: must be a finite number"), ("augment: 1", "augment: 1 is not of type bool"),
     ("seed: " + "9" * 400, "too large"), ("resume: x", '"resume" is no option'), ("seed: 1\nseed: 2", "stands twice"), ("- seed", "not a list"),
     ("a: &a [x]\nb: *a", "aliases"), ("out: \"a\\0b\"", "control character"), ("data: [writers]", "data: "), ("{" * 200, "not valid YAML"),
     ("seed: !!python/object:os.system x", "not valid YAML"), ("? [1]\n: 2", "not valid YAML"), ("? {a: 1}\n: 2", "not valid YAML")],
)  # fmt: skip
def test_a_wrong_options_file_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, words: str) -> None:  # fmt: skip
    (tmp_path / "f.yaml").write_text(text)
    line = refused(capsys, "search", "--config", str(tmp_path / "f.yaml"))
    assert words in line and "f.yaml" in line
    (tmp_path / "f.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refused(capsys, "search", "--config", str(tmp_path / "f.yaml"))


@pytest.mark.parametrize(
    "config",
    [SearchConfig(), SearchConfig(strategy="nsga2", evaluations=7), SearchConfig(max_gap=0.1, relaxation="gumbel"),
     TrainConfig(arch="mobilenetv2_050"), TrainConfig(arch="runs/x/derived.json", fairness_method="dro", out="x")],
)  # fmt: skip
def test_the_written_file_gives_the_same_options(tmp_path: Path, config: Any) -> None:
    (tmp_path / "run.yaml").write_text(to_file(config), encoding="utf-8")
    merged = with_file(type(config), options(config=tmp_path / "run.yaml"))
    read = from_options(type(config), merged)
    check_effect(read, vars(merged))
    assert {**asdict(read), "out": None} == {**asdict(config), "out": None}


def test_a_value_of_one_kind_has_no_blanks_and_files_are_made_in_order_whatever_the_blanks() -> None:
    for value in (" bf16", "bf16,bf16"):
        with pytest.raises(UserError, match="is not known"):
            check_values(SearchConfig, {"precision": value}, "here")
    check_values(TrainConfig, {"export": "onnx, int8"}, "here")
    assert _in_order("int8 , onnx") == ["onnx", "int8"] and _in_order(" none") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("fairness", ["accuracy_parity"]), ("fairness_weight", "1"), ("max_train", 10**17), ("intersections", 1), ("data", 5), ("max_gap", -1.0), ("device", "a\nb")],
)  # fmt: skip
def test_the_options_inside_derived_json_are_checked_when_they_are_taken(tmp_path: Path, name: str, value: Any) -> None:
    arch = Architecture(**{**vars(architecture()), "config": {name: value}})
    with pytest.raises(UserError, match=f"x.json: config: {name}: "):
        inherit(TrainConfig(arch="x.json"), arch, (), quick=False)
    inherit(TrainConfig(arch="x.json"), arch, {name}, quick=False)


def test_version_and_help_import_no_torch() -> None:
    code = "import sys; from supernet.commands.main import main\ntry: main([{!r}, '--help'])\nexcept SystemExit: pass\nassert not {{'torch', 'timm'}} & set(sys.modules)"
    for command in ("search", "lut", "verify", "sweep"):
        subprocess.run([sys.executable, "-c", code.format(command)], check=True, capture_output=True)


@pytest.mark.parametrize("imports", ["import supernet, timm", "import timm, supernet", "import supernet.network, timm", "import supernet; from timm.models import *; import timm"])  # fmt: skip
def test_the_derived_network_is_registered_whatever_is_imported_first(imports: str) -> None:
    code = f"{imports}; assert timm.is_model('supernet_derived')"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_closed_pipe_is_no_error() -> None:
    said = subprocess.run(f"{sys.executable} -m supernet search --help-all 2>&1 | head -1; exit ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash",
                          capture_output=True, text=True)  # fmt: skip
    assert said.stdout.startswith("usage:") and "Error" not in said.stdout + said.stderr and said.returncode in (0, 141)


def test_without_a_terminal_a_bar_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    with bars.bar(total=3, desc="train") as shown:
        for _ in range(3):
            shown.update()
        shown.set_postfix_str("ce 1.234")
    assert "\r" not in said.getvalue() and said.getvalue().splitlines()[-1].startswith("train 100% 3/3")


def test_all_faults_of_a_config_are_found_before_anything_is_written() -> None:
    with pytest.raises(UserError, match="options: paths: must be at least 2, not 1"):
        check(SearchConfig(paths=1))
