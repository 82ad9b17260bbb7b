// Latents and pictures as people exchange them: noise by seed, torch's layout, bytes.
#pragma once

#include <algorithm>
#include <cmath>

#include "janusflow/core/random.hpp"
#include "janusflow/core/tensor.hpp"

namespace janusflow {

/// [B, C, H, W] -> [B, H, W, C]
inline Tensor<float, 4> channels_last(TensorView<const float, 4> x) {
  const auto [batch, channels, height, width] = x.shape.extents;
  Tensor<float, 4> y(Shape{batch, height, width, channels});
  for (Index b = 0; b < batch; ++b)
    for (Index c = 0; c < channels; ++c)
      for (Index h = 0; h < height; ++h)
        for (Index w = 0; w < width; ++w) y(b, h, w, c) = x(b, c, h, w);
  return y;
}

/// [B, H, W, C] -> [B, C, H, W]
inline Tensor<float, 4> channels_first(TensorView<const float, 4> x) {
  const auto [batch, height, width, channels] = x.shape.extents;
  Tensor<float, 4> y(Shape{batch, channels, height, width});
  for (Index b = 0; b < batch; ++b)
    for (Index h = 0; h < height; ++h)
      for (Index w = 0; w < width; ++w)
        for (Index c = 0; c < channels; ++c) y(b, c, h, w) = x(b, h, w, c);
  return y;
}

/// The noise of `torch.manual_seed(seed); torch.randn(1, C, H, W)`, as [1, C, H, W].
inline Tensor<float, 4> noise(std::uint64_t seed, Index channels, Index height, Index width) {
  Tensor<float, 4> z(Shape{Index{1}, channels, height, width});
  TorchGenerator(seed).normal({z.data(), static_cast<std::size_t>(z.size())});
  return z;
}

/// Picture b of x [B, H, W, 3] in [-1, 1] as bytes [H, W, 3]: clipped, then rounded to nearest as torchvision's save_image does.
/// Throws Error where the picture holds NaN or infinity.
inline Tensor<std::uint8_t, 3> to_bytes(TensorView<const float, 4> x, Index b) {
  const auto [batch, height, width, channels] = x.shape.extents;
  Tensor<std::uint8_t, 3> picture(Shape{height, width, channels});
  for (Index i = 0; i < height * width; ++i)
    for (Index c = 0; c < channels; ++c) {
      const float value = x.row(b * height * width + i)[c];
      require(std::isfinite(value), "to_bytes: the picture holds NaN or infinity");
      const float clipped = std::clamp(value, -1.0f, 1.0f);
      const float unit = clipped * 0.5f + 0.5f;
      picture.data()[i * channels + c] = static_cast<std::uint8_t>(unit * 255.0f + 0.5f);
    }
  return picture;
}

/// Bytes [H, W, 3] as [1, H, W, 3] in [-1, 1].
inline Tensor<float, 4> from_bytes(TensorView<const std::uint8_t, 3> picture) {
  const auto [height, width, channels] = picture.shape.extents;
  Tensor<float, 4> x(Shape{Index{1}, height, width, channels});
  for (Index i = 0; i < height * width; ++i)
    for (Index c = 0; c < channels; ++c)
      x.data()[i * channels + c] = static_cast<float>(picture.row(i)[c]) / 255.0f * 2.0f - 1.0f;
  return x;
}

}  // namespace janusflow
