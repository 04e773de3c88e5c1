"""The process that drives Ray for a sweep: `python -m ternlab.sweeps.on_ray.driver`.

Requests and messages are lines of JSON. The driver is a separate process, since Ray terminates the process that uses it
if its cluster is lost.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import ray

from ternlab.core.signals import ASKING_TO_STOP
from ternlab.sweeps.on_ray.connect import Request, connect, remove, slots
from ternlab.sweeps.on_ray.feed import Feed

# Interval between two checks of the cluster's nodes, and how long it may be silent before it counts as lost.
_LOOK_SECONDS = 2.0
_LOST_SECONDS = 30.0
# How long runs may take to save when the cluster is lost; the messages about it may be lost too.
_SAVING_SECONDS = 15.0
# How long runs may take to save when the launcher has died; after that the kernel signals them again.
_LEAVING_SECONDS = 300.0
# How long Tune may take to release actors after all runs have ended.
_CLOSING_SECONDS = 10.0

News = Callable[..., None]


class Driver:
    """Runs the Tuner in one thread and checks of the cluster in another, and serves requests in this one.

    Args:
        request: the launcher's request.
        news: sends a message to the launcher.
    """

    def __init__(self, request: Request, news: News) -> None:
        self._request, self._news = request, news
        self._feed = Feed(lambda run, code, said: news(ended=run, code=int(code), said=said))
        # When the cluster last responded, and when it last had a node for a trial.
        self._seen = self._useful = time.monotonic()
        self._slots = 0

    def serve(self, requests: TextIO) -> None:
        """Serve the launcher's requests until it closes or dies."""
        self._slots = slots(ray.nodes(), self._request)
        self._news(ready=self._slots)
        tuner = threading.Thread(target=self._tune, daemon=True)
        tuner.start()
        threading.Thread(target=self._watch, daemon=True).start()
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(requests, lines), daemon=True).start()
        while line := self._next(lines):
            self._do(json.loads(line))
        # The launcher has closed or died. If it has died, its runs save and exit, as they do without Ray.
        self._stop_all(_LEAVING_SECONDS)
        self._feed.close()
        tuner.join(_CLOSING_SECONDS)

    def _do(self, request: dict[str, Any]) -> None:
        if "start" in request:
            self._feed.add(request["start"])
        else:
            self._feed.stop(request["stop"])

    def _next(self, lines: queue.SimpleQueue[str]) -> str:
        """Return the next request, or nothing if there will be none; exits if the cluster is lost."""
        while True:
            try:
                return lines.get(timeout=1.0)
            except queue.Empty:
                now = time.monotonic()
                if now - self._seen > _LOST_SECONDS:
                    self._lose(f"it has not responded for {_LOST_SECONDS:.0f} seconds")
                if now - self._useful > _LOST_SECONDS:
                    self._lose(f"it has had no node for a trial for {_LOST_SECONDS:.0f} seconds")

    def _stop_all(self, seconds: float) -> None:
        self._feed.stop(self._feed.runs())
        end = time.monotonic() + seconds
        while self._feed.runs() and time.monotonic() < end:
            time.sleep(0.05)

    def _tune(self) -> None:
        from ternlab.sweeps.on_ray.tuner import tuner_of

        try:
            tuner_of(self._feed, Path(self._request.scratch), self._request.results).fit()
        except Exception as error:  # noqa: BLE001 - whatever it is, trials can no longer run
            self._lose(str(error))

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            self._look()

    def _look(self) -> None:
        found = slots(ray.nodes(), self._request)
        self._seen = time.monotonic()
        if found:
            self._useful = self._seen
        if found != self._slots:
            self._slots = found
            self._news(slots=found)

    def _lose(self, words: str) -> None:
        self._stop_all(_SAVING_SECONDS)
        self._news(lost=words)
        # Ray can no longer be shut down cleanly.
        os._exit(1)


def main() -> None:
    """Connect, serve, and clean up."""
    news = _news()
    request = Request(**json.loads(sys.stdin.readline()))
    news(connecting=request.address)
    try:
        connect(request)
    except Exception as error:  # noqa: BLE001 - Ray has many kinds; the launcher reports it in one message
        news(refused=str(error) or type(error).__name__)
        os._exit(1)
    # After Ray has set its own handlers: signals go to the launcher, which sends requests instead.
    for number in ASKING_TO_STOP:
        signal.signal(number, _ignored)
    code = 0
    try:
        Driver(request, news).serve(sys.stdin)
    except Exception:  # noqa: BLE001 - the outermost handler of the process
        traceback.print_exc()
        code = 1
    finally:
        ray.shutdown()
        remove(Path(request.scratch))
        sys.stderr.flush()
        # Tune's thread may still be waiting.
        os._exit(code)


def _read(requests: TextIO, lines: queue.SimpleQueue[str]) -> None:
    for line in requests:
        lines.put(line)
    lines.put("")


def _ignored(number: int, frame: Any) -> None:
    # Not SIG_IGN, which Ray's own processes would inherit.
    return


def _news() -> News:
    """Return a function that sends messages on a separate file descriptor, since Ray prints to standard output."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(**message: Any) -> None:
        with lock:
            try:
                print(json.dumps(message), file=channel, flush=True)
            except BrokenPipeError:
                # The launcher has died; its runs still save.
                return

    return send


if __name__ == "__main__":
    main()
