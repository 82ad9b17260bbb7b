// linear: y = x . weightT + bias, and what a network does to y before anybody reads it.
#pragma once

#include <array>

#include "janusflow/ops/gemm.hpp"
#include "janusflow/simd/math.hpp"

namespace janusflow {

// What follows a product, on a vector of its outputs at (row, column .. column + count). Where its exactness depends on what the result
// is rounded to, float or bfloat16, that is T.
/// Nothing.
struct Identity {
  simd::Batch operator()(simd::Batch y, Index, Index, Index) const { return y; }
};
/// gelu(y), the exact form.
struct Gelu {
  template <class T>
  simd::Batch operator()(simd::Batch y, Index, Index, Index) const {
    return simd::gelu<T>(y);
  }
};
/// silu(y).
struct Silu {
  template <class T>
  simd::Batch operator()(simd::Batch y, Index, Index, Index) const {
    return simd::silu<T>(y);
  }
};
/// y + x, the residual connection; x has y's rows and columns.
template <class X>
struct Add {
  const X& x;

  simd::Batch operator()(simd::Batch y, Index row, Index column, Index count) const {
    return y + simd::load(x.view().row(row) + column, count);
  }
  [[gnu::always_inline]] void ask_ahead(Index row, Index column) const { simd::prefetch(x.view().row(row) + column, 1); }
};
template <class X>
Add(const X&) -> Add<X>;

namespace detail {

/// after(y, row, column, count), whose result will be rounded to T.
template <class T, class After>
simd::Batch follow(const After& after, simd::Batch y, Index row, Index column, Index count) {
  if constexpr (requires { after(y, row, column, count); }) return after(y, row, column, count);
  else return after.template operator()<T>(y, row, column, count);
}

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
template <class T>
struct RowsInOrder {
  T* y;
  Index stride;

  T* operator()(Index row) const { return y + row * stride; }
};

/// Whether to write results [rows, columns] of T past the caches: they are too large for the second level, where a product that leaves them
/// is slower, and every vector of floats is aligned.
template <class T>
bool too_large_for_caches(Index rows, Index columns) {
  constexpr Index large = (Index{1} << 20) / static_cast<Index>(sizeof(T));
  return rows * columns >= large && columns % simd::width == 0;
}

/// Writes the first `count` lanes of a result, past the caches if that is asked for and they are a whole cache line.
template <class T>
void put(simd::Batch result, T* to, Index count, bool stream) {
  if constexpr (std::is_same_v<T, float>)
    if (stream) return simd::stream(result, to);
  simd::store(result, to, count);
}

/// Epilogue that writes after(tile + bias) to the product's rows, which place(row) finds; they are of float, or rounded to bfloat16.
template <class After, class Place = RowsInOrder<float>>
struct StoreTile {
  Place place;
  Index columns;
  const float* bias;  // null: none
  After after;
  bool stream;  // past the caches
  PairOrder order = {};

  /// Asks for what `after` will read at a tile: its lines lie a row apart, which no prefetcher foresees.
  [[gnu::always_inline]] void ask_ahead(Index row, Index rows, Index pair) const {
    if constexpr (requires { after.ask_ahead(row, columns); })
      for (Index half = 0; half < 2; ++half)
        if (const Index column = order.panel(pair, half) * simd::width; column < columns)
          for (Index r = 0; r < rows; ++r) after.ask_ahead(row + r, column);
  }
  void operator()(Index row, Index rows, Index pair, const float* tile) const {
    using T = std::remove_pointer_t<decltype(place(row))>;
    constexpr Index most_rows = std::max<Index>(simd::tile_rows, simd::most_rows_on_tiles);  // of whatever policy
    // All that `after` reads before anything is written: rows are often whole pages apart, where a processor takes a read for one of
    // what was just written.
    alignas(64) float results[most_rows * simd::tile_columns];
    const Index begin[] = {order.panel(pair, 0) * simd::width, order.panel(pair, 1) * simd::width};
    const Index count[] = {std::min(simd::width, columns - begin[0]), std::min(simd::width, columns - begin[1])};
    for (const Index half : {0, 1}) {
      if (count[half] <= 0) continue;
      const simd::Batch shift = bias ? simd::load(bias + begin[half], count[half]) : simd::Batch(0.0f);
      for (Index r = 0; r < rows; ++r) {
        const Index at = r * simd::tile_columns + half * simd::width;
        follow<T>(after, simd::Batch::load_aligned(tile + at) + shift, row + r, begin[half], count[half]).store_aligned(results + at);
      }
    }
    const auto result = [&](Index r, Index half) { return simd::Batch::load_aligned(results + r * simd::tile_columns + half * simd::width); };
    if (simd::whole_lines && stream && begin[1] == begin[0] + simd::width && count[1] == simd::width) {  // two of bfloat16 are a cache line
      for (Index r = 0; r < rows; ++r) simd::stream(result(r, 0), result(r, 1), place(row + r) + begin[0]);
    } else {
      for (const Index half : {0, 1})
        for (Index r = 0; count[half] > 0 && r < rows; ++r) put(result(r, half), place(row + r) + begin[half], count[half], stream);
    }
  }
};

/// Packs vector(r), of columns [column, column + count), for the rows of the panel that begins at `row`.
template <class Dot, class Vector>
void pack_columns(PackedInput<Dot>& to, Index row, Index rows, Index column, Index count, Vector&& vector) {
  constexpr Index chunk = simd::panel_chunk;
  const Index word = column / Dot::depth;
  auto* out = to.panel(row) + word / chunk * rows * chunk + word % chunk;
  for (Index r = 0; r < rows; ++r, out += chunk) {
    alignas(64) float values[simd::panel_chunk];  // as many as input_words may take
    vector(r).store_aligned(values);
    Dot::input_words(values, count, out);
  }
}

/// Epilogue that packs after(tile + bias) for the next product.
template <class Dot, class After>
struct PackTile {
  PackedInput<Dot>& to;
  const float* bias;  // null: none
  After after;
  PairOrder order = {};

  void operator()(Index row, Index rows, Index pair, const float* tile) const {
    for (Index half = 0; half < 2; ++half, tile += simd::width) {
      const Index column = order.panel(pair, half) * simd::width;
      if (column >= to.features()) return;
      const Index count = std::min(simd::width, to.features() - column);
      const simd::Batch shift = bias ? simd::load(bias + column, count) : simd::Batch(0.0f);
      pack_columns(to, row, rows, column, count, [&](Index r) {
        return follow<typename Dot::Value>(after, simd::Batch::load_aligned(tile + r * simd::tile_columns) + shift, row + r, column, count);
      });
    }
  }
};

template <class Dot>
void require_product(const PackedInput<Dot>& x, const PackedMatrix<Dot>& weight) {
  require(weight.filled(), "linear: the weight ", Shape{weight.out_features(), weight.in_features()}, " has no values yet");
  require(x.features() == weight.in_features(), "linear: x [", x.rows(), ", ", x.features(), "] does not match weight ",
          Shape{weight.out_features(), weight.in_features()});
}

/// The product behind linear; `epilogue(bias or null, order)` makes what its tiles go through.
template <class Dot, class After, class Epilogue>
void linear_through(const PackedInput<Dot>& x, const PackedMatrix<Dot>& weight, const Tensor<float, 1>& bias, const After& after,
                    Epilogue&& epilogue) {
  require_product(x, weight);
  require(bias.empty() || bias.size() == weight.out_features(), "linear: bias ", bias.shape(), " does not match weight ",
          Shape{weight.out_features(), weight.in_features()});
  require_fits(after, x.rows(), weight.out_features());
  const PairOrder order = PairOrder::of(x.rows(), weight.panels());
  gemm<Dot>(x, PanelPairs<Dot>{weight, order}, epilogue(bias.empty() ? nullptr : bias.data(), order));
}

/// Throws before anything is packed.
template <class X, class Dot>
void require_columns(const X& x, const PackedMatrix<Dot>& weight) {
  require(input_shape(x).last() == weight.in_features(), "linear: x ", input_shape(x), " does not match weight ",
          Shape{weight.out_features(), weight.in_features()});
}

/// linear into a tensor of T.
template <class T, class X, class Dot, class After>
Tensor<T, X::rank> linear_as(const X& x, const PackedMatrix<Dot>& weight, const Tensor<float, 1>& bias, const After& after) {
  require_columns(x, weight);
  const Index columns = weight.out_features();
  Tensor<T, X::rank> y(input_shape(x).with_last(columns));
  linear_through(packed_input<Dot>(x), weight, bias, after, [&](const float* shift, PairOrder order) {
    return StoreTile<After, RowsInOrder<T>>{{y.data(), columns}, columns, shift, after, too_large_for_caches<T>(y.shape().rows(), columns), order};
  });
  return y;
}

}  // namespace detail

/// y [..., out] = after(x [..., in] . weightT [out, in] + bias [out]); an empty bias is none. x is a tensor or packed rows. Products and
/// sums in the weight's dot policy: each element one float32 sum in the order of `in`, so that a row's result depends on that row alone.
/// Error against exact arithmetic, before `after`: at most (in + 1) eps32 (sum |x w| + |bias|), eps32 = 2^-24; bfloat16 adds 2^-8
/// sum |x w| for its rounding of x. Throws Error where shapes do not fit together or the weight has no values.
template <ProductInput X, class Dot, class After = Identity>
Tensor<float, X::rank> linear(const X& x, const PackedMatrix<Dot>& weight, const Tensor<float, 1>& bias = {},
                              After after = {}) {
  return detail::linear_as<float>(x, weight, bias, after);
}

/// linear for products with matrices of type Matrix to read. Where they are of the same policy: packed, rounded as they round; or, where
/// whole rows are needed for that, as quantised matrices need them, a tensor rounded to bfloat16, half of what is written and read again.
/// What follows the product is as exact as that rounding asks (simd/math.hpp). Else linear's tensor.
template <class Matrix, ProductInput X, class Dot, class After = Identity>
auto linear_for(const X& x, const PackedMatrix<Dot>& weight, const Tensor<float, 1>& bias = {}, After after = {}) {
  if constexpr (!std::is_same_v<Matrix, PackedMatrix<Dot>>) {
    return linear(x, weight, bias, after);
  } else if constexpr (Dot::quantised) {
    return detail::linear_as<bfloat16>(x, weight, bias, after);
  } else {
    detail::require_columns(x, weight);
    const Shape<X::rank> shape = detail::input_shape(x).with_last(weight.out_features());
    PackedRows<Dot, X::rank> y{shape, {shape.rows(), weight.out_features()}};
    detail::linear_through(detail::packed_input<Dot>(x), weight, bias, after, [&](const float* shift, PairOrder order) {
      return detail::PackTile<Dot, After>{y.input, shift, after, order};
    });
    return y;
  }
}

/// linear, rounded to T: float or bfloat16. For attention, whose products would round it in any case.
template <class T, ProductInput X, class Dot>
Tensor<T, X::rank> rounded_linear(const X& x, const PackedMatrix<Dot>& weight, const Tensor<float, 1>& bias = {}) {
  return detail::linear_as<T>(x, weight, bias, Identity());
}

/// Several products of one input as one: {x . w0T, x . w1T, ...}. No biases. The same bytes as linear's.
template <ProductInput X, class Dot, class... More>
auto linear_each(const X& x, const PackedMatrix<Dot>& first, const More&... more) {
  const Shape<X::rank> shape = detail::input_shape(x);
  const PackedInput<Dot>& packed = detail::packed_input<Dot>(x);
  const auto order = [&](const PackedMatrix<Dot>& weight) { return PairOrder::of(packed.rows(), weight.panels()); };
  const auto result = [&](const PackedMatrix<Dot>& weight) {
    detail::require_product(packed, weight);
    return Tensor<float, X::rank>(shape.with_last(weight.out_features()));
  };
  std::array y{result(first), result(more)...};
  const auto store = [&](Tensor<float, X::rank>& to, const PackedMatrix<Dot>& weight) {
    const Index columns = weight.out_features();
    return detail::StoreTile<Identity>{{to.data(), columns}, columns, nullptr, {}, detail::too_large_for_caches<float>(packed.rows(), columns),
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

namespace detail {

template <class X, class Dot>
void require_swiglu(const X& x, const PackedMatrix<Dot>& gate, const PackedMatrix<Dot>& up) {
  const auto shape = input_shape(x);
  require(gate.filled() && up.filled() && shape.last() == gate.in_features() && up.out_features() == gate.out_features() &&
              up.in_features() == gate.in_features(),
          "swiglu: x ", shape, " does not match gate ", Shape{gate.out_features(), gate.in_features()}, " and up ",
          Shape{up.out_features(), up.in_features()});
}

/// silu(gate) * up of a row of a tile of both, to be rounded to T.
template <class T>
simd::Batch gated(const float* tile) {
  return simd::silu<T>(simd::Batch::load_aligned(tile)) * simd::Batch::load_aligned(tile + simd::width);
}

/// swiglu into a tensor of T.
template <class T, class X, class Dot>
Tensor<T, X::rank> swiglu_as(const X& x, const PackedMatrix<Dot>& gate, const PackedMatrix<Dot>& up) {
  require_swiglu(x, gate, up);
  const Index columns = gate.out_features();
  Tensor<T, X::rank> y(input_shape(x).with_last(columns));
  const bool stream = too_large_for_caches<T>(y.shape().rows(), columns);
  gemm<Dot>(packed_input<Dot>(x), PanelTwins<Dot>{gate, up}, [&](Index row, Index rows, Index panel, const float* tile) {
    const Index column = panel * simd::width, count = std::min(simd::width, columns - column);
    for (Index r = 0; r < rows; ++r, tile += simd::tile_columns) put(gated<T>(tile), y.data() + (row + r) * columns + column, count, stream);
  });
  return y;
}

}  // namespace detail

/// silu(x . gateT) * (x . upT), one pass over both weights: the gated half of Llama's feed-forward (Shazeer 2020,
/// arXiv 2002.05202, eq. 6), without biases. The same bytes as silu(linear(x, gate)) times linear(x, up).
template <ProductInput X, class Dot>
Tensor<float, X::rank> swiglu(const X& x, const PackedMatrix<Dot>& gate, const PackedMatrix<Dot>& up) {
  return detail::swiglu_as<float>(x, gate, up);
}

/// swiglu for products with matrices of type Matrix to read, as linear_for.
template <class Matrix, ProductInput X, class Dot>
auto swiglu_for(const X& x, const PackedMatrix<Dot>& gate, const PackedMatrix<Dot>& up) {
  if constexpr (!std::is_same_v<Matrix, PackedMatrix<Dot>>) {
    return swiglu(x, gate, up);
  } else if constexpr (Dot::quantised) {
    return detail::swiglu_as<bfloat16>(x, gate, up);
  } else {
    detail::require_swiglu(x, gate, up);
    const Index columns = gate.out_features();
    const Shape<X::rank> shape = detail::input_shape(x).with_last(columns);
    PackedRows<Dot, X::rank> y{shape, {shape.rows(), columns}};
    gemm<Dot>(detail::packed_input<Dot>(x), PanelTwins<Dot>{gate, up}, [&](Index row, Index rows, Index panel, const float* tile) {
      const Index column = panel * simd::width, count = std::min(simd::width, columns - column);
      detail::pack_columns(y.input, row, rows, column, count, [&](Index r) { return detail::gated<typename Dot::Value>(tile + r * simd::tile_columns); });
    });
    return y;
  }
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
