// conv2d as an implicit product: input panels are gathered from the picture, no im2col matrix is ever written.
#pragma once

#include "janusflow/ops/linear.hpp"

namespace janusflow {

/// How a convolution walks over its picture.
struct ConvGeometry {
  Index stride = 1;
  Index top = 0, left = 0, bottom = 0, right = 0;  // zero padding

  static ConvGeometry same(Index kernel) { return {1, kernel / 2, kernel / 2, kernel / 2, kernel / 2}; }
};

/// A convolution's weight [out, in, kernel, kernel], packed for products as [out, kernel * kernel * in]: taps outside, channels
/// inside, as a channels-last picture has them.
template <class Dot>
class PackedFilter {
 public:
  PackedFilter() = default;
  PackedFilter(Index out_channels, Index in_channels, Index kernel)
      : kernel_(kernel), in_(in_channels), matrix_(out_channels, kernel * kernel * in_channels) {}

  Index out_channels() const { return matrix_.out_features(); }
  Index in_channels() const { return in_; }
  Index kernel() const { return kernel_; }
  Shape<4> shape() const { return {{out_channels(), in_, kernel_, kernel_}}; }
  bool filled() const { return matrix_.filled(); }
  const PackedMatrix<Dot>& matrix() const { return matrix_; }

  /// Fills from `weight` [out, in, kernel, kernel].
  void pack(TensorView<const float, 4> weight) {
    require(weight.shape == shape() && weight.contiguous(), "pack: ", weight.shape, " is not the filter's ", shape());
    const Index taps = kernel_ * kernel_;
    Tensor<float, 2> rows(Shape{out_channels(), taps * in_});
    parallel_for(out_channels(), [&](Index o) {
      for (Index c = 0; c < in_; ++c)
        for (Index t = 0; t < taps; ++t) rows(o, t * in_ + c) = weight.data[(o * in_ + c) * taps + t];
    });
    matrix_.pack(TensorView<const float, 2>(rows));
  }

 private:
  Index kernel_ = 0, in_ = 0;
  PackedMatrix<Dot> matrix_;
};

namespace detail {

/// Gathers the picture's values under the kernel for consecutive output pixels, row after row of an input panel.
template <class Dot>
struct PatchGather {
  TensorView<const float, 4> x;
  Index kernel;
  ConvGeometry geometry;
  Index out_height, out_width;

  /// Packs output pixels [pixel, pixel + rows) into `to` ([words][rows]). `zeros` holds in-channels zeros and `patch` one patch:
  /// both are used only where channels do not fill whole words.
  void operator()(Index pixel, Index rows, typename Dot::InputWord* to, const float* zeros, float* patch) const {
    const Index channels = x.shape[3], words = channels / Dot::depth;
    const bool whole = words * Dot::depth == channels;
    for (Index r = 0; r < rows; ++r) {
      const Index b = (pixel + r) / (out_height * out_width), at = (pixel + r) % (out_height * out_width);
      const Index y0 = at / out_width * geometry.stride - geometry.top, x0 = at % out_width * geometry.stride - geometry.left;
      typename Dot::InputWord* out = to + r;
      for (Index tap = 0; tap < kernel * kernel; ++tap) {
        const Index py = y0 + tap / kernel, px = x0 + tap % kernel;
        const bool inside = py >= 0 && py < x.shape[1] && px >= 0 && px < x.shape[2];
        const float* from = inside ? x.row((b * x.shape[1] + py) * x.shape[2] + px) : zeros;
        if (whole)
          for (Index w = 0; w < words; ++w, from += Dot::depth, out += rows) *out = Dot::input_word(from, Dot::depth);
        else
          std::copy_n(from, channels, patch + tap * channels);
      }
      if (!whole) pack_input_panel<Dot>(1, kernel * kernel * channels, [&](Index) { return patch; },
                                       to + r, rows);
    }
  }
};

}  // namespace detail

/// y [B, H', W', out] = after(conv(x [B, H, W, in], weight) + bias), cross-correlation as in PyTorch, H' = (H + top + bottom -
/// kernel) / stride + 1. Numeric contract of linear, with in * kernel^2 terms.
template <TensorLike X, class Dot, class After = Identity>
Tensor<float, 4> conv2d(const X& x, const PackedFilter<Dot>& weight, const Tensor<float, 1>& bias, ConvGeometry geometry,
                        After after = {}) {
  const TensorView<const float, 4> input = x.view();
  const Index kernel = weight.kernel(), channels = weight.out_channels();
  require(weight.filled() && input.shape[3] == weight.in_channels() && geometry.stride >= 1 &&
              input.shape[1] + geometry.top + geometry.bottom >= kernel &&
              input.shape[2] + geometry.left + geometry.right >= kernel,
          "conv2d: x ", input.shape, " does not match weight ", weight.shape());
  require(bias.empty() || bias.size() == channels, "conv2d: bias ", bias.shape(), " does not match weight ", weight.shape());
  const Index height = (input.shape[1] + geometry.top + geometry.bottom - kernel) / geometry.stride + 1;
  const Index width = (input.shape[2] + geometry.left + geometry.right - kernel) / geometry.stride + 1;
  Tensor<float, 4> y(Shape{input.shape[0], height, width, channels});
  detail::require_fits(after, input.shape[0] * height * width, channels);

  const PackedMatrix<Dot>& matrix = weight.matrix();
  const PanelPairs<Dot> pairs{matrix};
  const detail::StoreTile<After> store{y.data(), channels, channels, bias.empty() ? nullptr : bias.data(), after};
  const detail::PatchGather<Dot> gather{input, kernel, geometry, height, width};
  using Word = typename Dot::InputWord;
  const Index pixels = input.shape[0] * height * width;
  // A block of 8 panels is reused for every weight panel while it stays in the second-level cache.
  constexpr Index block_rows = 8 * simd::tile_rows;
  parallel_chunks(pixels, block_rows, [&](Index begin, Index end) {
    Tensor<float, 1> spare(Shape{matrix.in_features() + input.shape[3]}, 0.0f);
    const Buffer storage(static_cast<std::size_t>((end - begin) * matrix.words()) * sizeof(Word));
    Word* panels = static_cast<Word*>(storage.data());
    for (Index row = begin; row < end; row += simd::tile_rows)
      gather(row, std::min<Index>(simd::tile_rows, end - row), panels + (row - begin) * matrix.words(), spare.data(),
             spare.data() + input.shape[3]);
    gemm_block<Dot>(begin, end, [&](Index row) { return panels + (row - begin) * matrix.words(); }, pairs, 0, pairs.count(),
                    store);
  });
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
