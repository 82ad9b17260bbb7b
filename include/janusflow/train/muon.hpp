// Muon: momentum of a matrix, made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon).
#pragma once

#include <algorithm>
#include <cmath>

#include "janusflow/ops/linear.hpp"

namespace janusflow {

/// Momentum and the matrices' own learning rate, which is far above AdamW's: an update has singular values of about one.
struct MuonSettings {
  double momentum = 0.95;
  double learning_rate = 0.02;
};

namespace detail {

/// factor x + more y, in place of y.
inline void mix(float factor, const Tensor<float, 2>& x, float more, Tensor<float, 2>& y) {
  for (Index i = 0; i < y.size(); ++i) y.data()[i] = factor * x.data()[i] + more * y.data()[i];
}

/// x xT [R, R] of rows [R, C], packed from them as weights too: the bytes of linear(x, same). The sums of (i, j) and of (j, i) are the
/// same bits, so that of each block of rows what lies right of the diagonal is left out, and copied.
template <class Dot>
Tensor<float, 2> gram(const Tensor<float, 2>& x, const PackedMatrix<Dot>& same) {
  const PackedInput<Dot> input(x.view());
  const Index panel_rows = simd::panel_rows<Dot>(), high = 8 * simd::tile_rows / panel_rows * panel_rows;
  const Index rows = x.shape()[0], blocks = (rows + high - 1) / high;
  Tensor<float, 2> y(Shape{rows, rows});
  const StoreTile<Identity> store{{y.data(), rows}, rows, nullptr, {}, false};
  parallel_for(blocks, [&](Index block) {
    const Index end = std::min(rows, (block + 1) * high), pairs = (end + simd::tile_columns - 1) / simd::tile_columns;
    gemm_block<Dot>(block * high, end, [&](Index row) { return input.panel(row); }, PanelPairs<Dot>(same), 0, pairs, store);
  });
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < i; ++j) y(j, i) = y(i, j);
  return y;
}

}  // namespace detail

/// g [R, C] with its singular values brought near one: five steps of a quintic Newton-Schulz iteration, X <- a X + (b A + c A^2) X with
/// A = X XT, on the shorter side. Those above 1/650 of their Euclidean norm (plus 1e-7) come to lie between 0.68 and 1.21, lesser ones
/// grow by up to a^5 = 485. Products in Dot's precision; bfloat16 is enough, as the author has it. A zero matrix stays zero.
template <class Dot = simd::BFloat16Dot>
Tensor<float, 2> orthogonalized(TensorView<const float, 2> g) {
  constexpr float a = 3.4445f, b = -4.7750f, c = 2.0315f;
  constexpr int steps = 5;
  const bool tall = g.shape[0] > g.shape[1];
  const Index rows = std::min(g.shape[0], g.shape[1]), columns = std::max(g.shape[0], g.shape[1]);
  double squares = 0;
  for (Index i = 0; i < g.rows(); ++i)
    squares += static_cast<double>(simd::sum(g.shape[1], 0.0f, [](simd::Batch x) { return x * x; }, g.row(i)));
  const auto scale = static_cast<float>(1 / (std::sqrt(squares) + 1e-7));
  Tensor<float, 2> x(Shape{rows, columns});
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < columns; ++j) x(i, j) = scale * (tall ? g(j, i) : g(i, j));

  PackedMatrix<Dot> gram_side(rows, columns), square(rows, rows), product(columns, rows);
  for (int step = 0; step < steps; ++step) {
    gram_side.pack(std::as_const(x).view());
    const auto gram = detail::gram(x, gram_side);  // A = X XT
    square.pack(gram.view());
    auto inner = detail::gram(gram, square);  // A AT = A^2
    detail::mix(b, gram, c, inner);
    product.pack_columns([&](Index k) { return x.data() + k * columns; });
    auto moved = linear(inner, product);
    detail::mix(a, x, 1.0f, moved);
    x = std::move(moved);
  }
  if (!tall) return x;
  Tensor<float, 2> y(g.shape);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < columns; ++j) y(j, i) = x(i, j);
  return y;
}

/// One step on a matrix value [R, C] (filters count as [out, the rest]): Nesterov momentum, orthogonalised, a rate that grows with
/// sqrt(R / C) for tall ones. `gradient` is multiplied by `gradient_scale` first. Where all of it is zero, value and momentum stay as they
/// are: what is left of the momentum, however little, would be orthogonalised to a step at the full rate.
template <class Dot = simd::BFloat16Dot>
void muon(Shape<2> shape, float* value, const float* gradient, float* momentum, const MuonSettings& settings, double learning_rate,
          double gradient_scale) {
  if (std::all_of(gradient, gradient + shape.size(), [](float g) { return g == 0; })) return;
  const auto keep = static_cast<float>(settings.momentum), scale = static_cast<float>(gradient_scale);
  Tensor<float, 2> ahead(shape);
  for (Index i = 0; i < ahead.size(); ++i) {
    const float g = scale * gradient[i];
    momentum[i] += (1 - keep) * (g - momentum[i]);
    ahead.data()[i] = g + keep * (momentum[i] - g);
  }
  const auto update = orthogonalized<Dot>(std::as_const(ahead).view());
  const double ratio = static_cast<double>(shape[0]) / static_cast<double>(shape[1]);
  const auto rate = static_cast<float>(learning_rate * std::sqrt(std::max(1.0, ratio)));
  for (Index i = 0; i < update.size(); ++i) value[i] -= rate * update.data()[i];
}

}  // namespace janusflow
