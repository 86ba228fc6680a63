"""Freed memory stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PAGE_FAULTS_OF_STEPS = """
import resource, sys, torch
from model.allocator import keep_freed_memory
from model.config import ModelConfig
from model.gpt import GPT
if sys.argv[1] == "keep":
    keep_freed_memory()
model = GPT(ModelConfig(n_layers=1))
tokens = torch.arange(64)[None]
for step in range(14):
    if step == 8:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model.zero_grad(set_to_none=True)
    model.loss(tokens, tokens).backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is the one tuned")
def test_steps_after_the_first_few_cost_no_page_faults() -> None:
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", PAGE_FAULTS_OF_STEPS, how]))
        for how in ("keep", "leave")
    }
    # The head's gradient alone is 26 MB, 6,000 pages.
    assert faults["keep"] < 1000
    assert faults["leave"] > 4 * 6000
