"""The proxy of tests leaves nothing behind."""

import asyncio
import gc
import socket
import warnings

import pytest

from ssmd_stack.proxy import TcpProxy


@pytest.mark.parametrize("turns", range(6))
def test_who_comes_while_it_ends_is_cut_off(turns: int) -> None:
    """However far its connection has got by then."""

    async def come() -> socket.socket:
        async with TcpProxy("tcp://127.0.0.1:1") as proxy:
            client = socket.create_connection(("127.0.0.1", proxy.port))
            for _ in range(turns):
                await asyncio.sleep(0)
        return client

    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        asyncio.run(come()).close()
        gc.collect()
    assert [str(one.message) for one in left] == []
