// Softmax over the last dimension, with its backward.
#pragma once

#include <cmath>
#include <limits>

#include "janusflow/ops/rowwise.hpp"
#include "janusflow/simd/math.hpp"

namespace janusflow {

namespace reference {

/// y = e^(x - max) / sum e^(x - max), row by row; a row of minus infinities gives zeros.
template <TensorLike X>
auto softmax(const X& input) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  const Index n = x.shape.last();
  Tensor<T, X::rank> y(x.shape);
  for (Index r = 0; r < x.rows(); ++r) {
    T top = -std::numeric_limits<T>::infinity(), sum = 0;
    for (Index c = 0; c < n; ++c)
      top = std::isnan(x.row(r)[c]) || std::isnan(top) ? x.row(r)[c] + top : std::max(top, x.row(r)[c]);
    const bool nothing = top == -std::numeric_limits<T>::infinity();
    for (Index c = 0; c < n; ++c) sum += y.data()[r * n + c] = nothing ? T(0) : std::exp(x.row(r)[c] - top);
    for (Index c = 0; c < n; ++c) y.data()[r * n + c] /= nothing ? T(1) : sum;
  }
  return y;
}

}  // namespace reference

namespace detail {

/// y = softmax(x) for one row of n; y may be x.
inline void softmax_row(Index n, const float* x, float* y) {
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  simd::Batch tops(lowest);
  for (Index i = 0; i < n; i += simd::width)
    tops = simd::max(simd::load(x + i, std::min(simd::width, n - i), lowest), tops);
  const float top = simd::max_of_lanes(tops);
  if (top == lowest) {  // nothing to choose from; but NaN, which max passes over, is in the sum
    const float total = simd::sum(
        n, lowest, [](simd::Batch v) { return v; }, x);
    std::fill_n(y, n, total == lowest ? 0.f : total);
    return;
  }
  simd::map(
      n, y, [shift = simd::Batch(top)](simd::Batch v) { return simd::exp(v - shift); }, x);
  const simd::Batch scale(1 / simd::sum(
                                  n, 0, [](simd::Batch v) { return v; }, y));
  simd::map(
      n, y, [&](simd::Batch v) { return v * scale; }, y);
}

}  // namespace detail

/// Softmax of each row (last dimension): e^(x - max) / sum. A row of minus infinities (everything masked) gives zeros,
/// where PyTorch gives NaN; a row with NaN or plus infinity gives NaN. Error against exact arithmetic: at most (8 + C / 16 + max - x) eps32 y, and what is below 1.9e-38 becomes 0.
template <TensorLike X>
auto softmax(const X& input) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  if constexpr (!detail::vectorised<T>) {
    return reference::softmax(x);
  } else {
    const Index n = x.shape.last();
    Tensor<T, X::rank> y(x.shape);
    detail::for_rows(x.rows(), n, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) detail::softmax_row(n, x.row(r), y.data() + r * n);
    });
    return y;
  }
}

/// dx of y = softmax(x), from y: dx = y (dy - sum y dy).
template <TensorLike Y, TensorLike Dy>
auto softmax_backward(const Y& output, const Dy& gradient) {
  using T = typename Y::value_type;
  const auto y = detail::const_view(output), dy = detail::const_view(gradient);
  detail::require_same("softmax_backward", y.shape, dy.shape);
  const Index n = y.shape.last();
  Tensor<T, Y::rank> dx(y.shape);
  detail::for_rows(y.rows(), n, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      T dot = 0;
#pragma omp simd reduction(+ : dot)
      for (Index c = 0; c < n; ++c) dot += y.row(r)[c] * dy.row(r)[c];
      T* to = dx.data() + r * n;
#pragma omp simd
      for (Index c = 0; c < n; ++c) to[c] = y.row(r)[c] * (dy.row(r)[c] - dot);
    }
  });
  return dx;
}

}  // namespace janusflow
