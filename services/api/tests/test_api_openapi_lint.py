"""The OpenAPI document is clean under Spectral and Redocly (`make openapi-lint`)."""

import json
from pathlib import Path

import pytest
from api_strangers import run
from test_api_openapi import DOCUMENT

TOOLS = Path(__file__).parents[3] / ".ci" / "openapi-lint" / "node_modules" / ".bin"
RULES = Path(__file__).with_name("spectral.yaml")
COMMANDS = {
    "spectral": ("lint", "--fail-severity", "hint", "--ruleset", RULES),
    "redocly": ("lint", "--extends", "recommended", "--max-problems", "20", "--format", "stylish"),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("tool", COMMANDS)
async def test_nothing_is_found(tool: str, tmp_path: Path) -> None:
    if not (TOOLS / tool).exists():
        pytest.skip(f"{tool} is not installed: make openapi-lint")
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(DOCUMENT))
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    said = await run(TOOLS / tool, *COMMANDS[tool], document, home=tmp_path, **quiet)
    # Redocly succeeds where there are warnings only.
    assert "warning" not in said.replace("Deprecation warning: Node.js", ""), said
