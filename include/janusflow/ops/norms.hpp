// Normalisation of each row: rms_norm and layer_norm, each with its backward.
#pragma once

#include <cmath>

#include "janusflow/ops/packed.hpp"
#include "janusflow/ops/rowwise.hpp"

namespace janusflow {

namespace reference {

/// y = x / sqrt(mean(x^2) + eps) * weight, row by row.
template <TensorLike X>
auto rms_norm(const X& input, VectorLike<X> weight, typename X::value_type eps) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  const Index n = x.shape.last();
  Tensor<T, X::rank> y(x.shape);
  for (Index r = 0; r < x.rows(); ++r) {
    T squares = 0;
    for (Index c = 0; c < n; ++c) squares += x.row(r)[c] * x.row(r)[c];
    const T scale = 1 / std::sqrt(squares / T(n) + eps);
    for (Index c = 0; c < n; ++c) y.data()[r * n + c] = x.row(r)[c] * scale * weight.data[c];
  }
  return y;
}

/// y = (x - mean) / sqrt(variance + eps) * weight + bias, row by row; the variance is divided by C.
template <TensorLike X>
auto layer_norm(const X& input, VectorLike<X> weight, VectorLike<X> bias, typename X::value_type eps) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  const Index n = x.shape.last();
  Tensor<T, X::rank> y(x.shape);
  for (Index r = 0; r < x.rows(); ++r) {
    T sum = 0, squares = 0;
    for (Index c = 0; c < n; ++c) sum += x.row(r)[c];
    const T mean = sum / T(n);
    for (Index c = 0; c < n; ++c) squares += (x.row(r)[c] - mean) * (x.row(r)[c] - mean);
    const T scale = 1 / std::sqrt(squares / T(n) + eps);
    for (Index c = 0; c < n; ++c) y.data()[r * n + c] = (x.row(r)[c] - mean) * scale * weight.data[c] + bias.data[c];
  }
  return y;
}

}  // namespace reference

namespace detail {

/// A row of rms_norm.
inline void rms_norm_row(Index n, const float* x, const float* weight, float eps, float* y) {
  const float squares = simd::sum(
      n, 0, [](simd::Batch v) { return v * v; }, x);
  const simd::Batch scale(1 / std::sqrt(squares / static_cast<float>(n) + eps));
  simd::map(
      n, y, [&](simd::Batch v, simd::Batch w) { return v * scale * w; }, x, weight);
}

/// A row of layer_norm.
inline void layer_norm_row(Index n, const float* x, const float* weight, const float* bias, float eps, float* y) {
  const float mean_value = simd::sum(
                               n, 0, [](simd::Batch v) { return v; }, x) /
                           static_cast<float>(n);
  const simd::Batch mean(mean_value);
  const float squares = simd::sum(
      n, mean_value, [&](simd::Batch v) { return (v - mean) * (v - mean); }, x);
  const simd::Batch scale(1 / std::sqrt(squares / static_cast<float>(n) + eps));
  simd::map(
      n, y, [&](simd::Batch v, simd::Batch w, simd::Batch b) { return simd::multiply_add((v - mean) * scale, w, b); }, x, weight, bias);
}

/// The rows that row(x's row, buffer) writes into the buffer, packed as matrices of type Matrix read them.
template <class Matrix, int R, class Row>
auto packed_rows(TensorView<const float, R> x, Row&& row) {
  using Dot = typename Matrix::Policy;
  const Index rows = x.rows(), n = x.shape.last();
  return PackedRows<Dot, R>{x.shape, PackedInput<Dot>(rows, n, [&](Index r, float* to) {
                              if (r + 1 < rows) simd::prefetch(x.row(r + 1), n);  // it may well lie in memory
                              row(x.row(r), to);
                              return static_cast<const float*>(to);
                            })};
}

}  // namespace detail

/// Root mean square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4) of x [..., C] with weight [C]:
/// y = x / sqrt(mean(x^2) + eps) * weight, all in x's type, as transformers' LlamaRMSNorm in float32.
/// Error against exact arithmetic: at most (10 + C / 32) eps32 |y|.
template <TensorLike X>
auto rms_norm(const X& input, VectorLike<X> weight, typename X::value_type eps) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  detail::require_vector("rms_norm", x.shape, "weight", weight.shape);
  if constexpr (!detail::vectorised<T>) {
    return reference::rms_norm(x, weight, eps);
  } else {
    const Index n = x.shape.last();
    Tensor<T, X::rank> y(x.shape);
    detail::for_rows(x.rows(), n, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) detail::rms_norm_row(n, x.row(r), weight.data, eps, y.data() + r * n);
    });
    return y;
  }
}
/// The same numbers, as products with matrices of type Matrix read them.
template <class Matrix, TensorLike X>
auto rms_norm_for(const X& input, VectorLike<X> weight, float eps) {
  const auto x = detail::const_view(input);
  detail::require_vector("rms_norm", x.shape, "weight", weight.shape);
  return detail::packed_rows<Matrix>(x, [&](const float* row, float* to) { detail::rms_norm_row(x.shape.last(), row, weight.data, eps, to); });
}

/// Layer normalisation (Ba et al. 2016, arXiv 1607.06450) of x [..., C] with weight and bias [C]:
/// y = (x - mean) / sqrt(variance + eps) * weight + bias. The variance is the mean square of x - mean (two passes over
/// the row). Error against exact arithmetic, to first order: at most (12 + C / 16) eps32 (|y| + |bias| + |weight| X), X =
/// max|x| / sqrt(variance + eps); the variance is that around a mean in float32, which adds |y - bias| ((12 + C / 16) eps32 X)^2 / 2.
template <TensorLike X>
auto layer_norm(const X& input, VectorLike<X> weight, VectorLike<X> bias, typename X::value_type eps) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  detail::require_vector("layer_norm", x.shape, "weight", weight.shape);
  detail::require_vector("layer_norm", x.shape, "bias", bias.shape);
  if constexpr (!detail::vectorised<T>) {
    return reference::layer_norm(x, weight, bias, eps);
  } else {
    const Index n = x.shape.last();
    Tensor<T, X::rank> y(x.shape);
    detail::for_rows(x.rows(), n, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) detail::layer_norm_row(n, x.row(r), weight.data, bias.data, eps, y.data() + r * n);
    });
    return y;
  }
}
/// The same numbers, as products with matrices of type Matrix read them.
template <class Matrix, TensorLike X>
auto layer_norm_for(const X& input, VectorLike<X> weight, VectorLike<X> bias, float eps) {
  const auto x = detail::const_view(input);
  detail::require_vector("layer_norm", x.shape, "weight", weight.shape);
  detail::require_vector("layer_norm", x.shape, "bias", bias.shape);
  return detail::packed_rows<Matrix>(
      x, [&](const float* row, float* to) { detail::layer_norm_row(x.shape.last(), row, weight.data, bias.data, eps, to); });
}

/// Gradients of a normalisation.
template <class T, int R>
struct NormGradients {
  Tensor<T, R> dx;
  Tensor<T, 1> dweight, dbias;
};

namespace detail {

/// Adds up per-chunk rows [chunks, C] in order.
template <class T>
Tensor<T, 1> sum_of_rows(const Tensor<T, 2>& parts) {
  Tensor<T, 1> total(Shape{parts.shape().last()}, T(0));
  for (Index i = 0; i < parts.shape()[0]; ++i)
    for (Index c = 0; c < total.size(); ++c) total.data()[c] += parts(i, c);
  return total;
}

/// Backward of y = xhat * weight (+ bias), xhat = (x - mean) scale, centred or not.
/// With g = dy * weight: dx = scale (g - xhat mean(g xhat) [- mean(g) if centred]); dweight = sum dy xhat; dbias = sum
/// dy.
template <bool centred, TensorLike X, TensorLike Dy>
auto norm_backward(const X& input, VectorLike<X> weight, typename X::value_type eps, const Dy& gradient) {
  using T = typename X::value_type;
  const auto x = const_view(input), dy = const_view(gradient);
  const Index n = x.shape.last(), grain = 64, chunks = (x.rows() + grain - 1) / grain;
  NormGradients<T, X::rank> result{Tensor<T, X::rank>(x.shape), {}, {}};
  Tensor<T, 2> dweights(Shape{chunks, n}, T(0)), dbiases(Shape{chunks, n}, T(0));
  parallel_chunks(x.rows(), grain, [&](Index begin, Index end) {
    T* dweight = dweights.data() + begin / grain * n;
    T* dbias = dbiases.data() + begin / grain * n;
    for (Index r = begin; r < end; ++r) {
      const T *from = x.row(r), *d = dy.row(r), *w = weight.data;
      T* to = result.dx.data() + r * n;
      T mean = 0, squares = 0, along = 0, level = 0;
      if constexpr (centred) {
#pragma omp simd reduction(+ : mean)
        for (Index c = 0; c < n; ++c) mean += from[c];
        mean /= T(n);
      }
#pragma omp simd reduction(+ : squares)
      for (Index c = 0; c < n; ++c) squares += (from[c] - mean) * (from[c] - mean);
      const T scale = 1 / std::sqrt(squares / T(n) + eps);
#pragma omp simd reduction(+ : along, level)
      for (Index c = 0; c < n; ++c) {
        const T xhat = (from[c] - mean) * scale, g = d[c] * w[c];
        along += g * xhat;
        level += g;
        dweight[c] += d[c] * xhat;
        dbias[c] += d[c];
      }
      along /= T(n);
      level = centred ? level / T(n) : T(0);
#pragma omp simd
      for (Index c = 0; c < n; ++c) to[c] = scale * (d[c] * w[c] - (from[c] - mean) * scale * along - level);
    }
  });
  result.dweight = sum_of_rows(dweights);
  if constexpr (centred) result.dbias = sum_of_rows(dbiases);
  return result;
}

}  // namespace detail

/// {dx, dweight} of y = rms_norm(x, weight, eps); dbias stays empty.
template <TensorLike X, TensorLike Dy>
auto rms_norm_backward(const X& x, VectorLike<X> weight, typename X::value_type eps, const Dy& dy) {
  detail::require_vector("rms_norm_backward", x.view().shape, "weight", weight.shape);
  detail::require_same("rms_norm_backward", x.view().shape, dy.view().shape);
  return detail::norm_backward<false>(x, weight, eps, dy);
}

/// {dx, dweight, dbias} of y = layer_norm(x, weight, bias, eps); the gradient does not depend on bias.
template <TensorLike X, TensorLike Dy>
auto layer_norm_backward(const X& x, VectorLike<X> weight, typename X::value_type eps, const Dy& dy) {
  detail::require_vector("layer_norm_backward", x.view().shape, "weight", weight.shape);
  detail::require_same("layer_norm_backward", x.view().shape, dy.view().shape);
  return detail::norm_backward<true>(x, weight, eps, dy);
}

}  // namespace janusflow
