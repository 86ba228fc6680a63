"""A run's checkpoint files on disk: which there are, how many stay and what they take. No torch
here: plans need it.

A run's folder holds the newest `step_N.pt` (all that a run needs to go on after N optimizer steps)
and, at its end, `final.pt` (configuration and weights).
"""

from __future__ import annotations

from pathlib import Path

STEP_CHECKPOINTS_KEPT = 2
"""If the newest is damaged on disk, the one before it is still good."""
FINAL_BYTES_PER_PARAMETER = 4
"""Size of `final.pt`: the weights in fp32."""
TOKENIZER_BYTES_PER_ENTRY = 30
"""What a tokenizer adds to `final.pt`, where it is kept there: 20 to 29 for 1,024 to 12,940 entries
learnt from Python source, 31 for GPT-2's 50,257 as a tokenizer.json (2026-11-29)."""
STEP_BYTES_PER_PARAMETER = 12
"""Size of a `step_N.pt`: the weights and AdamW's two moments in fp32."""


def step_files(folder: Path) -> list[Path]:
    """The step checkpoints in `folder`, newest first."""
    return sorted(folder.glob("step_*.pt"), reverse=True)
