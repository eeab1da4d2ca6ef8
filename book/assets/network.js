// An autoencoder in the page: its weights come as base64 in the figure's own JSON, because a page
// opened from a folder may neither fetch a file nor load a module. See aecore.page.live.
(function () {
  "use strict";
  const aecore = (window.aecore = window.aecore || {});

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  }

  // IEEE 754 half precision: a sign, five bits of exponent, ten of fraction.
  function half(bits) {
    const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  const floats = {
    f4: (text) => new Float32Array(bytes(text)),
    f2: (text) => Float32Array.from(new Uint16Array(bytes(text)), half),
  };

  function linear(layer, x) {
    const y = layer.bias.slice();
    for (let o = 0; o < layer.out; o++) {
      let sum = 0;
      for (let i = 0; i < layer.in; i++) sum += layer.weight[o * layer.in + i] * x.data[i];
      y[o] += sum;
    }
    return { data: y, shape: [layer.out] };
  }

  // For every pixel of the small side of a convolution, and every place of the kernel over the large
  // one: the offsets of small pixel, large pixel and weight.
  function everyPlace(layer, [h, w], [H, W], visit) {
    const [[kh, kw], [sh, sw], [ph, pw]] = [layer.kernel_size, layer.stride, layer.padding];
    for (let r = 0; r < h; r++)
      for (let c = 0; c < w; c++)
        for (let u = 0; u < kh; u++) {
          const row = r * sh - ph + u;
          if (row < 0 || row >= H) continue;
          for (let v = 0; v < kw; v++) {
            const column = c * sw - pw + v;
            if (column >= 0 && column < W) visit(r * w + c, row * W + column, u * kw + v);
          }
        }
  }

  function filled(channels, size, bias) {
    const y = new Float32Array(channels * size);
    for (let o = 0; o < channels; o++) y.fill(bias[o], o * size, (o + 1) * size);
    return y;
  }

  // Every output pixel is the sum of the input around it, times the kernel.
  function conv(layer, x) {
    const [, H, W] = x.shape;
    const [h, w] = [H, W].map(
      (size, k) => Math.floor((size + 2 * layer.padding[k] - layer.kernel_size[k]) / layer.stride[k]) + 1
    );
    const y = filled(layer.out, h * w, layer.bias);
    const kernel = layer.kernel_size[0] * layer.kernel_size[1];
    everyPlace(layer, [h, w], [H, W], (small, large, k) => {
      for (let i = 0; i < layer.in; i++) {
        const value = x.data[i * H * W + large];
        if (value !== 0)
          for (let o = 0; o < layer.out; o++)
            y[o * h * w + small] += value * layer.weight[(o * layer.in + i) * kernel + k];
      }
    });
    return { data: y, shape: [layer.out, h, w] };
  }

  // Every input pixel adds its value times the kernel to the output around it.
  function convTranspose(layer, x) {
    const [, h, w] = x.shape;
    const [H, W] = [h, w].map(
      (size, k) =>
        (size - 1) * layer.stride[k] - 2 * layer.padding[k] + layer.kernel_size[k] + layer.output_padding[k]
    );
    const y = filled(layer.out, H * W, layer.bias);
    const kernel = layer.kernel_size[0] * layer.kernel_size[1];
    everyPlace(layer, [h, w], [H, W], (small, large, k) => {
      for (let i = 0; i < layer.in; i++) {
        const value = x.data[i * h * w + small];
        if (value !== 0)
          for (let o = 0; o < layer.out; o++)
            y[o * H * W + large] += value * layer.weight[(i * layer.out + o) * kernel + k];
      }
    });
    return { data: y, shape: [layer.out, H, W] };
  }

  const each = (f) => (layer, x) => ({ data: x.data.map(f), shape: x.shape });
  const apply = {
    linear,
    conv,
    conv_transpose: convTranspose,
    reshape: (layer, x) => ({ data: x.data, shape: layer.shape }),
    relu: each((v) => (v > 0 ? v : 0)),
    silu: each((v) => v / (1 + Math.exp(-v))),
    gelu: each((v) => (v / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))),
    sigmoid: each((v) => 1 / (1 + Math.exp(-v))),
    tanh: each(Math.tanh),
  };

  // aecore.network(payload): `encode` takes an image's values in [0, 1], channel by channel, to its
  // code, `decode` a code to such values, `paint` draws these on a canvas.
  aecore.network = function (payload) {
    const [channels, height, width] = payload.shape;
    const read = floats[payload.weights];
    const sides = {};
    function layers(side) {
      sides[side] ??= payload[side].map((layer) =>
        layer.weight ? { ...layer, weight: read(layer.weight), bias: read(layer.bias) } : layer
      );
      return sides[side];
    }
    function run(side, data, shape) {
      return layers(side).reduce((x, layer) => apply[layer.type](layer, x), { data, shape }).data;
    }
    const encode = (image) => run("encoder", Float32Array.from(image), payload.shape);
    const decode = (code) => run("decoder", Float32Array.from(code), [code.length]);
    const paint = (canvas, values) => aecore.paint(canvas, values, payload.shape);
    return { encode, decode, paint, shape: [channels, height, width], latentDim: payload.latent_dim };
  };

  // Draws an image's values in [0, 1], channel by channel, clipped, on a canvas of its size.
  aecore.paint = function (canvas, values, [channels, height, width]) {
    const size = width * height;
    const image = new ImageData(width, height); // its bytes are clamped, not wrapped
    for (let p = 0; p < size; p++) {
      for (let c = 0; c < 3; c++)
        image.data[4 * p + c] = 255 * values[(channels === 3 ? c : 0) * size + p];
      image.data[4 * p + 3] = 255;
    }
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").putImageData(image, 0, 0);
  };
})();
