"""Modules that the tests here share are imported by name: `checkpoints`, `inputs`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
