"""The script of the Jobs that make a Secret once, with a stand-in for the API server."""

import base64
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg.conninfo
import pytest
from charts import CHART
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SERVERS = ("prod-servers", "servers", "prod", "ssmd", "ssmd")


class ApiServer:
    """Secrets by path, and a script's way to them."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, str]] = {}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        assert path.startswith("/api/v1/namespaces/markets/secrets")
        name = path.removeprefix("/api/v1/namespaces/markets/secrets").strip("/")
        if method == "POST":
            assert body["metadata"]["labels"] == {"app": "ssmd"}
            self.secrets[body["metadata"]["name"]] = body["data"]
        elif method == "PATCH":
            self.secrets[name].update(body["data"])
        return {"data": dict(self.secrets[name])} if name in self.secrets else None

    def texts(self, name: str) -> dict[str, str]:
        return {key: base64.b64decode(v).decode() for key, v in self.secrets[name].items()}


@pytest.fixture
def api() -> ApiServer:
    return ApiServer()


@pytest.fixture
def script(api: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("SECRET_LABELS", json.dumps({"app": "ssmd"}))
    spec = importlib.util.spec_from_file_location("keep_secret", CHART / "files/keep_secret.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "namespace").write_text("markets")
    monkeypatch.setattr(module, "ACCOUNT", tmp_path)
    monkeypatch.setattr(module, "call", api.call)
    return module


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["-c", *arguments])
    script.main()


def test_passwords_are_made_once(
    script: ModuleType,
    api: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(script, monkeypatch, *SERVERS)
    made = api.texts("prod-servers")
    where = psycopg.conninfo.conninfo_to_dict(made["DATABASE_URL"])
    assert (where["host"], where["dbname"], where["user"]) == ("prod-postgresql", "ssmd", "ssmd")
    assert where["password"] == made["POSTGRES_PASSWORD"]
    assert made["NATS_URL"] == f"nats://ssmd:{made['NATS_PASSWORD']}@prod-nats:4222"
    assert made["NATS_PASSWORD"][0].isalpha(), "nats-server reads digits as a number"
    assert made["valkey.conf"] == f"requirepass {made['VALKEY_PASSWORD']}\n"
    assert load_pem_private_key(made["private-key.pem"].encode(), None)
    run(script, monkeypatch, *SERVERS)
    assert api.texts("prod-servers") == made
    said = capsys.readouterr().out
    assert not any(value in said for value in made.values())


def test_what_is_missing_is_made_beside_what_stays(
    script: ModuleType, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(script, monkeypatch, *SERVERS)
    kept = api.texts("prod-servers")
    for key in ("NATS_URL", "NATS_PASSWORD"):
        del api.secrets["prod-servers"][key]
    run(script, monkeypatch, *SERVERS)
    now = api.texts("prod-servers")
    assert now.keys() == kept.keys()
    assert {key for key in now if now[key] != kept[key]} == {"NATS_URL", "NATS_PASSWORD"}


def test_a_key_of_the_api_is_made_once(
    script: ModuleType, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, ...]] = []

    def api_key(*arguments: str) -> dict[str, dict[str, str]]:
        made.append(arguments)
        return {"key": {"key": "ssmd_live_x"}}

    monkeypatch.setattr(script, "api_key", api_key)
    for _ in range(2):
        run(script, monkeypatch, "prod-api-key", "api-key", "chart", "read")
    assert api.texts("prod-api-key") == {"key": "ssmd_live_x"}
    assert made == [("chart", "read")]
