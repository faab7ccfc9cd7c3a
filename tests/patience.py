"""How many times longer than usual may everything take? Once, unless NODEIPAM_TEST_PATIENCE says more: an emulated machine needs ten times."""

from __future__ import annotations

import os

PATIENCE = float(os.environ.get("NODEIPAM_TEST_PATIENCE", "1"))
