// The backward of conv2d and upsample_conv2d: products again, on patches gathered a block at a time.
#pragma once

#include <algorithm>
#include <vector>

#include "janusflow/ops/conv2d.hpp"
#include "janusflow/ops/linear_backward.hpp"
#include "janusflow/ops/pixel_shuffle.hpp"

namespace janusflow {

namespace detail {

/// The weights [out, in, kernel, kernel] with taps outside and channels inside: [out, kernel * kernel * in].
template <class T>
Tensor<T, 2> taps_outside(TensorView<const T, 4> weight) {
  const Index out = weight.shape[0], in = weight.shape[1], taps = weight.shape[2] * weight.shape[3];
  Tensor<T, 2> rows(Shape{out, taps * in});
  for (Index o = 0; o < out; ++o)
    for (Index c = 0; c < in; ++c)
      for (Index t = 0; t < taps; ++t) rows(o, t * in + c) = weight.data[(o * in + c) * taps + t];
  return rows;
}

/// The weights of the convolution that takes dy back to dx where the stride is 1: turned by half, in and out exchanged.
template <class T>
Tensor<T, 4> turned_filter(TensorView<const T, 4> weight) {
  const Index out = weight.shape[0], in = weight.shape[1], taps = weight.shape[2] * weight.shape[3];
  Tensor<T, 4> turned(Shape{in, out, weight.shape[2], weight.shape[3]});
  for (Index o = 0; o < out; ++o)
    for (Index c = 0; c < in; ++c)
      for (Index t = 0; t < taps; ++t) turned.data()[(c * out + o) * taps + taps - 1 - t] = weight.data[(o * in + c) * taps + t];
  return turned;
}

/// Where tap (ky, kx) of output pixel `at` of a picture's [height, width] outputs reads: the input pixel, or -1 outside.
inline Index tap_pixel(const Shape<4>& x, const ConvGeometry& g, Index width, Index at, Index ky, Index kx) {
  const Index row = at / width * g.stride + ky - g.top, column = at % width * g.stride + kx - g.left;
  return row >= 0 && row < x[1] && column >= 0 && column < x[2] ? row * x[2] + column : -1;
}

inline void require_conv2d(const char* op, const Shape<4>& x, const Shape<4>& weight, const ConvGeometry& geometry, const Shape<4>& dy) {
  require(dy == conv2d_shape(op, x, weight, geometry), op, ": x ", x, " and weight ", weight, " do not match dy ", dy);
}

}  // namespace detail

/// dx [B, H, W, in] of y = conv2d(x, weight [out, in, kernel, kernel], bias, geometry), x of `shape`: in float32 within
/// (out kernel^2 + 2) eps32 times the sum of magnitudes, or as conv2d by squares. Throws where they do not fit together, or the weight is
/// not contiguous.
template <TensorLike W, TensorLike Dy>
auto conv2d_backward_input(const Shape<4>& shape, const W& filter, ConvGeometry geometry, const Dy& gradient) {
  using T = typename Dy::value_type;
  const TensorView<const T, 4> weight = filter.view(), dy = gradient.view();
  detail::require_conv2d("conv2d_backward_input", shape, weight.shape, geometry, dy.shape);
  require(weight.contiguous(), "conv2d_backward_input: the weight ", weight.shape, " is not contiguous");
  const Index kernel = weight.shape[2], in = shape[3], out = weight.shape[0], taps = kernel * kernel;
  if constexpr (detail::vectorised<T>) {
    const Index last = kernel - 1;
    if (geometry.stride == 1 && std::max({geometry.top, geometry.left, geometry.bottom, geometry.right}) <= last) {
      PackedFilter<simd::Float32Dot> turned(in, out, kernel);
      const Tensor<T, 4> weights = detail::turned_filter(weight);
      turned.pack(weights.view());
      return conv2d(dy, turned, {}, {1, last - geometry.top, last - geometry.left, last - geometry.bottom, last - geometry.right});
    }
  }
  // What each output pixel sends to its taps, as many pictures at a time as give the product enough rows; then each input pixel
  // gathers what it was sent, in the order of the taps.
  const Index pixels = dy.shape[1] * dy.shape[2], at_once = std::max<Index>(1, detail::outer_rows / std::max<Index>(1, pixels));
  const Tensor<T, 2> rows = detail::taps_outside(weight);
  Tensor<T, 4> dx(shape);
  for (Index first = 0; first < shape[0]; first += at_once) {
    const Index count = std::min(at_once, shape[0] - first);
    const Tensor<T, 4> sent = linear_backward_input(rows, dy.slice(first, first + count));  // [count, H', W', taps * in]
    parallel_for(count * shape[1], [&](Index line) {
      const Index b = line / shape[1], y = line % shape[1];
      for (Index x = 0; x < shape[2]; ++x) {
        T* to = dx.data() + (((first + b) * shape[1] + y) * shape[2] + x) * in;
        std::fill_n(to, in, T(0));
        for (Index tap = 0; tap < taps; ++tap) {
          const Index row = y + geometry.top - tap / kernel, column = x + geometry.left - tap % kernel;
          if (row < 0 || column < 0 || row % geometry.stride || column % geometry.stride) continue;
          const Index i = row / geometry.stride, j = column / geometry.stride;
          if (i >= dy.shape[1] || j >= dy.shape[2]) continue;
          const T* from = sent.data() + ((b * pixels + i * dy.shape[2] + j) * taps + tap) * in;
#pragma omp simd
          for (Index c = 0; c < in; ++c) to[c] += from[c];
        }
      }
    });
  }
  return dx;
}

/// dweight [out, in, kernel, kernel] of y = conv2d(x, weight, bias, geometry), summed over the output pixels in an order that
/// the shapes alone decide: in float32 within (pixels + 2) eps32 times the sum of magnitudes. Throws where they do not fit together.
template <TensorLike X, TensorLike Dy>
auto conv2d_backward_weight(const X& input, Index kernel, ConvGeometry geometry, const Dy& gradient) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view(), dy = gradient.view();
  const Index in = x.shape[3], out = dy.shape[3], taps = kernel * kernel, pixels = dy.shape[1] * dy.shape[2];
  const Shape<4> shape{{out, in, kernel, kernel}};
  detail::require_conv2d("conv2d_backward_weight", x.shape, shape, geometry, dy.shape);
  Tensor<T, 2> rows(Shape{out, taps * in});
  const auto patch = [&](Index m, T* to) {  // what output pixel m saw
    for (Index tap = 0; tap < taps; ++tap, to += in) {
      const Index pixel = detail::tap_pixel(x.shape, geometry, dy.shape[2], m % pixels, tap / kernel, tap % kernel);
      if (pixel < 0) std::fill_n(to, in, T(0));
      else std::copy_n(x.row(m / pixels * x.shape[1] * x.shape[2] + pixel), in, to);
    }
  };
  if constexpr (detail::vectorised<T>) {
    // Where there are many pixels and few channels, runs of pixels are summed apart, each by one thread and out of its cache, and then
    // added in their order: the shapes alone say how many.
    const Index runs = rows.size() <= (Index{1} << 17) ? std::clamp<Index>(dy.rows() / 1024, 1, 16) : 1;
    const Index each = (dy.rows() + runs - 1) / runs;
    const Index at_once = runs == 1 ? detail::outer_rows : std::clamp<Index>((Index{1} << 16) / (taps * in), 32, detail::outer_rows);
    std::vector<Tensor<T, 2>> sums(static_cast<std::size_t>(runs));
    parallel_for(runs, [&](Index run) {
      const Index first_row = run * each, last_row = std::min(dy.rows(), first_row + each);
      Tensor<T, 2>& sum = sums[static_cast<std::size_t>(run)];
      sum = Tensor<T, 2>(rows.shape());
      Tensor<T, 2> patches(Shape{std::min(each, at_once), taps * in});
      Index start = 0;
      detail::outer_product(
          detail::as_rows(dy).slice(first_row, last_row), taps * in,
          [&](Index begin, Index end) {
            start = begin;
            parallel_chunks(end - begin, 16, [&](Index first, Index last) {
              for (Index m = first; m < last; ++m) patch(first_row + begin + m, patches.data() + m * taps * in);
            });
          },
          [&](Index m) { return patches.data() + (m - start) * taps * in; }, [&](Index n) { return sum.data() + n * taps * in; }, at_once);
    });
    rows = std::move(sums.front());
    for (std::size_t run = 1; run < sums.size(); ++run) rows += sums[run].view();
  } else {
    std::fill(rows.begin(), rows.end(), T(0));
    Tensor<T, 1> seen(Shape{taps * in});
    for (Index m = 0; m < dy.rows(); ++m) {
      patch(m, seen.data());
      for (Index o = 0; o < out; ++o)
        for (Index k = 0; k < taps * in; ++k) rows(o, k) += dy.row(m)[o] * seen.data()[k];
    }
  }
  Tensor<T, 4> dweight(shape);
  for (Index o = 0; o < out; ++o)
    for (Index c = 0; c < in; ++c)
      for (Index t = 0; t < taps; ++t) dweight.data()[(o * in + c) * taps + t] = rows(o, t * in + c);
  return dweight;
}

// The dbias of conv2d is linear_backward_bias(dy).

// upsample_conv2d(x, weight, bias) is conv2d(upsample_nearest2x(x), weight, bias, same(3)), and so is its backward.

/// dx [B, H, W, in] of y = upsample_conv2d(x, weight [out, in, 3, 3], bias), x of `shape`.
template <TensorLike W, TensorLike Dy>
auto upsample_conv2d_backward_input(const Shape<4>& shape, const W& filter, const Dy& dy) {
  const Shape<4> doubled{{shape[0], 2 * shape[1], 2 * shape[2], shape[3]}};
  return upsample_nearest2x_backward(conv2d_backward_input(doubled, filter, ConvGeometry::same(3), dy));
}

/// dweight [out, in, 3, 3] of y = upsample_conv2d(x, weight, bias).
template <TensorLike X, TensorLike Dy>
auto upsample_conv2d_backward_weight(const X& x, const Dy& dy) {
  return conv2d_backward_weight(upsample_nearest2x(x), 3, ConvGeometry::same(3), dy);
}

}  // namespace janusflow
