"""The lists of docs/rights.md, made from `ssmd_common.rights`: `make docs` writes them into the
page, a test holds them there."""

import re
from collections.abc import Callable
from pathlib import Path

from ssmd_common.granting import acl_rules, grants, nats_permissions
from ssmd_common.rights import READER, RIGHTS

PAGE = Path(__file__).parents[1] / "docs/rights.md"


def with_rights(page: str) -> str:
    """The page with its lists as they are now, each between `<!-- made: … -->` and its end."""

    def made(found: re.Match[str]) -> str:
        return f"{found[1]}\n{_LISTS[found[2]]()}{found[3]}"

    return re.sub(r"(<!-- made: (\w+) -->)\n.*?(<!-- end -->)", made, page, flags=re.DOTALL)


def _postgres() -> str:
    blocks = (
        [f"-- {service}", *grants(rights.postgres, f"ssmd_{service}", "ssmd")]
        for service, rights in RIGHTS.items()
    )
    return _fenced("sql", "\n\n".join("\n".join(block) for block in blocks))


def _reader() -> str:
    return _fenced("sql", "\n".join(grants(READER, "ssmd_reader", "ssmd")))


def _nats() -> str:
    lines = ["authorization {", "  users = ["]
    for service, rights in RIGHTS.items():
        if rights.nats is None:
            continue
        permissions = nats_permissions(rights.nats)
        lines += [
            f'    {{ user: {service}, password: "…"',
            "      permissions: {",
            "        publish: { allow: [",
            *(f'          "{subject}"' for subject in permissions["publish"]["allow"]),
            "        ] }",
            f'        subscribe: {{ allow: ["{permissions["subscribe"]["allow"][0]}"] }}',
            "      }",
            "    }",
        ]
    return _fenced("text", "\n".join([*lines, "  ]", "}"]))


def _shard() -> str:
    """What each service needs for one more shard of books."""
    blocks = [
        [f"# {service}", *(f'"{each.pattern}"' for each in rights.nats.of_shard(1))]
        for service, rights in RIGHTS.items()
        if rights.nats is not None and rights.nats.of_shard(1)
    ]
    return _fenced("text", "\n\n".join("\n".join(block) for block in blocks))


def _redis() -> str:
    return _fenced(
        "text",
        "\n".join(
            f"ACL SETUSER {service} on >password {' '.join(acl_rules(rights.redis))}"
            for service, rights in RIGHTS.items()
            if rights.redis is not None
        ),
    )


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```\n"


_LISTS: dict[str, Callable[[], str]] = {
    "postgres": _postgres,
    "reader": _reader,
    "nats": _nats,
    "shard": _shard,
    "redis": _redis,
}
