"""Keeps what is made once in a Secret: keys that are there stay as they are.

usage: python -c "$SCRIPT" SECRET servers HOST_PREFIX DATABASE USER | SECRET api-key NAME SCOPE…

It runs in a Job of the chart, in the image of the command line, with a token that may read and
change this one Secret, and make Secrets. A template that made passwords would change them at each
rendering.
"""

import base64
import json
import os
import secrets
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LABELS = json.loads(os.environ["SECRET_LABELS"])


def call(method, path, body=None):
    """The API server's answer; None where there is no such object."""
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    host = f"[{host}]" if ":" in host else host
    request = urllib.request.Request(
        f"https://{host}:{os.environ['KUBERNETES_SERVICE_PORT']}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
            "Content-Type": "application/merge-patch+json"
            if method == "PATCH"
            else "application/json",
        },
    )
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        if error.code == 404 and method == "GET":
            return None
        said = error.read().decode(errors="replace")[:500]
        raise SystemExit(f"the API server refuses {method} {path}: {error.code} {said}") from error
    except OSError as error:
        raise SystemExit(
            f"the API server at {host} does not answer ({error}): let this pod reach it, which a "
            "NetworkPolicy that denies all does not"
        ) from error


def servers(prefix, database, user):
    """Passwords, the URLs with them, and the simulator's key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    # A letter first: nats-server reads digits as a number.
    postgres, nats, valkey = ("p" + secrets.token_hex(24) for _ in range(3))
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "postgresql": {
            "POSTGRES_PASSWORD": postgres,
            "DATABASE_URL": f"postgresql://{user}:{postgres}@{prefix}-postgresql:5432/{database}",
        },
        "nats": {"NATS_PASSWORD": nats, "NATS_URL": f"nats://{user}:{nats}@{prefix}-nats:4222"},
        "valkey": {
            "valkey.conf": f"requirepass {valkey}\n",
            "VALKEY_PASSWORD": valkey,
            "REDIS_URL": f"redis://:{valkey}@{prefix}-valkey:6379/0",
        },
        "simulator": {"KALSHI_API_KEY": "simulator", "private-key.pem": pem.decode()},
    }


def api_key(name, *scopes):
    """A key of the API: its text is told this once."""
    command = ["ssmd", "keys", "create", name, "--json"]
    for scope in scopes:
        command += ["--scope", scope]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    return {"key": {"key": json.loads(done.stdout)["key"]}}


def main():
    """Make what is missing."""
    name, kind, *arguments = sys.argv[1:]
    namespace = (ACCOUNT / "namespace").read_text()
    path = f"/api/v1/namespaces/{namespace}/secrets"
    found = call("GET", f"{path}/{name}")
    known = set((found or {}).get("data") or {})
    if kind == "api-key" and "key" in known:
        print(f"the Secret {name} has a key, which stays")
        return
    made = api_key(*arguments) if kind == "api-key" else servers(*arguments)
    # What belongs together is made together: a URL has the password beside it.
    values = {
        key: base64.b64encode(value.encode()).decode()
        for group in made.values()
        if not known & set(group)
        for key, value in group.items()
    }
    if found is None:
        metadata = {"name": name, "labels": LABELS}
        call(
            "POST",
            path,
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": values},
        )
    elif values:
        call("PATCH", f"{path}/{name}", {"data": values})
    print(f"the Secret {name} has {len(known)} values that stay and {len(values)} new ones")


if __name__ == "__main__":
    main()
