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
from contextlib import suppress

import torch
from torch import Tensor

from minigpt_search.model import notes
from minigpt_search.model.hardware import retirement
from minigpt_search.model.out_of_memory import is_out_of_memory

WARM_UP_STEPS = 2
"""Steps before the capture: they make the optimizer's state, the libraries' handles and
workspaces, and compile kernels, none of which can be captured."""

_failed: list[torch.cuda.CUDAGraph] = []
"""Graphs whose capture failed, until the process ends: torch's allocators were told to ask them
which streams are theirs, and may not have been told to stop."""
StepFunction = Callable[[Tensor, Tensor], None]
"""What is captured: it takes tokens and targets, and all its results are written in place."""


class StepGraph:
    """Calls `function(tokens, targets)`, replayed from a graph for batches of `batch_size`.

    Smaller batches (an epoch's last) are launched kernel by kernel. All that the function reads and
    writes on the GPU must stay where it is, and it must not wait for the GPU. `generators` are the
    random streams that it draws from. Whatever keeps it from being captured is noted, and then each
    call is launched kernel by kernel, with the same numbers; and the process should train no other
    run, since torch may keep what the capture has allocated.
    """

    def __init__(
        self, function: StepFunction, batch_size: int, generators: Collection[torch.Generator]
    ) -> None:
        self.function, self.batch_size, self.generators = function, batch_size, generators
        self.replay: Callable[[], None] | None = None
        self.steps_to_warm_up = WARM_UP_STEPS
        self.usable = True
        self.lacks_memory = False
        """Whether it is for lack of memory that it can't be captured."""

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
            for generator, state in zip(self.generators, states, strict=True):
                _replace_state(generator, state)
            self.usable, self.lacks_memory = False, is_out_of_memory(error)
            # torch's line has bytes and process ids, so that each trial would have one of its own.
            reason = "out of memory" if self.lacks_memory else notes.first_line(error)
        notes.note(f"no CUDA graph, steps are launched kernel by kernel: {reason}")
        retirement.retire("a CUDA graph's memory may be lost to it")
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

    Raises RuntimeError if it can't be captured; what the function raised, if that broke it off: the
    end of a capture that it broke would say that alone, in place even of a Ctrl-C.
    """
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is about to do it by itself (pytorch#176753)
        for generator in generators:
            graph.register_generator_state(generator)
    gc.collect()  # a graph of the trial before must not be taken apart during the capture
    current, cause = torch.cuda.current_stream(), None
    try:
        # A stream of its own: torch's default for all captures is of the first one's GPU.
        with torch.cuda.graph(graph, pool=pool, stream=torch.cuda.Stream()):
            try:
                function(tokens, targets)
            except BaseException as error:
                cause = error
                raise
    except BaseException as error:
        graph.reset()
        _failed.append(graph)
        _end_allocating_to(pool)
        if cause is not None and cause is not error:
            raise cause from None
        raise
    finally:
        torch.cuda.set_stream(current)  # torch leaves its own in place if the capture failed
    return graph.replay


def _end_allocating_to(pool: tuple[int, int]) -> None:
    """Tell torch's allocator that the capture with this pool is over, which up to torch 2.11 a
    capture that fails does not (pytorch#180395): it would give nothing back while one is under way.

    The pool's own memory is only released with the process, up to 2.13 (pytorch#190348). To
    release it by hand is not safe: where torch has, the count of its users would fall below 0.
    """
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)
    with suppress(RuntimeError):  # it is over
        if end is not None:
            end(torch.cuda.current_device(), pool)


def _replace_state(generator: torch.Generator, state: Tensor) -> None:
    """Give the generator this state in a new place: after a failed capture the old one takes
    every draw for a part of it ("Offset increment outside graph capture")."""
    fresh = torch.Generator(generator.device)
    fresh.set_state(state)
    generator.graphsafe_set_state(fresh)
