// linear: y = x . weightT + bias, and what a network does to y before anybody reads it.
#pragma once

#include <array>

#include "janusflow/ops/gemm.hpp"
#include "janusflow/simd/math.hpp"

namespace janusflow {

// What follows a product, on a vector of its outputs at (row, column .. column + count).
/// Nothing.
struct Identity {
  simd::Batch operator()(simd::Batch y, Index, Index, Index) const { return y; }
};
/// gelu(y), the exact form.
struct Gelu {
  simd::Batch operator()(simd::Batch y, Index, Index, Index) const { return simd::gelu(y); }
};
/// silu(y).
struct Silu {
  simd::Batch operator()(simd::Batch y, Index, Index, Index) const { return simd::silu(y); }
};
/// y + x, the residual connection; x has y's rows and columns.
template <class X>
struct Add {
  const X& x;

  simd::Batch operator()(simd::Batch y, Index row, Index column, Index count) const {
    return y + simd::load(x.view().row(row) + column, count);
  }
};
template <class X>
Add(const X&) -> Add<X>;

namespace detail {

/// Throws unless what `after` reads has the product's rows and columns.
template <class After>
void require_fits(const After&, Index, Index) {}
template <class X>
void require_fits(const Add<X>& after, Index rows, Index columns) {
  const auto x = after.x.view();
  require(x.rows() == rows && x.shape.last() == columns, "add: ", x.shape, " does not match the product ",
          Shape{rows, columns});
}

/// Where a product's row begins: rows one after another.
struct RowsInOrder {
  float* y;
  Index stride;

  float* operator()(Index row) const { return y + row * stride; }
};

/// Whether to write results [rows, columns] past the caches: they are too large for them, and every vector of them is aligned.
inline bool too_large_for_caches(Index rows, Index columns) {
  constexpr Index large = Index{1} << 20;  // floats
  return rows * columns >= large && columns % simd::width == 0;
}

/// Epilogue that writes after(tile + bias) to the product's rows, which place(row) finds.
template <class After, class Place = RowsInOrder>
struct StoreTile {
  Place place;
  Index columns;
  const float* bias;  // null: none
  After after;
  bool stream;  // past the caches
  PairOrder order = {};

  void operator()(Index row, Index rows, Index pair, const float* tile) const {
    for (Index half = 0; half < 2; ++half, tile += simd::width) {
      const Index column = order.panel(pair, half) * simd::width;
      if (column >= columns) return;
      const Index count = std::min(simd::width, columns - column);
      const simd::Batch shift = bias ? simd::load(bias + column, count) : simd::Batch(0.0f);
      for (Index r = 0; r < rows; ++r) {
        const auto sum = simd::Batch::load_aligned(tile + r * simd::tile_columns) + shift;
        const auto result = after(sum, row + r, column, count);
        if (stream) simd::stream(result, place(row + r) + column);
        else simd::store(result, place(row + r) + column, count);
      }
    }
  }
};

template <class Dot>
void require_product(const PackedInput<Dot>& x, const PackedMatrix<Dot>& weight) {
  require(weight.filled(), "linear: the weight ", Shape{weight.out_features(), weight.in_features()}, " has no values yet");
  require(x.features() == weight.in_features(), "linear: x [", x.rows(), ", ", x.features(), "] does not match weight ",
          Shape{weight.out_features(), weight.in_features()});
}

template <class Dot, class After>
void linear_into(const PackedInput<Dot>& x, const PackedMatrix<Dot>& weight, const Tensor<float, 1>& bias, After after,
                 float* y, Index stride) {
  require_product(x, weight);
  require(bias.empty() || bias.size() == weight.out_features(), "linear: bias ", bias.shape(), " does not match weight ",
          Shape{weight.out_features(), weight.in_features()});
  require_fits(after, x.rows(), weight.out_features());
  const PairOrder order = PairOrder::of(x.rows(), weight.panels());
  gemm<Dot>(x, PanelPairs<Dot>{weight, order},
            StoreTile<After>{{y, stride}, weight.out_features(), bias.empty() ? nullptr : bias.data(), after,
                             too_large_for_caches(x.rows(), stride), order});
}

}  // namespace detail

/// y [..., out] = after(x [..., in] . weightT [out, in] + bias [out]); an empty bias is none. Products and sums in the weight's dot
/// policy: each element one float32 sum in the order of `in`, so that a row's result depends on that row alone.
/// Error against exact arithmetic, before `after`: at most (in + 1) eps32 (sum |x w| + |bias|), eps32 = 2^-24; bfloat16 adds 2^-8
/// sum |x w| for its rounding of x. Throws Error where shapes do not fit together or the weight has no values.
template <TensorLike X, class Dot, class After = Identity>
Tensor<float, X::rank> linear(const X& x, const PackedMatrix<Dot>& weight, const Tensor<float, 1>& bias = {},
                              After after = {}) {
  const TensorView<const float, X::rank> input = x.view();
  require(input.shape.last() == weight.in_features(), "linear: x ", input.shape, " does not match weight ",
          Shape{weight.out_features(), weight.in_features()});
  Tensor<float, X::rank> y(input.shape.with_last(weight.out_features()));
  detail::linear_into(PackedInput<Dot>(input), weight, bias, after, y.data(), weight.out_features());
  return y;
}

/// Several products of one input as one: {x . w0T, x . w1T, ...}. No biases. The same bytes as linear's.
template <TensorLike X, class Dot, class... More>
auto linear_each(const X& x, const PackedMatrix<Dot>& first, const More&... more) {
  const TensorView<const float, X::rank> input = x.view();
  const PackedInput<Dot> packed(input);
  const auto order = [&](const PackedMatrix<Dot>& weight) { return PairOrder::of(packed.rows(), weight.panels()); };
  const auto result = [&](const PackedMatrix<Dot>& weight) {
    detail::require_product(packed, weight);
    return Tensor<float, X::rank>(input.shape.with_last(weight.out_features()));
  };
  std::array y{result(first), result(more)...};
  const auto store = [&](Tensor<float, X::rank>& to, const PackedMatrix<Dot>& weight) {
    const Index columns = weight.out_features();
    return detail::StoreTile<Identity>{{to.data(), columns}, columns, nullptr, {}, detail::too_large_for_caches(packed.rows(), columns),
                                       order(weight)};
  };
  std::size_t next = 0;
  const std::array stores{store(y[next++], first), store(y[next++], more)...};
  const PairsOfEach<Dot, 1 + sizeof...(More)> pairs{{PanelPairs<Dot>(first, order(first)), PanelPairs<Dot>(more, order(more))...}};
  gemm<Dot>(packed, pairs, [&](Index row, Index rows, Index pair, const float* tile) {
    const auto [i, own] = pairs.find(pair);
    stores[i](row, rows, own, tile);
  });
  return y;
}

/// silu(x . gateT) * (x . upT), one pass over both weights: the gated half of Llama's feed-forward (Shazeer 2020,
/// arXiv 2002.05202, eq. 6), without biases. The same bytes as silu(linear(x, gate)) times linear(x, up).
template <TensorLike X, class Dot>
Tensor<float, X::rank> swiglu(const X& x, const PackedMatrix<Dot>& gate, const PackedMatrix<Dot>& up) {
  const TensorView<const float, X::rank> input = x.view();
  const Index columns = gate.out_features();
  require(gate.filled() && up.filled() && input.shape.last() == gate.in_features() && up.out_features() == columns &&
              up.in_features() == gate.in_features(),
          "swiglu: x ", input.shape, " does not match gate ", Shape{columns, gate.in_features()}, " and up ",
          Shape{up.out_features(), up.in_features()});
  Tensor<float, X::rank> y(input.shape.with_last(columns));
  const bool stream = detail::too_large_for_caches(input.rows(), columns);
  gemm<Dot>(PackedInput<Dot>(input), PanelTwins<Dot>{gate, up},
            [&](Index row, Index rows, Index panel, const float* tile) {
              const Index column = panel * simd::width, count = std::min(simd::width, columns - column);
              for (Index r = 0; r < rows; ++r, tile += simd::tile_columns) {
                const auto g = simd::Batch::load_aligned(tile), u = simd::Batch::load_aligned(tile + simd::width);
                float* to = y.data() + (row + r) * columns + column;
                if (stream) simd::stream(simd::silu(g) * u, to);
                else simd::store(simd::silu(g) * u, to, count);
              }
            });
  return y;
}

namespace reference {

/// linear as its definition says, in x's type.
template <TensorLike X, TensorLike W, class T = typename X::value_type>
Tensor<T, X::rank> linear(const X& x, const W& weight, const Tensor<T, 1>& bias = {}) {
  const TensorView<const T, X::rank> input = x.view();
  const TensorView<const T, 2> w = weight.view();
  const Index columns = w.shape[0];
  Tensor<T, X::rank> y(input.shape.with_last(columns));
  for (Index i = 0; i < input.rows(); ++i)
    for (Index n = 0; n < columns; ++n) {
      T sum = bias.empty() ? T(0) : bias.data()[n];
      for (Index k = 0; k < w.shape[1]; ++k) sum += input.row(i)[k] * w(n, k);
      y.data()[i * columns + n] = sum;
    }
  return y;
}

}  // namespace reference

}  // namespace janusflow
