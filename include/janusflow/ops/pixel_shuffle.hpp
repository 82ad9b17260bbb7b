// Pixels between channels and space: pixel_shuffle, pixel_unshuffle and nearest upsampling, channels last.
#pragma once

#include "janusflow/core/tensor.hpp"

namespace janusflow {

/// x [B, H, W, C r r] to [B, H r, W r, C]: y(b, h r + dy, w r + dx, c) = x(b, h, w, c r r + dy r + dx), the order of
/// channels of torch's pixel_shuffle. Its backward is pixel_unshuffle. Throws unless the channels are a multiple of r r.
template <TensorLike X>
auto pixel_shuffle(const X& input, Index factor) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view();
  require(factor >= 1 && factor <= std::max<Index>(1, x.shape[3] / factor) && x.shape[3] % (factor * factor) == 0,
          "pixel_shuffle: the channels of x ", x.shape,
          " are not a multiple of ", factor, " squared");
  const Index width = x.shape[2], channels = x.shape[3] / (factor * factor);
  Tensor<T, 4> y(Shape{x.shape[0], x.shape[1] * factor, width * factor, channels});
  parallel_for(x.shape[0] * y.shape()[1], [&](Index row) {  // row: (b, h r + dy)
    T* to = y.data() + row * width * factor * channels;
    for (Index w = 0; w < width; ++w)
      for (Index dx = 0; dx < factor; ++dx) {
        const T* from = x.row(row / factor * width + w) + row % factor * factor + dx;
        for (Index c = 0; c < channels; ++c, from += factor * factor) *to++ = *from;
      }
  });
  return y;
}

/// x [B, H r, W r, C] to [B, H, W, C r r], the inverse of pixel_shuffle and its backward. Throws unless both sides are multiples of r.
template <TensorLike X>
auto pixel_unshuffle(const X& input, Index factor) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view();
  require(factor >= 1 && x.shape[1] % factor == 0 && x.shape[2] % factor == 0,
          "pixel_unshuffle: height and width of x ", x.shape, " are not multiples of ", factor);
  const Index height = x.shape[1] / factor, width = x.shape[2] / factor, channels = x.shape[3];
  Tensor<T, 4> y(Shape{x.shape[0], height, width, channels * factor * factor});
  parallel_for(x.shape[0] * height, [&](Index row) {  // row: (b, h)
    for (Index w = 0; w < width; ++w)
      for (Index dy = 0; dy < factor; ++dy)
        for (Index dx = 0; dx < factor; ++dx) {
          const T* from = x.row(((row * factor + dy) * width + w) * factor + dx);
          T* to = y.data() + (row * width + w) * channels * factor * factor + dy * factor + dx;
          for (Index c = 0; c < channels; ++c) to[c * factor * factor] = from[c];
        }
  });
  return y;
}

/// x [B, H, W, C] to [B, 2 H, 2 W, C], each pixel four times.
template <TensorLike X>
auto upsample_nearest2x(const X& input) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view();
  const Index width = x.shape[2], channels = x.shape[3];
  Tensor<T, 4> y(Shape{x.shape[0], 2 * x.shape[1], 2 * width, channels});
  parallel_for(x.shape[0] * x.shape[1], [&](Index row) {
    T* to = y.data() + row * 4 * width * channels;
    for (Index copy = 0; copy < 2; ++copy)
      for (Index w = 0; w < 2 * width; ++w, to += channels) std::copy_n(x.row(row * width + w / 2), channels, to);
  });
  return y;
}

/// dx of y = upsample_nearest2x(x): each pixel is the sum of its four.
template <TensorLike Dy>
auto upsample_nearest2x_backward(const Dy& gradient) {
  using T = typename Dy::value_type;
  const TensorView<const T, 4> dy = gradient.view();
  require(dy.shape[1] % 2 == 0 && dy.shape[2] % 2 == 0, "upsample_nearest2x_backward: height and width of dy ",
          dy.shape, " are not even");
  const Index width = dy.shape[2] / 2, channels = dy.shape[3];
  Tensor<T, 4> dx(Shape{dy.shape[0], dy.shape[1] / 2, width, channels});
  parallel_for(dy.shape[0] * dx.shape()[1], [&](Index row) {
    for (Index w = 0; w < width; ++w) {
      const Index top = row * 4 * width + 2 * w, bottom = top + 2 * width;
      T* to = dx.data() + (row * width + w) * channels;
      for (Index c = 0; c < channels; ++c)
        to[c] = (dy.row(top)[c] + dy.row(top + 1)[c]) + (dy.row(bottom)[c] + dy.row(bottom + 1)[c]);
    }
  });
  return dx;
}

}  // namespace janusflow
