// A picture made ready for the vision tower, bit for bit as the official image processor makes it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "janusflow/core/tensor.hpp"
#include "janusflow/io/image_processor_config.hpp"
#include "janusflow/ops/resize.hpp"

namespace janusflow {

/// The picture [H, W, 3] shrunk or enlarged until its long side is image_size, then centred on a square of the
/// background colour: [S, S, 3], S = max(image_size, min_size) (VLMImageProcessor.resize). `order` as resize_bicubic
/// has it; it matters for pictures more than about twice as high as wide.
inline Tensor<std::uint8_t, 3> resize_and_pad(TensorView<const std::uint8_t, 3> picture,
                                              const ImageProcessorConfig& config,
                                              ResizeOrder order = ResizeOrder::cheaper_first) {
  require(picture.size() > 0 && picture.shape[2] == 3, "preprocess: ", picture.shape,
          " is not the shape of a picture [H, W, 3]");
  const double longest = static_cast<double>(std::max(picture.shape[0], picture.shape[1]));
  const auto scaled =
      [&](Index n) {  // in double, in this order, cut off to an integer: Python's int(n / longest * image_size)
        return std::max(static_cast<Index>(static_cast<double>(n) / longest * static_cast<double>(config.image_size)),
                        config.min_size);
      };
  const Index height = scaled(picture.shape[0]), width = scaled(picture.shape[1]), side = std::max(height, width);
  auto resized = resize_bicubic(picture, height, width, order);  // [height, width, 3]
  if (height == width) return resized;
  Tensor<std::uint8_t, 3> square(Shape<3>{{side, side, 3}});
  const auto background = config.background_color();
  for (Index i = 0; i < side * side; ++i) std::copy_n(background.data(), 3, square.data() + i * 3);
  const Index top = (side - height) / 2, left = (side - width) / 2;
  for (Index y = 0; y < height; ++y) std::copy_n(&resized(y, 0, 0), width * 3, &square(top + y, left, 0));
  return square;
}

/// The tower's pixel values [S, S, 3] of a picture [H, W, 3]: resize_and_pad, then byte * rescale_factor in double
/// rounded to float, then, with do_normalize, (x - mean) / std in float (transformers' rescale and normalize).
inline Tensor<float, 3> preprocess(TensorView<const std::uint8_t, 3> picture, const ImageProcessorConfig& config,
                                   ResizeOrder order = ResizeOrder::cheaper_first) {
  std::array<std::array<float, 3>, 256> value;  // of each byte in each channel
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto scaled = static_cast<float>(static_cast<double>(byte) * config.rescale_factor);
    for (std::size_t c = 0; c < 3; ++c) {
      const auto mean = static_cast<float>(config.image_mean[c]), deviation = static_cast<float>(config.image_std[c]);
      value[byte][c] = config.do_normalize ? (scaled - mean) / deviation : scaled;
    }
  }
  const auto square = resize_and_pad(picture, config, order);  // [S, S, 3]
  Tensor<float, 3> pixels(square.shape());
  for (Index i = 0; i < square.size(); ++i) pixels.data()[i] = value[square.data()[i]][static_cast<std::size_t>(i % 3)];
  return pixels;
}

}  // namespace janusflow
