// Global response normalisation of ConvNeXt V2, with its backward.
#pragma once

#include <cmath>
#include <vector>

#include "janusflow/ops/norms.hpp"

namespace janusflow {

/// What is added to the mean of the channels' norms.
inline constexpr double global_response_eps = 1e-6;

namespace reference {

/// gx = L2 norm of each channel over the pixels; nx = gx / (mean of gx over channels + 1e-6); y = bias + (weight nx +
/// 1) x.
template <TensorLike X>
auto global_response_norm(const X& input, VectorLike<X> weight, VectorLike<X> bias) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view();
  const Index channels = x.shape[3], pixels = x.shape[1] * x.shape[2];
  Tensor<T, 4> y(x.shape);
  for (Index b = 0; b < x.shape[0]; ++b) {
    std::vector<T> norms(static_cast<std::size_t>(channels));
    T mean = 0;
    for (Index c = 0; c < channels; ++c) {
      T squares = 0;
      for (Index p = b * pixels; p < (b + 1) * pixels; ++p) squares += x.row(p)[c] * x.row(p)[c];
      mean += (norms[static_cast<std::size_t>(c)] = std::sqrt(squares)) / T(channels);
    }
    for (Index p = b * pixels; p < (b + 1) * pixels; ++p)
      for (Index c = 0; c < channels; ++c) {
        const T response = norms[static_cast<std::size_t>(c)] / (mean + T(global_response_eps));
        y.data()[p * channels + c] = bias.data[c] + (weight.data[c] * response + 1) * x.row(p)[c];
      }
  }
  return y;
}

}  // namespace reference

namespace detail {

/// L2 norms [B, C] of the channels over the pixels: squares summed in x's type over chunks of 32 pixels, chunks in
/// double, in order.
template <class T>
Tensor<T, 2> channel_norms(TensorView<const T, 4> x) {
  const Index channels = x.shape[3], pixels = x.shape[1] * x.shape[2], grain = 32,
              chunks = (pixels + grain - 1) / grain;
  Tensor<T, 3> parts(Shape{x.shape[0], chunks, channels});
  parallel_for(x.shape[0] * chunks, [&](Index piece) {
    const Index begin = piece % chunks * grain, count = std::min(grain, pixels - begin);
    const T* from = x.row(piece / chunks * pixels + begin);
    T* sums = parts.data() + piece * channels;
    if constexpr (vectorised<T>) {
      simd::column_sums(
          count, channels, x.row_stride, sums, [](Index, simd::Batch v) { return v * v; }, from);
    } else {
      std::fill_n(sums, channels, T(0));
      for (Index p = 0; p < count; ++p, from += x.row_stride)
        for (Index c = 0; c < channels; ++c) sums[c] += from[c] * from[c];
    }
  });
  Tensor<T, 2> norms(Shape{x.shape[0], channels});
  parallel_chunks(x.shape[0] * channels, 1024, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      double squares = 0;
      for (Index k = 0; k < chunks; ++k) squares += static_cast<double>(parts(i / channels, k, i % channels));
      norms.data()[i] = static_cast<T>(std::sqrt(squares));
    }
  });
  return norms;
}

/// Mean over the channels of norms [C], plus 1e-6.
template <class T>
T mean_norm(const T* norms, Index channels) {
  double sum = 0;
  for (Index c = 0; c < channels; ++c) sum += static_cast<double>(norms[c]);
  return static_cast<T>(sum / static_cast<double>(channels) + global_response_eps);
}

}  // namespace detail

/// Global response normalisation (ConvNeXt V2, Woo et al. 2023, arXiv 2301.00808, eq. 3, with the residual) of x [B, H,
/// W, C] with weight and bias [C]: gx = L2 norm of each channel over the pixels, nx = gx / (mean of gx over channels +
/// 1e-6), y = bias + (weight nx + 1) x. Error against exact arithmetic: at most 40 eps32 (|bias| + (|weight| nx + 1)
/// |x|).
template <TensorLike X>
auto global_response_norm(const X& input, VectorLike<X> weight, VectorLike<X> bias) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view();
  const Index channels = x.shape[3], pixels = x.shape[1] * x.shape[2];
  detail::require_vector("global_response_norm", x.shape, "weight", weight.shape);
  detail::require_vector("global_response_norm", x.shape, "bias", bias.shape);
  if constexpr (!detail::vectorised<T>) {
    return reference::global_response_norm(x, weight, bias);
  } else {
    Tensor<float, 2> scale = detail::channel_norms(x);
    for (Index b = 0; b < x.shape[0]; ++b) {
      const float mean = detail::mean_norm(scale.data() + b * channels, channels);
      for (Index c = 0; c < channels; ++c) scale(b, c) = weight.data[c] * (scale(b, c) / mean) + 1;
    }
    Tensor<float, 4> y(x.shape);
    detail::for_rows(x.rows(), channels, [&](Index begin, Index end) {
      for (Index p = begin; p < end; ++p)
        simd::map(
            channels, y.data() + p * channels,
            [](simd::Batch v, simd::Batch s, simd::Batch shift) { return simd::multiply_add(v, s, shift); }, x.row(p),
            scale.data() + p / pixels * channels, bias.data);
    });
    return y;
  }
}

/// {dx, dweight, dbias} of y = global_response_norm(x, weight, bias). With S_c = sum over pixels of dy x, m the mean
/// norm + 1e-6 and N the channels: dweight = S nx; dbias = sum dy; dgx_c = (weight_c S_c - sum_k weight_k S_k gx_k / (N
/// m)) / m; dx = dy (weight nx + 1) + dgx x / gx (0 where gx is 0).
template <TensorLike X, TensorLike Dy>
auto global_response_norm_backward(const X& input, VectorLike<X> weight, const Dy& gradient) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view(), dy = gradient.view();
  const Index channels = x.shape[3], pixels = x.shape[1] * x.shape[2];
  detail::require_vector("global_response_norm_backward", x.shape, "weight", weight.shape);
  detail::require_same("global_response_norm_backward", x.shape, dy.shape);
  NormGradients<T, 4> result{Tensor<T, 4>(x.shape), {}, {}};
  const Tensor<T, 2> norms = detail::channel_norms(x);
  Tensor<T, 2> dweights(Shape{x.shape[0], channels}), dbiases(Shape{x.shape[0], channels}, T(0));
  parallel_for(x.shape[0], [&](Index b) {
    const T* norm = norms.data() + b * channels;
    const T mean = detail::mean_norm(norm, channels);
    std::vector<T> products(static_cast<std::size_t>(channels)), through_norm(products);
    T* dbias = dbiases.data() + b * channels;
    for (Index p = b * pixels; p < (b + 1) * pixels; ++p)
      for (Index c = 0; c < channels; ++c) {
        products[static_cast<std::size_t>(c)] += dy.row(p)[c] * x.row(p)[c];
        dbias[c] += dy.row(p)[c];
      }
    T shared = 0;
    for (Index c = 0; c < channels; ++c) shared += weight.data[c] * products[static_cast<std::size_t>(c)] * norm[c];
    shared /= T(channels) * mean;
    for (Index c = 0; c < channels; ++c) {
      const T product = products[static_cast<std::size_t>(c)];
      dweights(b, c) = product * norm[c] / mean;
      through_norm[static_cast<std::size_t>(c)] =
          norm[c] > 0 ? (weight.data[c] * product - shared) / (mean * norm[c]) : T(0);
    }
    for (Index p = b * pixels; p < (b + 1) * pixels; ++p)
      for (Index c = 0; c < channels; ++c)
        result.dx.data()[p * channels + c] = dy.row(p)[c] * (weight.data[c] * norm[c] / mean + 1) +
                                             through_norm[static_cast<std::size_t>(c)] * x.row(p)[c];
  });
  result.dweight = detail::sum_of_rows(dweights);
  result.dbias = detail::sum_of_rows(dbiases);
  return result;
}

}  // namespace janusflow
