"""The Triton kernel against float64, in Triton's interpreter: no GPU, but Triton must be there."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CHECK = """
import torch
from minigpt_search.model.loss import softmax_kernel

softmax_kernel.BLOCK = 32
for dtype, error in ((torch.float32, 1e-5), (torch.bfloat16, 4e-3), (torch.float16, 5e-4)):
    for c, v, width, scale in ((3, 9, 64, 1.0), (5, 63, 64, 30.0), (4, 100, 128, 3000.0)):
        logits = (torch.randn(c, width) * scale).to(dtype)
        targets = torch.randint(v, (c,))
        z = logits[:, :v].double()
        losses = torch.nn.functional.cross_entropy(z, targets, reduction="none")
        gradients = z.softmax(dim=1)
        gradients[torch.arange(c), targets] -= 1
        before = logits.clone()
        alone = softmax_kernel.softmax_losses(logits, targets, v, gradients=False)
        assert torch.equal(logits, before)
        found = softmax_kernel.softmax_losses(logits, targets, v, gradients=True)
        assert torch.equal(found, alone)
        torch.testing.assert_close(found.double(), losses, rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(logits[:, :v].double(), gradients, rtol=0, atol=error)
        assert not logits[:, v:].any()
bad = torch.zeros(2, 64)
bad[0, 3], bad[1, 5] = torch.nan, torch.inf
losses = softmax_kernel.softmax_losses(bad, torch.zeros(2).long(), 60, gradients=False)
assert not losses.isfinite().any()
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_losses_and_gradients_against_float64() -> None:
    root = Path(__file__).resolve().parents[3]
    paths = [str(root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONWARNINGS": "ignore",  # numpy's, of the row with a NaN
    }
    subprocess.run([sys.executable, "-c", CHECK], check=True, env=environment)
