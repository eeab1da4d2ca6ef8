"""The `aecore` command in a process of its own, as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "aecore.cli"]


def aecore(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """What `aecore WORDS` in the folder `cwd` printed and returned."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
