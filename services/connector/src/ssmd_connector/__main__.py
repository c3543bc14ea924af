"""`ssmd-connector`: the exchange's trades, quotes and books to NATS. Wiring only."""

import sys
from contextlib import AsyncExitStack

from nats.aio.client import Client

from ssmd_common.connections import nats
from ssmd_common.leader import lead
from ssmd_common.runtime import Runtime, run
from ssmd_connector.backlog import Backlog
from ssmd_connector.bookreceiver import BookReceiver
from ssmd_connector.capture import Capture, everything
from ssmd_connector.leftout import LeftOut
from ssmd_connector.position import Position
from ssmd_connector.receiver import Receiver
from ssmd_connector.scopefile import ScopeFile
from ssmd_connector.secmaster import LiveView
from ssmd_connector.service import Connector, check_scope, open_socket, turned_off, without_key
from ssmd_connector.settings import ConnectorSettings
from ssmd_connector.wants import Wants
from ssmd_kalshi.budget import Budget
from ssmd_kalshi.channels import Selection
from ssmd_kalshi.marketdata import TICKER, TRADE
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.sequences import AckNumbers
from ssmd_kalshi.signing import Signer, load_signer


async def serve(runtime: Runtime, settings: ConnectorSettings) -> None:
    """Hear and stand by, then lead, until the service stops."""
    if not settings.connector_enabled:
        await turned_off(runtime)
        return
    scope = ScopeFile(settings.connector_scope_file, runtime.health)
    scope.load()
    key, path = settings.kalshi_api_key, settings.kalshi_private_key_path
    if key is None or not path:
        # What else is wrong is said, too.
        async with AsyncExitStack() as stack:
            if await _leading(runtime, settings, stack) is not None:
                await without_key(runtime)
        return
    signer = load_signer(key.get_secret_value(), path)
    view = LiveView(settings, runtime.health)
    wants = Wants(view, lambda: scope.scope, multivariate=settings.connector_multivariate)
    async with AsyncExitStack() as stack:
        receiver, acks = None, AckNumbers()
        if settings.shard == 0:
            left_out = LeftOut(multivariate=settings.connector_multivariate)
            left_out.begin(scope.scope.market_selectors)
            receiver = await _receiving(runtime, settings, signer, view, wants, left_out, stack)
            runtime.spawn("left out", wants.look(left_out))
        books = BookReceiver(
            view,
            lambda: scope.scope,
            lambda selection: open_socket(settings, signer, [selection], acks),
            lambda: Capture(settings.connector_name, view, wants=everything, shard=settings.shard),
            shard=settings.shard,
            shards=settings.shards,
            connections=settings.connector_book_connections,
        )
        stack.callback(runtime.spawn("books", books.run()).cancel)
        position = Position(runtime.health, receiver, books)
        runtime.spawn("position", position.run())
        rest = await stack.enter_async_context(
            KalshiRest(
                settings.kalshi_base_url.get_secret_value(),
                budget=Budget(settings.kalshi_read_budget),
                signer=signer,
                stop=runtime.stop,
            )
        )
        runtime.spawn("view", view.run())
        runtime.spawn("scope", check_scope(runtime, scope, view))

        def rescoped() -> None:
            if receiver is not None:
                receiver.rescope(scope.scope.market_selectors)
            wants.forget()
            books.rescope()

        runtime.spawn("scope file", scope.follow(rescoped))
        client = await _leading(runtime, settings, stack)
        if client is not None:
            connector = Connector(runtime, settings, client, rest, receiver, books, scope, position)
            await connector.run()


async def _leading(
    runtime: Runtime, settings: ConnectorSettings, stack: AsyncExitStack
) -> Client | None:
    """NATS, once this process leads; None where the service stops before."""
    budget = settings.startup_budget_seconds
    lock = f"connector.{settings.shard}" if settings.shard else "connector"
    leadership = await stack.enter_async_context(
        lead(runtime, settings.database_url, "connector", budget_seconds=budget, lock=lock)
    )
    if leadership is None:
        return None
    client = await nats.connect(
        settings, "ssmd-connector", budget_seconds=budget, service="connector"
    )
    stack.push_async_callback(nats.close, client)
    return client


async def _receiving(
    runtime: Runtime,
    settings: ConnectorSettings,
    signer: Signer,
    view: LiveView,
    wants: Wants,
    left_out: LeftOut,
    stack: AsyncExitStack,
) -> Receiver:
    """Trades and quotes are heard from now on, whoever leads."""
    channels = [Selection(TRADE), Selection(TICKER)]
    socket = await stack.enter_async_context(open_socket(settings, signer, channels, AckNumbers()))
    backlog = Backlog(
        settings.connector_standby_seconds,
        settings.connector_outbox_messages,
        settings.connector_standby_bytes,
    )
    capture = Capture(settings.connector_name, view, wants=wants, left_out=left_out)
    receiver = Receiver(socket, capture, backlog, runtime.health)
    stack.callback(runtime.spawn("socket", receiver.run()).cancel)
    return receiver


def main() -> None:
    """The service's entry point."""
    sys.exit(run("connector", ConnectorSettings, serve))


if __name__ == "__main__":
    main()
