"""Where semblance keeps what it downloads or exports: one folder, named by the environment or by the platform.

In: `SEMBLANCE_HOME`. Out: a path, which need not exist yet. Whoever writes into it creates it.
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder named by `SEMBLANCE_HOME`, else the platform's cache folder for `semblance`."""
    if named := os.environ.get("SEMBLANCE_HOME"):
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("semblance", appauthor=False)
