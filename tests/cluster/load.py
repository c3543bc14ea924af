"""Runs in a pod: asks the API again and again over new connections until /tmp/stop is there."""

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

STOP = Path("/tmp/stop")
STOP.unlink(missing_ok=True)
asked, failures, slowest = 0, [], 0.0
while not STOP.exists():
    request = urllib.request.Request(
        f"{os.environ['SSMD_API_URL']}/v1/markets?limit=1",
        headers={"X-API-Key": os.environ["SSMD_DATA_API_KEY"]},
    )
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            reply.read()
    except OSError as error:
        failures.append(f"{time.strftime('%X')} {error!r}")
    asked, slowest = asked + 1, max(slowest, time.monotonic() - began)
    time.sleep(0.1)
sys.stdout.write(
    json.dumps({"asked": asked, "failures": failures, "slowest_seconds": round(slowest, 2)})
)
