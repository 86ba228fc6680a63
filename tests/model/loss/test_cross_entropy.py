"""The tiled loss against plain cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from minigpt_search.model.loss import cpu as loss_cpu
from minigpt_search.model.loss import gpu as loss_gpu
from minigpt_search.model.loss.cpu import CHUNK, TILE_BYTES
from minigpt_search.model.loss.cross_entropy import linear_cross_entropy

TILE = TILE_BYTES // (CHUNK * 8)  # of the vocabulary, in float64
Result = tuple[Tensor, Tensor, Tensor]


def inputs(n: int, d: int, v: int, *, scale: float = 1.0, seed: int = 0) -> Result:
    """x (n, d), weight (v, d) in float64, so that logits have about this scale; targets (n,)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    weight = torch.randn(v, d, dtype=torch.float64, generator=generator) * scale / d**0.5
    return x, weight, torch.randint(v, (n,), generator=generator)


def plain(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(x @ weight.t(), targets)


def loss_and_gradients(
    function: Callable[..., Tensor], x: Tensor, weight: Tensor, targets: Tensor, **options: Any
) -> Result:
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    loss = function(x, weight, targets, **options)
    grad_x, grad_weight = torch.autograd.grad(loss, (x, weight))
    return loss.detach(), grad_x, grad_weight


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected).norm() / expected.norm()).item()


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 20),
    d=st.integers(1, 6),
    v=st.integers(1, 40),
    scale=st.sampled_from([0.1, 3.0, 300.0, 3000.0]),
    seed=st.integers(0, 99),
)
def test_float64_is_exact_for_every_fit_of_chunks_and_tiles(
    n: int, d: int, v: int, scale: float, seed: int
) -> None:
    given_inputs = inputs(n, d, v, scale=scale, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_cpu, "CHUNK", 4)
        patch.setattr(loss_cpu, "TILE_BYTES", 4 * 7 * 8)  # seven of the vocabulary
        actual = loss_and_gradients(linear_cross_entropy, *given_inputs)
    expected = loss_and_gradients(plain, *given_inputs)
    for ours, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", [1, CHUNK, CHUNK + 1, 2 * CHUNK + 44])
@pytest.mark.parametrize("v", [TILE - 1, 2 * TILE, 2 * TILE + 1])
def test_true_chunk_and_tile_sizes(n: int, v: int) -> None:
    given_inputs = inputs(n, 8, v)
    expected = loss_and_gradients(plain, *given_inputs)
    for ours, reference in zip(
        loss_and_gradients(linear_cross_entropy, *given_inputs), expected, strict=True
    ):
        torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-12)


def test_gradients_are_the_finite_differences() -> None:
    x, weight, targets = inputs(5, 3, 9)
    step = 1e-6
    _, *gradients = loss_and_gradients(linear_cross_entropy, x, weight, targets)
    for tensor, gradient in zip((x, weight), gradients, strict=True):
        for index in range(tensor.numel()):
            entry = tensor.view(-1)[index]
            entry += step
            above = linear_cross_entropy(x, weight, targets)
            entry -= 2 * step
            below = linear_cross_entropy(x, weight, targets)
            entry += step
            difference = (above - below).item() / (2 * step)
            assert gradient.flatten()[index].item() == pytest.approx(difference, abs=1e-8)


@pytest.mark.parametrize(
    ("dtype", "loss_error", "gradient_error"),
    [
        (torch.float32, 1e-6, 1e-6),
        (torch.float16, 2e-4, 2e-3),  # 11 bits: a rounding is up to 5e-4 of a product
        (torch.bfloat16, 2e-3, 1e-2),  # 8 bits: up to 4e-3 of a product, averaged over the rows
    ],
)
def test_fp32_inputs_are_as_close_as_the_products_type_allows(
    dtype: torch.dtype, loss_error: float, gradient_error: float
) -> None:
    x, weight, targets = inputs(CHUNK + 300, 32, TILE + 1000, scale=3.0)
    expected = loss_and_gradients(plain, x, weight, targets)
    actual = loss_and_gradients(
        linear_cross_entropy, x.float(), weight.float(), targets, dtype=dtype
    )
    assert actual[0].dtype == torch.float32
    assert abs(actual[0].item() - expected[0].item()) < loss_error
    for ours, reference in zip(actual[1:], expected[1:], strict=True):
        assert ours.dtype == torch.float32
        assert relative_error(ours, reference) < gradient_error


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_loss_does_not_fall_on_that_type_s_steps(dtype: torch.dtype) -> None:
    x, weight, targets = inputs(100, 8, 500)
    loss = linear_cross_entropy(x.float(), weight.float(), targets, dtype=dtype)
    assert loss.to(dtype).float() != loss


def test_the_gradient_scaler_s_factor_comes_through_exactly() -> None:
    x, weight, targets = (t.float() if t.is_floating_point() else t for t in inputs(300, 8, 50))
    scaled = loss_and_gradients(
        lambda *args: linear_cross_entropy(*args, dtype=torch.float16) * 65536, x, weight, targets
    )
    single = loss_and_gradients(linear_cross_entropy, x, weight, targets, dtype=torch.float16)
    for ours, reference in zip(scaled, single, strict=True):
        assert torch.equal(ours / 65536, reference)


@pytest.mark.parametrize("wanted", ["x", "weight"])
def test_only_one_of_both_needs_a_gradient(wanted: str) -> None:
    x, weight, targets = inputs(10, 4, 30)
    expected = loss_and_gradients(plain, x, weight, targets)
    tensor = {"x": x, "weight": weight}[wanted].requires_grad_()
    linear_cross_entropy(x, weight, targets).backward()
    assert tensor.grad is not None
    torch.testing.assert_close(tensor.grad, expected[1 if wanted == "x" else 2])


def test_a_second_backward_pass_is_an_error_not_a_wrong_gradient() -> None:
    x, weight, targets = inputs(3, 4, 5)
    loss = linear_cross_entropy(x.requires_grad_(), weight, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_non_finite_weight_makes_the_loss_non_finite(bad: float) -> None:
    x, weight, targets = inputs(10, 4, 30)
    weight[17, 2] = bad
    assert not linear_cross_entropy(x, weight, targets).isfinite()


class Allocations(TorchDispatchMode):
    """Remembers the largest tensor that an operation made, and how many products there were."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            self.largest = max(self.largest, made.numel())
        self.products += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm_)
        return made


def test_no_operation_ever_holds_all_logits() -> None:
    x, weight, targets = (
        t.float() if t.is_floating_point() else t for t in inputs(2 * CHUNK + 1, 8, 4 * TILE)
    )
    with Allocations() as seen:
        linear_cross_entropy(x.requires_grad_(), weight.requires_grad_(), targets).backward()
    assert seen.largest == CHUNK * 4 * TILE  # one chunk's, of three


def test_evaluation_makes_no_gradients() -> None:
    x, weight, targets = inputs(2 * CHUNK, 8, 3 * TILE)
    weight.requires_grad_()  # as the model's is
    with torch.no_grad(), Allocations() as seen:
        linear_cross_entropy(x, weight, targets)
    assert seen.products == 2 * 3
    assert seen.largest == max(CHUNK * TILE, weight.numel())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("offset", [-1e4, -90.0, -40.0, 40.0, 87.0, 1e4])
def test_logits_far_from_zero(dtype: torch.dtype, offset: float) -> None:
    """A common offset of all logits changes nothing in the softmax: without a maximum subtracted,
    fp32 and bf16 exponentials overflow above 88 and vanish below -87."""
    x, weight, targets = inputs(20, 8, 300)
    x[:, 0], weight[:, 0] = 1.0, 0.0
    expected = loss_and_gradients(plain, x, weight, targets)
    weight[:, 0] = offset
    loss, grad_x, grad_weight = loss_and_gradients(
        linear_cross_entropy, x.float(), weight.float(), targets, dtype=dtype
    )
    # Rounding of a logit near the offset: 24 bits of significand in fp32, 8 in bf16.
    rounding = abs(offset) * {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-8}[dtype]
    assert abs(loss.item() - expected[0].item()) < 0.01 + rounding
    if rounding < 0.05:
        assert relative_error(grad_x[:, 1:], expected[1][:, 1:]) < 0.02 + 3 * rounding
        assert relative_error(grad_weight, expected[2]) < 0.02 + 3 * rounding


@pytest.mark.parametrize("n", [1, 6, 13])
def test_the_gpu_s_way_in_float64(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(loss_gpu, "CHUNK", 6)
    x, weight, targets = inputs(n, 5, 40, scale=3.0)
    grad_x, grad_w = torch.empty_like(x), torch.ones_like(weight)
    total = loss_gpu.sum_losses(x, weight, targets, x.dtype, x.dtype, grad_x, grad_w)
    expected = loss_and_gradients(plain, x, weight, targets)
    torch.testing.assert_close(total, expected[0] * n)
    torch.testing.assert_close(grad_x, expected[1] * n)
    torch.testing.assert_close(grad_w, 1 + expected[2] * n)  # added to what is there


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_gpu_s_gradients_are_products_with_fp32_as_their_result(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """Where torch has such: half-precision factors, and no rounding of the sums."""
    mm, results = torch.mm, []

    def mm_as_on_cuda(a: Tensor, b: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        assert a.dtype == b.dtype == dtype
        results.append(out_dtype)
        return mm(a, b) if out_dtype is None else mm(a.to(out_dtype), b.to(out_dtype))

    x, weight, targets = inputs(64, 8, 200)
    expected = loss_and_gradients(plain, x, weight, targets)

    def error() -> float:
        grad_x, grad_w = torch.empty(64, 8), torch.zeros(200, 8)
        given = x.float(), weight.float(), targets, dtype, torch.float32, grad_x, grad_w
        loss_gpu.sum_losses(*given)
        steps = grad_x.to(dtype).float()  # those of the type
        assert torch.equal(grad_x, steps) == (not loss_gpu.gives_fp32(dtype, "cpu"))
        return relative_error(grad_w / 64, expected[2])

    rounded = error()  # torch on a CPU has no such product
    monkeypatch.setattr(torch, "mm", mm_as_on_cuda)
    monkeypatch.setattr(loss_gpu, "gives_fp32", lambda dtype, device: True)
    assert error() < rounded
    assert results == [None, torch.float32, torch.float32]


def test_cublas_is_told_to_add_in_fp32() -> None:
    matmul = torch.backends.cuda.matmul
    matmul.allow_bf16_reduced_precision_reduction = True  # as torch has it
    matmul.allow_fp16_reduced_precision_reduction = True
    loss_gpu.keep_sums_exact.cache_clear()
    loss_gpu.keep_sums_exact()
    assert not matmul.allow_bf16_reduced_precision_reduction
    assert not matmul.allow_fp16_reduced_precision_reduction
