"""One line of status that says which notebook and cell is running, and what that cell says."""

import shutil
import time
from typing import TextIO

INTERVAL = 10.0  # seconds between two lines where there is no terminal to redraw a line on


class Progress:
    """A file for the notebooks' stderr that shows on `stream` where the batch stands.

    What a notebook says for good (up to a line feed) becomes a line of its own; what it redraws
    (after a carriage return) stands behind the status line. Without a stream it is silent.
    """

    def __init__(self, stream: TextIO | None, notebooks: int) -> None:
        self.stream, self.notebooks = stream, notebooks
        self.live = stream is not None and stream.isatty()
        self.number, self.name, self.place, self.passing = 0, "", "", ""
        self.drawn = time.monotonic()

    def notebook(self, name: str) -> None:
        """The next notebook begins."""
        self.number += 1
        self.name, self.place, self.passing = name, "", ""
        if self.live:
            self._draw()
        else:
            self.say(self._status())

    def cell(self, cells: int, cell: object, cell_index: int) -> None:
        """A cell begins, counted from 0, of so many."""
        self.place, self.passing = f": cell {cell_index + 1} of {cells}", ""
        self._draw()

    def done(self, seconds: float, problem: str | None) -> None:
        """The notebook has ended, with a problem or without."""
        self.place = self.passing = ""
        self.say(f"{self._status()}: {f'failed: {problem}' if problem else f'{seconds:.0f} s'}")

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self.stream is not None:
            self.stream.write(f"\r\x1b[K{line}\n" if self.live else f"{line}\n")
            self.stream.flush()
            self.drawn = time.monotonic()

    def write(self, text: str) -> int:
        """Take what the notebook writes to stderr."""
        *whole, rest = (self.passing + text).split("\n")
        for line in whole:
            if said := line.rpartition("\r")[2].rstrip():
                self.say(f"  {said}")
        # A redrawn line begins with a carriage return; one that ends in it is not to be lost.
        self.passing = "\r" + rest.rstrip("\r").rpartition("\r")[2] if rest else ""
        self._draw()
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def _status(self) -> str:
        return f"[{self.number}/{self.notebooks}] {self.name}"

    def _draw(self) -> None:
        if self.stream is None:
            return
        said = self.passing.strip()
        line = f"{self._status()}{self.place}{f' · {said}' if said else ''}"
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r\x1b[K{line[:width]}")
            self.stream.flush()
        elif time.monotonic() - self.drawn > INTERVAL:
            self.say(line)
