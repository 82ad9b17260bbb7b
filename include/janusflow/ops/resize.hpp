// Bicubic resize of 8-bit pictures, bit for bit as Pillow.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "janusflow/core/parallel.hpp"
#include "janusflow/core/tensor.hpp"

namespace janusflow {

namespace detail {

/// For each output position: which input positions it sums, and their fixed-point weights.
struct ResizeWeights {
  static constexpr int fraction_bits = 22;
  Index taps = 0;  // weights kept for each position
  std::vector<Index> first, count;
  std::vector<std::int32_t> weights;  // [out][taps]

  /// Pillow's precompute_coeffs and normalize_coeffs_8bpc (src/libImaging/Resample.c): the cubic with a = -0.5,
  /// stretched by the scale when shrinking (antialias), normalised in double and rounded to 22 bits.
  ResizeWeights(Index in, Index out) {
    const double scale = static_cast<double>(in) / static_cast<double>(out), stretch = std::max(scale, 1.0),
                 support = 2.0 * stretch;
    taps = static_cast<Index>(std::ceil(support)) * 2 + 1;
    first.resize(static_cast<std::size_t>(out));
    count.resize(first.size());
    weights.resize(first.size() * static_cast<std::size_t>(taps));
    std::vector<double> exact(static_cast<std::size_t>(taps));
    for (std::size_t i = 0; i < first.size(); ++i) {
      const double center = (static_cast<double>(i) + 0.5) * scale, inverse = 1.0 / stretch;
      first[i] = std::max<Index>(0, static_cast<Index>(center - support + 0.5));
      count[i] = std::min(in, static_cast<Index>(center + support + 0.5)) - first[i];
      double total = 0;
      for (Index k = 0; k < count[i]; ++k)
        total += exact[static_cast<std::size_t>(k)] =
            cubic((static_cast<double>(k + first[i]) - center + 0.5) * inverse);
      for (Index k = 0; k < count[i]; ++k) {
        double weight = exact[static_cast<std::size_t>(k)];
        if (total != 0) weight /= total;
        weights[i * static_cast<std::size_t>(taps) + static_cast<std::size_t>(k)] =
            static_cast<std::int32_t>(weight * (1 << fraction_bits) + (weight < 0 ? -0.5 : 0.5));
      }
    }
  }

  const std::int32_t* of(Index i) const { return weights.data() + i * taps; }

  static double cubic(double x) {
    constexpr double a = -0.5;
    x = std::abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
  }

  static std::uint8_t byte(std::int32_t sum) {
    return static_cast<std::uint8_t>(std::clamp(sum >> fraction_bits, 0, 255));
  }
  static constexpr std::int32_t half = 1 << (fraction_bits - 1);
};

/// [H, in, 3] to [H, out, 3].
inline Tensor<std::uint8_t, 3> resize_rows(TensorView<const std::uint8_t, 3> picture, Index width) {
  Tensor<std::uint8_t, 3> result(Shape{picture.shape[0], width, Index{3}});
  const ResizeWeights weights(picture.shape[1], width);
  parallel_chunks(picture.shape[0], 16, [&](Index begin, Index end) {
    for (Index y = begin; y < end; ++y)
      for (Index x = 0; x < width; ++x) {
        const std::int32_t* weight = weights.of(x);
        const std::uint8_t* from = picture.row(y * picture.shape[1] + weights.first[static_cast<std::size_t>(x)]);
        std::array<std::int32_t, 3> sums{weights.half, weights.half, weights.half};
        for (Index k = 0; k < weights.count[static_cast<std::size_t>(x)]; ++k, from += 3)
          for (std::size_t c = 0; c < 3; ++c) sums[c] += from[c] * weight[k];
        std::transform(sums.begin(), sums.end(), &result(y, x, 0), ResizeWeights::byte);
      }
  });
  return result;
}

/// [in, W, 3] to [out, W, 3].
inline Tensor<std::uint8_t, 3> resize_columns(TensorView<const std::uint8_t, 3> picture, Index height) {
  const Index width = picture.shape[1];
  Tensor<std::uint8_t, 3> result(Shape{height, width, Index{3}});
  const ResizeWeights weights(picture.shape[0], height);
  parallel_chunks(height, 16, [&](Index begin, Index end) {
    std::vector<std::int32_t> sums(static_cast<std::size_t>(width * 3));
    for (Index y = begin; y < end; ++y) {
      std::fill(sums.begin(), sums.end(), weights.half);
      for (Index k = 0; k < weights.count[static_cast<std::size_t>(y)]; ++k) {
        const std::uint8_t* from = picture.row((weights.first[static_cast<std::size_t>(y)] + k) * width);
        const std::int32_t weight = weights.of(y)[k];
        for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += from[i] * weight;
      }
      std::transform(sums.begin(), sums.end(), &result(y, 0, 0), ResizeWeights::byte);
    }
  });
  return result;
}

}  // namespace detail

/// Which pass comes first; the results differ by roundings to bytes.
enum class ResizeOrder {
  cheaper_first,  // Pillow 13: the vertical pass where height - new height > max(0, 2 (width - new width))
  rows_first      // Pillow up to 12.1: always the horizontal pass
};

/// Pillow's Image.resize((width, height), Image.BICUBIC) of an RGB picture [H, W, 3], bit for bit: two passes, the
/// picture between them rounded to bytes; a direction that keeps its size has none. Throws unless all sizes are
/// positive.
inline Tensor<std::uint8_t, 3> resize_bicubic(TensorView<const std::uint8_t, 3> picture, Index height, Index width,
                                              ResizeOrder order = ResizeOrder::cheaper_first) {
  require(height > 0 && width > 0 && picture.size() > 0 && picture.shape[2] == 3 && picture.contiguous(),
          "resize_bicubic: cannot resize ", picture.shape, " to [", height, ", ", width, ", 3]");
  const Index fewer_rows = picture.shape[0] - height, fewer_columns = picture.shape[1] - width;
  if (fewer_rows == 0 && fewer_columns == 0) return Tensor<std::uint8_t, 3>(picture);
  if (fewer_rows == 0) return detail::resize_rows(picture, width);
  if (fewer_columns == 0) return detail::resize_columns(picture, height);
  if (order == ResizeOrder::cheaper_first && fewer_rows > std::max<Index>(0, 2 * fewer_columns))
    return detail::resize_rows(detail::resize_columns(picture, height), width);
  return detail::resize_columns(detail::resize_rows(picture, width), height);
}

}  // namespace janusflow
