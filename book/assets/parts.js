// What the live parts of a page are made of: sliders, pictures, charts, a square to draw on, the numbers
// of a code as bars. By mouse, finger or keyboard.
(function () {
  "use strict";
  const aecore = (window.aecore = window.aecore || {});
  const SVG = "http://www.w3.org/2000/svg";

  function element(tag, className, parent, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  function embedded(figure, kind) {
    const script = figure.querySelector("script." + kind);
    return script && JSON.parse(script.textContent);
  }

  function button(text, parent, act) {
    const made = element("button", "", parent, text);
    made.type = "button";
    made.addEventListener("click", act);
    return made;
  }

  // A range with its name before it and what it stands at behind it; `say(value)` words that.
  function slider(parent, text, options, say, act) {
    const label = element("label", "grow", parent);
    element("span", "", label, text);
    const range = element("input", "", label);
    Object.assign(range, { type: "range", ...options });
    range.setAttribute("aria-label", text);
    const told = element("output", "", label);
    function update() {
      told.textContent = say(Number(range.value));
      range.setAttribute("aria-valuetext", told.textContent);
      act(Number(range.value));
    }
    range.addEventListener("input", update);
    return { range, update };
  }

  // A list to choose one of `names` from.
  function choice(parent, text, names, value, act) {
    const label = element("label", "", parent);
    label.append(text + " ");
    const select = element("select", "", label);
    for (const name of names) select.add(new Option(name, name, false, name === value));
    select.addEventListener("change", act);
    return select;
  }

  // A canvas for an image, with words under it.
  function view(parent, words, className) {
    const cell = element("div", "view " + (className || ""), parent);
    const canvas = element("canvas", "aecore-image", cell);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", words);
    const under = element("span", "", cell, words);
    const say = (text) => canvas.setAttribute("aria-label", (under.textContent = text));
    return { canvas, say, cell };
  }

  // Images that came as one picture: `paint(canvas, n)` draws image n once it is `ready`, `values(n)`
  // are its pixels in [0, 1], channel by channel.
  function sheet({ count, columns, width, height, source }, channels = 1) {
    const all = new Image();
    all.src = source;
    const [ready, pixels] = [all.decode(), element("canvas")];
    const place = (n) => [(n % columns) * width, Math.floor(n / columns) * height];
    function paint(canvas, n) {
      Object.assign(canvas, { width, height });
      ready.then(() => canvas.getContext("2d").drawImage(all, ...place(n), width, height, 0, 0, width, height));
    }
    function values(n) {
      const pen = pixels.getContext("2d", { willReadFrequently: true });
      if (!pixels.dataset.drawn) {
        Object.assign(pixels, { width: all.width, height: all.height });
        pen.drawImage(all, 0, 0);
        pixels.dataset.drawn = "true";
      }
      const { data } = pen.getImageData(...place(n), width, height);
      const size = width * height;
      return Float32Array.from({ length: channels * size }, (_, k) => data[4 * (k % size) + Math.floor(k / size)] / 255);
    }
    return { ready, paint, values, count };
  }

  // The page's sheet of images of that name, if it is there.
  function sheetOf(name) {
    const found = [...document.querySelectorAll("script.aecore-sheet")]
      .map((script) => JSON.parse(script.textContent))
      .find((one) => one.name === name);
    return found && sheet(found);
  }

  function error(a, b) {
    let sum = 0;
    for (let k = 0; k < a.length; k++) sum += (a[k] - Math.min(1, Math.max(0, b[k]))) ** 2;
    return sum / a.length;
  }

  // Lines over a common axis as a drawing; `mark(x)` sets a dot on each where they stand at x.
  function chart(parent, { lines, x, y }) {
    const [W, H, left, bottom, right, top] = [440, 190, 46, 34, 12, 20];
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    svg.setAttribute("role", "img");
    const names = Object.keys(lines);
    svg.setAttribute("aria-label", `${y} against ${x}: ${names.join(", ")}`);
    parent.append(svg);
    const every = Object.values(lines).flat();
    const [xs, ys] = [every.map((p) => p[0]), every.map((p) => p[1])];
    const [most, from, to] = [Math.max(...ys) * 1.05, Math.min(...xs), Math.max(...xs)];
    const at = ([a, b]) => [
      left + ((W - left - right) * (a - from)) / (to - from || 1),
      H - bottom - ((H - bottom - top) * b) / most,
    ];
    function add(tag, attributes, text) {
      const made = document.createElementNS(SVG, tag);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      if (text !== undefined) made.textContent = text;
      svg.append(made);
      return made;
    }
    const step = 10 ** Math.floor(Math.log10(most)) * (most / 10 ** Math.floor(Math.log10(most)) < 2.5 ? 0.5 : 1);
    for (let tick = 0; tick <= most; tick += step) {
      const [, row] = at([from, tick]);
      add("line", { x1: left, x2: W - right, y1: row, y2: row, class: "grid" });
      add("text", { x: left - 6, y: row + 4, "text-anchor": "end" }, tick.toPrecision(2) / 1);
    }
    for (const tick of [from, (from + to) / 2, to])
      add("text", { x: at([tick, 0])[0], y: H - bottom + 15, "text-anchor": "middle" }, Math.round(tick * 100) / 100);
    add("text", { x: (W + left) / 2, y: H - 3, "text-anchor": "middle" }, x);
    add("text", { x: 2, y: 11 }, y);
    const dots = names.map((name, n) => {
      const places = lines[name].map(at);
      add("polyline", { points: places.map((p) => p.join(",")).join(" "), class: `line line-${n}` });
      return add("circle", { r: 4.5, class: `dot dot-${n}` });
    });
    const legend = element("div", "legend", parent);
    names.forEach((name, n) => element("span", `key-${n}`, legend, name));
    return {
      mark(value) {
        names.forEach((name, n) => {
          const points = lines[name];
          const after = Math.max(1, points.findIndex((p) => p[0] >= value));
          const [a, b] = [points[after - 1], points[after]];
          const share = Math.min(1, Math.max(0, (value - a[0]) / (b[0] - a[0] || 1)));
          const [cx, cy] = at([a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])]);
          dots[n].setAttribute("cx", cx);
          dots[n].setAttribute("cy", cy);
        });
      },
    };
  }

  // Ink on a square of `side` pixels as MNIST's digits were made: scaled into a box of 20 pixels of
  // 28, every pixel the mean of the ink that it covers, the center of mass in the middle.
  function centered(ink, side, [, height, width]) {
    const image = new Float32Array(height * width);
    let [left, right, top, bottom] = [side, -1, side, -1];
    ink.forEach((value, k) => {
      if (value < 0.1) return;
      const [row, column] = [Math.floor(k / side), k % side];
      [left, right] = [Math.min(left, column), Math.max(right, column)];
      [top, bottom] = [Math.min(top, row), Math.max(bottom, row)];
    });
    if (right < 0) return image;
    const [w, h] = [right - left + 1, bottom - top + 1];
    const scale = ((20 / 28) * Math.min(height, width)) / Math.max(w, h);
    const [columns, rows] = [w, h].map((size) => Math.max(1, Math.round(size * scale)));
    const small = new Float32Array(rows * columns);
    let [mass, x, y] = [0, 0, 0];
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        const [r0, r1] = [r, r + 1].map((n) => top + Math.floor((n * h) / rows));
        const [c0, c1] = [c, c + 1].map((n) => left + Math.floor((n * w) / columns));
        let sum = 0;
        for (let i = r0; i < Math.max(r1, r0 + 1); i++)
          for (let j = c0; j < Math.max(c1, c0 + 1); j++) sum += ink[i * side + j];
        const value = sum / Math.max(1, r1 - r0) / Math.max(1, c1 - c0);
        small[r * columns + c] = value;
        [mass, x, y] = [mass + value, x + value * (c + 0.5), y + value * (r + 0.5)];
      }
    const [dx, dy] = [Math.round(width / 2 - x / mass), Math.round(height / 2 - y / mass)];
    small.forEach((value, k) => {
      const [row, column] = [Math.floor(k / columns) + dy, (k % columns) + dx];
      if (row >= 0 && row < height && column >= 0 && column < width) image[row * width + column] = value;
    });
    return image;
  }

  // A square to draw on, which begins with an example; `act(image)` gets what is on it, centered.
  function pad(parent, examples, shape, act) {
    const side = 280;
    const cell = element("div", "view pad", parent);
    const canvas = element("canvas", "aecore-image", cell);
    Object.assign(canvas, { width: side, height: side, tabIndex: 0 });
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", "A square to draw on: arrow keys move the pen, space puts it down or lifts it, delete clears");
    const brush = canvas.getContext("2d", { willReadFrequently: true });
    const pen = { x: side / 2, y: side / 2, down: false };
    let [shown, waiting] = [-1, false];

    function clear() {
      brush.fillStyle = "#000";
      brush.fillRect(0, 0, side, side);
      shown = -1;
    }
    function tell() {
      waiting = false;
      const { data } = brush.getImageData(0, 0, side, side);
      const ink = Float32Array.from({ length: side * side }, (_, k) => data[4 * k] / 255);
      act(centered(ink, side, shape));
    }
    function line(x, y) {
      if (shown >= 0) clear();
      Object.assign(brush, { strokeStyle: "#fff", lineWidth: 24, lineCap: "round", lineJoin: "round" });
      brush.beginPath();
      brush.moveTo(pen.x, pen.y);
      brush.lineTo(x + 0.01, y);
      brush.stroke();
      if (!waiting) requestAnimationFrame(tell);
      waiting = true;
    }
    function example(n) {
      shown = n % examples.count;
      const [image, small] = [examples.values(shown), element("canvas")];
      aecore.paint(small, image, shape);
      brush.imageSmoothingEnabled = false;
      brush.drawImage(small, 0, 0, side, side);
      act(image);
    }
    function place(event) {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.left) * side) / box.width, ((event.clientY - box.top) * side) / box.height];
    }
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      [pen.x, pen.y] = place(event);
      pen.drawing = true;
      line(pen.x, pen.y);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!pen.drawing) return;
      const [x, y] = place(event);
      line(x, y);
      Object.assign(pen, { x, y });
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (pen.drawing = false));
    const moves = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] };
    canvas.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      if (move) {
        const [x, y] = [pen.x + move[0], pen.y + move[1]].map((v) => Math.min(side, Math.max(0, v)));
        if (pen.down) line(x, y);
        Object.assign(pen, { x, y });
      } else if (event.key === " ") {
        pen.down = !pen.down;
        if (pen.down) line(pen.x, pen.y);
      } else if (event.key === "Delete" || event.key === "Backspace") {
        clear();
        tell();
      } else return;
      event.preventDefault();
    });
    const tools = element("div", "tools", cell);
    let next = 0;
    if (shape[0] === 1) button("clear", tools, () => (clear(), tell()));
    button("another", tools, () => example(++next));
    if (shape[0] !== 1) canvas.style.pointerEvents = "none"; // a pen has no colors
    examples.ready.then(() => example(0));
  }

  // The numbers of a code as bars to drag; `act(code)` gets them when the reader has.
  function bars(parent, act) {
    const group = element("div", "bars", parent);
    group.setAttribute("role", "group");
    let [code, low, high, held] = [[], [], [], null];

    const share = (value, n) => Math.min(1, Math.max(0, (value - low[n]) / (high[n] - low[n] || 1)));
    function draw() {
      [...group.children].forEach((bar, n) => {
        const [zero, here] = [share(0, n), share(code[n], n)];
        bar.firstChild.style.bottom = 100 * Math.min(zero, here) + "%";
        bar.firstChild.style.height = Math.max(1, 100 * Math.abs(here - zero)) + "%";
        bar.setAttribute("aria-valuenow", code[n].toFixed(2));
      });
    }
    function turn(n, value) {
      code[n] = Math.min(high[n], Math.max(low[n], value));
      draw();
      act(code);
    }
    function drag(event) {
      const box = group.getBoundingClientRect();
      const n = held ?? Math.floor(((event.clientX - box.left) / box.width) * code.length);
      if (n < 0 || n >= code.length) return;
      held = n;
      turn(n, high[n] - ((high[n] - low[n]) * (event.clientY - box.top)) / box.height);
    }
    group.addEventListener("pointerdown", (event) => {
      group.setPointerCapture(event.pointerId);
      held = null;
      drag(event);
    });
    group.addEventListener("pointermove", (event) => held !== null && drag(event));
    for (const end of ["pointerup", "pointercancel"]) group.addEventListener(end, () => (held = null));
    group.addEventListener("keydown", (event) => {
      const n = [...group.children].indexOf(event.target);
      const sign = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
      if (n < 0 || !sign) return;
      event.preventDefault();
      turn(n, code[n] + (sign * (high[n] - low[n])) / 20);
    });
    return function show(values, ranges) {
      [code, [low, high]] = [Array.from(values), ranges];
      if (group.children.length !== code.length)
        group.replaceChildren(
          ...code.map((_, n) => {
            const bar = element("div", "");
            element("i", "", bar);
            bar.tabIndex = 0;
            bar.setAttribute("role", "slider");
            bar.setAttribute("aria-orientation", "vertical");
            bar.setAttribute("aria-label", `number ${n + 1} of the code`);
            return bar;
          })
        );
      [...group.children].forEach((bar, n) => {
        bar.setAttribute("aria-valuemin", low[n].toFixed(2));
        bar.setAttribute("aria-valuemax", high[n].toFixed(2));
      });
      group.setAttribute("aria-label", `The code: ${code.length} numbers, to be dragged`);
      draw();
    };
  }

  Object.assign(aecore, {
    element, embedded, button, slider, choice, view, sheet, sheetOf, error, chart, centered, pad, bars,
  });
})();
