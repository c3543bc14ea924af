"""Commands to the exchange, as texts. Pure."""

from __future__ import annotations

import msgspec

from ssmd_kalshi.channels import Action, Channel


def text(number: int, channel: Channel, action: Action, tickers: tuple[str, ...]) -> str:
    """What is sent for an action on a channel; `number` comes back in the answer."""
    params: dict[str, object]
    match action:
        case Action.SUBSCRIBE:
            params = {"channels": [channel.name], **channel.selection.params}
            if tickers:
                params["market_tickers"] = tickers
        case Action.UNSUBSCRIBE:
            params = {"sids": [channel.sid]}
        case _:
            params = {"sids": [channel.sid], "market_tickers": tickers, "action": action.value}
    is_update = action in (Action.ADD, Action.REMOVE, Action.SNAPSHOT)
    name = "update_subscription" if is_update else action.value
    return msgspec.json.encode({"id": number, "cmd": name, "params": params}).decode()
