"""What `ssmd_stack.forked` forks: all services and verbs, imported.

A fork that looks for garbage among them would copy all of their memory first: ten times the
processor time of the rest of its start.
"""

import gc
import importlib
import pkgutil
from importlib.util import find_spec

from ssmd_common.parts import SERVICES


def _verbs() -> list[str]:
    cli = find_spec("ssmd_cli")
    places = cli.submodule_search_locations if cli else []
    return [module.name for module in pkgutil.iter_modules(places, "ssmd_cli.")]


for _name in [*(f"ssmd_{service}.__main__" for service in SERVICES), *_verbs()]:
    importlib.import_module(_name)

gc.collect()
gc.freeze()
