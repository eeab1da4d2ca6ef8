"""A `.mat` file as an `.npz` file, in a process of its own: a damaged one may crash SciPy."""

import sys

import numpy as np
from scipy.io import loadmat


def convert(source: str, target: str) -> None:
    """Write the arrays of a `.mat` file to an `.npz` file.

    Those in a structure `dataset` of structures, as EMNIST has it, are called `train_images` after
    both. What is no array of numbers or texts is left out.
    """
    found = loadmat(source, simplify_cells=True)
    if isinstance(both := found.get("dataset"), dict):
        parts = {part: of for part, of in both.items() if isinstance(of, dict)}
        found = {f"{part}_{kind}": one for part, of in parts.items() for kind, one in of.items()}
    arrays = {name: one for name, one in found.items() if isinstance(one, np.ndarray)}
    np.savez(target, **{name: one for name, one in arrays.items() if one.dtype != object})


if __name__ == "__main__":
    try:
        convert(*sys.argv[1:])
    except NotImplementedError:
        sys.exit("a file of MATLAB 7.3: save it with -v7")
    except Exception as error:  # whatever a damaged file does to its reader
        sys.exit(f"cannot be read ({' '.join(str(error).split()) or type(error).__name__})")
