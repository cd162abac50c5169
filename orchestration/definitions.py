"""The code location that Dagster loads.

Belongs here: one call. Not here: what is built (see `build`).
"""

from orchestration.build import build_definitions
from orchestration.settings import load_settings

defs = build_definitions(load_settings())
