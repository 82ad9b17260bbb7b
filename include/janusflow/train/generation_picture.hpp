// A picture made ready to be learned from by the painter: its short side to size, then the middle square.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "janusflow/core/tensor.hpp"
#include "janusflow/ops/resize.hpp"

namespace janusflow {

/// The picture [H, W, 3] resized until its short side is `side`, and of that the square in the middle: [side, side, 3]
/// (arXiv 2411.07975, section 4.1, which crops at random; the middle lets latents be computed once). Throws Error, its sentence beginning
/// with `name`, for a picture whose long side is more than 64 times its short one: resized as a whole it would be that many squares.
inline Tensor<std::uint8_t, 3> resize_and_crop(TensorView<const std::uint8_t, 3> picture, Index side, const std::string& name = "a picture") {
  require(picture.size() > 0 && picture.shape[2] == 3 && side >= 1, "resize_and_crop: ", picture.shape,
          " is not the shape of a picture [H, W, 3]");
  const auto [short_side, long_side] = std::minmax({picture.shape[0], picture.shape[1]});
  require(long_side <= 64 * short_side, name, " is too thin: of ", picture.shape[1], " x ", picture.shape[0],
          " pixels, and one side may be 64 times the other at most");
  const double shortest = static_cast<double>(short_side);
  const auto scaled = [&](Index n) {
    return std::max(side, static_cast<Index>(std::lround(static_cast<double>(n) * static_cast<double>(side) / shortest)));
  };
  const Index height = scaled(picture.shape[0]), width = scaled(picture.shape[1]);
  const auto resized = resize_bicubic(picture, height, width);
  const Index top = (height - side) / 2, left = (width - side) / 2;
  Tensor<std::uint8_t, 3> square(Shape{side, side, Index{3}});
  for (Index y = 0; y < side; ++y) std::copy_n(&resized(top + y, left, 0), side * 3, &square(y, 0, 0));
  return square;
}

}  // namespace janusflow
