// Pictures against texts: rows of length one, means of segments, and the sigmoid loss of all pairs; each with its backward.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "janusflow/ops/losses.hpp"

namespace janusflow {

namespace detail {

/// The length of a row, at least 1e-12 as torch's normalize has it.
template <class T>
double row_length(const T* x, Index n) {
  double squares = 0;
  for (Index c = 0; c < n; ++c) squares += static_cast<double>(x[c]) * static_cast<double>(x[c]);
  return std::max(std::sqrt(squares), 1e-12);
}

/// log(1 + e^x), exact at both ends.
inline double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

inline void require_segments(const char* op, std::span<const Index> ends, Index rows) {
  Index begin = 0;
  for (const Index end : ends) {
    require(end > begin, op, ": a segment ends at ", end, ", where it begins at ", begin);
    begin = end;
  }
  require(begin == rows, op, ": segments end at ", begin, ", the rows at ", rows);
}

}  // namespace detail

/// Each row (last dimension) divided by its Euclidean length, at least 1e-12; lengths in double. Within 2 eps32 of itself.
template <TensorLike X>
auto l2_normalize(const X& input) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input);
  const Index n = x.shape.last();
  Tensor<T, X::rank> y(x.shape);
  detail::for_rows(x.rows(), n, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T scale = static_cast<T>(1 / detail::row_length(x.row(r), n));
      for (Index c = 0; c < n; ++c) y.data()[r * n + c] = x.row(r)[c] * scale;
    }
  });
  return y;
}
/// dx of y = l2_normalize(x): (dy - y (y . dy)) / |x|. Error: at most 3 eps32 times what both terms add up to in size.
template <TensorLike X, TensorLike Dy>
auto l2_normalize_backward(const X& input, const Dy& gradient) {
  using T = typename X::value_type;
  const auto x = detail::const_view(input), dy = detail::const_view(gradient);
  detail::require_same("l2_normalize_backward", x.shape, dy.shape);
  const Index n = x.shape.last();
  Tensor<T, X::rank> dx(x.shape);
  detail::for_rows(x.rows(), n, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const double length = detail::row_length(x.row(r), n);
      double along = 0;
      for (Index c = 0; c < n; ++c) along += static_cast<double>(x.row(r)[c]) * static_cast<double>(dy.row(r)[c]);
      const T scale = static_cast<T>(1 / length), back = static_cast<T>(along / (length * length * length));
      for (Index c = 0; c < n; ++c) dx.data()[r * n + c] = scale * dy.row(r)[c] - back * x.row(r)[c];
    }
  });
  return dx;
}

/// y[i] = the mean of the rows of segment i of x [T, C]; segment i ends before row ends[i], where the next one begins: [segments, C].
/// Of n rows: within n eps32 of the mean magnitude. Throws Error where a segment is empty or they do not end where the rows do.
template <TensorLike X>
auto segment_means(const X& input, std::span<const Index> ends) {
  using T = typename X::value_type;
  const TensorView<const T, 2> x = input.view();
  detail::require_segments("segment_means", ends, x.shape[0]);
  const Index n = x.shape[1];
  Tensor<T, 2> y(Shape{static_cast<Index>(std::ssize(ends)), n}, T(0));
  parallel_for(y.shape()[0], [&](Index i) {
    const Index begin = i ? ends[static_cast<std::size_t>(i - 1)] : 0, end = ends[static_cast<std::size_t>(i)];
    T* to = y.data() + i * n;
    for (Index r = begin; r < end; ++r)
      for (Index c = 0; c < n; ++c) to[c] += x.row(r)[c];
    for (Index c = 0; c < n; ++c) to[c] /= static_cast<T>(end - begin);
  });
  return y;
}
/// dx [T, C] of y = segment_means(x, ends): each row has its share of its segment's.
template <TensorLike Dy>
auto segment_means_backward(std::span<const Index> ends, const Dy& gradient) {
  using T = typename Dy::value_type;
  const TensorView<const T, 2> dy = gradient.view();
  const Index n = dy.shape[1], rows = ends.empty() ? 0 : ends.back();
  require(dy.shape[0] == std::ssize(ends), "segment_means_backward: dy ", dy.shape, " of ", ends.size(), " segments");
  detail::require_segments("segment_means_backward", ends, rows);
  Tensor<T, 2> dx(Shape{rows, n});
  parallel_for(dy.shape[0], [&](Index i) {
    const Index begin = i ? ends[static_cast<std::size_t>(i - 1)] : 0, end = ends[static_cast<std::size_t>(i)];
    for (Index r = begin; r < end; ++r)
      for (Index c = 0; c < n; ++c) dx(r, c) = dy.row(i)[c] / static_cast<T>(end - begin);
  });
  return dx;
}

/// SigLIP's loss (Zhai et al. 2023, arXiv 2303.15343, algorithm 1): - 1/N sum over all pairs of log sigmoid(label (e^scale s + bias)),
/// s [N, M] the cosines of N pictures and M texts, labels [N, M] 1 where they belong together and -1 where not. In double,
/// rounded once.
template <TensorLike S, TensorLike L>
auto sigmoid_pair_loss(const S& similarities, typename S::value_type log_scale, typename S::value_type bias, const L& labels) {
  using T = typename S::value_type;
  const TensorView<const T, 2> s = similarities.view(), z = labels.view();
  detail::require_same("sigmoid_pair_loss", s.shape, z.shape);
  const double scale = std::exp(static_cast<double>(log_scale)), shift = static_cast<double>(bias);
  const double sum = detail::sum_in_order(s.shape[0], 16, [&](Index r) {
    double row = 0;
    for (Index c = 0; c < s.shape[1]; ++c)
      row += detail::softplus(-static_cast<double>(z.row(r)[c]) * (scale * static_cast<double>(s.row(r)[c]) + shift));
    return row;
  });
  return static_cast<T>(sum / static_cast<double>(std::max<Index>(1, s.shape[0])));
}

/// What flows back from sigmoid_pair_loss.
template <class T>
struct SigmoidPairGradients {
  Tensor<T, 2> dsimilarities;
  T dlog_scale, dbias;
};

/// All gradients of the loss, times dloss. A logit l has - label sigmoid(- label l) / N. In double, rounded once.
template <TensorLike S, TensorLike L>
auto sigmoid_pair_loss_backward(const S& similarities, typename S::value_type log_scale, typename S::value_type bias, const L& labels,
                                typename S::value_type dloss) {
  using T = typename S::value_type;
  const TensorView<const T, 2> s = similarities.view(), z = labels.view();
  detail::require_same("sigmoid_pair_loss_backward", s.shape, z.shape);
  const double scale = std::exp(static_cast<double>(log_scale)), shift = static_cast<double>(bias);
  const double share = static_cast<double>(dloss) / static_cast<double>(std::max<Index>(1, s.shape[0]));
  SigmoidPairGradients<T> result{Tensor<T, 2>(s.shape), 0, 0};
  std::vector<double> along(static_cast<std::size_t>(s.shape[0])), level(along.size());  // of each row, added up in their order
  parallel_for(s.shape[0], [&](Index r) {
    for (Index c = 0; c < s.shape[1]; ++c) {
      const double similarity = static_cast<double>(s.row(r)[c]), label = static_cast<double>(z.row(r)[c]);
      const double dlogit = -label * share / (1 + std::exp(label * (scale * similarity + shift)));
      result.dsimilarities(r, c) = static_cast<T>(scale * dlogit);
      along[static_cast<std::size_t>(r)] += dlogit * scale * similarity;
      level[static_cast<std::size_t>(r)] += dlogit;
    }
  });
  double dlog_scale = 0, dbias = 0;
  for (std::size_t r = 0; r < along.size(); ++r) dlog_scale += along[r], dbias += level[r];
  result.dlog_scale = static_cast<T>(dlog_scale);
  result.dbias = static_cast<T>(dbias);
  return result;
}

}  // namespace janusflow
