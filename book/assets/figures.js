// Brings a page's figures to life. A page shows stills; the first one that the reader points at, taps
// or reaches by keyboard loads plotly, which draws it in the colors of the page's theme and answers
// pointing with the image decoded at that place.
(function () {
  "use strict";
  const { element, embedded, sheetOf } = aecore;
  const here = document.currentScript.src; // known only now
  const MOST_AWAKE = 3; // each has up to three of the WebGL contexts that browsers keep, and many nodes
  const awake = new Map(); // figures that plotly drew, the oldest first, and what watches their size
  let loading = null;
  const narrow = window.matchMedia("(max-width: 600px)");
  const touch = window.matchMedia("(pointer: coarse)");

  const config = {
    displaylogo: false,
    showSendToCloud: false, // plotly's own default is a button that uploads the chart
    displayModeBar: touch.matches ? false : "hover",
    // The wheel belongs to the page: a reader scrolls past a surface without falling into it.
    scrollZoom: false,
    modeBarButtonsToRemove: [
      "select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d",
      "tableRotation", "resetCameraLastSave3d", "hoverClosest3d",
    ],
  };

  function plotly() {
    loading = loading || new Promise((loaded, failed) => {
      if (window.Plotly) return loaded();
      const script = element("script", "", document.head);
      script.onload = loaded;
      script.onerror = failed;
      script.src = new URL("plotly.min.js", here).href;
    });
    return loading;
  }

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--aecore-" + name).trim();
  }

  // The layout changes, as plotly's dotted paths, that put a figure into the current theme.
  function theme(layout) {
    const ink = color("ink");
    const grid = color("grid");
    const page = color("page");
    const clear = "rgba(0,0,0,0)";
    const change = {
      "font.color": ink,
      "font.family": getComputedStyle(document.body).fontFamily,
      paper_bgcolor: clear,
      plot_bgcolor: clear,
      "legend.bgcolor": clear,
      "modebar.bgcolor": clear,
      "modebar.color": color("muted"),
      "modebar.activecolor": ink,
      "hoverlabel.bgcolor": page,
      "hoverlabel.bordercolor": grid,
      "hoverlabel.font.color": ink,
    };
    function axis(path) {
      change[path + ".gridcolor"] = grid;
      change[path + ".linecolor"] = grid;
      change[path + ".zerolinecolor"] = grid;
      change[path + ".tickcolor"] = grid;
      change[path + ".tickfont.color"] = ink;
      change[path + ".title.font.color"] = ink;
    }
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) axis(key);
      if (/^scene\d*$/.test(key)) {
        change[key + ".bgcolor"] = clear;
        for (const name of ["xaxis", "yaxis", "zaxis"]) {
          axis(key + "." + name);
          change[key + "." + name + ".color"] = ink;
          change[key + "." + name + ".showbackground"] = false;
          change[key + "." + name + ".spikecolor"] = color("muted");
        }
      }
    }
    (layout.annotations || []).forEach((note, i) => {
      change["annotations[" + i + "].font.color"] = ink;
    });
    return change;
  }

  function set(target, path, value) {
    const steps = path.replace(/\[(\d+)\]/g, ".$1").split(".");
    const last = steps.pop();
    for (const step of steps) target = target[step] = target[step] || {};
    target[last] = value;
  }

  function flat(trace) {
    return !/3d$|surface|mesh/.test(trace.type);
  }

  // On a phone a legend beside the plot would leave no plot.
  function fit(layout, data) {
    if (!narrow.matches) return;
    layout.legend = Object.assign({}, layout.legend, {
      orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom",
    });
    layout.margin = Object.assign({}, layout.margin, data.every(flat) ? { l: 40, r: 12 } : { l: 0, r: 0 });
    // A step back, so that the axes' labels stay in the picture.
    const eye = layout.scene && layout.scene.camera && layout.scene.camera.eye;
    for (const key in eye) eye[key] *= 1.25;
  }

  // What a figure has while it is a still: buttons for its views, and the image at its middle.
  function prepare(figure) {
    const plot = figure.querySelector(".aecore-plot");
    const { data, layout } = embedded(figure, "aecore-data");
    const views = element("div", "aecore-views");
    for (const menu of layout.updatemenus || [])
      for (const { label, args } of menu.buttons) {
        const button = element("button", "", views);
        button.type = "button";
        button.textContent = label;
        button.addEventListener("click", () => wake(figure).then((live) => Plotly.relayout(live, ...args)));
      }
    if (views.children.length) figure.prepend(views);
    const payload = embedded(figure, "aecore-decoder");
    if (payload) {
      const first = data.find((trace) => trace.type === "surface" || trace.type === "heatmap");
      const look = decoding(element("div", "aecore-decoded", figure), payload);
      look(first ? middle(first.x) : 0, first ? middle(first.y) : 0);
      figure.look = look;
    }
    plot.tabIndex = 0;
    // Not pointerenter: a page that scrolls under a mouse at rest points at nothing.
    plot.addEventListener("pointermove", (event) => event.pointerType === "mouse" && wake(figure));
    plot.addEventListener("click", () => wake(figure));
    plot.addEventListener("focus", () => wake(figure));
    figure.dataset.ready = "true";
  }

  function wake(figure) {
    figure.waking = figure.waking || plotly().then(() => draw(figure));
    return figure.waking;
  }

  function draw(figure) {
    const plot = figure.querySelector(".aecore-plot");
    const live = element("div", "aecore-live", plot);
    const { data, layout } = embedded(figure, "aecore-data");
    if (!plot.classList.contains("wide")) fit(layout, data);
    layout.autosize = true;
    layout.height = plot.clientHeight;
    delete layout.width;
    delete layout.updatemenus;
    if (data.every(flat)) for (const key of ["xaxis", "yaxis"]) layout[key] = layout[key] || {};
    else layout.scene = layout.scene || {};
    for (const [path, value] of Object.entries(theme(layout))) set(layout, path, value);
    if (touch.matches && !layout.scene) layout.dragmode = false;
    return Plotly.newPlot(live, data, layout, config).then(() => {
      if (figure.look) pointing(figure.look, live);
      if (figure.dataset.sheet) peeking(figure, live);
      figure.dataset.drawn = "true";
      // The side bar comes and goes without the window changing its size.
      const watch = new ResizeObserver(() => Plotly.Plots.resize(live));
      watch.observe(figure);
      awake.set(figure, { live, watch });
      const away = [...awake.keys()].filter((other) => other !== figure && !inView(other));
      away.slice(0, Math.max(0, awake.size - MOST_AWAKE)).forEach(rest);
      return live;
    });
  }

  function inView(figure) {
    const { top, bottom } = figure.getBoundingClientRect();
    return bottom > 0 && top < window.innerHeight;
  }

  // A figure becomes a still again.
  function rest(figure) {
    const { live, watch } = awake.get(figure);
    awake.delete(figure);
    watch.disconnect();
    Plotly.purge(live);
    live.remove();
    delete figure.dataset.drawn;
    delete figure.waking;
  }

  // The middle of an axis of plain numbers, or of numbers that plotly keeps as base64.
  function middle(values) {
    const kinds = { f4: Float32Array, f8: Float64Array };
    const bytes = values.bdata && Uint8Array.from(atob(values.bdata), (letter) => letter.charCodeAt(0));
    const list = bytes ? new kinds[values.dtype](bytes.buffer) : values;
    return (Math.min(...list) + Math.max(...list)) / 2;
  }

  // Gives back what draws into the panel the image decoded at a place.
  function decoding(panel, payload) {
    const decoder = aecore.network(payload);
    const canvas = element("canvas", "aecore-image", panel);
    const label = element("output", "", panel);
    canvas.setAttribute("role", "img");
    element("small", "", panel).textContent =
      "The image decoded at this code. " + (touch.matches ? "Tap" : "Point at") + " the figure for others.";
    return function look(x, y) {
      decoder.paint(canvas, decoder.decode([x, y]));
      const place = "(" + x.toFixed(2) + ", " + y.toFixed(2) + ")";
      label.textContent = place;
      canvas.setAttribute("aria-label", "Image decoded at " + place);
    };
  }

  function pointing(look, live) {
    let waiting = null;
    function follow(event) {
      const point = event.points[0];
      if (!Number.isFinite(point.x) || !Number.isFinite(point.y)) return;
      if (waiting === null)
        requestAnimationFrame(() => {
          look(...waiting);
          waiting = null;
        });
      waiting = [point.x, point.y];
    }
    live.on("plotly_hover", follow);
    live.on("plotly_click", follow);
  }

  // Shows the image that a point stands for, from the page's sheet of images, above the point.
  function peeking(figure, live) {
    const sheet = sheetOf(figure.dataset.sheet);
    if (!sheet) return;
    const old = figure.querySelector(".aecore-peek");
    if (old) old.remove();
    const card = element("div", "aecore-peek", figure);
    const canvas = element("canvas", "aecore-image", card);
    canvas.setAttribute("role", "img");
    card.hidden = true;

    function look({ points: [point], event }) {
      const n = point.customdata;
      card.hidden = !Number.isInteger(n);
      if (card.hidden) return;
      sheet.paint(canvas, n);
      canvas.setAttribute("aria-label", "Image " + n);
      card.dataset.image = n;
      const box = figure.getBoundingClientRect();
      const left = event.clientX - box.left - card.offsetWidth / 2;
      const above = event.clientY - box.top - card.offsetHeight - 16;
      const most = figure.clientWidth - card.offsetWidth;
      card.style.left = figure.scrollLeft + Math.max(0, Math.min(left, most)) + "px";
      card.style.top = (above < 0 ? event.clientY - box.top + 24 : above) + "px";
    }
    live.on("plotly_hover", look);
    live.on("plotly_click", look);
    live.on("plotly_unhover", () => (card.hidden = true));
  }

  function restyle() {
    for (const { live } of awake.values()) Plotly.relayout(live, theme(live.layout));
  }

  document.addEventListener("DOMContentLoaded", () => {
    const observer = new IntersectionObserver(
      (entries) =>
        entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
          observer.unobserve(entry.target);
          prepare(entry.target);
        }),
      { rootMargin: "400px" }
    );
    document.querySelectorAll(".aecore-figure").forEach((figure) => observer.observe(figure));
    // A surface turns under a finger that would have moved the page, so only until a tap beside it.
    document.addEventListener("pointerdown", ({ pointerType, target }) => {
      if (pointerType === "mouse") return;
      for (const [figure, { live }] of awake)
        if (live.layout.scene && !figure.contains(target)) rest(figure);
    });
    new MutationObserver(restyle).observe(document.documentElement, {
      attributeFilter: ["data-theme"],
    });
  });
})();
