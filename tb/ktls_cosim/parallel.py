# SPDX-License-Identifier: Apache-2.0
"""Worker processes that report their progress, and that Ctrl-C ends with all their children."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_POLL_S = 0.2
_count: Any = None


def step() -> None:
    """Count one finished unit of work; call it in the function that `spread` runs."""
    if _count is not None:
        with _count.get_lock():
            _count.value += 1


def _start(count: Any) -> None:
    global _count
    _count = count
    # the terminal sends SIGINT to all processes; only the parent acts on it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    # a broken pool sends the signal again, which must not interrupt the cleaning up
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


@dataclass(frozen=True)
class _Work(Generic[T, R]):
    """A function that ends its process if SIGTERM interrupts it."""

    work: Callable[[T], R]

    def __call__(self, item: T) -> R:
        try:
            return self.work(item)
        except SystemExit:
            # the work has cleaned up; the pool would pass the exit on and start the next item
            os._exit(0)


def spread(
    work: Callable[[T], R],
    items: Sequence[T],
    jobs: int,
    advance: Callable[[int], None] = lambda _n: None,
) -> Iterator[R]:
    """Apply a function to all items in several processes and yield the results in order.

    Args:
        work: Function to apply; it calls `step` after each unit of work.
        items: Its arguments.
        jobs: Number of processes.
        advance: Called in this process with the number of units finished since its last call.
    """
    count = multiprocessing.Value("L", 0)
    seen = 0
    with ProcessPoolExecutor(jobs, initializer=_start, initargs=(count,)) as pool:
        try:
            futures = [pool.submit(_Work(work), item) for item in items]
            for future in futures:
                while not future.done():
                    wait([future], _POLL_S, FIRST_COMPLETED)
                    now = count.value
                    advance(now - seen)
                    seen = now
                yield future.result()
            advance(count.value - seen)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
