// The backward of linear: two more products, for the input's gradient and for the weight's.
#pragma once

#include <cstring>
#include <span>
#include <vector>

#include "janusflow/ops/linear.hpp"
#include "janusflow/ops/norms.hpp"
#include "janusflow/simd/outer_tile.hpp"

namespace janusflow {

namespace detail {

/// Weights one below the other, as if they were one matrix: row n of all of them.
template <class T>
class StackedRows {
 public:
  explicit StackedRows(std::span<const TensorView<const T, 2>> weights) {
    for (const auto& weight : weights)
      for (Index n = 0; n < weight.shape[0]; ++n) rows_.push_back(weight.row(n));
  }
  Index count() const { return std::ssize(rows_); }
  const T* operator()(Index n) const { return rows_[static_cast<std::size_t>(n)]; }

 private:
  std::vector<const T*> rows_;
};

template <class T, int R>
TensorView<const T, 2> as_rows(TensorView<const T, R> x) {
  return {x.data, Shape{x.rows(), x.shape.last()}, x.row_stride};
}

/// Calls body(begin, end, panel) for blocks of rows of x that cover all of them, on all threads; panel(row) is the input panel that
/// starts at a row. Each block is packed by the thread that uses it, and so out of its cache: long batches pass memory once.
template <class Body>
void for_packed_rows(TensorView<const float, 2> x, Body&& body) {
  const Index words = input_row_words<simd::Float32Dot>(x.shape[1]), blocks = (x.rows() + simd::tile_rows - 1) / simd::tile_rows;
  const Index grain = std::clamp<Index>(blocks / (4 * num_threads()), 1, 8) * simd::tile_rows;
  parallel_chunks(x.rows(), grain, [&](Index begin, Index end) {
    Tensor<float, 1> packed(Shape{(end - begin) * words});
    for (Index row = begin; row < end; row += simd::tile_rows) {
      const Index count = std::min<Index>(simd::tile_rows, end - row);
      for (Index r = 0; r < count; ++r)
        pack_input_row<simd::Float32Dot>(x.row(row + r), x.shape[1], packed.data() + (row - begin) * words, r, count);
    }
    body(begin, end, [&](Index row) { return packed.data() + (row - begin) * words; });
  });
}

/// y [rows, out] = after(x . weightT + bias), as linear computes it. What `after` reads must have been checked.
template <class After>
void multiply_rows(TensorView<const float, 2> x, const PackedMatrix<simd::Float32Dot>& weight, const Tensor<float, 1>& bias, After after,
                   float* y) {
  const Index columns = weight.out_features();
  const PanelPairs<simd::Float32Dot> pairs{weight};
  const StoreTile<After> store{{y, columns}, columns, bias.empty() ? nullptr : bias.data(), after, too_large_for_caches<float>(x.rows(), columns)};
  for_packed_rows(x, [&](Index begin, Index end, auto&& panel) {
    gemm_block<simd::Float32Dot>(begin, end, panel, pairs, 0, pairs.count(), store);
  });
}

/// Rows that are summed over at a time in a product of a transpose: what a tile reads of them stays in the second-level cache.
inline constexpr Index outer_rows = 2048;

/// place(n)[c] = sum over m of dy [M, N](m, n) x(m)[c], c in [0, columns), in the order of m by blocks of `at_once`. Before a block's
/// rows of x are read, prepare(begin, end) is called.
template <class Prepare, class Row, class Place>
void outer_product(TensorView<const float, 2> dy, Index columns, Prepare&& prepare, Row&& x, Place&& place, Index at_once = outer_rows) {
  const Index rows = dy.shape[0], outputs = dy.shape[1];
  if (rows == 0)
    for (Index n = 0; n < outputs; ++n) std::fill_n(place(n), columns, 0.0f);
  for (Index begin = 0; begin < rows; begin += at_once) {
    const Index depth = std::min(rows - begin, at_once);
    prepare(begin, begin + depth);
    PackedMatrix<simd::Float32Dot> right(columns, depth);
    right.pack_columns([&](Index m) { return x(begin + m); });
    const PanelPairs<simd::Float32Dot> pairs{right};
    const Index panels = outputs > 16 * simd::tile_rows ? 2 : 1;  // of a piece; enough pieces for the threads
    parallel_chunks(outputs, panels * simd::tile_rows, [&](Index from, Index to) {
      Tensor<float, 1> left(Shape{(to - from) * depth});  // these columns of dy, as outer_tile wants them
      for (Index n = from; n < to; n += simd::tile_rows) {
        const Index count = std::min<Index>(simd::tile_rows, to - n);
        float* out = left.data() + (n - from) * depth;
        if (count == simd::tile_rows)  // a size that the compiler knows
          for (Index m = 0; m < depth; ++m) std::memcpy(out + m * simd::tile_rows, dy.row(begin + m) + n, sizeof(float) * simd::tile_rows);
        else
          for (Index m = 0; m < depth; ++m) std::copy_n(dy.row(begin + m) + n, count, out + m * count);
      }
      alignas(64) float tile[simd::tile_rows * simd::tile_columns];
      for (Index pair = 0; pair < pairs.count(); ++pair)
        for (Index n = from; n < to; n += simd::tile_rows) {
          const Index count = std::min<Index>(simd::tile_rows, to - n);
          simd::outer_tile_for(count)(depth, left.data() + (n - from) * depth, pairs.at(pair, 0), tile);
          for (Index r = 0; r < count; ++r)
            for (Index half = 0; half < 2; ++half) {
              const Index column = (2 * pair + half) * simd::width;
              if (column >= columns) break;
              const Index lanes = std::min(simd::width, columns - column);
              float* at = place(n + r) + column;
              auto sum = simd::Batch::load_aligned(tile + r * simd::tile_columns + half * simd::width);
              if (begin > 0) sum += simd::load(at, lanes);
              simd::store(sum, at, lanes);
            }
        }
    });
  }
}

template <class T, int R>
void require_linear(const char* op, const StackedRows<T>& weight, Index in, const Shape<R>& dy) {
  require(dy.last() == weight.count(), op, ": dy ", dy, " does not match weight ", Shape{weight.count(), in});
}

/// dy [..., N] . weight [N, in], the rows of the weight given, added to `dx` where it is not empty.
template <class T, int R>
Tensor<T, R> input_gradient(const StackedRows<T>& weight, Index in, TensorView<const T, R> dy, Tensor<T, R> dx = {}) {
  require_linear("linear_backward_input", weight, in, dy.shape);
  const bool adds = !dx.empty();
  if (!adds) dx = Tensor<T, R>(dy.shape.with_last(in));
  if constexpr (vectorised<T>) {
    PackedMatrix<simd::Float32Dot> transposed(in, weight.count());
    transposed.pack_columns(weight);
    if (adds) multiply_rows(as_rows(dy), transposed, {}, Add{dx}, dx.data());
    else multiply_rows(as_rows(dy), transposed, {}, Identity{}, dx.data());
  } else {
    if (!adds) std::fill(dx.begin(), dx.end(), T(0));
    for (Index m = 0; m < dy.rows(); ++m)
      for (Index n = 0; n < weight.count(); ++n)
        for (Index k = 0; k < in; ++k) dx.data()[m * in + k] += dy.row(m)[n] * weight(n)[k];
  }
  return dx;
}

}  // namespace detail

/// dx [..., in] of y = linear(x, weight, bias): dy [..., out] . weight [out, in]. One float32 sum an element, in the order of `out`: within
/// (out + 2) eps32 times the sum of magnitudes.
template <TensorLike W, TensorLike Dy>
auto linear_backward_input(const W& weight, const Dy& dy) {
  const TensorView<const typename Dy::value_type, 2> w = weight.view();
  return detail::input_gradient(detail::StackedRows<typename Dy::value_type>({&w, 1}), w.shape[1], detail::const_view(dy));
}

/// dweight [out, in] of y = linear(x, weight, bias): dyT . x, summed over all rows in their order, by blocks of outer_rows: in
/// float32 within (rows + 2) eps32 times the sum of magnitudes.
template <TensorLike X, TensorLike Dy>
auto linear_backward_weight(const X& input, const Dy& gradient) {
  using T = typename X::value_type;
  const auto x = detail::as_rows(detail::const_view(input)), dy = detail::as_rows(detail::const_view(gradient));
  require(x.shape[0] == dy.shape[0], "linear_backward_weight: x ", input.view().shape, " does not match dy ", gradient.view().shape);
  const Index in = x.shape[1], out = dy.shape[1];
  Tensor<T, 2> dweight(Shape{out, in});
  if constexpr (detail::vectorised<T>) {
    detail::outer_product(
        dy, in, [](Index, Index) {}, [&](Index m) { return x.row(m); }, [&](Index n) { return dweight.data() + n * in; });
  } else {
    std::fill(dweight.begin(), dweight.end(), T(0));
    for (Index m = 0; m < x.shape[0]; ++m)
      for (Index n = 0; n < out; ++n)
        for (Index k = 0; k < in; ++k) dweight(n, k) += dy(m, n) * x(m, k);
  }
  return dweight;
}

/// dbias [out] of y = linear(x, weight, bias), or of any sum with a vector: the sum of dy's rows, in float32 within (rows + 2) eps32 times
/// that of magnitudes.
template <TensorLike Dy>
auto linear_backward_bias(const Dy& gradient) {
  using T = typename Dy::value_type;
  const auto dy = detail::as_rows(detail::const_view(gradient));
  const Index n = dy.shape[1], grain = 128;
  Tensor<T, 2> parts(Shape{(dy.shape[0] + grain - 1) / grain, n});
  parallel_chunks(dy.shape[0], grain, [&](Index begin, Index end) {
    T* sums = parts.data() + begin / grain * n;
    if constexpr (detail::vectorised<T>) {
      simd::column_sums(end - begin, n, dy.row_stride, sums, [](Index, simd::Batch v) { return v; }, dy.row(begin));
    } else {
      std::fill_n(sums, n, T(0));
      for (Index m = begin; m < end; ++m)
        for (Index c = 0; c < n; ++c) sums[c] += dy(m, c);
    }
  });
  return detail::sum_of_rows(parts);
}

}  // namespace janusflow
