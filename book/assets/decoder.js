// A decoder network in the page: weights come as base64 in the figure's own JSON, because a page
// opened from a folder may neither fetch a file nor load a module. See aecore.display.decoder_payload.
(function () {
  "use strict";
  const aecore = (window.aecore = window.aecore || {});

  function floats(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Float32Array(bytes.buffer);
  }

  function linear(layer, x) {
    const y = layer.bias.slice();
    for (let o = 0; o < layer.out; o++) {
      let sum = 0;
      for (let i = 0; i < layer.in; i++) sum += layer.weight[o * layer.in + i] * x.data[i];
      y[o] += sum;
    }
    return { data: y, shape: [layer.out] };
  }

  // Every input pixel adds its value times the kernel to the output around it.
  function convTranspose(layer, x) {
    const [, height, width] = x.shape;
    const [kh, kw] = layer.kernel_size;
    const [sh, sw] = layer.stride;
    const [ph, pw] = layer.padding;
    const h = (height - 1) * sh - 2 * ph + kh + layer.output_padding[0];
    const w = (width - 1) * sw - 2 * pw + kw + layer.output_padding[1];
    const y = new Float32Array(layer.out * h * w);
    for (let o = 0; o < layer.out; o++) y.fill(layer.bias[o], o * h * w, (o + 1) * h * w);
    for (let i = 0; i < layer.in; i++)
      for (let r = 0; r < height; r++)
        for (let c = 0; c < width; c++) {
          const value = x.data[(i * height + r) * width + c];
          if (value === 0) continue;
          for (let o = 0; o < layer.out; o++)
            for (let u = 0; u < kh; u++) {
              const row = r * sh - ph + u;
              if (row < 0 || row >= h) continue;
              for (let v = 0; v < kw; v++) {
                const column = c * sw - pw + v;
                if (column < 0 || column >= w) continue;
                y[(o * h + row) * w + column] +=
                  value * layer.weight[((i * layer.out + o) * kh + u) * kw + v];
              }
            }
        }
    return { data: y, shape: [layer.out, h, w] };
  }

  const apply = {
    linear: linear,
    conv_transpose: convTranspose,
    reshape: (layer, x) => ({ data: x.data, shape: layer.shape }),
    relu: (layer, x) => ({ data: x.data.map((v) => (v > 0 ? v : 0)), shape: x.shape }),
    sigmoid: (layer, x) => ({ data: x.data.map((v) => 1 / (1 + Math.exp(-v))), shape: x.shape }),
  };

  // aecore.decoder(payload).decode(code) gives the image's values in [0, 1], channel by channel.
  aecore.decoder = function (payload) {
    const layers = payload.layers.map((layer) =>
      layer.weight
        ? Object.assign({}, layer, { weight: floats(layer.weight), bias: floats(layer.bias) })
        : layer
    );
    function run(code) {
      const start = { data: Float32Array.from(code), shape: [code.length] };
      return layers.reduce((x, layer) => apply[layer.type](layer, x), start);
    }
    const decode = (code) => run(code).data;
    const [channels, height, width] = run(new Float32Array(payload.latent_dim)).shape;

    function paint(canvas, values) {
      canvas.width = width;
      canvas.height = height;
      const image = new ImageData(width, height);
      for (let p = 0; p < width * height; p++) {
        for (let c = 0; c < 3; c++)
          image.data[4 * p + c] = 255 * values[(channels === 3 ? c : 0) * width * height + p];
        image.data[4 * p + 3] = 255;
      }
      canvas.getContext("2d").putImageData(image, 0, 0);
    }

    return { decode, paint, latentDim: payload.latent_dim };
  };
})();
