"""What `ssmd up` prints when ready: the key, and commands to paste."""

import os
import shlex
import sys
from pathlib import Path

from ssmd_stack.envfile import read_env

_TEXT = """
ready: {api_url}
API key: {key}

# addresses and the key, for this shell
set -a; . {env}; set +a

# what the exchange lists, as tables
psql "$DATABASE_URL" -c 'SELECT status, count(*) FROM markets WHERE deleted_at IS NULL GROUP BY 1'
{ssmd} secmaster list --limit 5

# every change, as it is committed
nats --server "$NATS_URL" subscribe 'cdc.markets.>'
{ssmd} cdc tail

# every trade, as it happens
nats --server "$NATS_URL" subscribe 'md.trade.>'
{ssmd} md tail --channel trade

# the active universe in Redis
redis-cli -u "$REDIS_URL" SCARD secmaster:markets:by_category:Sports
{ssmd} cache verify

# the API; its documentation is at {api_url}/docs, its pages (with this key) at {api_url}/ui
curl -H "X-API-Key: $SSMD_DATA_API_KEY" "$SSMD_API_URL/v1/markets?status=open&limit=5"
{ssmd} secmaster list --status open --limit 5 --json

# this system
{ssmd} status{where}
{ssmd} down{where}
"""


def quickstart(directory: Path) -> str:
    """Every line after the key can be pasted into a POSIX shell in the current folder."""
    variables = read_env(directory)
    place = near(directory)
    program = Path(sys.executable).with_name("ssmd")
    ssmd = near(program) if program.exists() else "ssmd"
    where = "" if place == ".ssmd" else f" --dir {place}"
    return _TEXT.format(
        api_url=variables["SSMD_API_URL"],
        key=variables["SSMD_DATA_API_KEY"],
        env=f"{place}/env" if "/" in place else f"./{place}/env",
        ssmd=ssmd,
        where=where,
    )


def near(path: Path) -> str:
    """The path as short as a shell in this folder can have it."""
    relative = os.path.relpath(path)
    return shlex.quote(relative if not relative.startswith("..") else str(path))
