// Depthwise convolution of channels-last pictures, vectorised over channels, with its backward.
#pragma once

#include <array>
#include <vector>

#include "janusflow/ops/rowwise.hpp"

namespace janusflow {

/// The weight of a depthwise convolution, repacked from torch's [C, 1, k, k] to [k k, C].
template <class T>
struct DepthwiseFilter {
  Index kernel = 0;
  Tensor<T, 2> taps;  // [k k, C]

  DepthwiseFilter() = default;
  /// Laid out, to be filled later; throws unless the kernel is odd.
  DepthwiseFilter(Index channels, Index kernel) : kernel(kernel), taps(Shape{kernel * kernel, channels}) {
    require(kernel % 2 == 1, "depthwise_conv2d: the kernel must be odd, not ", kernel);
  }
  /// Throws unless weight is [C, 1, k, k] with an odd k.
  explicit DepthwiseFilter(TensorView<const T, 4> weight)
      : kernel(weight.shape[3]), taps(Shape{kernel * kernel, weight.shape[0]}) {
    require(weight.shape[1] == 1 && weight.shape[2] == kernel && kernel % 2 == 1, "depthwise_conv2d: weight ",
            weight.shape, " is not [C, 1, k, k] with an odd k");
    for (Index c = 0; c < weight.shape[0]; ++c)
      for (Index t = 0; t < kernel * kernel; ++t) taps(t, c) = weight.row(c * kernel + t / kernel)[t % kernel];
  }

  Index channels() const { return taps.shape()[1]; }
  Shape<4> shape() const { return {{channels(), 1, kernel, kernel}}; }
};

namespace reference {

/// y(h, w, c) = bias(c) + sum over (i, j) of x(h + i - k/2, w + j - k/2, c) weight(c, i, j); x is 0 outside of the
/// picture.
template <TensorLike X>
auto depthwise_conv2d(const X& input, const DepthwiseFilter<typename X::value_type>& weight, VectorLike<X> bias) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view();
  const Index height = x.shape[1], width = x.shape[2], k = weight.kernel, pad = k / 2;
  Tensor<T, 4> y(x.shape);
  for (Index b = 0; b < x.shape[0]; ++b)
    for (Index h = 0; h < height; ++h)
      for (Index w = 0; w < width; ++w)
        for (Index c = 0; c < x.shape[3]; ++c) {
          T sum = bias.data[c];
          for (Index i = std::max<Index>(0, pad - h); i < std::min(k, height + pad - h); ++i)
            for (Index j = std::max<Index>(0, pad - w); j < std::min(k, width + pad - w); ++j)
              sum += x(b, h + i - pad, w + j - pad, c) * weight.taps(i * k + j, c);
          y(b, h, w, c) = sum;
        }
  return y;
}

}  // namespace reference

namespace detail {

/// Output pixels of a row that are summed side by side in registers.
inline constexpr Index depthwise_block = 8;

/// `block` sums of one output row at `out` ([columns][width]) from its k input rows at `in` ([..][width], row_floats
/// apart). K is the kernel's size where it is known to the compiler, else 0.
template <Index K>
void depthwise_sums(Index kernel, const float* in, Index row_floats, const float* taps, simd::Batch bias,
                    std::array<simd::Batch, depthwise_block>& sums) {
  constexpr Index width = simd::width, block = depthwise_block;
  sums.fill(bias);
  for (Index i = 0; i < (K ? K : kernel); ++i, in += row_floats) {
    if constexpr (K > 0) {
      // Each column is read once, and goes into each of the up to K sums that it is a neighbour of.
      std::array<simd::Batch, K> row;
#pragma GCC unroll 16
      for (Index j = 0; j < K; ++j, taps += width) row[j] = simd::Batch::load_aligned(taps);
#pragma GCC unroll 32
      for (Index column = 0; column < K + block - 1; ++column) {
        const simd::Batch x = simd::Batch::load_aligned(in + column * width);
#pragma GCC unroll 16
        for (Index j = 0; j < K; ++j)
          if (const Index o = column - j; o >= 0 && o < block) sums[o] = simd::multiply_add(x, row[j], sums[o]);
      }
    } else {
      for (Index j = 0; j < kernel; ++j, taps += width) {
        const simd::Batch tap = simd::Batch::load_aligned(taps);
#pragma GCC unroll 16
        for (Index o = 0; o < block; ++o)
          sums[o] = simd::multiply_add(simd::Batch::load_aligned(in + (o + j) * width), tap, sums[o]);
      }
    }
  }
}

/// All of depthwise_conv2d for float. A piece is one batch of channels of a band of rows: it is copied once into a tile
/// framed by zeros, where every read is aligned and in the first-level cache, and neither borders nor odd channels are
/// special.
template <Index K>
void depthwise_conv2d(TensorView<const float, 4> x, const DepthwiseFilter<float>& weight, const float* bias, float* y) {
  constexpr Index vector = simd::width, block = depthwise_block;
  const Index height = x.shape[1], width = x.shape[2], channels = x.shape[3], k = weight.kernel, pad = k / 2;
  const Index band = 32, bands = (height + band - 1) / band, vectors = (channels + vector - 1) / vector;
  const Index columns = (width + block - 1) / block * block + 2 * pad;
  parallel_for(x.shape[0] * bands * vectors, [&](Index piece) {
    const Index c = piece % vectors * vector, lanes = std::min(vector, channels - c);
    const Index top = piece / vectors % bands * band, bottom = std::min(height, top + band),
                b = piece / vectors / bands;
    Tensor<float, 2> tile(Shape{(bottom - top + 2 * pad) * columns, vector}), taps(Shape{k * k, vector});
    std::fill(tile.begin(), tile.end(), 0.f);
    for (Index h = std::max<Index>(0, top - pad); h < std::min(height, bottom + pad); ++h)
      for (Index w = 0; w < width; ++w)
        simd::load(x.row((b * height + h) * width + w) + c, lanes)
            .store_aligned(&tile((h - top + pad) * columns + w + pad, 0));
    for (Index t = 0; t < k * k; ++t) simd::load(&weight.taps(t, c), lanes).store_aligned(&taps(t, 0));
    const simd::Batch shift = simd::load(bias + c, lanes);
    std::array<simd::Batch, block> sums;
    for (Index h = top; h < bottom; ++h)
      for (Index w = 0; w < width; w += block) {
        depthwise_sums<K>(k, &tile((h - top) * columns + w, 0), columns * vector, taps.data(), shift, sums);
        for (Index o = 0; o < std::min(block, width - w); ++o)
          simd::store(sums[o], y + ((b * height + h) * width + w + o) * channels + c, lanes);
      }
  });
}

template <int R, class T>
void require_depthwise(const char* op, const Shape<R>& x, const DepthwiseFilter<T>& weight) {
  require(weight.kernel > 0 && weight.channels() == x.last(), op, ": x ", x, " does not match weight ", weight.shape());
}

}  // namespace detail

/// Depthwise convolution of x [B, H, W, C] with weight [C, 1, k, k] (k odd) and bias [C], stride 1 and padding k / 2:
/// y [B, H, W, C] = bias + cross-correlation channel by channel, as torch's conv2d with groups = C. Sums run over rows,
/// then columns of the kernel. Error against exact arithmetic: at most (k k + 1) eps32 (|bias| + sum |x w|).
template <TensorLike X>
auto depthwise_conv2d(const X& input, const DepthwiseFilter<typename X::value_type>& weight, VectorLike<X> bias) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view();
  detail::require_depthwise("depthwise_conv2d", x.shape, weight);
  detail::require_vector("depthwise_conv2d", x.shape, "bias", bias.shape);
  if constexpr (!detail::vectorised<T>) {
    return reference::depthwise_conv2d(x, weight, bias);
  } else {
    Tensor<float, 4> y(x.shape);
    switch (weight.kernel) {
      case 3:
        detail::depthwise_conv2d<3>(x, weight, bias.data, y.data());
        break;
      case 7:
        detail::depthwise_conv2d<7>(x, weight, bias.data, y.data());
        break;
      default:
        detail::depthwise_conv2d<0>(x, weight, bias.data, y.data());
    }
    return y;
  }
}

/// Gradients of depthwise_conv2d; dweight in torch's layout [C, 1, k, k].
template <class T>
struct DepthwiseGradients {
  Tensor<T, 4> dx, dweight;
  Tensor<T, 1> dbias;
};

/// {dx, dweight, dbias} of y = depthwise_conv2d(x, weight, bias): dx is the convolution of dy with the kernel turned
/// around; dweight(i, j) = sum over the pixels of dy(h, w) x(h + i - k/2, w + j - k/2); dbias = sum dy.
/// Sums of n pixels, of all pictures, run in order, in x's type: in float32 within n eps32 times the sum of magnitudes.
template <TensorLike X, TensorLike Dy>
auto depthwise_conv2d_backward(const X& input, const DepthwiseFilter<typename X::value_type>& weight,
                               const Dy& gradient) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view(), dy = gradient.view();
  detail::require_depthwise("depthwise_conv2d_backward", x.shape, weight);
  detail::require_same("depthwise_conv2d_backward", x.shape, dy.shape);
  const Index height = x.shape[1], width = x.shape[2], channels = x.shape[3], k = weight.kernel, pad = k / 2;
  DepthwiseFilter<T> turned;
  turned.kernel = k;
  turned.taps = Tensor<T, 2>(weight.taps.shape());
  for (Index t = 0; t < k * k; ++t) std::copy_n(&weight.taps(t, 0), channels, &turned.taps(k * k - 1 - t, 0));
  const Tensor<T, 1> zero(Shape{channels}, T(0));
  DepthwiseGradients<T> result{depthwise_conv2d(dy, turned, zero), Tensor<T, 4>(weight.shape()),
                               Tensor<T, 1>(Shape{channels})};
  parallel_chunks(channels, 16, [&](Index begin, Index end) {
    const Index n = end - begin;
    std::vector<T> taps(static_cast<std::size_t>(k * k * n)), sums(static_cast<std::size_t>(n));
    for (Index b = 0; b < x.shape[0]; ++b)
      for (Index h = 0; h < height; ++h)
        for (Index w = 0; w < width; ++w) {
          const T* d = dy.row((b * height + h) * width + w) + begin;
          for (Index c = 0; c < n; ++c) sums[static_cast<std::size_t>(c)] += d[c];
          for (Index i = std::max<Index>(0, pad - h); i < std::min(k, height + pad - h); ++i)
            for (Index j = std::max<Index>(0, pad - w); j < std::min(k, width + pad - w); ++j) {
              const T* v = x.row((b * height + h + i - pad) * width + w + j - pad) + begin;
              T* tap = taps.data() + (i * k + j) * n;
#pragma omp simd
              for (Index c = 0; c < n; ++c) tap[c] += d[c] * v[c];
            }
        }
    for (Index c = 0; c < n; ++c) {
      result.dbias.data()[begin + c] = sums[static_cast<std::size_t>(c)];
      for (Index t = 0; t < k * k; ++t)
        result.dweight.data()[(begin + c) * k * k + t] = taps[static_cast<std::size_t>(t * n + c)];
    }
  });
  return result;
}

}  // namespace janusflow
