"""Headless Chromium, driven over its DevTools protocol: a page as a person has it."""

import asyncio
import atexit
import base64
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ssmd_stack.process import Process

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Tests run as root in containers.
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
    "--window-size=1400,1000",
)


_LEFT = frozenset(("Inspected target navigated or closed", "Cannot find context with specified id"))


class Left(AssertionError):
    """What was asked of a page that was left meanwhile."""


@dataclass(slots=True)
class Page:
    """One page. `complaints` has what its console, its policy and its requests said against it."""

    socket: aiohttp.ClientWebSocketResponse
    complaints: list[str] = field(default_factory=list)
    _number: int = 0
    _answers: dict[int, "asyncio.Future[Any]"] = field(default_factory=dict)

    async def call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": self._number, "method": method, "params": parameters})
        async with asyncio.timeout(180):
            return await answer

    async def evaluate(self, script: str, *arguments: Any) -> Any:
        """The value of a function's call in the page, awaited: `(a, b) => …`."""
        called = f"({script})({', '.join(json.dumps(value) for value in arguments)})"
        found = await self.call(
            "Runtime.evaluate",
            expression=called,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, script: str, *arguments: Any) -> Any:
        """The first true value of a function in the page."""
        async with asyncio.timeout(180):
            while True:
                # A page that is just left answers no more: the next one is asked.
                with suppress(Left):
                    if value := await self.evaluate(script, *arguments):
                        return value
                await asyncio.sleep(0.02)

    async def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])

    async def listen(self) -> None:
        async for message in self.socket:
            told = json.loads(message.data)
            if "id" in told:
                answer = self._answers.pop(told["id"])
                if "error" in told:
                    is_left = told["error"]["message"] in _LEFT
                    answer.set_exception((Left if is_left else AssertionError)(told["error"]))
                else:
                    answer.set_result(told["result"])
            elif told["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(told["params"]["exceptionDetails"]))
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.complaints.append(told["params"]["entry"]["text"])


@asynccontextmanager
async def browse(directory: Path) -> AsyncIterator[Page]:
    """An empty page without cookies; what it downloads is in `directory`.

    Skips where there is no Chromium.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    # Not in a thread: it would end with the one that started it.
    address = _started(program)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://{address}/json/list") as reply:
            target = next(each for each in await reply.json() if each["type"] == "page")
        # What is emulated ends with a connection, and every API has an origin of its own.
        async with http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            await page.call("Network.clearBrowserCookies")
            await page.call(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(directory)
            )
            for domain in ("Page", "Runtime", "Log"):
                await page.call(f"{domain}.enable")
            # What was said of the page before this one has been told again.
            page.complaints.clear()
            yield page
            await page.call("Page.navigate", url="about:blank")
            listening.cancel()


@cache
def _started(program: str) -> str:
    """Where this process's Chromium listens: to start one takes longer than most tests of it."""
    profile = Path(tempfile.mkdtemp(prefix="ssmd-chromium-"))
    process = Process(
        [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"], log=Path(os.devnull)
    )
    atexit.register(_end, process, profile)
    told = profile / "DevToolsActivePort"
    give_up = time.monotonic() + 60
    while not (told.exists() and told.read_text().strip()):
        assert process.exit_code is None, "Chromium ended"
        assert time.monotonic() < give_up, "Chromium does not listen"
        time.sleep(0.02)
    return f"127.0.0.1:{told.read_text().split()[0]}"


def _end(process: Process, profile: Path) -> None:
    asyncio.run(process.stop((signal.SIGTERM, 10.0)))
    shutil.rmtree(profile, ignore_errors=True)
