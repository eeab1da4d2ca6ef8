"""A range coder that writes bytes, in whole numbers only: what one machine wrote, any other reads.

The message is a number in [0, 1), and each symbol narrows the interval in which it lies to the part
that belongs to the symbol (Martin 1979). `low` and `width` are the interval's, in 32 bits after the
bytes that are settled; a carry goes into these. For a message of its own that has to be short:
`Prior.encode_stream` is for many.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

TOTAL_BITS = 16  # the frequencies of a table add up to 2**16
WHOLE = 1 << 32
SMALLEST = 1 << 24  # below this width a byte is settled

Table = Sequence[int]  # cumulative frequencies, from 0 to 2**16, n + 1 of them for n symbols


def encode(symbols: Iterable[int], tables: Iterable[Table]) -> bytes:
    """The bytes of `symbols`, each from 0 and with a table of its own; there may be none."""
    low, width, settled = 0, WHOLE - 1, bytearray()
    for symbol, table in zip(symbols, tables, strict=True):
        unit = width >> TOTAL_BITS
        low += unit * table[symbol]
        width = unit * (table[symbol + 1] - table[symbol])
        low = _carry(settled, low)
        while width < SMALLEST:
            settled.append(low >> 24)
            low, width = low << 8 & WHOLE - 1, width << 8
    return _finished(settled, low, width)


def _carry(settled: bytearray, low: int) -> int:
    """Add what `low` has above its 32 bits to the settled bytes; returns the rest."""
    if low >= WHOLE:
        place = len(settled) - 1
        while settled[place] == 255:
            settled[place], place = 0, place - 1
        settled[place] += 1
    return low & WHOLE - 1


def _finished(settled: bytearray, low: int, width: int) -> bytes:
    """The settled bytes, and the fewest that name a number in the interval; zeros need no place."""
    for count in range(5):
        unit = 1 << 32 - 8 * count
        number = -(-low // unit) * unit  # the first with so many bytes
        if number < low + width:
            break
    settled += _carry(settled, number).to_bytes(4)
    return bytes(settled).rstrip(b"\0")


def decode(data: bytes, tables: Iterable[Table]) -> list[int]:
    """The symbols, one for each table, of bytes that `encode` wrote with the same tables."""
    offset, width, place = int.from_bytes(data[:4].ljust(4, b"\0")), WHOLE - 1, 4
    symbols = []
    for table in tables:
        unit = width >> TOTAL_BITS
        symbol = bisect_right(table, min(offset // unit, (1 << TOTAL_BITS) - 1)) - 1
        symbols.append(symbol)
        offset -= unit * table[symbol]
        width = unit * (table[symbol + 1] - table[symbol])
        while width < SMALLEST:
            offset, width = offset << 8 | (data[place] if place < len(data) else 0), width << 8
            place += 1
    return symbols
