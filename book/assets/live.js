// What the reader of a page does with networks: draw a digit and see its code, slide through code
// sizes, walk in a plane of codes, damage an image, watch a training, morph, look for neighbors.
(function () {
  "use strict";
  const aecore = window.aecore;
  const { element, embedded, button, slider, choice, view, sheet, sheetOf, error, chart, pad, bars } = aecore;

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

  // A decoder that a figure of the page has, by its name.
  function decoderOf(name) {
    const found = [...document.querySelectorAll("script.aecore-decoder")]
      .map((script) => JSON.parse(script.textContent))
      .find((one) => one.name === name);
    return found && aecore.network(found);
  }

  // PCA's picture from the first d of its components.
  function fewer(pca, image, d) {
    return pca.decode(pca.encode(image).map((value, n) => (n < d ? value : 0)));
  }

  function plural(n) {
    return n === 1 ? "1 number" : n + " numbers";
  }

  function drawing(figure) {
    const { networks: name, denoiser, examples, sizes, start, codecs } = embedded(figure, "aecore-data");
    const networks = networksOf(name);
    const { shape, ranges } = networks;
    const through = element("p", "through", figure);
    const stage = element("div", "stage", figure);
    const size = shape.reduce((a, b) => a * b);
    let [d, image] = [start, null];

    pad(stage, sheet(examples, shape[0]), shape, (drawn) => see(drawn));
    const middle = element("div", "middle", stage);
    const show = bars(middle, (code) => draw(networks.of(d).decode(code), code));
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

    function draw(picture, code) {
      const codec = codecs[d] && aecore.codec(codecs[d]);
      const bytes = codec && codec.encode(codec.numbers(code)).length;
      aecore.paint(again.canvas, picture, shape);
      again.say(`drawn again from ${plural(d)}` + (codec ? `: ${bytes} ${bytes === 1 ? "byte" : "bytes"}` : ""));
    }
    function see(drawn) {
      image = drawn;
      const network = networks.of(d);
      const code = network.encode(image);
      const pictures = [network.decode(code), fewer(networks.of("pca"), image, d)];
      show(code, ranges[d]);
      draw(pictures[0], code);
      aecore.paint(given.canvas, image, shape);
      aecore.paint(linear.canvas, pictures[1], shape);
      linear.say(`PCA, ${plural(d)}`);
      if (denoiser) {
        const network = networks.of("denoiser");
        aecore.paint(clean.canvas, network.decode(network.encode(image)), shape);
        clean.say(`denoiser, ${plural(network.latentDim)}`);
      }
      through.innerHTML = `${size} numbers in, <b>${d}</b> through, ${size} out`;
      const [ours, pcas] = pictures.map((picture) => error(image, picture).toFixed(4));
      readout.textContent = `Mean squared error of this picture: ${ours}; PCA's with ${plural(d)}: ${pcas}.`;
      if (codecs[d]) readout.textContent += ` The bytes are those of the code rounded to multiples of ${codecs[d].step}.`;
    }
    chosen.update();
  }

  // Images beside their reconstructions from any number of numbers, and where that stands on the
  // curve of the test error.
  function sliding(figure) {
    const { networks: name, examples, errors, sizes, start } = embedded(figure, "aecore-data");
    const networks = networksOf(name);
    if (!networks) return false;
    const images = sheet(examples, networks.shape[0]);
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

  // The numbers of classes at their `centers` on a map, with a rim that parts them from what is below.
  function named(pen, centers, at, style) {
    pen.setLineDash([]);
    pen.font = "600 17px sans-serif";
    Object.assign(pen, { textAlign: "center", textBaseline: "middle", lineWidth: 4, strokeStyle: style("page") });
    const shown = Object.entries(centers);
    const apart = Math.ceil(shown.length / 30); // as in the figures, more names would hide each other
    for (const [label, center] of shown.filter((_, n) => n % apart === 0)) {
      pen.strokeText(label, ...at(center));
      pen.fillStyle = style("ink");
      pen.fillText(label, ...at(center));
    }
  }

  // A plane of codes to walk in: what is decoded there, the image nearest in the code, and of the way
  // a film.
  function walking(figure) {
    const { planes, examples, shape, colors, labels } = embedded(figure, "aecore-data");
    const told = new Set(labels).size > 1; // whether there are classes to tell apart
    const images = sheet(examples, shape[0]);
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
      named(pen, plane.centroids, at, style);
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
      nearest.say(`nearest of ${plane.codes.length} test images${told ? `: class ${labels[best]}` : ""}`);
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
    const { networks: name, examples, kinds, curves, start } = embedded(figure, "aecore-data");
    const networks = networksOf(name);
    const { shape } = networks;
    const [channels, height, width] = shape;
    const controls = element("div", "controls", figure);
    const stage = element("div", "stage", figure);
    let [image, sigma, hidden, seed] = [null, start, 0, 1];
    pad(stage, sheet(examples, shape[0]), shape, (drawn) => ((image = drawn), see()));
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
    const { examples, shape, count, codes, box, labels, colors, losses } = embedded(figure, "aecore-data");
    const images = sheet(examples, shape[0]);
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

  // Two films between the same centers, side by side: straight, and along the shortest way found.
  function filming(figure) {
    const { decoder, pairs, paths, lengths } = embedded(figure, "aecore-data");
    const network = decoderOf(decoder);
    if (!network) return false;
    const [labels, last] = [[...new Set(pairs.flat())].sort((a, b) => a - b), 48];
    const controls = element("div", "controls", figure);
    const [from, to] = [choice(controls, "from", labels, labels[0], turn), choice(controls, "to", labels, labels.at(-1), turn)];
    const chosen = slider(controls, "on the way", { min: 0, max: last, step: 1, value: last / 2 }, (n) => Math.round((100 * n) / last) + " %", show);
    const play = button("play", controls, () => (timer ? rest() : run()));
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) play.hidden = true; // the slider moves too
    const stage = element("div", "stage", figure);
    const map = element("canvas", "map", stage);
    const side = 320;
    Object.assign(map, { width: side, height: side });
    map.setAttribute("role", "img");
    const seen = element("div", "others", stage);
    const views = ["straight", "shortest found"].map((name) => ({ ...view(seen, name), name }));
    const readout = element("p", "readout", figure);
    readout.setAttribute("aria-live", "polite");
    let [ways, timer] = [[], null];

    // The path from one class to another; it may be kept the other way round.
    function turn() {
      const [a, b] = [from, to].map((one) => Number(one.value));
      const n = pairs.findIndex((pair) => pair.includes(a) && pair.includes(b) && a !== b);
      const path = n < 0 ? [centers[a], centers[a]] : pairs[n][0] === a ? paths[n] : [...paths[n]].reverse();
      ways = [[path[0], path.at(-1)], path];
      const [straight, shortest] = lengths[n] || [0, 0];
      readout.textContent =
        n < 0
          ? "Choose two classes."
          : `From ${a} to ${b} the picture moves by ${straight.toFixed(2)} on the straight way, by ${shortest.toFixed(2)} on ` +
            `the shortest that was found: ${(100 * (1 - shortest / straight)).toFixed(1)} % less.`;
      chosen.update();
    }
    const centers = {};
    pairs.forEach(([a, b], n) => Object.assign(centers, { [a]: paths[n][0], [b]: paths[n].at(-1) }));
    const every = [0, 1].map((axis) => paths.flat().map((code) => code[axis]));
    const [low, high] = [every.map((values) => Math.min(...values)), every.map((values) => Math.max(...values))];
    const at = (code) => code.map((value, axis) => {
      const share = (value - low[axis]) / (high[axis] - low[axis] || 1);
      return 24 + (side - 48) * (axis ? 1 - share : share);
    });
    function place(way, share) {
      const spot = share * (way.length - 1);
      const n = Math.min(way.length - 2, Math.floor(spot));
      return way[n].map((value, axis) => value + (spot - n) * (way[n + 1][axis] - value));
    }
    function show(n) {
      const places = ways.map((way) => place(way, n / last));
      views.forEach(({ canvas, say, name }, k) => {
        network.paint(canvas, network.decode(places[k]));
        say(name);
      });
      const pen = map.getContext("2d");
      const style = (name) => getComputedStyle(map).getPropertyValue("--aecore-" + name).trim();
      pen.fillStyle = style("page");
      pen.fillRect(0, 0, side, side);
      ways.forEach((way, k) => {
        pen.strokeStyle = pen.fillStyle = style(k ? "accent" : "ink");
        pen.lineWidth = 2;
        pen.setLineDash(k ? [] : [5, 4]);
        pen.beginPath();
        way.forEach((code) => pen.lineTo(...at(code)));
        pen.stroke();
        pen.beginPath();
        pen.arc(...at(places[k]), 5, 0, 7);
        pen.fill();
      });
      named(pen, centers, at, style);
      map.setAttribute("aria-label", `The centers of ${labels.length} classes, and the two ways from ${from.value} to ${to.value}`);
    }
    function rest() {
      timer = clearInterval(timer);
      play.textContent = "play";
    }
    function run() {
      play.textContent = "stop";
      if (Number(chosen.range.value) === last) chosen.range.value = 0;
      timer = setInterval(() => {
        chosen.range.value = Number(chosen.range.value) + 1;
        chosen.update();
        if (Number(chosen.range.value) === last) rest();
      }, 60);
    }
    turn();
    new MutationObserver(() => chosen.update()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  // A file of compressed images, decoded here: what it costs, and what is left of the images.
  function unpacking(figure) {
    const { file, codec: tables, examples, numbers } = embedded(figure, "aecore-data");
    const [codec, network] = [aecore.codec(tables), aecore.network(embedded(figure, "aecore-decoder"))];
    const own = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
    const images = sheet(examples, network.shape[0]);
    const controls = element("div", "controls", figure);
    const link = element("a", "", controls, `keep the file: ${own.length} bytes`);
    Object.assign(link, { download: "digits.aec", href: "data:application/octet-stream;base64," + file });
    const label = element("label", "", controls, "open one of this model ");
    const chosen = element("input", "", label);
    Object.assign(chosen, { type: "file", accept: ".aec" });
    const rows = element("div", "rows", figure);
    const readout = element("p", "readout", figure);
    readout.setAttribute("aria-live", "polite");

    function line(text, count, paint) {
      const row = element("div", "row", rows);
      element("span", "", row, text);
      for (let n = 0; n < count; n++) {
        const canvas = element("canvas", "aecore-image", row);
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `image ${n + 1}, ${text}`);
        paint(canvas, n);
      }
    }
    function open(bytes, name) {
      let read;
      try {
        read = codec.read(bytes, own);
      } catch ({ message }) {
        readout.textContent = `${name} ${message}.`;
        return;
      }
      const mine = JSON.stringify(read) === JSON.stringify(numbers);
      const drawn = read.slice(0, 20).map((one) => network.decode(codec.code(one)));
      const decoded = drawn.map((picture) => picture.map((value) => Math.round(255 * value) / 255));
      rows.replaceChildren();
      if (mine) line("original", images.count, (canvas, n) => aecore.paint(canvas, images.values(n), network.shape));
      line("decoded here", decoded.length, (canvas, n) => network.paint(canvas, decoded[n]));
      const each = ((bytes.length - 35) / read.length).toFixed(1);
      const errors = mine ? decoded.map((picture, n) => error(images.values(n), picture)) : [];
      const mse = errors.reduce((sum, one) => sum + one, 0) / errors.length;
      readout.textContent =
        `${name}: ${bytes.length} bytes, of which 35 say what it is; the others, ${each} an image, hold the ${plural(tables.lows.length)} of each.` +
        (mine ? ` Mean squared error ${mse.toFixed(4)}. Each of the ${numbers.flat().length} numbers is the one that Python wrote.` : "");
    }
    chosen.addEventListener("change", async () => {
      const [picked] = chosen.files;
      if (picked) open(new Uint8Array(await picked.arrayBuffer()), picked.name);
    });
    images.ready.then(() => open(own, "digits.aec"));
  }

  const widgets = {
    draw: drawing, sizes: sliding, walk: walking, damage: damaging, film, file: unpacking, ways: filming, morph: player, neighbors: picker,
  };

  // Straight paths in code space, step by step.
  function player(figure) {
    const { points, steps } = embedded(figure, "aecore-data");
    const decoder = aecore.network(embedded(figure, "aecore-decoder"));
    const labels = Object.keys(points);
    const controls = element("div", "controls", figure);
    const stage = element("div", "stage", figure);
    const canvas = element("canvas", "aecore-image", stage);
    const path = element("div", "path", stage);
    const strip = element("div", "strip", path);
    const chart = element("div", "chart", path);
    const readout = element("output", "", path);
    canvas.setAttribute("role", "img");
    let images = [];
    let moves = [];

    const from = choice(controls, "from", labels, labels.includes("4") ? "4" : labels[0], walk);
    const to = choice(controls, "to", labels, labels.includes("9") ? "9" : labels[labels.length - 1], walk);
    const range = element("input", "", element("label", "grow", controls));
    Object.assign(range, { type: "range", min: 0, max: steps - 1, step: 1, value: 0 });
    range.setAttribute("aria-label", "step");
    range.addEventListener("input", step);

    function walk() {
      const [a, b] = [points[from.value], points[to.value]];
      images = Array.from({ length: steps }, (_, i) => {
        const t = i / (steps - 1);
        return decoder.decode(a.map((v, k) => v + t * (b[k] - v)));
      });
      moves = images.slice(1).map((image, i) => {
        let sum = 0;
        image.forEach((v, p) => (sum += (v - images[i][p]) ** 2));
        return Math.sqrt(sum / image.length);
      });
      strip.replaceChildren();
      images.forEach((image, i) => {
        const thumb = element("canvas", "aecore-image", strip); // for the mouse: keys move the slider
        decoder.paint(thumb, image);
        thumb.addEventListener("click", () => ((range.value = i), step()));
      });
      chart.replaceChildren();
      const top = Math.max(...moves, 1e-9);
      moves.forEach((move) => (element("i", "", chart).style.height = (100 * move) / top + "%"));
      step();
    }

    function step() {
      const i = Number(range.value);
      decoder.paint(canvas, images[i]);
      canvas.setAttribute("aria-label", `Step ${i + 1} from ${from.value} to ${to.value}`);
      [...strip.children].forEach((thumb, k) => thumb.classList.toggle("here", k === i));
      [...chart.children].forEach((bar, k) => bar.classList.toggle("here", k === i - 1));
      readout.textContent = i
        ? `image ${i + 1} of ${steps}: this step changes a pixel by ${moves[i - 1].toFixed(3)} (root mean square)`
        : `image 1 of ${steps}: the start`;
    }
    walk();
  }

  // One image to pick, and its nearest images before encoding and after.
  function picker(figure) {
    const { sheet: name, labels, queries, rows } = embedded(figure, "aecore-data");
    const found = sheetOf(name);
    if (!found) return false;
    const choices = element("div", "choices", figure);
    const stage = element("div", "stage", figure);
    const readout = element("output", "", figure);
    const names = Object.keys(rows);
    const told = new Set(labels).size > 1; // else only what is near by pixels too can be counted

    function thumb(n, parent) {
      const canvas = element("canvas", "aecore-image", parent);
      found.paint(canvas, n);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", told ? `Image of class ${labels[n]}` : "Image");
      return canvas;
    }
    function pick(query) {
      const own = labels[queries[query]];
      [...choices.children].forEach((one, n) => one.setAttribute("aria-pressed", n === query));
      stage.replaceChildren();
      const counts = names.map((name) => {
        const line = element("div", "line", stage);
        element("span", "", line).textContent = name;
        const strip = element("div", "strip", line);
        for (const n of rows[name][query]) {
          const canvas = thumb(n, strip);
          canvas.classList.add(labels[n] === own ? "same" : "other");
          if (name !== names[0] && rows[names[0]][query].includes(n)) canvas.classList.add("kept");
        }
        const counted = (n) => (told ? labels[n] === own : rows[names[0]][query].includes(n));
        return `${name}: ${rows[name][query].filter(counted).length} of ${rows[name][query].length}`;
      });
      const what = told ? `Of the same class as this ${own}` : `Also ${names[0]}`;
      readout.textContent = `${what}: ${counts.slice(told ? 0 : 1).join(", ")}.`;
    }
    queries.forEach((n, query) => {
      const made = button("", choices, () => pick(query));
      made.setAttribute("aria-label", `Image ${query + 1}${told ? `, of class ${labels[n]}` : ""}`);
      thumb(n, made);
    });
    found.ready.then(() => pick(0));
  }

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
          if (widgets[target.dataset.live](target) !== false) target.dataset.drawn = "true";
        }),
      { rootMargin: "400px" }
    );
    document.querySelectorAll("[data-live]").forEach((figure) => observer.observe(figure));
  });
})();
