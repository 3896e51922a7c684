"""derived.json: what is written is read, and what cannot be right says where it is wrong."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from supernet.blocks.ops import arch_strings
from supernet.errors import UserError
from supernet.network import build_network
from supernet.preprocessing import Preprocessing
from supernet.spaces import SPACES, get_space
from supernet.spaces.architecture import Architecture

SPACE = get_space("fbnet32")
INPUT = Preprocessing(size=32, channels=1, mean=(0.13,), std=(0.31,))


def architecture(ops: tuple[str, ...] = ("k3_e1",) * 22) -> Architecture:
    return Architecture(
        space="fbnet32",
        ops=ops,
        arch_def=arch_strings(SPACE, ops),
        stem_channels=SPACE.stem_channels,
        stem_stride=SPACE.stem_stride,
        head_channels=SPACE.head_channels,
        input=INPUT,
        classes=tuple("0123456789"),
        groups={"writer": ("employee", "student")},
        device="rpi4",
        budget_ms=18.0,
        predicted_ms=17.6,
    )


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2000, exclude_categories=("Cc", "Cs")), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=8,
)
ANSWER: dict[str, Any] = {
    "also": [{"device": "pixel3", "budget_ms": 3.0, "predicted_ms": 2.5, "table": "0f"}],
    "gap_weight": 0.5, "max_gap_nats": None, "worst_group": False,
}  # fmt: skip
MS = st.none() | st.floats(1e-3, 1e6)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    space = SPACES[draw(st.sampled_from(["fbnet32", "fbnet224"]))]
    ops = draw(st.lists(st.sampled_from(space.ops), min_size=22, max_size=22))
    channels = draw(st.sampled_from([1, 3]))
    values, budget_ms = st.floats(0.01, 1), draw(MS)
    return Architecture(
        space=space.name,
        ops=tuple(ops),
        arch_def=arch_strings(space, ops),
        stem_channels=space.stem_channels,
        stem_stride=space.stem_stride,
        head_channels=space.head_channels,
        input=Preprocessing(
            space.resolution,
            channels,
            tuple(draw(st.lists(values, min_size=channels, max_size=channels))),
            tuple(draw(st.lists(values, min_size=channels, max_size=channels))),
        ),
        classes=tuple(draw(st.lists(TEXT, min_size=2, max_size=5, unique=True))),
        groups={
            name: tuple(draw(st.lists(TEXT, max_size=3, unique=True)))
            for name in draw(st.lists(TEXT, max_size=2, unique=True))
        },
        device=draw(st.none() | TEXT),
        budget_ms=budget_ms,
        predicted_ms=draw(st.none() | st.floats(0, budget_ms or 1e6)),  # 0: a table may have no time for what is fixed
        predicted_error=draw(st.none() | st.floats(0, 1)),
        table=draw(st.none() | st.dictionaries(TEXT, JSON, max_size=3)),
        data=draw(st.dictionaries(TEXT, JSON, max_size=3)),
        config=draw(st.dictionaries(TEXT, JSON, max_size=3)),
        seed=draw(st.integers(0, 2**32)),
        versions=draw(st.dictionaries(TEXT, TEXT, max_size=3)),
        commit=draw(st.none() | TEXT),
        answer=draw(st.none() | st.just(ANSWER)),
    )


@settings(max_examples=20)
@given(architectures())
def test_saved_and_loaded_is_the_same(arch: Architecture) -> None:
    with TemporaryDirectory() as folder:
        arch.save(Path(folder) / "derived.json")
        assert Architecture.load(Path(folder) / "derived.json") == arch
        assert Architecture.load(folder) == arch  # a run folder stands for its derived.json


def test_saving_never_leaves_half_a_file(tmp_path: Path) -> None:
    architecture().save(tmp_path / "derived.json")
    with pytest.raises(ValueError):
        replace(architecture(), budget_ms=float("nan")).save(tmp_path / "derived.json")
    assert Architecture.load(tmp_path) == architecture()
    assert [path.name for path in tmp_path.iterdir()] == ["derived.json"]


BAD_FIELDS: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("schema_version",), 2, "schema_version"),
    (("ops",), "k3_e1", "ops"),
    (("ops", 3), 7, "ops[3]"),
    (("arch_def",), [], "arch_def"),
    (("arch_def", 0, 0), "ir_r1_k3_s1_e1_c99999", "arch_def[0][0]"),
    (("arch_def", 0, 0), "ir_r9999_k3_s1_e1_c16", "arch_def[0][0]"),
    (("arch_def", 0, 0), "ir_r1_k2_s1_e1_c16", "arch_def[0][0]"),
    (("arch_def", 0, 0), "ir_r1_k3_s0_e1_c16", "arch_def[0][0]"),
    (("arch_def", 0, 0), "__import__('os').system('true')", "arch_def[0][0]"),
    (("arch_def", 0), ["ir_r1_k3_s1_e1_c16"] * 33, "arch_def[0]"),
    (("stem_channels",), 0, "stem_channels"),
    (("stem_stride",), 3, "stem_stride"),
    (("head_channels",), 10**9, "head_channels"),
    (("input", "size"), "32", "input.size"),
    (("input", "mean"), [0.1, 0.2], "input"),
    (("input", "std"), [0.0], "input"),
    (("classes",), ["one"], "classes"),
    (("groups", "writer"), "student", "groups.writer"),
    (("budget_ms",), 0, "budget_ms"),
    (("predicted_error",), -0.1, "predicted_error"),
    (("extra",), 1, "extra"),
    (("stem_channels",), 24, "stem_channels: 24, but its space"),
    (("stem_channels",), 16.0, "stem_channels"),
    (("stem_stride",), 2, "stem_stride"),
    (("head_channels",), 1024, "head_channels"),
    (("input", "size"), 64, "input.size: 64"),
    (("input", "size"), 20_000, "input.size"),
    (("input", "std"), [1e-300], "input.std[0]"),
    (("space",), "fbnet33", 'Did you mean "fbnet32"'),
    (("space",), "micro32", "micro32 has 5 layers"),
    (("ops", 3), "k9_e1", "ops[3]"),
    (("classes",), ["one", "one"], "classes"),
    (("classes",), ["one", "two\n"], "not one line"),
    (("classes",), ["one", "\x1b[31m"], "control characters"),
    (("classes",), ["one", "\u202etwo"], "control characters"),
    (("classes",), ["one", "\ud800"], "control characters"),
    (("predicted_ms",), 18.5, "predicted_ms: 18.5 is over budget_ms, 18"),
    (("budget_ms",), 17.0, "predicted_ms: 17.6 is over"),
    (("budget_ms",), 1e300, "budget_ms"),
    (("predicted_ms",), -0.1, "predicted_ms"),
    (
        ("answer",),
        ANSWER | {"also": [ANSWER["also"][0] | {"predicted_ms": 3.5}]},
        "predicted_ms on pixel3: 3.5 is over budget_ms, 3",
    ),
    (("answer",), {"also": []}, "answer"),
    (("config",), {"budget_ms": 9.0}, "budget_ms: 18.0, but"),
    (("config",), {"seed": 3}, "seed: 0"),
    (("config",), {"space": "fbnet224"}, "space: fbnet32"),
    (("table",), {"hash": 5}, "table.hash"),
    (("data",), {"fingerprint": []}, "data.fingerprint"),
    (("seed",), 1.5, "seed"),
]


@pytest.mark.parametrize(
    ("path", "value", "named"), BAD_FIELDS, ids=[f"{p[-1]}={str(v)[:12]}" for p, v, _ in BAD_FIELDS]
)
def test_a_wrong_field_is_named(tmp_path: Path, path: tuple[str | int, ...], value: Any, named: str) -> None:
    content: Any = json.loads(json.dumps(asdict(architecture())))
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (tmp_path / "derived.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        Architecture.load(tmp_path)
    assert named in str(caught.value)
    assert "derived.json" in str(caught.value)


def test_a_file_of_before_states_no_weights(tmp_path: Path) -> None:
    content = asdict(architecture())
    del content["weights_sha256"], content["peak_activation_bytes"]
    (tmp_path / "derived.json").write_text(json.dumps(content))
    arch = Architecture.load(tmp_path)
    assert arch.weights_sha256 is None and arch.peak_activation_bytes is None


def test_a_peak_over_the_limit_on_memory_is_refused(tmp_path: Path) -> None:
    for peak, right in ((64 * 1024, True), (64 * 1024 + 4, False)):
        replace(architecture(), config={"max_sram_kb": 64}, peak_activation_bytes=peak).save(tmp_path / "derived.json")
        if right:
            assert Architecture.load(tmp_path).peak_activation_bytes == peak
        else:
            with pytest.raises(UserError, match="peak_activation_bytes: 65540 is over max_sram_kb, 64 KiB"):
                Architecture.load(tmp_path)


@pytest.mark.parametrize(
    "field",
    sorted(asdict(architecture()).keys() - {"weights_sha256", "peak_activation_bytes", "training", "sensor", "answer"}),
)
def test_each_field_is_needed(tmp_path: Path, field: str) -> None:
    content = asdict(architecture())
    del content[field]
    (tmp_path / "derived.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"'{field}' is a required property"):
        Architecture.load(tmp_path)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Architecture.load(tmp_path)
    (tmp_path / "derived.json").write_text(json.dumps(asdict(architecture()))[:-40])
    with pytest.raises(UserError, match="not valid JSON"):
        Architecture.load(tmp_path)


# within the file's grammar, but seldom what timm can build
HOSTILE = st.from_regex(
    r"\A(ir|cn|ds|er)(_r[1-4])?(_(k[1357]|s[12]|e[1-9](\.[0-9]{1,2})?|c[1-9][0-9]{0,3}|se0\.[0-9]{1,3})){0,4}(_k3_s1_e1_c8)?\Z"
)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@settings(max_examples=60)
@given(st.lists(st.lists(HOSTILE, min_size=1, max_size=2), min_size=1, max_size=3), st.sampled_from([1, 16, 100_000]))
def test_hostile_blocks_are_built_or_refused(stages: list[list[str]], head_channels: int) -> None:
    arch = replace(
        architecture(), space="own", arch_def=tuple(map(tuple, stages)), stem_channels=8, head_channels=head_channels
    )
    with torch.device("meta"):  # a gigabyte each takes no memory here
        try:
            network = build_network(arch)
        except UserError as error:
            assert "arch_def" in str(error) or "parameters" in str(error)
            return
        assert network.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


def test_a_network_of_absurd_size_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(UserError, match=r"more than 1,000,000,000 are not built"):
        build_network(replace(architecture(), classes=("a",) * 20_000, head_channels=100_000))


def test_blocks_that_are_not_those_of_the_operations_are_refused() -> None:
    arch = copy.deepcopy(architecture())
    with pytest.raises(UserError, match="arch_def: these blocks are not those of `ops`"):
        build_network(replace(arch, ops=("k3_e3", *arch.ops[1:])))
    with pytest.raises(UserError, match=r"ops\[0\]"):
        build_network(replace(arch, ops=("k9_e1", *arch.ops[1:])))


def test_building_twice_with_one_seed_gives_the_same_network() -> None:
    networks: list[nn.Module] = []
    for _ in range(2):
        torch.manual_seed(5)
        networks.append(build_network(architecture()))
    for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(a, b)
