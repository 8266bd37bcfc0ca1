"""Tests whether the host of a download can be reached."""

from __future__ import annotations

import contextlib
import queue
import threading
import urllib.parse
from collections.abc import Iterable

import requests

_REACH_TIMEOUT_SECS = 5


def unreachable_host(urls: Iterable[str]) -> str | None:
    """Returns the host of the first URL if it does not respond, else None."""
    first = next((url for url in urls if url.startswith("http")), None)
    if first is None:
        return None
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    # In a thread, because no timeout covers the DNS look-up.
    threading.Thread(
        target=lambda: answers.put(_answers(first)), daemon=True
    ).start()
    with contextlib.suppress(queue.Empty):
        if answers.get(timeout=2 * _REACH_TIMEOUT_SECS):
            return None
    return urllib.parse.urlsplit(first).hostname


def _answers(url: str) -> bool:
    """Returns whether the host sends any response."""
    try:
        # Some hosts reject HEAD. The body is not read.
        requests.get(url, stream=True, timeout=_REACH_TIMEOUT_SECS).close()
    except requests.RequestException:
        return False
    return True
