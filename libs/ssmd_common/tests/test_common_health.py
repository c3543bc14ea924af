"""What a process says of itself: when it is ready."""

from ssmd_common.health import Health


def test_a_standby_in_good_health_is_ready_and_says_why_it_waits() -> None:
    health = Health("cache")
    assert not health.ready, "it has not said anything yet"
    health.of_work.add("warm")
    health.set("warm", "Redis was not looked at yet")
    assert not health.ready
    health.stand_by("leader", "another replica leads")
    assert health.ready
    said = health.document()
    assert (said["ready"], said["state"]) == (True, "standby")
    assert said["reasons"] == {
        "warm": "Redis was not looked at yet",
        "leader": "another replica leads",
    }
    # What would keep it from taking over counts.
    health.set("postgres", "PostgreSQL does not answer")
    assert not health.ready
    health.set("postgres", None)
    health.state = "leading"
    assert not health.ready, "it leads, and its work is not done"
    health.set("leader", None)
    health.set("warm", None)
    assert health.ready
    health.set("lag", "90 s behind")
    assert not health.ready, "a leader that lags"
