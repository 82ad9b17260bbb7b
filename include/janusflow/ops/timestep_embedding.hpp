// Sinusoids of the flow's time.
#pragma once

#include <cmath>
#include <concepts>
#include <ranges>
#include <span>

#include "janusflow/core/tensor.hpp"

namespace janusflow {

/// [cos(t f), sin(t f)] of each time t, as [B, dim], with f_i = exp(-ln(10000) i / half), half = dim / 2 (DDPM's
/// embedding in the order of diffusers' Timesteps(dim, flip_sin_to_cos=True, downscale_freq_shift=0)). Exponent,
/// frequency and angle are rounded to T where diffusers rounds to float32; cosine and sine are the correctly rounded
/// ones. dim must be even and positive.
template <std::ranges::contiguous_range Times>
  requires std::floating_point<std::ranges::range_value_t<Times>>
auto timestep_embedding(const Times& times, Index dim) {
  using T = std::ranges::range_value_t<Times>;
  require(dim > 0 && dim % 2 == 0, "timestep_embedding: dim must be even and positive, not ", dim);
  const std::span list(std::ranges::data(times), std::ranges::size(times));
  const Index half = dim / 2;
  Tensor<T, 2> y(Shape{static_cast<Index>(std::ssize(list)), dim});
  for (Index i = 0; i < half; ++i) {
    const T exponent = static_cast<T>(-std::log(10000.0)) * static_cast<T>(i) / static_cast<T>(half);
    const T frequency = static_cast<T>(std::exp(static_cast<double>(exponent)));
    for (Index b = 0; b < y.shape()[0]; ++b) {
      const double angle = static_cast<double>(list[static_cast<std::size_t>(b)] * frequency);
      y(b, i) = static_cast<T>(std::cos(angle));
      y(b, half + i) = static_cast<T>(std::sin(angle));
    }
  }
  return y;
}

}  // namespace janusflow
