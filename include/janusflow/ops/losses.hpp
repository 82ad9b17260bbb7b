// What training makes small: cross entropy, squared and absolute differences, cosine similarity; each a mean, with its backward.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "janusflow/ops/embedding.hpp"
#include "janusflow/ops/rowwise.hpp"
#include "janusflow/ops/softmax.hpp"

namespace janusflow {

/// The target of a position that no loss is taken at.
inline constexpr std::int32_t ignored_target = -100;
/// How many of the targets a loss is taken at.
inline Index counted_targets(std::span<const std::int32_t> targets) {
  return std::ssize(targets) - std::count(targets.begin(), targets.end(), ignored_target);
}

namespace detail {

/// The sum over i in [0, count) of f(i), in double, in an order that count alone decides.
template <class F>
double sum_in_order(Index count, Index grain, F&& f) {
  std::vector<double> parts(static_cast<std::size_t>((count + grain - 1) / grain));
  parallel_chunks(count, grain, [&](Index begin, Index end) {
    double sum = 0;
    for (Index i = begin; i < end; ++i) sum += f(i);
    parts[static_cast<std::size_t>(begin / grain)] = sum;
  });
  double total = 0;
  for (const double part : parts) total += part;
  return total;
}

/// The mean of f(x - y) over all numbers.
template <TensorLike X, TensorLike Y, class F>
auto mean_of_differences(const char* op, const X& input, const Y& other, F&& f) {
  using T = typename X::value_type;
  const auto x = const_view(input);
  const TensorView<const T, X::rank> y = other.view();
  require_same(op, x.shape, y.shape);
  const double sum = sum_in_order(x.rows(), 64, [&](Index r) {
    double row = 0;
    for (Index c = 0; c < x.shape.last(); ++c) row += f(x.row(r)[c] - y.row(r)[c]);
    return row;
  });
  return static_cast<T>(sum / static_cast<double>(std::max<Index>(1, x.size())));
}

template <int R>
void require_targets(const char* op, const Shape<R>& logits, std::span<const std::int32_t> targets) {
  require(logits.rows() == std::ssize(targets), op, ": logits ", logits, " do not match ", targets.size(), " targets");
  for (const std::int32_t t : targets)
    require(t == ignored_target || (t >= 0 && t < logits.last()), op, ": target ", t, " is not in the vocabulary of ", logits.last());
}

/// softmax of one row, in x's type.
template <class T>
Tensor<T, 1> softmax_of_row(const T* x, Index n) {
  Tensor<T, 1> y(Shape{n});
  if constexpr (vectorised<T>) softmax_row(n, x, y.data());
  else y = reference::softmax(TensorView<const T, 1>(x, Shape{n}));
  return y;
}

}  // namespace detail

/// The mean over the positions whose target is not ignored_target of -log softmax(logits)[target]; logits [..., V], a target for each
/// row. 0 where all are ignored. The logarithm of the sum is taken in double, of float32 exponentials. Error: at most (24 + V / 16 + 2 loss)
/// eps32, for V up to 160,000.
template <TensorLike X>
auto cross_entropy(const X& input, std::span<const std::int32_t> targets) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  detail::require_targets("cross_entropy", x.shape, targets);
  const Index n = x.shape.last(), count = counted_targets(targets);
  const double sum = detail::sum_in_order(x.rows(), 16, [&](Index r) {
    const std::int32_t target = targets[static_cast<std::size_t>(r)];
    if (target == ignored_target) return 0.0;
    const T* row = x.row(r);
    const T top = *std::max_element(row, row + n);
    double total = 0;
    if constexpr (detail::vectorised<T>)
      total = static_cast<double>(
          simd::sum(n, -std::numeric_limits<float>::infinity(), [&](simd::Batch v) { return simd::exp(v - simd::Batch(top)); }, row));
    else
      for (Index c = 0; c < n; ++c) total += std::exp(row[c] - top);
    return std::log(total) + static_cast<double>(top - row[target]);
  });
  return static_cast<T>(count ? sum / static_cast<double>(count) : 0.0);
}
/// dlogits of the mean, times dloss: (softmax(logits) - 1 at the target) dloss / count; 0 at ignored positions. Error: at most
/// ((10 + V / 16 + max - x) softmax + 3) eps32 |dloss| / count.
template <TensorLike X>
auto cross_entropy_backward(const X& input, std::span<const std::int32_t> targets, typename X::value_type dloss) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  detail::require_targets("cross_entropy_backward", x.shape, targets);
  const Index n = x.shape.last();
  const T scale = dloss / static_cast<T>(std::max<Index>(1, counted_targets(targets)));
  Tensor<T, X::rank> dx(x.shape);
  detail::for_rows(x.rows(), n, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      T* to = dx.data() + r * n;
      const std::int32_t target = targets[static_cast<std::size_t>(r)];
      if (target == ignored_target) {
        std::fill_n(to, n, T(0));
        continue;
      }
      const auto p = detail::softmax_of_row(x.row(r), n);
      for (Index c = 0; c < n; ++c) to[c] = p.data()[c] * scale;
      to[target] -= scale;
    }
  });
  return dx;
}

/// The mean of (x - y)^2 over all numbers, summed in double; within 4 eps32 of itself.
template <TensorLike X, TensorLike Y>
auto mean_squared_error(const X& input, const Y& other) {
  return detail::mean_of_differences("mean_squared_error", input, other, [](auto d) { return static_cast<double>(d * d); });
}
/// dx of the mean, times dloss: 2 (x - y) dloss / n, within 4 eps32 of itself. dy is its negative.
template <TensorLike X, TensorLike Y>
auto mean_squared_error_backward(const X& x, const Y& y, typename X::value_type dloss) {
  detail::require_same("mean_squared_error_backward", x.view().shape, y.view().shape);
  const auto scale = 2 * dloss / static_cast<typename X::value_type>(std::max<Index>(1, x.view().size()));
  return detail::map_elements([scale](auto a, auto b) { return (a - b) * decltype(a)(scale); }, x, y);
}

/// The mean of |x - y| over all numbers, summed in double; within 2 eps32 of itself.
template <TensorLike X, TensorLike Y>
auto mean_absolute_error(const X& input, const Y& other) {
  return detail::mean_of_differences("mean_absolute_error", input, other, [](auto d) { return std::abs(static_cast<double>(d)); });
}
/// dx of the mean, times dloss: sign(x - y) dloss / n, 0 where they are equal. dy is its negative.
template <TensorLike X, TensorLike Y>
auto mean_absolute_error_backward(const X& input, const Y& other, typename X::value_type dloss) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  const TensorView<const T, X::rank> y = other.view();
  detail::require_same("mean_absolute_error_backward", x.shape, y.shape);
  const T scale = dloss / static_cast<T>(std::max<Index>(1, x.size()));
  Tensor<T, X::rank> dx(x.shape);
  const Index n = x.shape.last();
  detail::for_rows(x.rows(), n, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r)
      for (Index c = 0; c < n; ++c) {
        const T difference = x.row(r)[c] - y.row(r)[c];
        dx.data()[r * n + c] = difference > 0 ? scale : difference < 0 ? -scale : T(0);
      }
  });
  return dx;
}

namespace detail {

/// A row's product with another, and both lengths (at least 1e-8, as torch's cosine_similarity has it).
template <class T>
std::array<double, 3> cosine_parts(const T* x, const T* y, Index n) {
  double product = 0, a = 0, b = 0;
  for (Index c = 0; c < n; ++c) {
    product += static_cast<double>(x[c]) * static_cast<double>(y[c]);
    a += static_cast<double>(x[c]) * static_cast<double>(x[c]);
    b += static_cast<double>(y[c]) * static_cast<double>(y[c]);
  }
  return {product, std::max(std::sqrt(a), 1e-8), std::max(std::sqrt(b), 1e-8)};
}

}  // namespace detail

/// The mean over the rows of x . y / (|x| |y|), lengths at least 1e-8; sums in double. Error: at most eps32.
template <TensorLike X, TensorLike Y>
auto mean_cosine_similarity(const X& input, const Y& other) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  const TensorView<const T, X::rank> y = other.view();
  detail::require_same("mean_cosine_similarity", x.shape, y.shape);
  const double sum = detail::sum_in_order(x.rows(), 16, [&](Index r) {
    const auto [product, a, b] = detail::cosine_parts(x.row(r), y.row(r), x.shape.last());
    return product / (a * b);
  });
  return static_cast<T>(sum / static_cast<double>(std::max<Index>(1, x.rows())));
}
/// dx of the mean, times dloss: (y / |y| - cos x / |x|) / |x| dloss / rows. Error: at most 3 eps32 times what both terms add up to in size.
template <TensorLike X, TensorLike Y>
auto mean_cosine_similarity_backward(const X& input, const Y& other, typename X::value_type dloss) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  const TensorView<const T, X::rank> y = other.view();
  detail::require_same("mean_cosine_similarity_backward", x.shape, y.shape);
  const Index n = x.shape.last();
  const double scale = static_cast<double>(dloss) / static_cast<double>(std::max<Index>(1, x.rows()));
  Tensor<T, X::rank> dx(x.shape);
  detail::for_rows(x.rows(), n, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const auto [product, a, b] = detail::cosine_parts(x.row(r), y.row(r), n);
      const T along = static_cast<T>(scale / (a * b)), back = static_cast<T>(scale * product / (a * b * a * a));
      for (Index c = 0; c < n; ++c) dx.data()[r * n + c] = along * y.row(r)[c] - back * x.row(r)[c];
    }
  });
  return dx;
}

}  // namespace janusflow
