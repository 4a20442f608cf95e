"""A real browser, headless, spoken to over a pipe in the Chrome DevTools Protocol: JSON messages that end in NUL."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1200,800",
    "--remote-debugging-pipe",
)  # fmt: skip
# The pipe's ends must be the descriptors 3 and 4 of the browser, whatever stood there.
_LAUNCH = (
    "import fcntl, os, sys; r, w = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3]); "
    "os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"
)
_PATIENCE = 120.0  # seconds for a browser to start, or to answer, on a busy machine


class Page:
    """One tab."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._held, self._number = b"", 0
        self.problems: list[str] = []
        target = self.call("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
        attached = self.call("Target.attachToTarget", {"targetId": target, "flatten": True}, session=None)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, params: dict[str, Any] | None = None, session: str | None = "") -> dict[str, Any]:
        """What the browser answers; errors and console messages of the page are kept in `problems` on the way."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params or {}}
        if session == "":
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, found
                result: dict[str, Any] = found["result"]
                return result
            if found.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                self.problems.append(json.dumps(found["params"]))

    def open(self, url: str) -> None:
        """And wait until it is there."""
        self.call("Page.navigate", {"url": url})
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """Of JavaScript; a promise's is waited for."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        found = self.call("Runtime.evaluate", asked)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until `condition` holds: looked at after every change of the page, in the page."""
        watched = (
            f"new Promise((done, failed) => {{ const held = () => {condition}; if (held()) return done(); "
            "const watch = new MutationObserver(() => { if (held()) { watch.disconnect(); done(); } }); "
            "watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true}); "
            f"addEventListener('load', () => {{ if (held()) done(); }}); "
            f"setTimeout(() => failed(new Error('it never was so')), {_PATIENCE * 1000}); }})"
        )
        self.value(watched)

    def key(self, key: str, text: str = "") -> None:
        """Press and release, as a keyboard does."""
        code = {"Enter": 13, "Escape": 27, "Tab": 9}.get(key, ord(key[0].upper()))
        pressed = {"key": key, "windowsVirtualKeyCode": code, "text": text or ("\r" if key == "Enter" else "")}
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **pressed})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", "key": key, "windowsVirtualKeyCode": code})

    def type(self, text: str) -> None:
        """Where the cursor is."""
        self.call("Input.insertText", {"text": text})

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of what `selector` finds."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = self.value(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            more = os.read(self._back, 1 << 16)
            assert more, "the browser has gone"
            self._held += more
        message, _, self._held = self._held.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def browsing(profile: Path) -> Iterator[Page]:
    """A browser with a profile of its own, gone with everything it started at the end."""
    assert CHROMIUM is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out), *command],
        pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    # One that hangs is ended, and the read that waits for it then ends too.
    alarm = threading.Timer(2 * _PATIENCE, process.kill)
    alarm.start()
    try:
        yield Page(ours_out, ours_in)
    finally:
        alarm.cancel()
        os.close(ours_out)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(_PATIENCE)
        os.close(ours_in)
