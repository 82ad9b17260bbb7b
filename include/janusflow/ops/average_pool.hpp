// Pictures of half the size, each pixel the mean of four, with the backward.
#pragma once

#include "janusflow/ops/pixel_shuffle.hpp"
#include "janusflow/ops/rowwise.hpp"

namespace janusflow {

/// x [B, H, W, C], H and W even, to [B, H / 2, W / 2, C]: the means of squares of four pixels (torch's avg_pool2d(x, 2)).
template <TensorLike X>
auto average_pool2x(const X& input) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view();
  require(x.shape[1] % 2 == 0 && x.shape[2] % 2 == 0, "average_pool2x: height and width of x ", x.shape, " are not even");
  return detail::map_elements([](auto v) { return v * decltype(v)(T(0.25)); }, upsample_nearest2x_backward(x));
}

/// dx of y = average_pool2x(x): each pixel has a quarter of its square's.
template <TensorLike Dy>
auto average_pool2x_backward(const Dy& dy) {
  using T = typename Dy::value_type;
  return detail::map_elements([](auto v) { return v * decltype(v)(T(0.25)); }, upsample_nearest2x(dy));
}

}  // namespace janusflow
