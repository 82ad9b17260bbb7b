// conv2d as an implicit product: register tiles read their rows from the picture itself, no im2col matrix is ever written; or by squares.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "janusflow/ops/linear.hpp"
#include "janusflow/ops/winograd.hpp"

namespace janusflow {

namespace detail {

/// epilogue(patches . weightT) over the output pixels of `lines` of [B, out_height, out_width]. `geometry.left` may be less than the
/// picture's.
template <class Dot, class Epilogue>
void convolve(const WordPicture<Dot>& picture, const PackedFilter<Dot>& weight, const ConvGeometry& geometry, Index out_height,
              Index out_width, Lines lines, const Epilogue& epilogue) {
  using Word = typename Dot::InputWord;
  const PanelPairs<Dot> pairs{weight.matrix()};
  const Index kernel = weight.kernel(), words = picture.words(), stride = geometry.stride * words;
  // Tiles of a line, as equal as can be, so many at once that what they read takes no more than a third of a common second-level cache.
  const Index tile_rows = simd::panel_rows<Dot>(), tiles = (out_width + tile_rows - 1) / tile_rows;
  if (tiles == 0) return;
  const Index tile_bytes = tile_rows * stride * kernel * static_cast<Index>(sizeof(Word));
  const Index at_once = std::clamp<Index>((Index{3} << 17) / tile_bytes, 1, tiles), pieces = (tiles + at_once - 1) / at_once;
  const auto pixel = [&](Index tile) {  // a tile's first; AMX's are best whole
    return simd::on_tiles<Dot>() ? std::min(tile * tile_rows, out_width) : tile * out_width / tiles;
  };
  parallel_for((lines.end - lines.begin) * pieces, [&](Index at) {
    const Index line = lines.begin + at / pieces, b = line / out_height, y = line % out_height * geometry.stride - geometry.top;
    const Index first = at % pieces * tiles / pieces, last = (at % pieces + 1) * tiles / pieces;
    std::vector<const Word*> under(static_cast<std::size_t>(2 * kernel));  // the lines under the kernel, then where a tile begins in them
    const Word** const begin = under.data() + kernel;
    for (Index k = 0; k < kernel; ++k) under[static_cast<std::size_t>(k)] = picture.line(b, y + k) - geometry.left * words;
    alignas(64) float tile[simd::most_panel_rows<Dot> * simd::tile_columns];
    const simd::ManyTiles<Dot> many;
    for (Index pair = 0; pair < pairs.count(); ++pair)
      for (Index t = first; t < last; ++t) {
        const Index x = pixel(t), rows = pixel(t + 1) - x;
        for (Index k = 0; k < kernel; ++k) begin[k] = under[static_cast<std::size_t>(k)] + x * stride;
        simd::conv_tile_for<Dot>(rows)({begin, kernel, kernel * words, stride}, pairs.at(pair, 0), tile);
        epilogue(line * out_width + x, rows, pair, static_cast<const float*>(tile));
      }
    simd::finish_streaming();  // the epilogue may have
  });
}

/// y's shape; throws unless x has the weight's channels, one at least, the kernel is a square that fits the padded picture, no padding is
/// negative and the stride is positive.
inline Shape<4> conv2d_shape(const char* op, const Shape<4>& x, const Shape<4>& weight, const ConvGeometry& geometry) {
  constexpr Index most = Index{1} << 32;
  for (const Index padding : {geometry.top, geometry.left, geometry.bottom, geometry.right})
    require(padding >= 0 && padding <= most, op, ": a padding of ", padding, " pixels");
  require(geometry.stride >= 1 && geometry.stride <= most, op, ": a stride of ", geometry.stride, " pixels");
  const Index height = x[1] + geometry.top + geometry.bottom, width = x[2] + geometry.left + geometry.right, kernel = weight[2];
  require(x[3] >= 1 && x[3] == weight[1] && kernel >= 1 && weight[3] == kernel && height >= kernel && width >= kernel, op, ": x ", x,
          " does not match weight ", weight);
  return {{x[0], (height - kernel) / geometry.stride + 1, (width - kernel) / geometry.stride + 1, weight[0]}};
}

/// f(filter) with the filter as convolve takes it fastest, or some parts of it one after the other.
template <class Dot, class F>
void with_fastest(const PackedFilter<Dot>& filter, const ConvGeometry& geometry, Index out_width, F&& f) {
  if constexpr (words_are_floats<Dot>) {
    const Index square = square_of_outputs(filter, geometry, out_width);
    if (square == Winograd<3>::out) return WinogradFilter<3>::for_parts(filter, f);
    if (square == Winograd<2>::out) return WinogradFilter<2>::for_parts(filter, f);
  }
  f(filter);
}

/// y = after(conv(source)), picture by picture in strips, so that the words of a strip stay in the caches, and are all there is of them.
template <class Dot, class Source, class After>
void conv2d_into(Tensor<float, 4>& y, const Source& source, const Shape<4>& shape, const PackedFilter<Dot>& weight,
                 const Tensor<float, 1>& bias, const ConvGeometry& geometry, After after) {
  require(weight.filled(), "conv2d: the weight ", weight.shape(), " has no values yet");
  const Index channels = weight.out_channels(), height = y.shape()[1], width = y.shape()[2];
  require(bias.empty() || bias.size() == channels, "conv2d: bias ", bias.shape(), " does not match weight ", weight.shape());
  const StoreTile<After> epilogue{{y.data(), channels}, channels, bias.empty() ? nullptr : bias.data(), after,
                                  too_large_for_caches<float>(shape[0] * height * width, channels)};
  constexpr std::size_t strip_bytes = std::size_t{8} << 20;
  const std::size_t line = WordPicture<Dot>::line_bytes(shape);
  const Index lines = static_cast<Index>(strip_bytes / std::max<std::size_t>(1, line)), kernel = weight.kernel();
  const Index square = square_of_outputs(weight, geometry, width);
  with_fastest(weight, geometry, width, [&](const auto& filter) {
    const auto compute = [&](Lines read, Lines written) {
      const WordPicture<Dot> picture(source, read, geometry, kernel, (width + square - 1) / square * square);
      convolve<Dot>(picture, filter, geometry, height, width, written, epilogue);
    };
    if (shape[0] * shape[1] <= lines) return compute({0, shape[0] * shape[1]}, {0, shape[0] * height});
    const Index step = std::max<Index>(1, ((lines - kernel) / geometry.stride + 1) / square) * square;
    for (Index b = 0; b < shape[0]; ++b)
      for (Index row = 0; row < height; row += step) {
        const Index end = std::min(height, row + step);
        const Index top = std::clamp<Index>(row * geometry.stride - geometry.top, 0, shape[1]);
        const Index bottom = std::clamp<Index>((end - 1) * geometry.stride - geometry.top + kernel, top, shape[1]);
        compute({b * shape[1] + top, b * shape[1] + bottom}, {b * height + row, b * height + end});
      }
  });
}

}  // namespace detail

/// y [B, H', W', out] = after(conv(x [B, H, W, in], weight) + bias), cross-correlation as in PyTorch, H' = (H + top + bottom -
/// kernel) / stride + 1. Numeric contract of linear, with in * kernel^2 terms; where products are float32's, kernels of 3 and 2 by stride 1
/// on large pictures of many channels that of docs/numerics.md, "Convolutions by squares". Throws where x, weight, bias and geometry do
/// not fit together, or the weight has no values yet.
template <TensorLike X, class Dot, class After = Identity>
Tensor<float, 4> conv2d(const X& x, const PackedFilter<Dot>& weight, const Tensor<float, 1>& bias, ConvGeometry geometry,
                        After after = {}) {
  const TensorView<const float, 4> input = x.view();
  Tensor<float, 4> y(detail::conv2d_shape("conv2d", input.shape, weight.shape(), geometry));
  detail::require_fits(after, y.shape().rows(), y.shape().last());
  detail::conv2d_into(y, input, input.shape, weight, bias, geometry, after);
  return y;
}

/// The same of silu(group_norm(x)): in float32 the bytes are those of conv2d of group_norm_silu's picture.
template <class Dot, class After = Identity>
Tensor<float, 4> conv2d(const NormalisedPicture& x, const PackedFilter<Dot>& weight, const Tensor<float, 1>& bias, ConvGeometry geometry,
                        After after = {}) {
  Tensor<float, 4> y(detail::conv2d_shape("conv2d", x.shape(), weight.shape(), geometry));
  detail::require_fits(after, y.shape().rows(), y.shape().last());
  detail::conv2d_into(y, x, x.shape(), weight, bias, geometry, after);
  return y;
}

/// y + conv2d(x, weight, bias), in y's memory, which x must not read: later lines see what earlier ones became. Throws where it does.
template <class Dot>
Tensor<float, 4> conv2d_onto(Tensor<float, 4>&& y, const NormalisedPicture& x, const PackedFilter<Dot>& weight, const Tensor<float, 1>& bias,
                             ConvGeometry geometry) {
  const Shape<4> shape = detail::conv2d_shape("conv2d_onto", x.shape(), weight.shape(), geometry);
  require(y.shape() == shape, "conv2d_onto: y ", y.shape(), " is not the product's ", shape);
  require(!x.reads(y.begin(), y.end()), "conv2d_onto: x ", x.shape(), " lies in y's memory");
  detail::conv2d_into(y, x, x.shape(), weight, bias, geometry, Add{std::as_const(y)});
  return std::move(y);
}

/// The weight [out, in, 3, 3] of a convolution behind a nearest-neighbour doubling, folded: of the nine taps on the doubled
/// picture several fall on the same pixel of the original, so that each of the four output phases is a 2x2 convolution of it
/// whose weights are sums of the given ones (in float32). The same result up to rounding for 4/9 of the products, and the doubled
/// picture is never made.
template <class Dot>
class UpsampleFilter {
 public:
  UpsampleFilter() = default;
  UpsampleFilter(Index out_channels, Index in_channels, Index kernel) {
    require(kernel == 3, "upsample_conv2d: the kernel must be 3, not ", kernel);
    for (auto& phase : phases_) phase = PackedFilter<Dot>(out_channels, in_channels, 2);
  }

  Index out_channels() const { return phases_[0].out_channels(); }
  Index in_channels() const { return phases_[0].in_channels(); }
  Shape<4> shape() const { return {{out_channels(), in_channels(), 3, 3}}; }
  bool filled() const { return phases_[3].filled(); }
  /// The filter of output pixels (2i + row, 2j + column).
  const PackedFilter<Dot>& phase(Index row, Index column) const { return phases_[static_cast<std::size_t>(2 * row + column)]; }

  /// All four, by row, then by column.
  std::array<PackedFilter<Dot>, 4>& phases() { return phases_; }

  /// Fills from `weight` [out, in, 3, 3].
  void pack(TensorView<const float, 4> weight) {
    require(weight.shape == shape() && weight.contiguous(), "pack: ", weight.shape, " is not the filter's ", shape());
    // Tap k of phase 0 reads the pixel before (k = 0) or the same one; of phase 1 the same one or the one after (k = 2).
    const auto folded_tap = [](Index phase, Index k) { return phase == 0 ? std::min<Index>(k, 1) : k / 2; };
    for (Index row = 0; row < 2; ++row)
      for (Index column = 0; column < 2; ++column) {
        Tensor<float, 4> folded(Shape{out_channels(), in_channels(), Index{2}, Index{2}}, 0.0f);
        parallel_for(out_channels(), [&](Index o) {
          for (Index c = 0; c < in_channels(); ++c)
            for (Index y = 0; y < 3; ++y)
              for (Index x = 0; x < 3; ++x) folded(o, c, folded_tap(row, y), folded_tap(column, x)) += weight(o, c, y, x);
        });
        phases_[static_cast<std::size_t>(2 * row + column)].pack(std::as_const(folded).view());
      }
  }

 private:
  std::array<PackedFilter<Dot>, 4> phases_;
};

namespace detail {

/// Rows of one phase of a doubled picture: every second pixel of every second row.
struct RowsOfPhase {
  float* y;  // the phase's first pixel
  Index width, channels;  // of the picture before doubling

  float* operator()(Index row) const {
    const Index line = row / width, column = row % width;  // lines counted over the batch: each doubles into two
    return y + (2 * line * 2 * width + 2 * column) * channels;
  }
};

/// `lines` of upsample_conv2d(x [B, H, W, in], ...), counted over the batch, to y: of one picture, or all.
template <class Dot>
void upsample_lines(TensorView<const float, 4> x, const UpsampleFilter<Dot>& weight, const Tensor<float, 1>& bias, Lines lines, float* y) {
  const Index height = x.shape[1], width = x.shape[2], channels = weight.out_channels();
  const Index square = square_of_outputs(weight.phase(0, 0), {}, width), end = (lines.end / 2 + square) / square * square + 1;
  const Lines read{std::max(Index{0}, lines.begin / 2 / square * square - 1), std::min(x.shape[0] * height, end)};
  const WordPicture<Dot> picture(x, read, ConvGeometry::same(3), 3, (width + square - 1) / square * square);
  for (Index row = 0; row < 2; ++row)
    for (Index column = 0; column < 2; ++column) {
      const ConvGeometry geometry{1, 1 - row, 1 - column, row, column};
      const RowsOfPhase place{y + ((row - lines.begin) * 2 * width + column) * channels, width, channels};
      const StoreTile<Identity, RowsOfPhase> epilogue{place, channels, bias.empty() ? nullptr : bias.data(), {},
                                                      too_large_for_caches<float>((lines.end - lines.begin) * width / 2, channels)};
      const Lines of_phase{(lines.begin - row + 1) / 2, (lines.end - row + 1) / 2};
      with_fastest(weight.phase(row, column), geometry, width,
                   [&](const auto& filter) { convolve<Dot>(picture, filter, geometry, height, width, of_phase, epilogue); });
    }
}

}  // namespace detail

/// y [B, 2H, 2W, out] = conv(upsample_nearest2x(x [B, H, W, in]), weight 3x3, padding 1) + bias.
/// Numeric contract of linear, with 4 in terms whose weights carry up to 3 more roundings, or by squares as conv2d. Throws where x, weight
/// and bias do not fit together, or the weight has no values yet.
template <TensorLike X, class Dot>
Tensor<float, 4> upsample_conv2d(const X& x, const UpsampleFilter<Dot>& weight, const Tensor<float, 1>& bias) {
  const TensorView<const float, 4> input = x.view();
  const auto [batch, height, width, in] = input.shape.extents;
  const Index channels = weight.out_channels();
  require(weight.filled() && in >= 1 && in == weight.in_channels(), "upsample_conv2d: x ", input.shape, " does not match weight ",
          weight.shape());
  require(bias.empty() || bias.size() == channels, "upsample_conv2d: bias ", bias.shape(), " does not match weight ",
          weight.shape());
  Tensor<float, 4> y(Shape{batch, 2 * height, 2 * width, channels});
  detail::upsample_lines(input, weight, bias, {0, 2 * batch * height}, y.data());
  return y;
}

namespace reference {

/// conv2d as its definition says, in x's type; weight [out, in, kernel, kernel].
template <TensorLike X, TensorLike W, class T = typename X::value_type>
Tensor<T, 4> conv2d(const X& picture, const W& filter, const Tensor<T, 1>& bias, ConvGeometry geometry) {
  const TensorView<const T, 4> x = picture.view(), weight = filter.view();
  const Index kernel = weight.shape[2];
  const Index height = (x.shape[1] + geometry.top + geometry.bottom - kernel) / geometry.stride + 1;
  const Index width = (x.shape[2] + geometry.left + geometry.right - kernel) / geometry.stride + 1;
  Tensor<T, 4> y(Shape{x.shape[0], height, width, weight.shape[0]});
  for (Index b = 0; b < x.shape[0]; ++b)
    for (Index i = 0; i < height; ++i)
      for (Index j = 0; j < width; ++j)
        for (Index o = 0; o < weight.shape[0]; ++o) {
          T sum = bias.empty() ? T(0) : bias.data()[o];
          for (Index ky = 0; ky < kernel; ++ky)
            for (Index kx = 0; kx < kernel; ++kx) {
              const Index py = i * geometry.stride + ky - geometry.top, px = j * geometry.stride + kx - geometry.left;
              if (py < 0 || py >= x.shape[1] || px < 0 || px >= x.shape[2]) continue;
              for (Index c = 0; c < x.shape[3]; ++c) sum += x(b, py, px, c) * weight(o, c, ky, kx);
            }
          y(b, i, j, o) = sum;
        }
  return y;
}

}  // namespace reference

}  // namespace janusflow
