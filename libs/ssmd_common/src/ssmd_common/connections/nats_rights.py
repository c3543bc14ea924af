"""Requests at NATS that get no answer: what our user may not do, which the server says beside them,
and those that were on their way when the connection was lost."""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from ssmd_common.rights import PAGE, NatsRights, Publish
from ssmd_common.tasks import end

log = structlog.get_logger(__name__)

_VIOLATION: Final = re.compile(
    r"permissions violation for (publish|subscription) to \"([^\"]+)\"", re.IGNORECASE
)
_AGAIN_SECONDS: Final = 3.0
"""How often it is tried whether a right that was missing is there."""


class Denied(nats.errors.Error):
    """Our user may not do what was asked; the text names the right to give."""


class Lost(nats.errors.TimeoutError):
    """The connection was lost while the answer was awaited: none will come."""

    def __str__(self) -> str:
        return "the connection to NATS was lost before it answered"


class Sentences:
    """What a violation is in words, for one user and what its service needs."""

    def __init__(self, who: str, inbox_prefix: str, rights: NatsRights | None) -> None:
        self._who = who
        self._inbox_prefix = inbox_prefix
        self._rights = rights

    def of(self, error: str) -> str | None:
        """The sentence for what the server said; None where that is of no right."""
        found = _VIOLATION.search(error)
        if found is None:
            return None
        if self.is_inbox(found):
            return self.may_not(subscribe=True)
        if found[1].lower() == "subscription":
            return f"{self._who} may not subscribe to {found[2]}"
        needed = self._rights.publish_of(found[2]) if self._rights is not None else None
        return self.may_not([needed.pattern if needed is not None else found[2]])

    def is_inbox(self, violation: re.Match[str]) -> bool:
        """Whether it is of the subjects on which replies come."""
        inbox = f"{self._inbox_prefix}.".lower()
        return violation[1].lower() == "subscription" and violation[2].lower().startswith(inbox)

    def may_not(self, patterns: Iterable[str] = (), *, subscribe: bool = False) -> str:
        """All that is missing in one sentence."""
        patterns = list(patterns)
        parts = [f"publish to {', '.join(patterns)}"] if patterns else []
        if subscribe:
            parts.append(
                f"subscribe to {self._inbox_prefix}.>, where replies come (NATS_INBOX_PREFIX)"
            )
        return (
            f"{self._who} may not {' nor '.join(parts)}: grant it in the permissions of that user "
            f"at NATS; {PAGE} has them all"
        )


class NatsClient(Client):
    """nats-py's client, whose requests end at once where a right is missing or the connection is
    lost.

    `rights` are those that are known to be needed. `tell` is called with a sentence when one turns
    out to be missing, and with None once it is there again.
    """

    def __init__(
        self,
        sentences: Sentences,
        rights: NatsRights | None,
        consumer: str,
        tell: Callable[[str | None], None],
    ) -> None:
        super().__init__()
        self._sentences = sentences
        self._rights = rights
        self._consumer = consumer
        self._tell = tell
        self._no_inbox: str | None = None
        self._denied: dict[str, Publish | None] = {}
        self._asked: dict[str, dict[asyncio.Future[None], int]] = {}
        """By subject: what ends a request, and the number of the connection that it goes out on."""
        self._looking: asyncio.Task[None] | None = None

    @property
    def denied(self) -> str | None:
        """What was last found to be missing, in words, if it still is."""
        return next(reversed(self._denied), None)

    def note(self, error: str) -> bool:
        """Remember what the server said, if it is of a right that is known to be needed."""
        sentence, found = self._sentences.of(error), _VIOLATION.search(error)
        if sentence is None or found is None:
            return False
        self._refuse(found, sentence)
        is_inbox = self._sentences.is_inbox(found)
        if is_inbox:
            self._no_inbox = sentence
        is_publish = found[1].lower() == "publish"
        needed = self._rights.publish_of(found[2]) if self._rights and is_publish else None
        # Of what is not known to be needed, nobody can find out whether it is granted later.
        if not is_inbox and needed is None:
            return False
        if sentence not in self._denied:
            log.error("a right at nats is missing", error=sentence)
            self._denied[sentence] = needed
            self._tell(sentence)
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look_again(), name="nats-rights")
        return True

    def _refuse(self, found: re.Match[str], sentence: str) -> None:
        """End the requests that wait for what was denied."""
        for subject in list(self._asked) if self._sentences.is_inbox(found) else [found[2].lower()]:
            for refusal in self._asked.get(subject, ()):
                if not refusal.done():
                    refusal.set_exception(Denied(sentence))

    def lose_requests(self) -> None:
        """End those that went out on the connection that was just lost: no answer comes.

        Their limits are no help on a busy machine, which counts only the time in which it looked.
        What is asked without a connection goes out on the next one.
        """
        for refusals in self._asked.values():
            for refusal, connection in refusals.items():
                if connection <= self.stats["reconnects"] and not refusal.done():
                    refusal.set_exception(Lost())

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As nats-py's.

        Raises:
            Denied: the user may not publish there, or may not have replies.
            Lost: the connection was lost meanwhile.
        """
        if self._no_inbox is not None:
            raise Denied(self._no_inbox)
        refusal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refusals = self._asked.setdefault(subject.lower(), {})
        refusals[refusal] = self.stats["reconnects"] + (not self.is_connected)
        asking = asyncio.ensure_future(
            super().request(subject, payload, timeout=timeout, old_style=old_style, headers=headers)
        )
        try:
            either: set[asyncio.Future[Any]] = {asking, refusal}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                refusal.result()
            return await asking
        finally:
            del refusals[refusal]
            if not refusals:
                self._asked.pop(subject.lower(), None)
            # A failure that nobody asks for is no fault of the program.
            refusal.cancel() if not refusal.done() else refusal.exception()
            await end(asking)

    async def lacking(self, wanted: Sequence[Publish]) -> tuple[list[Publish], bool]:
        """Which of these the user may not publish to, and whether it may not have replies.

        Tries each with a message that changes nothing. The server answers in order, so that all of
        it is known once it has answered a PING.
        """
        heard: list[re.Match[str]] = []
        usual = self._error_cb

        async def listen(error: Exception) -> None:
            found = _VIOLATION.search(str(error))
            if found is None:
                await usual(error)
            else:
                heard.append(found)
                self._refuse(found, self._sentences.of(str(error)) or "")

        self._error_cb = listen
        try:
            inbox = await self.subscribe(self.new_inbox())
            for each in wanted:
                subject = each.subject(self._consumer)
                await self.publish(subject, each.probe, headers=dict(each.headers) or None)
            # nats-py's PING overtakes what it has not written yet.
            await self._flush_pending(force_flush=True)
            await self.flush()
            await inbox.unsubscribe()
        finally:
            self._error_cb = usual
        subjects = {found[2].lower() for found in heard if found[1].lower() == "publish"}
        refused = [each for each in wanted if each.subject(self._consumer).lower() in subjects]
        return refused, any(map(self._sentences.is_inbox, heard))

    def may_not(self, refused: Iterable[Publish], *, subscribe: bool) -> str:
        """The sentence for what `lacking` found."""
        return self._sentences.may_not((each.pattern for each in refused), subscribe=subscribe)

    async def _attempt_reconnect(self) -> None:
        """As nats-py's, which closes the old connection in order first: with TLS that waits half a
        minute for a peer that is gone, and with bytes that do not get away for longer."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        await super()._attempt_reconnect()

    async def close(self) -> None:
        if self._looking is not None:
            await end(self._looking)
        await super().close()

    async def _look_again(self) -> None:
        while self._denied:
            await asyncio.sleep(_AGAIN_SECONDS)
            if not self.is_connected:
                continue
            try:
                refused, no_inbox = await self.lacking([p for p in self._denied.values() if p])
            except (nats.errors.Error, OSError):
                continue
            for sentence, needed in list(self._denied.items()):
                if no_inbox if needed is None else needed in refused:
                    continue
                del self._denied[sentence]
                if needed is None:
                    self._no_inbox = None
                    # Subscriptions that were refused are made anew with the connection.
                    await self.force_reconnect()
            self._tell(self.denied)
        log.info("no right at nats is missing any more")
