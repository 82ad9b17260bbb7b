// Conditioning: channels scaled and shifted sample by sample, and its backward.
#pragma once

#include "janusflow/ops/rowwise.hpp"

namespace janusflow {

namespace detail {
template <int R>
  requires(R >= 2)
void require_modulation(const char* op, const Shape<R>& x, const Shape<2>& scale_shift) {
  require(scale_shift[0] == x[0] && scale_shift[1] == 2 * x.last(), op, ": x ", x, " does not match scale_shift ",
          scale_shift);
}
}  // namespace detail

namespace reference {

/// y = x (1 + scale) + shift, sample by sample; scale_shift [B, 2C] holds scale, then shift.
template <TensorLike X, TensorLike S>
auto modulate(const X& input, const S& scale_shift) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  const TensorView<const T, 2> s = scale_shift.view();
  const Index n = x.shape.last(), per_sample = x.rows() / std::max<Index>(1, x.shape[0]);
  Tensor<T, X::rank> y(x.shape);
  for (Index r = 0; r < x.rows(); ++r)
    for (Index c = 0; c < n; ++c)
      y.data()[r * n + c] = x.row(r)[c] * (1 + s(r / per_sample, c)) + s(r / per_sample, n + c);
  return y;
}

}  // namespace reference

/// x (1 + scale) + shift (the condition of JanusFlow's ConvNeXt block): x [B, ..., C], scale_shift [B, 2C] = scale,
/// shift. Error against exact arithmetic: at most 3 eps32 (|x| (1 + |scale|) + |shift|). Throws unless scale_shift is that.
template <TensorLike X, TensorLike S>
auto modulate(const X& input, const S& scale_shift) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  const TensorView<const T, 2> s = scale_shift.view();
  detail::require_modulation("modulate", x.shape, s.shape);
  if constexpr (!detail::vectorised<T>) {
    return reference::modulate(x, s);
  } else {
    const Index n = x.shape.last(), per_sample = x.rows() / std::max<Index>(1, x.shape[0]);
    Tensor<float, X::rank> y(x.shape);
    detail::for_rows(x.rows(), n, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r)
        simd::map(
            n, y.data() + r * n,
            [](simd::Batch v, simd::Batch scale, simd::Batch shift) {
              return simd::multiply_add(v, scale + simd::Batch(1.f), shift);
            },
            x.row(r), s.row(r / per_sample), s.row(r / per_sample) + n);
    });
    return y;
  }
}

/// {dx, dscale_shift} of y = modulate(x, scale_shift): dx = dy (1 + scale); dscale = sum dy x; dshift = sum dy.
/// Sums of n pixels run in order, in x's type: in float32 within n eps32 times the sum of magnitudes.
template <TensorLike X, TensorLike S, TensorLike Dy>
auto modulate_backward(const X& input, const S& scale_shift, const Dy& gradient) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input), dy = detail::const_view(gradient);
  const TensorView<const T, 2> s = scale_shift.view();
  detail::require_modulation("modulate_backward", x.shape, s.shape);
  detail::require_same("modulate_backward", x.shape, dy.shape);
  const Index n = x.shape.last(), per_sample = x.rows() / std::max<Index>(1, x.shape[0]);
  std::pair result{Tensor<T, X::rank>(x.shape), Tensor<T, 2>(s.shape, T(0))};
  auto& [dx, ds] = result;
  // Pieces are blocks of a sample's columns: their sums run over the pixels in order.
  const Index block = 64, blocks = (n + block - 1) / block;
  T *to = dx.data(), *sums = ds.data();
  parallel_for(x.shape[0] * blocks, [&](Index piece) {
    const Index b = piece / blocks, begin = piece % blocks * block, end = std::min(n, begin + block);
    T *dscale = sums + b * 2 * n, *dshift = dscale + n;
    for (Index r = b * per_sample; r < (b + 1) * per_sample; ++r)
#pragma omp simd
      for (Index c = begin; c < end; ++c) {
        const T d = dy.row(r)[c];
        to[r * n + c] = d * (1 + s.row(b)[c]);
        dscale[c] += d * x.row(r)[c];
        dshift[c] += d;
      }
  });
  return result;
}

}  // namespace janusflow
