"""`--paired`: one seed for replicate r of every configuration, and tests that follow the design."""

from __future__ import annotations
