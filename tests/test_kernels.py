"""The CPU kernels are torch's own functions, faster: same values, same gradients, same module to the outside."""

from __future__ import annotations

import copy
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import BatchNormAct2d
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from supernet.kernels import DepthwiseConv2d, FastBatchNormAct2d, depthwise, fast_cpu, keep_freed_memory, native
from supernet.network import build_efficientnet

CHANNELS_LAST = torch.channels_last
ARCH_DEF = [["ir_r1_k5_s1_e3_c16"], ["ir_r1_k3_s2_e6_c24", "ir_r1_k5_s1_e1_c24"], ["cn_r1_k1_s2_c32"]]
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="without a C compiler torch's own code runs")


@pytest.fixture
def no_library() -> Iterator[None]:
    """Forgets what was compiled, before and after the test."""
    native.library.cache_clear()
    yield
    native.library.cache_clear()


def network(seed: int = 0) -> EfficientNet:
    torch.manual_seed(seed)
    sizes = {"stem_channels": 16, "stem_stride": 1, "head_channels": 64}
    return build_efficientnet(ARCH_DEF, num_classes=5, in_chans=3, **sizes).to(memory_format=CHANNELS_LAST)


def images(B: int = 6, **options: torch.dtype) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(B, 3, 16, 16, **options).to(memory_format=CHANNELS_LAST)


def kinds(model: nn.Module) -> list[type]:
    return [type(module) for module in model.modules() if isinstance(module, (DepthwiseConv2d, FastBatchNormAct2d))]


def depthwise_pair(C: int, K: int, S: int, dtype: torch.dtype = torch.float64) -> tuple[nn.Conv2d, nn.Conv2d]:
    plain = nn.Conv2d(C, C, K, S, K // 2, groups=C, bias=False, dtype=dtype)
    fast = copy.deepcopy(plain)
    fast.__class__ = DepthwiseConv2d
    return plain, fast


def norm_pair(C: int, act: bool, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, nn.Module]:
    plain = BatchNormAct2d(C, apply_act=act, inplace=False).to(dtype)
    with torch.no_grad():
        plain.weight.normal_()
        plain.bias.normal_()
    return plain, fast_cpu(nn.Sequential(copy.deepcopy(plain)))[0]


def gradients(module: nn.Module, x: Tensor, cotangent_seed: int = 3) -> tuple[Tensor, ...]:
    """Output, input gradient and parameter gradients under a random cotangent."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = module(x)
    torch.manual_seed(cotangent_seed)
    return (y, *torch.autograd.grad(y, [x, *module.parameters()], torch.randn_like(y)))


SHAPES = st.tuples(st.integers(1, 10), st.sampled_from([8, 16, 24, 40]), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.sampled_from([3, 5]), st.sampled_from([1, 2]), st.integers(0, 2**31))
def test_depthwise_gradients_are_autograds_in_float64(shape: tuple[int, ...], K: int, S: int, seed: int) -> None:
    torch.manual_seed(seed)
    plain, fast = depthwise_pair(shape[1], K, S)
    x = torch.randn(shape, dtype=torch.float64).to(memory_format=CHANNELS_LAST)
    for expected, actual in zip(gradients(plain, x), gradients(fast, x), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.booleans(), st.integers(0, 2**31), st.floats(-30, 30), st.floats(1e-3, 30))
def test_batch_norm_is_timms_in_float64(
    shape: tuple[int, ...], act: bool, seed: int, mean: float, spread: float
) -> None:
    torch.manual_seed(seed)
    plain, fast = norm_pair(shape[1], act)
    x = (torch.randn(shape, dtype=torch.float64) * spread + mean).to(memory_format=CHANNELS_LAST)
    if x.numel() == shape[1]:  # torch refuses one value per channel, and so must we
        with pytest.raises(ValueError, match="more than 1 value"):
            fast(x)
        return
    for expected, actual in zip(gradients(plain, x), gradients(fast, x), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-7, atol=1e-7)
    for (name, expected), actual in zip(plain.state_dict().items(), fast.state_dict().values(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("pair", [depthwise_pair(8, 5, 2), depthwise_pair(8, 3, 1), norm_pair(8, True)])
def test_gradcheck_and_second_derivatives(pair: tuple[nn.Module, nn.Module]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 3, 2, dtype=torch.float64).to(memory_format=CHANNELS_LAST).requires_grad_()
    module = pair[1]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        module.zero_grad()
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    names, parameters = zip(*module.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(run, (x, *parameters))
    assert torch.autograd.gradgradcheck(run, (x, *parameters))


@pytest.mark.parametrize("K", [3, 5])
@pytest.mark.parametrize("C, size, S", [(16, 32, 1), (72, 16, 2), (552, 4, 1), (1104, 4, 1)])
def test_float32_is_as_exact_as_torch(C: int, size: int, S: int, K: int) -> None:
    torch.manual_seed(0)
    plain, fast = depthwise_pair(C, K, S, torch.float32)
    x = torch.randn(16, C, size, size).to(memory_format=CHANNELS_LAST)
    exact = gradients(copy.deepcopy(plain).double(), x.double())[2]
    norm, fast_norm = norm_pair(C, True, torch.float32)
    exact_norm = gradients(copy.deepcopy(norm).double(), x.double())[1]
    for truth, ours, theirs in (
        (exact, gradients(fast, x)[2], gradients(plain, x)[2]),
        (exact_norm, gradients(fast_norm, x)[1], gradients(norm, x)[1]),
    ):
        error, torchs = ((value.double() - truth).norm() / truth.norm() for value in (ours, theirs))
        assert error < max(1.5 * torchs, 3e-7)


@needs_compiler
def test_the_fast_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    run = native.run
    for place in ("depthwise", "batch_norm"):
        spy = lambda *args, place=place: (calls.append(place), run(*args))  # noqa: E731
        monkeypatch.setattr(f"supernet.kernels.{place}.run", spy)
    F.cross_entropy(fast_cpu(network())(images()), torch.zeros(6, dtype=torch.long)).backward()
    assert calls.count("depthwise") == 2 and calls.count("batch_norm") == 6 * 12


def test_same_result_at_any_thread_count_bit_for_bit() -> None:
    modules = depthwise_pair(24, 5, 1, torch.float32)[1], norm_pair(24, True, torch.float32)[1]
    threads = torch.get_num_threads()
    x = torch.randn(11, 24, 9, 7).to(memory_format=CHANNELS_LAST)
    results = []
    try:
        for count in (1, 1, 2, 3):
            torch.set_num_threads(count)
            results.append([gradients(module, x) for module in modules])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for expected, actual in zip(results[0], other, strict=True):
            assert all(map(torch.equal, expected, actual))


def test_alphas_gradient_computes_no_weight_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    gradient = depthwise.weight_gradient
    monkeypatch.setattr(depthwise, "weight_gradient", lambda *args: computed.append(1) or gradient(*args))
    model, alpha = fast_cpu(network()), torch.ones((), requires_grad=True)
    model(images() * alpha).sum().backward(inputs=[alpha])
    torch.autograd.grad(model(images() * alpha).sum(), [alpha])
    assert not computed and alpha.grad is not None
    weights = [module.weight for module in model.modules() if isinstance(module, DepthwiseConv2d)]
    torch.autograd.grad(model(images() * alpha).sum(), weights)
    if native.library(torch.float32) is not None:
        assert len(computed) == len(weights)


def test_only_what_has_a_kernel_is_converted_and_nothing_else_changes() -> None:
    plain, fast = network(), fast_cpu(network())
    assert kinds(fast).count(DepthwiseConv2d) == 2 and FastBatchNormAct2d in kinds(fast)
    assert list(plain.state_dict()) == list(fast.state_dict())
    fast.load_state_dict(plain.state_dict())
    assert kinds(copy.deepcopy(fast)) == kinds(pickle.loads(pickle.dumps(fast))) == kinds(fast)
    others = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 8, 7, padding=3, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False),
        nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
        nn.Conv2d(8, 8, 3, padding="same", groups=8, bias=False),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False),
        BatchNormAct2d(8, act_layer=nn.SiLU),
        BatchNormAct2d(8, momentum=None),
        BatchNormAct2d(6),
    )
    assert kinds(fast_cpu(others)) == []


@pytest.mark.parametrize("train", [True, False])
def test_every_other_input_gets_torchs_own_result(train: bool) -> None:
    plain, fast, x = network().train(train), fast_cpu(network()).train(train), images()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain(x), fast(x))
    for model in (plain, fast):
        model.to(memory_format=torch.contiguous_format)
    assert torch.equal(plain(x.contiguous()), fast(x.contiguous()))
    assert fast.to("meta")(x.to("meta")).shape == (6, 5)


def test_export_and_functional_transforms_see_the_plain_modules() -> None:
    plain, fast, x = network().eval(), fast_cpu(network()).eval(), images()
    codes = [str(torch.export.export(model, (x,)).graph_module.code) for model in (plain, fast)]
    assert codes[0] == codes[1]

    def loss(model: nn.Module) -> dict[str, Tensor]:
        return torch.func.grad(lambda weights: torch.func.functional_call(model, weights, (x,)).square().mean())(
            dict(model.named_parameters())
        )

    torch.testing.assert_close(loss(fast), loss(plain))


def test_statistics_can_be_measured_anew() -> None:
    plain = network()
    fast = fast_cpu(network())
    batches = [torch.randn(8, 3, 8, 8).to(memory_format=CHANNELS_LAST) for _ in range(3)]
    for model in (plain, fast):
        update_bn(batches, model)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), fast.state_dict().values(), strict=True))


def test_nan_stays_nan() -> None:
    x = torch.randn(4, 8, 5, 5).to(memory_format=CHANNELS_LAST)
    x[0, 0, 0, 0] = torch.nan
    y = norm_pair(8, True, torch.float32)[1](x)
    assert y[:, 0].isnan().all() and not y[:, 1:].isnan().any()


def test_without_a_compiler_torchs_own_code_runs(no_library: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    plain, fast = network(), fast_cpu(network())
    assert native.library(torch.float32) is None
    assert torch.equal(plain(images()), fast(images()))


def test_a_failing_compiler_is_told_once(no_library: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'no vectors here' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    model = fast_cpu(network())
    with pytest.warns(UserWarning, match="no vectors here"):
        model(images())
    assert model(images()).shape == (6, 5)


def test_keep_freed_memory_says_whether_it_could() -> None:
    assert isinstance(keep_freed_memory(), bool)
