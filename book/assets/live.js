// What the reader of a page does with networks: draw a digit and see its code, slide through code
// sizes, walk in a plane of codes, damage an image, watch a training. Mouse, finger or keyboard.
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

  // The images of a sheet: `values(n)`, channel by channel in [0, 1], once it is `ready`.
  function imagesOf(sheet, [channels, height, width]) {
    const source = new Image();
    source.src = sheet.source;
    const canvas = element("canvas");
    const ready = source.decode().then(() => {
      Object.assign(canvas, { width: source.width, height: source.height });
      canvas.getContext("2d", { willReadFrequently: true }).drawImage(source, 0, 0);
    });
    function values(n) {
      const [x, y] = [(n % sheet.columns) * width, Math.floor(n / sheet.columns) * height];
      const { data } = canvas.getContext("2d").getImageData(x, y, width, height);
      const size = width * height;
      return Float32Array.from({ length: channels * size }, (_, k) => data[4 * (k % size) + Math.floor(k / size)] / 255);
    }
    return { ready, values, count: sheet.count };
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
  aecore.centered = centered;

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

  // The networks of a page by their name, each made when it is first asked for.
  const known = {};
  function networksOf(name) {
    if (known[name]) return known[name];
    const found = [...document.querySelectorAll("script.aecore-networks")]
      .map((script) => JSON.parse(script.textContent))
      .find((one) => one.name === name);
    if (!found) return null;
    const made = {};
    const of = (key) => (made[key] ??= aecore.network(found.networks[key]));
    return (known[name] = { of, ranges: found.ranges, shape: found.shape });
  }

  // PCA's picture from the first d of its components.
  function fewer(pca, image, d) {
    return pca.decode(pca.encode(image).map((value, n) => (n < d ? value : 0)));
  }

  function plural(n) {
    return n === 1 ? "1 number" : n + " numbers";
  }

  function drawing(figure) {
    const { networks: name, denoiser, examples: sheet, sizes, start } = embedded(figure, "aecore-data");
    const networks = networksOf(name);
    const { shape, ranges } = networks;
    const through = element("p", "through", figure);
    const stage = element("div", "stage", figure);
    const size = shape.reduce((a, b) => a * b);
    let [d, image] = [start, null];

    pad(stage, imagesOf(sheet, shape), shape, (drawn) => see(drawn));
    const middle = element("div", "middle", stage);
    const show = bars(middle, (code) => aecore.paint(again.canvas, networks.of(d).decode(code), shape));
    const chosen = slider(
      middle,
      "size of the code",
      { min: 0, max: sizes.length - 1, step: 1, value: sizes.indexOf(start) },
      (n) => plural(sizes[n]),
      (n) => ((d = sizes[n]), image && see(image))
    );
    const again = view(stage, "drawn again", "again");
    const others = element("div", "others", stage);
    const given = view(others, "what went in");
    const linear = view(others, "PCA");
    const clean = denoiser && view(others, "denoiser");
    const readout = element("p", "readout", figure);
    readout.setAttribute("aria-live", "polite");

    function see(drawn) {
      image = drawn;
      const network = networks.of(d);
      const code = network.encode(image);
      const pictures = [network.decode(code), fewer(networks.of("pca"), image, d)];
      show(code, ranges[d]);
      aecore.paint(given.canvas, image, shape);
      aecore.paint(again.canvas, pictures[0], shape);
      aecore.paint(linear.canvas, pictures[1], shape);
      again.say(`drawn again from ${plural(d)}`);
      linear.say(`PCA, ${plural(d)}`);
      if (denoiser) {
        const network = networks.of("denoiser");
        aecore.paint(clean.canvas, network.decode(network.encode(image)), shape);
        clean.say(`denoiser, ${plural(network.latentDim)}`);
      }
      through.innerHTML = `${size} numbers in, <b>${d}</b> through, ${size} out`;
      const [ours, pcas] = pictures.map((picture) => error(image, picture).toFixed(4));
      readout.textContent = `Mean squared error of this picture: ${ours}; PCA's with ${plural(d)}: ${pcas}.`;
    }
    chosen.update();
  }

  // Images beside their reconstructions from any number of numbers, and where that stands on the
  // curve of the test error.
  function sliding(figure) {
    const { networks: name, examples: sheet, errors, sizes, start } = embedded(figure, "aecore-data");
    const networks = networksOf(name);
    if (!networks) return;
    const images = imagesOf(sheet, networks.shape);
    const controls = element("div", "controls", figure);
    const rows = element("div", "rows", figure);
    const [original, ours, linear] = ["original", "autoencoder", "PCA"].map((label) => {
      const row = element("div", "row", rows);
      element("span", "", row, label);
      return Array.from({ length: images.count }, (_, n) => {
        const canvas = element("canvas", "aecore-image", row);
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `image ${n + 1}, ${label}`);
        return canvas;
      });
    });
    const curve = chart(element("div", "chart", figure), { lines: errors, x: "numbers", y: "test error" });
    const chosen = slider(
      controls,
      "size of the code",
      { min: 0, max: sizes.length - 1, step: 1, value: sizes.indexOf(start) },
      (n) => plural(sizes[n]),
      (n) => {
        const [d, network] = [sizes[n], networks.of(sizes[n])];
        for (let k = 0; k < images.count; k++) {
          const image = images.values(k);
          aecore.paint(original[k], image, networks.shape);
          aecore.paint(ours[k], network.decode(network.encode(image)), networks.shape);
          aecore.paint(linear[k], fewer(networks.of("pca"), image, d), networks.shape);
        }
        curve.mark(d);
      }
    );
    images.ready.then(chosen.update);
  }

  // A plane of codes to walk in: what is decoded there, the image nearest in the code, and of the way
  // a film.
  function walking(figure) {
    const { planes, sheet, shape, colors, labels } = embedded(figure, "aecore-data");
    const images = imagesOf(sheet, shape);
    const controls = element("div", "controls", figure);
    const stage = element("div", "stage", figure);
    const map = element("canvas", "map", stage);
    const side = 480;
    Object.assign(map, { width: side, height: side, tabIndex: 0 });
    map.setAttribute("role", "application");
    map.setAttribute("aria-label", "The plane of codes: drag, or move with the arrow keys; delete forgets the way");
    const seen = element("div", "others", stage);
    const [decoded, nearest] = [view(seen, "decoded here"), view(seen, "nearest test image")];
    const film = element("div", "strip", figure);
    let [plane, network, place, way, follow] = [null, null, null, [], false];

    const made = planes.map((one) => ({ ...one, network: null }));
    function choose(n) {
      plane = made[n];
      network = plane.network ??= aecore.network(plane.decoder);
      const [xs, ys] = [0, 1].map((axis) => plane.codes.map((code) => code[axis]).sort((a, b) => a - b));
      const ends = (of) => [of[Math.floor(of.length / 100)], of[of.length - 1 - Math.floor(of.length / 100)]];
      plane.box = [ends(xs), ends(ys)];
      [...picks.children].forEach((one, k) => one.setAttribute("aria-pressed", k === n));
      way = [];
      develop();
      go(plane.start);
    }
    const picks = element("div", "picks", controls);
    if (planes.length > 1) planes.forEach((one, n) => button(one.name, picks, () => choose(n)));

    function at([x, y]) {
      const [[x0, x1], [y0, y1]] = plane.box;
      return [20 + ((side - 40) * (x - x0)) / (x1 - x0), side - 20 - ((side - 40) * (y - y0)) / (y1 - y0)];
    }
    function back(u, v) {
      const [[x0, x1], [y0, y1]] = plane.box;
      return [x0 + ((u - 20) * (x1 - x0)) / (side - 40), y0 + ((side - 20 - v) * (y1 - y0)) / (side - 40)];
    }
    function paint() {
      const pen = map.getContext("2d");
      const style = (name) => getComputedStyle(map).getPropertyValue("--aecore-" + name).trim();
      pen.fillStyle = style("page");
      pen.fillRect(0, 0, side, side);
      plane.codes.forEach((code, n) => {
        const [u, v] = at(code);
        pen.fillStyle = colors[labels[n] % colors.length] + "b0";
        pen.beginPath();
        pen.arc(u, v, 3, 0, 7);
        pen.fill();
      });
      pen.font = "600 17px sans-serif";
      Object.assign(pen, { textAlign: "center", textBaseline: "middle", lineWidth: 4, strokeStyle: style("page") });
      plane.centroids.forEach((center, label) => {
        pen.strokeText(label, ...at(center));
        pen.fillStyle = style("ink");
        pen.fillText(label, ...at(center));
      });
      Object.assign(pen, { lineWidth: 2, strokeStyle: style("ink") });
      pen.beginPath();
      way.forEach((one) => pen.lineTo(...at(one)));
      pen.stroke();
      pen.beginPath();
      pen.arc(...at(place), 8, 0, 7);
      pen.stroke();
    }
    function go(to) {
      place = to;
      network.paint(decoded.canvas, network.decode(place));
      decoded.say(`decoded at (${place.map((v) => v.toFixed(2)).join(", ")})`);
      let [best, least] = [0, Infinity];
      plane.codes.forEach((code, n) => {
        const far = (code[0] - place[0]) ** 2 + (code[1] - place[1]) ** 2;
        if (far < least) [best, least] = [n, far];
      });
      images.ready.then(() => aecore.paint(nearest.canvas, images.values(best), shape));
      nearest.say(`nearest of ${plane.codes.length} test images: class ${labels[best]}`);
      paint();
    }
    // Twelve places along the way, equally far apart.
    function develop() {
      const far = [0];
      for (let n = 1; n < way.length; n++)
        far.push(far[n - 1] + Math.hypot(way[n][0] - way[n - 1][0], way[n][1] - way[n - 1][1]));
      film.replaceChildren();
      if (!(far[far.length - 1] > 0)) return;
      for (let k = 0; k < 12; k++) {
        const want = (far[far.length - 1] * k) / 11;
        const n = Math.max(1, far.findIndex((f) => f >= want - 1e-9));
        const share = (want - far[n - 1]) / (far[n] - far[n - 1] || 1);
        const spot = [0, 1].map((axis) => way[n - 1][axis] + share * (way[n][axis] - way[n - 1][axis]));
        const frame = button("", film, () => go(spot));
        frame.setAttribute("aria-label", `picture ${k + 1} of the way`);
        network.paint(element("canvas", "aecore-image", frame), network.decode(spot));
      }
    }
    function walk(to) {
      way.push(to);
      if (way.length > 400) way.shift();
      go(to);
      develop();
    }
    function pointed(event) {
      const box = map.getBoundingClientRect();
      return back(((event.clientX - box.left) * side) / box.width, ((event.clientY - box.top) * side) / box.height);
    }
    map.addEventListener("pointerdown", (event) => {
      map.setPointerCapture(event.pointerId);
      [follow, way] = [true, []];
      walk(pointed(event));
    });
    map.addEventListener("pointermove", (event) => follow && walk(pointed(event)));
    for (const end of ["pointerup", "pointercancel"]) map.addEventListener(end, () => (follow = false));
    const moves = { ArrowLeft: [-12, 0], ArrowRight: [12, 0], ArrowUp: [0, -12], ArrowDown: [0, 12] };
    map.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      if (!move && event.key !== "Delete") return;
      event.preventDefault();
      if (!move) return (way = []), develop(), paint();
      const [u, v] = at(place);
      if (!way.length) way.push(place);
      walk(back(u + move[0], v + move[1]));
    });
    choose(0);
    new MutationObserver(paint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  // Standard normal numbers, the same ones for the same seed (mulberry32, Box and Muller).
  function normal(seed, count) {
    let state = seed;
    function uniform() {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    }
    return Float32Array.from(
      { length: count },
      () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
    );
  }

  // Noise and a hidden square on an image, and what networks trained in different ways make of it.
  function damaging(figure) {
    const { networks: name, examples: sheet, kinds, curves, start } = embedded(figure, "aecore-data");
    const networks = networksOf(name);
    const { shape } = networks;
    const [channels, height, width] = shape;
    const controls = element("div", "controls", figure);
    const stage = element("div", "stage", figure);
    let [image, sigma, hidden, seed] = [null, start, 0, 1];
    pad(stage, imagesOf(sheet, shape), shape, (drawn) => ((image = drawn), see()));
    const seen = element("div", "others", stage);
    const given = view(seen, "damaged");
    const views = kinds.map((kind) => view(seen, kind));
    const charts = element("div", "stage two", figure);
    const [noise, hole] = curves.map((curve) =>
      chart(element("div", "chart", charts), { ...curve, y: "test error" })
    );
    const readout = element("p", "readout", figure);
    readout.setAttribute("aria-live", "polite");

    function damaged() {
      const bits = normal(seed, image.length);
      const side = Math.round(Math.sqrt(hidden * height * width));
      const [top, left] = [0.45, 0.35].map((share, k) => Math.round(share * ([height, width][k] - side)));
      return image.map((value, k) => {
        const [row, column] = [Math.floor((k % (height * width)) / width), k % width];
        const covered = row >= top && row < top + side && column >= left && column < left + side;
        return (covered ? 0 : value) + sigma * bits[k];
      });
    }
    function see() {
      if (!image) return;
      const input = damaged();
      aecore.paint(given.canvas, input, shape);
      const errors = kinds.map((kind, n) => {
        const picture = networks.of(kind).decode(networks.of(kind).encode(input));
        aecore.paint(views[n].canvas, picture, shape);
        return `${kind} ${error(image, picture).toFixed(4)}`;
      });
      noise.mark(sigma);
      hole.mark(hidden);
      readout.textContent = `Error of this picture: ${errors.join(", ")}. The dots stand on the mean over all test images.`;
    }
    const most = ({ lines }) => Math.max(...Object.values(lines)[0].map((p) => p[0]));
    const ranges = [
      slider(controls, "noise, σ", { min: 0, max: most(curves[0]), step: 0.01, value: sigma }, (v) => v.toFixed(2), (v) => ((sigma = v), see())),
      slider(controls, "hidden", { min: 0, max: most(curves[1]), step: 0.01, value: 0 }, (v) => Math.round(100 * v) + " %", (v) => ((hidden = v), see())),
    ];
    button("other noise", controls, () => (seed++, see()));
    ranges.forEach((range) => range.update());
  }

  // A training, epoch by epoch: reconstructions, the plane of codes and the loss move together.
  function film(figure) {
    const { sheet, shape, count, codes, box, labels, colors, losses } = embedded(figure, "aecore-data");
    const images = imagesOf(sheet, shape);
    const controls = element("div", "controls", figure);
    const rows = element("div", "rows", figure);
    const line = (label) => {
      const row = element("div", "row", rows);
      element("span", "", row, label);
      return Array.from({ length: count }, () => element("canvas", "aecore-image", row));
    };
    const [originals, drawn] = [line("original"), line("drawn again")];
    const stage = element("div", "stage two", figure);
    const map = element("canvas", "map", stage);
    const side = 400;
    Object.assign(map, { width: side, height: side });
    map.setAttribute("role", "img");
    const curve = chart(element("div", "chart", stage), { lines: losses, x: "epoch", y: "loss" });
    const data = new Int8Array(Uint8Array.from(atob(codes), (letter) => letter.charCodeAt(0)).buffer);

    function at(epoch) {
      for (let k = 0; k < count; k++) {
        aecore.paint(originals[k], images.values(k), shape);
        aecore.paint(drawn[k], images.values(count * (epoch + 1) + k), shape);
      }
      const pen = map.getContext("2d");
      pen.fillStyle = getComputedStyle(map).getPropertyValue("--aecore-page").trim();
      pen.fillRect(0, 0, side, side);
      labels.forEach((label, n) => {
        const [u, v] = [0, 1].map((axis) => data[2 * (epoch * labels.length + n) + axis] / 127);
        pen.fillStyle = colors[label % colors.length] + "c0";
        pen.beginPath();
        pen.arc(side / 2 + (u * side) / 2.1, side / 2 - (v * side) / 2.1, 3, 0, 7);
        pen.fill();
      });
      map.setAttribute("aria-label", `The codes of ${labels.length} test images after epoch ${epoch}, within ±${box.toFixed(1)}`);
      curve.mark(epoch);
    }
    const last = data.length / labels.length / 2 - 1;
    const chosen = slider(controls, "epoch", { min: 0, max: last, step: 1, value: last }, (n) => `${n} of ${last}`, at);
    images.ready.then(chosen.update);
    new MutationObserver(() => chosen.update()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  const widgets = { draw: drawing, sizes: sliding, walk: walking, damage: damaging, film };

  // One switch for all code of a page but what it is about; what the reader chose last holds on.
  function codeSwitch() {
    const title = document.querySelector(".bd-article h1");
    if (!title || !document.querySelector(".bd-article .cell_input")) return;
    const root = document.documentElement;
    const remembered = { get: () => null, set: () => null };
    try {
      remembered.get = () => localStorage.getItem("aecore-code");
      remembered.set = (value) => localStorage.setItem("aecore-code", value);
      remembered.get();
    } catch {
      remembered.get = () => null; // a browser may keep nothing for pages from a folder
    }
    const made = button("", null, () => turn(root.dataset.code !== "shown"));
    made.className = "aecore-code";
    title.after(made);
    function turn(shown) {
      root.dataset.code = shown ? "shown" : "hidden";
      made.textContent = shown ? "hide the code" : "show the code";
      made.setAttribute("aria-pressed", shown);
      remembered.set(root.dataset.code);
    }
    turn(remembered.get() === "shown");
  }

  document.addEventListener("DOMContentLoaded", () => {
    codeSwitch();
    const observer = new IntersectionObserver(
      (entries) =>
        entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
          observer.unobserve(target);
          widgets[target.dataset.live](target);
          target.dataset.drawn = "true";
        }),
      { rootMargin: "400px" }
    );
    document.querySelectorAll(".aecore-play").forEach((figure) => observer.observe(figure));
  });
})();
