"""Rows to write, and a store on a database of their own."""

import sys
from pathlib import Path

from written_rows import event, market, series, store

__all__ = ["event", "market", "series", "store"]

# Test directories are no packages: what tests share is found beside them.
sys.path.append(str(Path(__file__).parent))
