"""A page in a real headless browser, driven by the DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 60.0
# Starts a program with two open files as file descriptors 3 and 4.
_START = """
import fcntl, os, sys
high = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3]]
for number, of in zip((3, 4), high):
    os.dup2(of, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
# What a page looks like, as JSON.
_LOOK = """JSON.stringify({
  width: document.documentElement.scrollWidth,
  shown: window.innerWidth,
  images: [...document.images].map(i => i.complete && i.naturalWidth > 0),
  svgs: [...document.querySelectorAll('svg')].map(
    s => s.getBoundingClientRect().width),
  loose: [...document.querySelectorAll('table')].filter(
    t => !t.closest('.scroll')).length,
  wide: [...document.querySelectorAll('body *')].filter(
    e => !e.closest('.scroll, details:not([open])') &&
      e.getBoundingClientRect().right > window.innerWidth + 1).map(
    e => e.tagName + '.' + e.className),
})"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """How a page looks in a browser.

    Attributes:
      width: of its content, in CSS pixels.
      shown: the width of the window.
      images: whether each image is there.
      svgs: the width of each SVG.
      loose: number of tables outside of a container that scrolls.
      wide: elements that reach out of the window, and do not scroll.
      errors: messages of the console and exceptions.
      requests: URLs that were requested, without the page and `data:`.
      png: a screenshot of the whole page.
    """

    width: int
    shown: int
    images: list[bool]
    svgs: list[float]
    loose: int
    wide: list[str]
    errors: list[str]
    requests: list[str]
    png: bytes


def find_browser() -> str | None:
    """Returns the path of a Chromium on this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class _Pipe:
    """Sends commands to a browser and reads answers and events."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str = "", **values: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method: str) -> None:
        while method not in [event.get("method") for event in self.events]:
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._buffer:
            left = max(end - time.monotonic(), 0)
            assert select.select([self._read], [], [], left)[0], "no answer"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)


@contextlib.contextmanager
def _browser(path: str) -> Iterator[_Pipe]:
    """Runs a browser, which reads file descriptor 3 and writes to 4."""
    read_commands, write_commands = os.pipe()
    read_answers, write_answers = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _START,
                str(read_commands),
                str(write_answers),
                path,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=(read_commands, write_answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_answers)
        try:
            yield _Pipe(write_commands, read_answers)
        finally:
            process.kill()
            process.wait()
            os.close(write_commands)
            os.close(read_answers)


def look_at(browser: str, page: pathlib.Path, width: int) -> Look:
    """Opens a page at a width, as on a phone or a desktop.

    Args:
      browser: the path of a Chromium.
      page: an HTML file.
      width: of the window, in CSS pixels.
    """
    with _browser(browser) as pipe:
        target = pipe.call("Target.createTarget", url="about:blank")
        attached = pipe.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            pipe.call(f"{domain}.enable", session)
        pipe.call(
            "Emulation.setDeviceMetricsOverride",
            session,
            width=width,
            height=844,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        pipe.call("Page.navigate", session, url=page.as_uri())
        pipe.wait_for("Page.loadEventFired")
        found = pipe.call("Runtime.evaluate", session, expression=_LOOK)
        values = json.loads(found["result"]["value"])
        shot = pipe.call(
            "Page.captureScreenshot", session, captureBeyondViewport=True
        )
        return Look(
            **values,
            errors=list(_errors(pipe.events)),
            requests=[
                url
                for url in _requests(pipe.events)
                if not url.startswith("data:") and url != page.as_uri()
            ],
            png=base64.b64decode(shot["data"]),
        )


def _errors(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        if event.get("method") in (
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Log.entryAdded",
        ):
            yield json.dumps(event["params"])


def _requests(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        if event.get("method") == "Network.requestWillBeSent":
            yield event["params"]["request"]["url"]
