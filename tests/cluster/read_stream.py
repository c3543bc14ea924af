"""Runs in a pod: reads the whole change stream and tells how often a change stands there twice."""

import asyncio
import json
import os
import sys
from collections import Counter

import nats
from nats.js.api import ConsumerConfig, DeliverPolicy

STREAM = "SECMASTER_CDC"


async def main() -> None:
    client = await nats.connect(os.environ["NATS_URL"])
    stream = client.jetstream(timeout=60)
    last = (await stream.stream_info(STREAM)).state.last_seq
    whole = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, inactive_threshold=30.0)
    reader = await stream.pull_subscribe("cdc.>", stream=STREAM, config=whole)
    seen: Counter[tuple[object, ...]] = Counter()
    epochs: set[int] = set()
    at = 0
    while at < last:
        for message in await reader.fetch(500, timeout=10):
            at = message.metadata.sequence.stream
            change = json.loads(message.data)
            epochs.add(change["epoch"])
            seen[change["epoch"], change["lsn"], change["seq"]] += 1
            await message.ack()
    await client.close()
    twice = [list(change) for change, times in seen.items() if times > 1]
    sys.stdout.write(
        json.dumps({"changes": len(seen), "twice": twice[:10], "epochs": sorted(epochs)})
    )


asyncio.run(main())
