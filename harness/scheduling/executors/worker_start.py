"""How worker processes start: their environment, their signals, and the server from which CPU workers are forked.

A worker spends seconds on imports. `start_server` starts one process that imports what every worker
needs, while the command still plans its jobs; workers for a CPU are then forked from it. Workers for a
GPU are spawned, because a forked process cannot use CUDA if its parent has.
"""

import ctypes
import multiprocessing
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.context import BaseContext
from types import ModuleType
from typing import Any

from harness.errors import Unavailable
from harness.scheduling.executors.base import SIGNALS, THREAD_VARIABLES

PRELOADED = "harness.scheduling.executors.preloaded"
_starting = threading.Lock()  # two threads of a program may each call `harness.run`
_server = {"started": False}  # a dict, so that a function can change it


def start_server() -> None:
    """Let workers for a CPU be forked, where the platform is known to allow it: on Linux.

    Raises:
        Unavailable: the system has no file descriptors or processes left.
    """
    if platform.system() != "Linux":
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload([PRELOADED])
    with starting("cpu"):
        forkserver.ensure_running()
    _server["started"] = True


def context_of(device: str) -> BaseContext:
    """Return the multiprocessing context in which a worker for a device starts."""
    return multiprocessing.get_context(
        "forkserver" if _server["started"] and device == "cpu" else "spawn"
    )


@contextmanager
def starting(device: str) -> Iterator[None]:
    """Inside the block, new processes get the environment of a worker, and this process receives no signals.

    They inherit both. They do not import the main module: a script that calls `harness.run` would run in them again.
    A server that died starts again with the next worker, so every start is in such a block.

    Raises:
        Unavailable: the system has no file descriptors, processes or shared memory left.
    """
    with _starting:  # the environment and the main module are those of the whole process
        before = dict(os.environ)
        try:
            with _signals_blocked(), _without_main_module():
                os.environ |= _environment(device)
                yield
        except OSError as error:
            raise Unavailable(
                f"cannot start a worker ({error.strerror or error}): "
                "use fewer workers (-j 1), raise `ulimit -n`, or free space in /dev/shm"
            ) from error
        finally:
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ |= before


def _environment(device: str) -> Mapping[str, str]:
    """Return the environment variables of a worker, which libraries read when they are imported."""
    kind, _, index = device.partition(":")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpu = visible.split(",")[int(index or 0)] if visible else index or "0"
    return {
        **dict.fromkeys(THREAD_VARIABLES, "1"),
        "CUDA_VISIBLE_DEVICES": gpu if kind == "cuda" else "",
        "TOKENIZERS_PARALLELISM": "false",
        # The command has downloaded models and data before it starts workers.
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "PYTHONSAFEPATH": "1",  # the server imports nothing from the working directory
    }


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals: a process that starts inherits the mask, and this process receives them afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start unblocks some signals, so it must come before
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Let processes start as if the main module had no file, which multiprocessing would run in them."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def prepare_worker() -> None:
    """Let this process, a new worker, ignore signals and end with the command, even if that is killed."""
    for number in SIGNALS:  # a terminal or a cluster sends them to every process of a run
        signal.signal(number, signal.SIG_IGN)
    if platform.system() == "Linux":  # if the server dies, the command starts new workers
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    command: Any = multiprocessing.parent_process()

    def watch() -> None:
        connection.wait([command.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
