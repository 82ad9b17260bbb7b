// Cutting and joining batches, their tokens and their channels; the same numbers seen otherwise.
#pragma once

#include <span>

#include "janusflow/ops/rowwise.hpp"

namespace janusflow {

/// The numbers of x under another shape of equal size; nothing is copied.
template <TensorLike X, int S>
auto reshape(const X& x, Shape<S> shape) {
  return x.view().reshape(shape);
}

/// Columns [begin, end) of the last dimension of x; nothing is copied. Throws unless x has them.
template <TensorLike X>
auto columns(const X& x, Index begin, Index end) {
  require(0 <= begin && begin <= end && end <= x.view().shape.last(), "columns: ", begin, " to ", end, " of ", x.view().shape);
  return x.view().columns(begin, end);
}

namespace detail {
template <int R>
void require_indices(const char* op, std::span<const Index> indices, const Shape<R>& x) {
  for (const Index i : indices) require(i >= 0 && i < x[0], op, ": index ", i, " is outside the first dimension of ", x);
}
}  // namespace detail

/// y[r] = x[indices[r]]: slices of the first dimension, each as often as it is named; throws on an index outside.
template <TensorLike X, class T = typename X::value_type>
  requires(X::rank >= 2)
Tensor<T, X::rank> select(const X& x, std::span<const Index> indices) {
  const TensorView<const T, X::rank> from = x.view();
  Shape<X::rank> shape = from.shape;
  shape[0] = std::ssize(indices);
  Tensor<T, X::rank> y(shape);
  const Index n = shape.last(), rows = from.shape[0] ? from.rows() / from.shape[0] : 0;
  detail::require_indices("select", indices, from.shape);
  parallel_for(shape[0], [&](Index r) {
    for (Index i = 0; i < rows; ++i)
      std::copy_n(from.row(indices[static_cast<std::size_t>(r)] * rows + i), n, y.data() + (r * rows + i) * n);
  });
  return y;
}

/// dx of y = select(x, indices), added to dx: slice indices[r] gains dy's slice r, in r's order. Throws on an index outside, and
/// unless dy has select's shape.
template <class T, int R, TensorLike Dy>
  requires(R >= 2)
void select_backward(std::span<const Index> indices, TensorView<T, R> dx, const Dy& gradient) {
  const TensorView<const T, R> dy = gradient.view();
  const Index rows = dx.shape[0] ? dx.rows() / dx.shape[0] : 0;
  Shape<R> selected = dx.shape;
  selected[0] = std::ssize(indices);
  require(dy.shape == selected, "select_backward: dy ", dy.shape, " does not match ", indices.size(), " indices and dx ", dx.shape);
  detail::require_indices("select_backward", indices, dx.shape);
  // One slice may come twice: the threads share out columns, not slices.
  parallel_chunks(dx.shape.last(), 64, [&](Index begin, Index end) {
    for (Index r = 0; r < dy.shape[0]; ++r)
      for (Index i = 0; i < rows; ++i) {
        T* to = dx.row(indices[static_cast<std::size_t>(r)] * rows + i);
        const T* from = dy.row(r * rows + i);
        for (Index c = begin; c < end; ++c) to[c] += from[c];
      }
  });
}

/// [B, T, C] and [B, S, C] -> [B, T + S, C], the tokens of `a` first.
template <TensorLike A, TensorLike B, class T = typename A::value_type>
Tensor<T, 3> concat_tokens(const A& a, const B& b) {
  const TensorView<const T, 3> first = a.view(), second = b.view();
  const auto [batch, length, channels] = first.shape.extents;
  const Index more = second.shape[1];
  require(second.shape == Shape{batch, more, channels}, "concat_tokens: ", first.shape, " and ", second.shape,
          " differ in more than their tokens");
  Tensor<T, 3> y(Shape{batch, length + more, channels});
  T* to = y.data();
  for (Index i = 0; i < batch; ++i) {
    for (Index t = 0; t < length; ++t, to += channels) std::copy_n(first.row(i * length + t), channels, to);
    for (Index t = 0; t < more; ++t, to += channels) std::copy_n(second.row(i * more + t), channels, to);
  }
  return y;
}

/// [B, T, C] -> [B, end - begin, C], tokens [begin, end) of every sequence.
template <TensorLike X, class T = typename X::value_type>
Tensor<T, 3> take_tokens(const X& x, Index begin, Index end) {
  const TensorView<const T, 3> from = x.view();
  const auto [batch, length, channels] = from.shape.extents;
  require(0 <= begin && begin <= end && end <= length, "take_tokens: ", begin, " to ", end, " of the ", length, " tokens of ",
          from.shape);
  Tensor<T, 3> y(Shape{batch, end - begin, channels});
  T* to = y.data();
  for (Index i = 0; i < batch; ++i)
    for (Index t = begin; t < end; ++t, to += channels) std::copy_n(from.row(i * length + t), channels, to);
  return y;
}

/// dx of y = take_tokens(x, begin, end), added to dx. Throws unless dx has the tokens of dy.
template <class T, TensorLike Dy>
void take_tokens_backward(Index begin, TensorView<T, 3> dx, const Dy& gradient) {
  const TensorView<const T, 3> dy = gradient.view();
  require(dy.shape[0] == dx.shape[0] && dy.shape[2] == dx.shape[2] && begin >= 0 && dy.shape[1] <= dx.shape[1] - begin,
          "take_tokens_backward: dy ", dy.shape, " from token ", begin, " does not match dx ", dx.shape);
  for (Index i = 0; i < dy.shape[0]; ++i)
    for (Index t = 0; t < dy.shape[1]; ++t) {
      T* to = dx.row(i * dx.shape[1] + begin + t);
      const T* from = dy.row(i * dy.shape[1] + t);
      for (Index c = 0; c < dx.shape[2]; ++c) to[c] += from[c];
    }
}

/// [B, T, C] -> [B, T - count, C], without the first `count` tokens.
template <TensorLike X, class T = typename X::value_type>
Tensor<T, 3> drop_tokens(const X& x, Index count) {
  const Index length = x.view().shape[1];
  require(count >= 0 && count <= length, "drop_tokens: ", count, " of the ", length, " tokens of ", x.view().shape);
  return take_tokens(x, count, length);
}

/// The channels of a [..., A] and b [..., B] side by side: [..., A + B].
template <TensorLike A, TensorLike B>
auto concat_channels(const A& first, const B& second) {
  using T = typename A::value_type;
  const auto a = detail::const_view(first);
  const TensorView<const T, A::rank> b = second.view();
  require(b.shape.with_last(0) == a.shape.with_last(0), "concat_channels: a ", a.shape, " does not match b ", b.shape);
  const Index left = a.shape.last(), right = b.shape.last(), n = left + right;
  Tensor<T, A::rank> y(a.shape.with_last(n));
  detail::for_rows(a.rows(), n, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) std::copy_n(b.row(r), right, std::copy_n(a.row(r), left, y.data() + r * n));
  });
  return y;
}

// The backward of concat_channels needs no kernel: da and db are dy.columns(0, A) and dy.columns(A, A + B).

/// x [B, T, C] + rows [1, T, C], the same for every sequence.
template <class T>
Tensor<T, 3> add_rows(Tensor<T, 3> x, const Tensor<T, 3>& rows) {
  require(rows.shape()[0] == 1 && x.shape()[1] == rows.shape()[1] && x.shape()[2] == rows.shape()[2], "add_rows: ", x.shape(),
          " does not match ", rows.shape());
  for (Index b = 0; b < x.shape()[0]; ++b) {
    T* to = x.data() + b * rows.size();
    for (Index i = 0; i < rows.size(); ++i) to[i] += rows.data()[i];
  }
  return x;
}

}  // namespace janusflow
