"""What the command line's tests share: modules beside them."""

import sys
from pathlib import Path

# Test modules are not importable by name; what several of them share is.
sys.path.append(str(Path(__file__).parent))
