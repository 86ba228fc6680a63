"""The figures, each drawing beside its caption."""

import logging
import os
from pathlib import Path

# At its import matplotlib makes `~/.cache/matplotlib` and `~/.config/matplotlib`; where it can't,
# it takes a folder of its own, removed at the end, and says so. A home that has none yet is left as
# it is: the fonts are then looked for each time (0.4 s, 2026-11-29).
if not any(Path("~").expanduser().glob(".c*/matplotlib")):
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(os.devnull, "none"))
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
