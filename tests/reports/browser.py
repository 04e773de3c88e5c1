"""Chromium without a window, driven by its DevTools protocol over a pair of pipes: no port, no package."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.commands.run_command import LONG

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
]


class Browser:
    """One page in a browser of its own.

    Attributes:
        messages: what the page's console said, as (level, text); exceptions are `error`.
        requests: addresses that the page asked for.
    """

    def __init__(self, program: str) -> None:
        self.messages: list[tuple[str, str]] = []
        self.requests: list[str] = []
        self._answers: dict[int, Any] = {}
        self._count, self._session, self._rest = 0, None, b""
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # Chromium reads commands from descriptor 3 and writes to 4; ours lie higher, so that neither is in the way.
        pipes = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (*os.pipe(), *os.pipe())]
        reads, self._to, self._from, writes = pipes
        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=lambda: (os.dup2(reads, 3), os.dup2(writes, 4)),
        )
        os.close(reads)
        os.close(writes)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Emulation.setScrollbarsHidden", hidden=True)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(timeout=LONG)
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def open(self, path: Path, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Open a file and wait until its charts are drawn."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.documentElement?.dataset.ready === 'yes'")

    def run(self, script: str) -> Any:
        """Return what an expression of JavaScript gives, after its promises."""
        options = {"returnByValue": True, "awaitPromise": True}
        answer = self._call("Runtime.evaluate", expression=script, **options)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = LONG) -> None:
        """Wait until an expression is true."""
        self._until(lambda: self.run(condition) is True, condition, seconds)

    def resize(self, width: int, height: int = 900) -> None:
        """Change the size of the window."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)

    def point_at(self, selector: str, place: int = 0, *, click: bool = False) -> None:
        """Move the pointer onto the middle of an element, and click it."""
        found = f"document.querySelectorAll({json.dumps(selector)})[{place}]"
        self.run(f"{found}.scrollIntoView({{block: 'center', inline: 'center'}})")
        box = self.run(
            f"(() => {{ const b = {found}.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2] }})()"
        )
        self._mouse("mouseMoved", *box)
        if click:
            self._mouse("mousePressed", *box, button="left", clickCount=1)
            self._mouse("mouseReleased", *box, button="left", clickCount=1)

    def move_to(self, x: float, y: float) -> None:
        """Move the pointer to a place in the window."""
        self._mouse("mouseMoved", x, y)

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        whole = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        taken = self._call("Page.captureScreenshot", captureBeyondViewport=True, clip=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    def print_to(self, path: Path) -> None:
        """Print the page to a PDF file."""
        printed = self._call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)
        path.write_bytes(base64.b64decode(printed["data"]))

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def _call(self, method: str, **parameters: Any) -> Any:
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while number not in self._answers:
            self._receive()
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self) -> None:
        data = os.read(self._from, 1 << 20)
        if not data:
            raise RuntimeError("the browser has ended")
        *messages, self._rest = (self._rest + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._note(message["method"], message["params"])

    def _note(self, event: str, found: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.messages.append(("error", json.dumps(found["exceptionDetails"])))
        elif event == "Runtime.consoleAPICalled":
            words = [str(one.get("value", one.get("description", ""))) for one in found["args"]]
            self.messages.append((found["type"], " ".join(words)))
        elif event == "Log.entryAdded":
            self.messages.append((found["entry"]["level"], found["entry"]["text"]))
        elif event == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])

    def _until(self, holds: Callable[[], bool], said: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError(f"{said}: {self.messages}")
            time.sleep(0.05)
