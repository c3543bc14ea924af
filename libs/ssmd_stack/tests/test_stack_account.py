"""Where PostgreSQL lives when it may not live where it was put."""

import os
import shutil
from pathlib import Path

import pytest

from ssmd_stack import account
from ssmd_stack.errors import AccountUnusable, ServerFailed
from ssmd_stack.postgres import PostgresServer

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another")


@needs_root
def test_root_gets_a_private_directory_and_keeps_it(tmp_path: Path) -> None:
    user = account.postgres_account()
    assert user is not None
    link = tmp_path / "postgres"
    real = account.settle(link, user)
    try:
        assert link.resolve() == real != link
        found = real.stat()
        assert (found.st_uid, found.st_mode & 0o777) == (user.uid, 0o700)
        assert account.settle(link, user) == real
    finally:
        account.remove(link)
    assert not real.exists()


@needs_root
def test_a_cleaned_temp_directory_gives_a_new_one(tmp_path: Path) -> None:
    user = account.postgres_account()
    link = tmp_path / "postgres"
    first = account.settle(link, user)
    shutil.rmtree(first)
    second = account.settle(link, user)
    assert second != first
    assert link.resolve() == second
    account.remove(link)


@needs_root
def test_a_link_that_was_turned_elsewhere_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "ssmd-postgres-victim"
    victim.mkdir()
    link = tmp_path / "postgres"
    link.symlink_to(victim)
    real = account.settle(link, account.postgres_account())
    assert real != victim
    assert victim.is_dir()
    account.remove(link)


@needs_root
def test_directories_without_their_link_are_swept(tmp_path: Path) -> None:
    user = account.postgres_account()
    (tmp_path / "gone").mkdir()
    orphan = account.settle(tmp_path / "gone" / "postgres", user)
    shutil.rmtree(tmp_path / "gone")
    account.settle(tmp_path / "postgres", user)
    assert not orphan.exists()
    account.remove(tmp_path / "postgres")


@needs_root
def test_an_unreachable_temp_directory_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    with pytest.raises(AccountUnusable, match="TMPDIR"):
        account.settle(tmp_path / "postgres", account.postgres_account())


def test_an_ordinary_user_stays_where_it_was_put(tmp_path: Path) -> None:
    assert account.settle(tmp_path / "a b" / "postgres", None) == tmp_path / "a b" / "postgres"


def test_a_path_too_long_for_postgres_is_left(tmp_path: Path) -> None:
    place = tmp_path.joinpath(*["d" * 100] * 8)
    real = account.settle(place, None)
    assert len(str(real)) < 100
    assert place.resolve() == real
    account.remove(place)


def test_a_user_without_a_name_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(AccountUnusable, match=r"54321 has no entry in /etc/passwd"):
        account.postgres_account()


async def test_data_of_another_version_is_refused_with_the_way_out(scratch: Path) -> None:
    server = PostgresServer(scratch / "versions", durable=False)
    async with server:
        pass
    (server.data_dir / "PG_VERSION").write_text("15\n")
    with pytest.raises(ServerFailed, match="made by PostgreSQL 15 and this is"):
        await server.start()
    server.remove()
