"""Coverage-guided fuzzing of everything that reads what others wrote; run it with scripts/fuzz."""

from __future__ import annotations

import os
import sys

# The hostile corpora of the unit tests are the seeds.
sys.path.append(os.path.join(os.path.dirname(__file__), "..", "unit"))
