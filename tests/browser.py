"""Chromium without a window, over the DevTools protocol's pipe: what a page looks like, and what its console says."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""Path of the browser; None where there is none."""

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
OFFLINE = ("--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-sync")
ON_PIPES = "import os, sys; [os.dup2(int(sys.argv[k]), k + 2) for k in (1, 2)]; os.execv(sys.argv[3], sys.argv[3:])"
"""The protocol wants its pipes at 3 and 4; a process in between moves them there, since a fork here is not safe."""

PATIENCE = 60  # seconds for an answer


class Page:
    """A page in a browser of its own.

    Args:
        commands: file descriptor that takes the protocol's commands.
        answers: file descriptor that gives answers and events.
    """

    def __init__(self, commands: int, answers: int):
        self.commands, self.answers, self.number, self.session = commands, answers, 0, None
        self.events: list[dict] = []
        self.rest = b""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: object) -> dict:
        """The answer to a command; events that come before it are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        _write(self.commands, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while (found := self._next(until)) is not None:
            if found.get("id") == self.number:
                assert "error" not in found, found
                return found["result"]
        raise TimeoutError(f"no answer to {method}")

    def open(self, url: str, wait: float) -> None:
        """Goes to a page, and gives it so many seconds more when it has loaded."""
        self.events.clear()  # those of the empty page
        found = self.ask("Page.navigate", url=url)
        assert "errorText" not in found, f"{url}: {found['errorText']}"
        self.listen(PATIENCE, "Page.loadEventFired")
        self.listen(wait)

    def listen(self, seconds: float, until: str | None = None) -> None:
        """Keeps the events of that time, or those up to one of that name."""
        end = time.monotonic() + seconds
        while not any(event["method"] == until for event in self.events) and self._next(end) is not None:
            pass

    @property
    def text(self) -> str:
        """What a reader is shown, in shadow trees too, which `innerText` leaves out; a line for each piece."""
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        return "\n".join(node["name"]["value"] for node in nodes if node["role"]["value"] == "StaticText")

    def wait_for(self, *texts: str) -> None:
        """Waits until the page shows all of them, which a page that loads its data later does in the end."""
        until = time.monotonic() + PATIENCE
        while missing := [text for text in texts if text not in self.text]:
            if time.monotonic() > until:
                raise TimeoutError(f"the page does not show {missing}")
            self.listen(0.1)

    def photo(self, path: Path) -> None:
        """Writes a PNG file of the whole page."""
        taken = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _next(self, until: float) -> dict | None:
        """The next message, None if none comes in time."""
        while b"\0" not in self.rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.answers], [], [], left)[0]:
                return None
            if not (part := os.read(self.answers, 1 << 20)):
                raise EOFError("the browser has ended")
            self.rest += part
        text, _, self.rest = self.rest.partition(b"\0")
        found = json.loads(text)
        if "method" in found:
            self.events.append(found)
        return found

    @property
    def errors(self) -> list[str]:
        """What the console got at level error: the page's own calls, exceptions, and what could not be loaded."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
                found.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
            elif event["method"] == "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                found.append(details.get("exception", {}).get("description", details["text"]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        return found

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for."""
        sent = (event for event in self.events if event["method"] == "Network.requestWillBeSent")
        return [event["params"]["request"]["url"] for event in sent]

    def evaluate(self, expression: str) -> object:
        """The value of a JavaScript expression."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


@contextlib.contextmanager
def opened(url: str, dark: bool = False, wait: float = 0.5, width: int = 1200, height: int = 900) -> Iterator[Page]:
    """A page at a URL.

    Args:
        url: http, https or file.
        dark: whether the reader prefers dark pages.
        wait: seconds from its being loaded, for what scripts draw.
        width: of the window, in pixels.
        height: of the window.
    """
    their_in, commands = os.pipe()
    answers, their_out = os.pipe()
    program = [str(PROGRAM), *FLAGS, *OFFLINE, "--remote-debugging-pipe"]
    start = [sys.executable, "-c", ON_PIPES, str(their_in), str(their_out), *program]
    browser = subprocess.Popen(
        start, pass_fds=(their_in, their_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(their_in)
    os.close(their_out)
    try:
        page = Page(commands, answers)
        page.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        page.ask("Emulation.setEmulatedMedia", features=scheme)
        page.open(url, wait)
        yield page
        page.session = None
        with contextlib.suppress(EOFError):
            page.ask("Browser.close")
        browser.wait(PATIENCE)
    finally:
        browser.kill()
        browser.wait()
        os.close(commands)
        os.close(answers)


def screenshot(url: str, path: Path, dark: bool = False, wait: float = 0.5, width: int = 1200) -> list[str]:
    """Writes a PNG file of a whole page; the console's messages of level error."""
    with opened(url, dark, wait, width) as page:
        page.photo(path)
        return page.errors


def printed(url: str, path: Path, dark: bool = False, wait: float = 0.5) -> list[str]:
    """Writes the page as it is printed, a PDF file; the console's messages of level error."""
    with opened(url, dark, wait) as page:
        taken = page.ask("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(taken["data"]))
        return page.errors
