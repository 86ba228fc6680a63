"""What a run goes without on a GPU, as far as it is known before the first step."""

from __future__ import annotations

from minigpt_search.model import notes
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import TORCH_TYPES
from minigpt_search.model.loss.gpu import gives_fp32, triton_fault, triton_runs
from minigpt_search.model.network.embedding import scatter_fault
from minigpt_search.model.network.gpt import SHORT_CONTEXT


def note_lacks(config: RunConfig) -> None:
    """Note it for the run under way: kernels that don't run here, and bits that aren't the same
    each time."""
    if not triton_runs():
        lost = "no Triton kernels, so the softmax is torch's and no blocks are compiled"
        notes.note(f"{lost}: {triton_fault()}")
    elif (fault := scatter_fault()) is not None:
        notes.note(fault)
    precision = config.train.precision
    dtype = TORCH_TYPES[precision]
    if dtype.itemsize < 4 and not gives_fp32(dtype, "cuda"):
        notes.note(
            f"torch gives no fp32 result of {precision} products: the head's gradients are rounded "
            f"to {precision}"
        )
    if config.model.seq_len > SHORT_CONTEXT and not config.model.dropout:
        notes.note(
            f"attention over more than {SHORT_CONTEXT} tokens without dropout adds its gradients "
            "in no fixed order: a run that is resumed or repeated has other last bits"
        )
