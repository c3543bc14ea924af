"""What `ssmd up` waits for."""

import json

import pytest

from ssmd_stack.service import _readiness


@pytest.mark.parametrize(
    ("status", "state", "works"),
    [(200, "leading", True), (200, "standby", False), (503, "leading", False)],
)
def test_a_service_that_stands_by_is_waited_for(status: int, state: str, works: bool) -> None:
    said = {"ready": status == 200, "state": state, "reasons": {"leader": "another replica leads"}}
    found = _readiness(status, json.dumps(said).encode())
    assert (found.ready, found.state) == (works, state)
    assert found.reasons == {"leader": "another replica leads"}
