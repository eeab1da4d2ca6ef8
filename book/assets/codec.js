// The package's codec in the page: the same whole numbers as in aecore/codec, so the same bytes. What is
// below 2 ** 53 is exact as a number of JavaScript.
(function () {
  "use strict";
  const aecore = (window.aecore = window.aecore || {});
  const [WHOLE, SMALLEST, TOTAL] = [2 ** 32, 2 ** 24, 2 ** 16];
  const HEADER = 31; // bytes of a file before its codes
  const [LONGEST, WORD] = [2n ** 64n - 1n, 2n ** 32n];

  // The last of the rising `starts` that is not above `at`.
  const last = (starts, at) => starts.findLastIndex((start) => start <= at);

  // The bytes of `symbols`, each with a table of cumulative frequencies: `encode` of rangecoder.py.
  function encode(symbols, tables) {
    let [low, width] = [0, WHOLE - 1];
    const settled = [];
    function carry() {
      if (low < WHOLE) return;
      let place = settled.length - 1;
      while (settled[place] === 255) settled[place--] = 0;
      settled[place]++;
      low -= WHOLE;
    }
    symbols.forEach((symbol, n) => {
      const unit = Math.floor(width / TOTAL);
      low += unit * tables[n][symbol];
      width = unit * (tables[n][symbol + 1] - tables[n][symbol]);
      carry();
      for (; width < SMALLEST; width *= 256) {
        settled.push(Math.floor(low / SMALLEST));
        low = (low % SMALLEST) * 256;
      }
    });
    const units = [0, 1, 2, 3, 4].map((count) => 2 ** (32 - 8 * count));
    low = units.map((unit) => Math.ceil(low / unit) * unit).find((number) => number < low + width);
    carry();
    for (const unit of units.slice(1)) settled.push(Math.floor(low / unit) % 256);
    return settled.slice(0, settled.findLastIndex((byte) => byte > 0) + 1);
  }

  // The symbols of such bytes: `decode` of rangecoder.py.
  function decode(bytes, tables) {
    let [offset, width, place] = [0, WHOLE - 1, 0];
    const take = () => (offset = offset * 256 + (bytes[place++] ?? 0));
    while (place < 4) take();
    return tables.map((table) => {
      const unit = Math.floor(width / TOTAL);
      const symbol = last(table, Math.min(Math.floor(offset / unit), TOTAL - 1));
      offset -= unit * table[symbol];
      width = unit * (table[symbol + 1] - table[symbol]);
      for (; width < SMALLEST; width *= 256) take();
      return symbol;
    });
  }

  // The symbols of many codes in one stream, for each table `count` of them: those of `constriction`,
  // which reads words of 32 bits into 64 and takes frequencies in 24.
  function decodeStream(bytes, tables, count) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const word = (n) => (4 * n + 4 <= bytes.length ? BigInt(view.getUint32(4 * n, true)) : 0n);
    let [lower, range, point, next] = [0n, LONGEST, (word(0) << 32n) | word(1), 2];
    return tables.map((table) => {
      const n = table.length - 1;
      const fine = table.map((start, k) => k + Math.floor(((SMALLEST - n) * start) / TOTAL));
      return Array.from({ length: count }, () => {
        const scale = range >> 24n;
        const symbol = last(fine, Number(((point - lower) & LONGEST) / scale));
        if (symbol === n) throw new Error("is damaged: its codes are none of its model's");
        lower = (lower + scale * BigInt(fine[symbol])) & LONGEST;
        range = scale * BigInt(fine[symbol + 1] - fine[symbol]);
        if (range < WORD) {
          [lower, range] = [(lower << 32n) & LONGEST, range << 32n];
          point = ((point << 32n) & LONGEST) | word(next++);
        }
        return symbol;
      });
    });
  }

  function checksum(bytes) {
    let sum = -1;
    for (const byte of bytes) {
      sum ^= byte;
      for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
    }
    return ~sum >>> 0;
  }

  // aecore.codec({ step, lows, tables }): `numbers` rounds a code, `encode` gives the bytes of such
  // numbers, `code` the code that they stand for, and `read` all numbers of a file whose model is that
  // of the file `own`.
  aecore.codec = function ({ step, lows, tables }) {
    function numbers(code) {
      return lows.map((low, n) => {
        const number = Math.round(code[n] / step);
        return Math.min(low + tables[n].length - 2, Math.max(low, number));
      });
    }
    function read(file, own) {
      const view = new DataView(file.buffer, file.byteOffset, file.length);
      const like = (from, to) => own.slice(from, to).every((byte, n) => file[from + n] === byte);
      if (file.length < HEADER + 4 || !like(0, 4)) throw new Error("is no .aec file of this version");
      if (checksum(file.slice(0, -4)) !== view.getUint32(file.length - 4, true))
        throw new Error("is damaged: its check sum does not fit its content");
      if (!like(4, 11) || !like(15, HEADER)) throw new Error("is of another model than this page's");
      const [count, codes] = [view.getUint32(11, true), file.slice(HEADER, -4)];
      const alone = () => decode(codes, tables).map((symbol) => [symbol]);
      const columns = count === 1 ? alone() : decodeStream(codes, tables, count);
      return Array.from({ length: count }, (_, k) => columns.map((column, n) => column[k] + lows[n]));
    }
    return {
      numbers,
      read,
      encode: (of) => encode(of.map((number, n) => number - lows[n]), tables),
      code: (of) => of.map((number) => number * step),
    };
  };
})();
