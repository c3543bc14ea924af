"""Where what is no data goes: logs above a bar, faults in our words, keys with their names."""

import io
from collections.abc import Callable, Iterator

import pyte
import pyte.modes
import pytest
import structlog
from rich.progress import Progress

from ssmd_cli.console import Terminal
from ssmd_cli.environment import quiet_logs
from ssmd_cli.keys import exchange_of
from ssmd_cli.output import logs_to_stderr
from ssmd_cli.unmatched import names_of, sentences
from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import NatsSettings, load


@pytest.fixture
def _structlog_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("_structlog_as_before")
@pytest.mark.parametrize("configure", [logs_to_stderr, quiet_logs])
def test_a_log_line_stands_above_a_bar(
    configure: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar is drawn anew below it; written past the bar it would stand in its line."""
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    configure()
    console = Terminal(file=shown, force_terminal=True, width=60)
    with Progress(console=console, auto_refresh=False) as bar:
        bar.add_task("requests", total=10)
        bar.refresh()
        structlog.get_logger().error("the exchange answers slowly")
        bar.refresh()
    screen = pyte.Screen(60, 10)
    screen.set_mode(pyte.modes.LNM)
    pyte.Stream(screen).feed(shown.getvalue())
    (line,) = [text for text in screen.display if "slowly" in text]
    assert "requests" not in line
    assert sum("requests" in text for text in screen.display) == 1


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (None, "live"),
        ("https://external-api.kalshi.com/trade-api/v2", "live"),
        ("https://demo-api.kalshi.co/trade-api/v2", "demo"),
        ("http://127.0.0.1:4321/trade-api/v2", "sim"),
        ("http://exchange:8090/trade-api/v2", "sim"),
        ("https://kalshi.com.example/v2", "sim"),
    ],
)
def test_a_key_is_named_for_its_exchange(url: str | None, name: str) -> None:
    assert exchange_of(url) == name


def test_names_that_nothing_has() -> None:
    names = names_of([("Crypto", ["BTC", "ETH"]), ("Sports", None), (None, [])])
    assert sentences(names, ["Crypto"], ["BTC"]) == []
    assert sentences(names, ["crypto"], ["SOL"]) == [
        "no series has the category 'crypto'; did you mean 'Crypto'?",
        "no series has the tag 'SOL'; there are BTC, ETH",
    ]
    assert sentences(names_of([]), ["X"], []) == [
        "no series has the category 'X': none is known yet"
    ]


def test_faults_of_settings_are_in_our_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("OPS_PORT", "x")
    monkeypatch.setenv("STARTUP_BUDGET_SECONDS", "0")
    monkeypatch.setenv("NATS_URL", "http://x")
    monkeypatch.setenv("NATS_INBOX_PREFIX", "a b")
    with pytest.raises(ConfigurationError) as refusal:
        load(NatsSettings)
    told = str(refusal.value)
    for sentence in (
        "LOG_LEVEL: must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
        "OPS_PORT: must be a whole number",
        "STARTUP_BUDGET_SECONDS: must be more than 0",
        "NATS_URL: must be a URL such as nats://host:port",
        "NATS_INBOX_PREFIX: must match ",
    ):
        assert sentence in told
    assert "Input" not in told
    assert "Value error" not in told
