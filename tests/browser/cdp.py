"""A small driver of a headless Chromium over its DevTools protocol; needs only ``websocket-client``.

``with Browser() as browser: page = browser.page(url)``. Everything the browser writes is in one temporary folder, and
its whole process group ends with the context, also after a failure.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --force-color-profile=srgb"
    " --remote-debugging-port=0 --remote-allow-origins=*"
).split()


class PageError(Exception):
    """A script in the page threw, or what was waited for did not come."""


def until(ask, what: str, timeout: float = 60.0, every: float = 0.05):
    """Ask again until the answer is true and return it; `PageError` naming ``what`` after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise PageError(f"not within {timeout:.0f} s: {what}")
        time.sleep(every)


def end_group(process: subprocess.Popen, grace: float = 5.0) -> None:
    """End a process that leads a group of its own: asked first, and after ``grace`` s killed; then all its children."""
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(grace)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Browser:
    """A headless Chromium of its own; a context manager."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="netkit-edu-browser-"))
        path = next(filter(None, map(shutil.which, NAMES)), None)
        if path is None:
            raise FileNotFoundError(f"no browser: looked for {', '.join(NAMES)}")
        command = [path, *FLAGS, f"--user-data-dir={self.folder}", "about:blank"]
        self.process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            port = self.folder / "DevToolsActivePort"
            until(lambda: port.is_file() and port.read_text().count("\n"), "the browser's port", 30)
            self.port = int(port.read_text().split()[0])
        except BaseException:
            self.close()
            raise

    def page(self, url: str, width: int = 1280, height: int = 900) -> Page:
        """Open a page in a new tab, ``width`` by ``height`` px."""
        ask = urllib.request.Request(f"http://127.0.0.1:{self.port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(ask, timeout=10) as answer:
            page = Page(json.load(answer)["webSocketDebuggerUrl"])
        page.resize(width, height)
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        page.call("Page.enable")
        page.call("Page.navigate", url=url)
        return page

    def close(self) -> None:
        """End the browser and remove its folder."""
        end_group(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc) -> None:
        self.close()


class Page:
    """One tab."""

    def __init__(self, address: str):
        import websocket

        self.socket = websocket.create_connection(address, timeout=120, suppress_origin=True)
        self.number = 0

    def call(self, method: str, **parameters) -> dict:
        """Call a DevTools method and return its result; `PageError` with the protocol's message if it refuses."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise PageError(f"{method}: {answer['error'].get('message')}")
                return answer.get("result", {})

    def run(self, script: str):
        """Evaluate a JavaScript expression, a promise awaited, and return its value."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description") or details.get("text"))
        return answer["result"].get("value")

    def wait(self, script: str, what: str = "", timeout: float = 60.0):
        """Wait until a JavaScript expression is true; errors on the way count as not yet."""

        def ask():
            try:
                return self.run(script)
            except PageError:
                return None

        return until(ask, what or script, timeout)

    def resize(self, width: int, height: int) -> None:
        """Give the page a viewport of ``width`` by ``height`` px."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def click(self, selector: str) -> None:
        """Scroll to the first element of a CSS selector and click its middle with the mouse."""
        x, y = self.run(
            f"(()=>{{const e=document.querySelector({json.dumps(selector)});e.scrollIntoView({{block:'center'}});"
            "const r=e.getBoundingClientRect();return [r.x+r.width/2,r.y+r.height/2]})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, key: str, code: int = 0, text: str = "") -> None:
        """Press and release one key; ``text`` is what it types, ``code`` its Windows virtual key code."""
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            typed = {"text": text} if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    def png(self, clip: tuple[float, float, float, float] | None = None) -> bytes:
        """Return the viewport, or a rectangle (x, y, width, height) of it, as a PNG."""
        area = {}
        if clip:
            area = {"clip": dict(zip(("x", "y", "width", "height"), clip, strict=True)) | {"scale": 1}}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **area)["data"])

    def close(self) -> None:
        """Close the tab's connection."""
        self.socket.close()
