"""Says in one line, before anything is installed, why the packages won't install here.

The pinned versions of all dependencies have wheels for Python 3.11 to 3.14 on Linux (x86-64) and
Windows, and for Python 3.11 to 3.13 on Macs with Apple's processors.
"""

import platform
import shutil
import sys


def problem() -> str:
    """What stands in the way, or nothing."""
    version, machine = ".".join(map(str, sys.version_info[:2])), platform.machine().lower()
    arm = machine in ("arm64", "aarch64")
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        found = f"{sys.executable} is Python {version}; needed is one of 3.11 to 3.14"
        return f"{found}: name it, make PYTHON=python3.12"
    if sys.maxsize < 2**32 or not (arm or machine in ("x86_64", "amd64")):
        return f"PyTorch has no package for this processor ({machine}) or a Python of 32 bits"
    if sys.platform == "darwin" and not arm:
        return "PyTorch has no packages for Intel Macs any more (the last was 2.2)"
    if sys.platform == "darwin" and version == "3.14":
        return "faiss-cpu has no package for Python 3.14 on a Mac: make PYTHON=python3.13"
    if sys.platform == "linux" and arm and not shutil.which("c++"):
        return "on Linux with ARM openTSNE is compiled: install a C++ compiler (g++) first"
    return ""


if __name__ == "__main__":
    sys.exit(problem() or 0)
