"""A training step as one CUDA graph: captured once, then replayed with a single launch.

A small model's step is some hundreds of kernels of a few microseconds; launched one by one, the
GPU waits for the host. Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
(whole-network capture).

Capturing runs nothing and so changes nothing: the steps before it are the warm-up that it needs,
and they are steps of the run like any other.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Collection

import torch
from torch import Tensor

WARM_UP_STEPS = 2
"""Steps before the capture: they make the optimizer's state, the libraries' handles and
workspaces, and compile kernels, none of which can be captured."""

StepFunction = Callable[[Tensor, Tensor], None]
"""What is captured: it takes tokens and targets, and all its results are written in place."""


class StepGraph:
    """Calls `function(tokens, targets)`, replayed from a graph for batches of `batch_size`.

    Smaller batches (an epoch's last) are launched kernel by kernel. All that the function reads and
    writes on the GPU must stay where it is, and it must not wait for the GPU. `generators` are the
    random streams that it draws from. Whatever keeps it from being captured is a warning, and then
    each call is launched kernel by kernel, with the same numbers.
    """

    def __init__(
        self, function: StepFunction, batch_size: int, generators: Collection[torch.Generator]
    ) -> None:
        self.function, self.batch_size, self.generators = function, batch_size, generators
        self.replay: Callable[[], None] | None = None
        self.steps_to_warm_up = WARM_UP_STEPS
        self.usable = True

    def __call__(self, tokens: Tensor, targets: Tensor) -> None:
        """Do the step on tokens and targets (B, T) on the GPU, or (K, B, T) of K runs."""
        # A graph holds one shape: another would be another capture, for one step an epoch.
        if tokens.shape[-2] != self.batch_size or not self.usable:
            self.function(tokens, targets)
        elif self.steps_to_warm_up:
            self.steps_to_warm_up -= 1
            run_on_side_stream(self.function, tokens, targets)
        else:
            if self.replay is None:
                # A replay reads the addresses of the capture, so batches are copied to there.
                self.tokens, self.targets = tokens.clone(), targets.clone()
                self.replay = self._capture()
            self.tokens.copy_(tokens)
            self.targets.copy_(targets)
            self.replay()

    def _capture(self) -> Callable[[], None]:
        """A call that runs the function on `self.tokens` and `self.targets`: the graph's replay, or
        the function itself where it can't be captured."""
        states = [generator.get_state() for generator in self.generators]
        try:
            return capture(self.function, self.tokens, self.targets, self.generators)
        except RuntimeError as error:  # torch's for all that CUDA reports, memory included
            reason = str(error).partition("\n")[0]
            for generator, state in zip(self.generators, states, strict=True):
                _replace_state(generator, state)
            self.usable = False
        warnings.warn(
            f"no CUDA graph, steps are launched kernel by kernel: {reason}",
            RuntimeWarning,
            stacklevel=3,
        )
        return lambda: self.function(self.tokens, self.targets)


def run_on_side_stream(function: StepFunction, tokens: Tensor, targets: Tensor) -> None:
    """Call the function on a stream of its own, as the warm-up before a capture has to be."""
    stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        function(tokens, targets)
    current.wait_stream(stream)


def capture(
    function: StepFunction, tokens: Tensor, targets: Tensor, generators: Collection[torch.Generator]
) -> Callable[[], None]:
    """Capture the call without running it; returns what replays it on the same tensors.

    Raises RuntimeError if it can't be captured.
    """
    graph = torch.cuda.CUDAGraph()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is about to do it by itself (pytorch#176753)
        for generator in generators:
            graph.register_generator_state(generator)
    gc.collect()  # a graph of the trial before must not be taken apart during the capture
    current = torch.cuda.current_stream()
    try:
        # A stream of its own: torch's default for all captures is of the first one's GPU.
        with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
            function(tokens, targets)
    finally:
        torch.cuda.set_stream(current)  # torch leaves its own in place if the capture failed
    return graph.replay


def _replace_state(generator: torch.Generator, state: Tensor) -> None:
    """Give the generator this state in a new place: after a failed capture the old one takes
    every draw for a part of it ("Offset increment outside graph capture")."""
    fresh = torch.Generator(generator.device)
    fresh.set_state(state)
    generator.graphsafe_set_state(fresh)
