"""Where files live on this machine."""

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The folder of everything computed or fetched: `AECORE_HOME`, else the user's cache folder."""
    return Path(os.environ.get("AECORE_HOME") or platformdirs.user_cache_dir("aecore", appauthor=False))
