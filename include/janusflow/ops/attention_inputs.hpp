// What a language model's attention reads, straight from the product: queries, keys and values, rotated and rounded.
#pragma once

#include "janusflow/ops/linear.hpp"
#include "janusflow/ops/rope.hpp"

namespace janusflow {

namespace detail {

/// Epilogue that rotates the heads of a product's rows. A pair of panels are the same columns of both halves of a head.
template <class T>
struct RotateTile {
  RowsInOrder<T> place;
  PairOrder order;  // apart: a head's half
  const Rotation* rotation;
  bool stream;  // past the caches

  void operator()(Index row, Index rows, Index pair, const float* tile) const {
    const Index column = order.panel(pair, 0) * simd::width, half = order.apart * simd::width, angle = column % (2 * half);
    for (Index r = 0; r < rows; ++r, tile += simd::tile_columns) {
      const auto [left, right] =
          rotated(simd::Batch::load_aligned(tile), simd::Batch::load_aligned(tile + simd::width),
                  simd::load(rotation->cos(row + r) + angle, simd::width), simd::load(rotation->sin(row + r) + angle, simd::width));
      put(left, place(row + r) + column, simd::width, stream);
      put(right, place(row + r) + column + half, simd::width, stream);
    }
  }
};

/// x as T.
template <class T, int R>
Tensor<T, R> rounded(Tensor<float, R> x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    Tensor<T, R> y(x.shape());
    for_rows(x.shape().rows(), x.shape().last(), [&](Index begin, Index end) {
      const Index n = x.shape().last();
      for (Index i = begin * n; i < end * n; i += simd::width) {
        const Index lanes = std::min(simd::width, end * n - i);
        simd::store(simd::load(x.data() + i, lanes), y.data() + i, lanes);
      }
    });
    return y;
  }
}

}  // namespace detail

/// {rope(x . qT), rope(x . kT), x . vT} as one product, each rounded once to T, float or bfloat16: for attention in a precision that would
/// round them in any case. The same bytes as linear_each's, rotated, then rounded. Throws Error where shapes, heads or positions do not fit
/// together.
template <class T, ProductInput X, class Dot>
std::array<Tensor<T, X::rank>, 3> attention_inputs(const X& x, const PackedMatrix<Dot>& q, const PackedMatrix<Dot>& k, const PackedMatrix<Dot>& v,
                                                   const Rotation& rotation) {
  const Shape<X::rank> shape = detail::input_shape(x);
  const Index half = rotation.head_dim() / 2;
  // Where a half is no whole panels; and where one row waits for the weights, which it reads best in an order of their own.
  if (half % simd::width != 0 || shape.rows() == 1) {
    auto [queries, keys, values] = linear_each(x, q, k, v);
    return {detail::rounded<T>(rope(std::move(queries), rotation)), detail::rounded<T>(rope(std::move(keys), rotation)),
            detail::rounded<T>(std::move(values))};
  }
  const PackedInput<Dot>& packed = detail::packed_input<Dot>(x);
  for (const PackedMatrix<Dot>* weight : {&q, &k, &v}) detail::require_product(packed, *weight);
  detail::require_rotation("rope", shape.with_last(q.out_features()), rotation);
  detail::require_rotation("rope", shape.with_last(k.out_features()), rotation);
  std::array y{Tensor<T, X::rank>(shape.with_last(q.out_features())), Tensor<T, X::rank>(shape.with_last(k.out_features())),
               Tensor<T, X::rank>(shape.with_last(v.out_features()))};
  const PairOrder heads{half / simd::width}, usual = PairOrder::of(packed.rows(), v.panels());
  const auto rows_of = [&](std::size_t i) { return detail::RowsInOrder<T>{y[i].data(), y[i].shape().last()}; };
  const auto stream = [&](std::size_t i) { return detail::too_large_for_caches<T>(packed.rows(), y[i].shape().last()); };
  const auto rotated = [&](std::size_t i) { return detail::RotateTile<T>{rows_of(i), heads, &rotation, stream(i)}; };
  const std::array rotate{rotated(0), rotated(1)};
  const detail::StoreTile<Identity, detail::RowsInOrder<T>> store{rows_of(2), v.out_features(), nullptr, {}, stream(2), usual};
  const PairsOfEach<Dot, 3> pairs{{PanelPairs<Dot>(q, heads), PanelPairs<Dot>(k, heads), PanelPairs<Dot>(v, usual)}};
  gemm<Dot>(packed, pairs, [&](Index row, Index rows, Index pair, const float* tile) {
    const auto [i, own] = pairs.find(pair);
    if (i < 2) rotate[i](row, rows, own, tile);
    else store(row, rows, own, tile);
  });
  return y;
}

}  // namespace janusflow
