"""A line of status that says which notebooks and cells are running, and what these say."""

import shutil
import threading
import time
from typing import TextIO

INTERVAL = 10.0  # seconds between two lines where there is no terminal to redraw a line on


class Progress:
    """What is shown on `stream` of a batch of so many notebooks; nothing without a stream."""

    def __init__(self, stream: TextIO | None, notebooks: int) -> None:
        self.stream, self.notebooks, self.begun = stream, notebooks, 0
        self.live = stream is not None and stream.isatty()
        self.at_work: list[Told] = []
        self.drawn, self.lock = time.monotonic(), threading.RLock()

    def notebook(self, name: str) -> "Told":
        """The next notebook begins; its stderr goes to what is returned."""
        with self.lock:
            self.begun += 1
            told = Told(self, f"[{self.begun}/{self.notebooks}] {name}", name)
            self.at_work.append(told)
            if self.live:
                self.draw()
            else:
                self.say(told.title)
            return told

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self.stream is not None:
            with self.lock:
                self.stream.write(f"\r\x1b[K{line}\n" if self.live else f"{line}\n")
                self.stream.flush()
                self.drawn = time.monotonic()

    def draw(self) -> None:
        """Show where the notebooks at work are, if it is time to."""
        if self.stream is None or not (self.live or time.monotonic() - self.drawn > INTERVAL):
            return
        with self.lock:
            line = "   ".join(told.status() for told in self.at_work)
            if self.live:
                width = shutil.get_terminal_size().columns - 1
                self.stream.write(f"\r\x1b[K{line[:width]}")
                self.stream.flush()
            else:
                self.say(line)


class Told:
    """A file for one notebook's stderr.

    What it says for good (up to a line feed) becomes a line of its own; what it redraws (after a
    carriage return) stands behind its status.
    """

    def __init__(self, progress: Progress, title: str, name: str) -> None:
        self.progress, self.title, self.name = progress, title, name
        self.place, self.passing = "", ""

    def cell(self, cells: int, cell: object, cell_index: int) -> None:
        """A cell begins, counted from 0, of so many."""
        self.place, self.passing = f": cell {cell_index + 1} of {cells}", ""
        self.progress.draw()

    def done(self, outcome: str) -> None:
        """The notebook has ended."""
        with self.progress.lock:
            self.progress.at_work.remove(self)
            self.progress.say(f"{self.title}: {outcome}")

    def write(self, text: str) -> int:
        """Take what the notebook writes to stderr."""
        *whole, rest = (self.passing + text).split("\n")
        for line in whole:
            if said := line.rpartition("\r")[2].rstrip():
                self.progress.say(f"{self.title} · {said}")
        # A redrawn line begins with a carriage return; one that ends in it is not to be lost.
        self.passing = "\r" + rest.rstrip("\r").rpartition("\r")[2] if rest else ""
        self.progress.draw()
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def status(self) -> str:
        """Which notebook, which cell, and what it says at the moment."""
        said = self.passing.strip()
        return f"{self.title}{self.place}{f' · {said}' if said else ''}"
