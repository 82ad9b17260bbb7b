// Pictures changed at random, a little, so that what is learned of them is not their pixels alone.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "janusflow/core/random.hpp"
#include "janusflow/core/tensor.hpp"
#include "janusflow/io/json.hpp"

namespace janusflow {

/// How far pictures are changed; 0: not at all.
struct AugmentationSettings {
  double flip = 0;        // share of pictures that are mirrored
  Index shift = 0;        // up to so many pixels, whole ones, to each side
  double scale = 0;       // sizes up to this share larger or smaller
  double rotation = 0;    // standard deviation in radians, cut at twice of it
  double contrast = 0;    // standard deviation of the factor on the difference from white
  double brightness = 0;  // up to so much darker, where black to white is 2
  double noise = 0;       // standard deviation up to so much

  /// Throws Error naming the key for what is unknown or out of range.
  static AugmentationSettings from_json(const JsonObject& json);
  Json to_json() const;
};

namespace detail {

/// The picture's pixel at (y, x), between pixels weighed by nearness (bilinear), white outside.
inline std::array<float, 3> pixel_at(TensorView<const float, 3> picture, double y, double x) {
  const double top = std::floor(y), left = std::floor(x);
  const auto below = static_cast<float>(y - top), right = static_cast<float>(x - left);
  std::array<float, 3> sum{};
  for (Index corner = 0; corner < 4; ++corner) {
    const float weight = (corner / 2 ? below : 1 - below) * (corner % 2 ? right : 1 - right);
    const Index row = static_cast<Index>(top) + corner / 2, column = static_cast<Index>(left) + corner % 2;
    const bool inside = row >= 0 && row < picture.shape[0] && column >= 0 && column < picture.shape[1];
    for (Index c = 0; c < 3; ++c) sum[static_cast<std::size_t>(c)] += weight * (inside ? picture(row, column, c) : 1.0f);
  }
  return sum;
}

}  // namespace detail

/// The picture [H, W, 3], numbers in [-1, 1], mirrored, turned, scaled and shifted, what comes in from outside white; then its contrast,
/// brightness and noise. A function of the generator's next numbers; a picture that is shifted or mirrored alone stays sharp.
inline Tensor<float, 3> augment(TensorView<const float, 3> picture, const AugmentationSettings& settings, TorchGenerator& random) {
  const auto both_ways = [&] { return 2 * random.uniform_double() - 1; };
  const auto normal = [&] {
    float number = 0;
    random.normal({&number, 1});
    return static_cast<double>(number);
  };
  const double mirror = random.uniform_double() < settings.flip ? -1 : 1;
  const auto shift = [&] { return std::round(both_ways() * (static_cast<double>(settings.shift) + 0.5 - 1e-9)); };
  const double down = shift(), across = shift();
  const double scale = 1 + settings.scale * both_ways(), angle = settings.rotation * std::clamp(normal(), -2.0, 2.0);
  const auto contrast = static_cast<float>(1 + settings.contrast * normal());
  const auto darker = static_cast<float>(settings.brightness * random.uniform_double());
  const auto noise = static_cast<float>(settings.noise * random.uniform_double());

  const auto [height, width, channels] = picture.shape.extents;
  require(channels == 3, "augment: ", picture.shape, " is not the shape of a picture [H, W, 3]");
  const double cosine = scale * std::cos(angle), sine = scale * std::sin(angle);
  const double middle_y = static_cast<double>(height - 1) / 2, middle_x = static_cast<double>(width - 1) / 2;
  Tensor<float, 3> changed(picture.shape);
  if (noise > 0) random.normal({changed.data(), static_cast<std::size_t>(changed.size())});
  else std::fill(changed.begin(), changed.end(), 0.0f);
  for (Index y = 0; y < height; ++y)
    for (Index x = 0; x < width; ++x) {
      const double v = static_cast<double>(y) - middle_y, u = mirror * (static_cast<double>(x) - middle_x);
      const auto from = detail::pixel_at(picture, middle_y + sine * u + cosine * v - down, middle_x + cosine * u - sine * v - across);
      for (Index c = 0; c < 3; ++c) {
        const float value = contrast * from[static_cast<std::size_t>(c)] + (1 - contrast - darker);
        changed(y, x, c) = std::clamp(value + noise * changed(y, x, c), -1.0f, 1.0f);
      }
    }
  return changed;
}

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/augmentation.hpp"
#endif
