"""How likely each number is in each place of a code, and the bytes that this makes of codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import constriction
import numpy as np

from aecore.checks import InvalidValue
from aecore.codec import rangecoder
from aecore.codec.rangecoder import TOTAL_BITS

TOTAL = 1 << TOTAL_BITS
MOST = 1 << 13  # numbers that a place of a code may take
MARGIN = 0.1  # of the range seen in training, on both sides


class DamagedCodes(ValueError):
    """Bytes that are not those of any codes under the prior they are read with."""


@dataclass(frozen=True, eq=False)
class Prior:
    """A factorized distribution of codes, int (N, d): a table of frequencies for each dimension.

    `lows` (d,) are the smallest numbers, `frequencies` d arrays (n_j,) of at least 1 that add up to
    2**16. Whole numbers, so that reading does not hang on how a machine rounds.
    """

    lows: np.ndarray
    frequencies: Sequence[np.ndarray]

    @classmethod
    def learned(cls, codes: np.ndarray) -> Self:
        """The prior of training codes, int (N, d): their histograms, ½ added to every number.

        The range is that of the codes and a tenth on both sides. Raises `InvalidValue` where a
        dimension takes more than 8192 numbers.
        """
        lows, highs = codes.min(0), codes.max(0)
        margins = 1 + np.ceil(MARGIN * (highs - lows)).astype(int)
        lows, sizes = lows - margins, highs - lows + 2 * margins + 1
        if (widest := sizes.max()) > MOST:
            reason = f"{widest:,} numbers in a dimension are more than {MOST:,}"
            raise InvalidValue(f"a step that small is not allowed: {reason}")
        pairs = zip((codes - lows).T, sizes, strict=True)
        return cls(
            lows, [whole_frequencies(np.bincount(column, minlength=n) + 0.5) for column, n in pairs]
        )

    @cached_property
    def tables(self) -> list[list[int]]:
        """Cumulative frequencies of every dimension, as `rangecoder` takes them."""
        return [[0, *np.cumsum(one).tolist()] for one in self.frequencies]

    @cached_property
    def models(self) -> list[constriction.stream.model.Categorical]:
        """The same for `constriction`: the frequencies are exact as floats."""
        shares = [one / TOTAL for one in self.frequencies]
        return [constriction.stream.model.Categorical(share, perfect=False) for share in shares]

    def nearest(self, codes: np.ndarray) -> np.ndarray:
        """The codes (N, d), each number the nearest that has a frequency."""
        return codes.clip(self.lows, self.lows + [len(one) - 1 for one in self.frequencies])

    def bits(self, codes: np.ndarray) -> np.ndarray:
        """The ideal length of each code in bits: (N,)."""
        columns = zip((codes - self.lows).T, self.frequencies, strict=True)
        return sum(TOTAL_BITS - np.log2(of[column]) for column, of in columns)

    def encode(self, code: np.ndarray) -> bytes:
        """The bytes of a single code (d,)."""
        return rangecoder.encode((code - self.lows).tolist(), self.tables)

    def decode(self, data: bytes) -> np.ndarray:
        """The code (d,) of its bytes; any bytes are those of some code."""
        return np.array(rangecoder.decode(data, self.tables)) + self.lows

    def encode_stream(self, codes: np.ndarray) -> bytes:
        """The bytes of many codes (N, d) together, dimension by dimension, in words of 32 bits."""
        encoder = constriction.stream.queue.RangeEncoder()
        for column, model in zip((codes - self.lows).T, self.models, strict=True):
            encoder.encode(column.astype(np.int32), model)
        return encoder.get_compressed().astype("<u4").tobytes()

    def decode_stream(self, data: bytes, count: int) -> np.ndarray:
        """The `count` codes (N, d) of the bytes of a stream; raises `DamagedCodes`."""
        try:
            words = np.frombuffer(data, "<u4").astype(np.uint32)
            decoder = constriction.stream.queue.RangeDecoder(words)
            columns = [decoder.decode(model, count) for model in self.models]
        except (ValueError, AssertionError) as error:
            raise DamagedCodes(str(error)) from None
        return np.stack(columns, 1) + self.lows


def whole_frequencies(counts: np.ndarray) -> np.ndarray:
    """Whole numbers of at least 1 that add up to 2**16, in the proportions of `counts` (n,)."""
    exact = counts / counts.sum() * (TOTAL - len(counts))
    whole = exact.astype(int)
    missing = TOTAL - len(counts) - whole.sum()
    whole[np.argsort(whole - exact, kind="stable")[:missing]] += 1  # to the largest remainders
    return whole + 1
