"""A headless Chromium spoken to through its DevTools protocol over two pipes: no driver, no socket, no package.

`found()` names the program or None; `Browser` opens pages and tells what a reader with the console open would see:
errors, requests that left the page, the width that the page really takes, and a picture of it.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # in containers the sandbox has no rights to start
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
ANSWER_S = 60.0  # a busy core; a healthy browser answers in milliseconds
# The protocol is fixed to descriptors 3 and 4: by way of two free ones, for ours may be 3 or 4 the other way round.
LAUNCH = """import fcntl, os, sys
pair = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for number, place in zip(pair, (3, 4)):
    os.dup2(number, place)
os.execv(sys.argv[3], sys.argv[3:])"""
LOADED = """new Promise(done => { const look = () => document.readyState === 'complete' && !document.querySelector(
'[data-pending]') ? done(true) : setTimeout(look, 20); look(); })"""


def found() -> str | None:
    """Path of the first Chromium on PATH, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One process, one tab: `with Browser() as browser: browser.open(path, width=390)`."""

    def __init__(self) -> None:
        program = found()
        assert program, "no Chromium on PATH: ask found() first"
        self.profile = tempfile.TemporaryDirectory(prefix="facetrt-browser-", ignore_cleanup_errors=True)
        commands, self.to_browser = os.pipe()
        self.from_browser, answers = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(commands), str(answers), program, *FLAGS,
             f"--user-data-dir={self.profile.name}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(commands, answers), start_new_session=True,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self.number, self.unread = 0, b""
        self.events: list[dict[str, Any]] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        target = self.send("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
        attached = self.send("Target.attachToTarget", {"targetId": target, "flatten": True}, session=None)
        self.session: str = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self.to_browser, b'{"id": 0, "method": "Browser.close"}\0')
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.to_browser)
        os.close(self.from_browser)
        self.profile.cleanup()

    def send(self, method: str, parameters: dict[str, Any] | None = None, *, session: str | None = "") -> Any:
        """The answer to one command; events that come before it are kept in `events`."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters or {}}
        if session is not None:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def _message(self) -> dict[str, Any]:
        until_s = time.monotonic() + ANSWER_S
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.from_browser], [], [], max(0.0, until_s - time.monotonic()))
            assert ready, f"no answer from the browser for {ANSWER_S} s"
            part = os.read(self.from_browser, 1 << 20)
            assert part, f"the browser ended: exit status {self.process.poll()}"
            self.unread += part
        line, self.unread = self.unread.split(b"\0", 1)
        content: dict[str, Any] = json.loads(line)
        return content

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file and wait until it is drawn: no element with the attribute data-pending is left."""
        self.events.clear()
        self.resize(width, height=height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.send("Page.navigate", {"url": path.resolve().as_uri()})
        until_s = time.monotonic() + ANSWER_S
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            assert time.monotonic() < until_s, f"{path} did not load"
            self.evaluate("1")
        self.evaluate(LOADED)

    def resize(self, width: int, *, height: int = 900) -> None:
        phone = width < 600
        self.send(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone},
        )

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is waited for."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.send("Runtime.evaluate", asked)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions that nobody caught, refusals of the page's own policy."""
        self.evaluate("new Promise(done => setTimeout(done, 50))")
        found: list[str] = []
        for event in self.events:
            told = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(told["exceptionDetails"])[:600])
            elif event["method"] == "Runtime.consoleAPICalled" and told["type"] in {"error", "warning", "assert"}:
                found.append(f"{told['type']}: {json.dumps(told['args'])[:600]}")
            elif event["method"] == "Log.entryAdded" and told["entry"]["level"] in {"error", "warning"}:
                found.append(told["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """Addresses asked for, beside the page itself and what it carries inside."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        urls = [one["request"]["url"] for one in sent if one.get("type") != "Document"]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """A PNG of the page, all of it or what the window shows."""
        size = self.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 16000), "scale": 1}
        asked: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
        answer = self.send("Page.captureScreenshot", {**asked, **({"clip": clip} if whole else {})})
        path.write_bytes(base64.b64decode(answer["data"]))
