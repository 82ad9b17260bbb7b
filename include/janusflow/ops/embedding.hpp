// Rows of a table by their ids, with the backward that adds rows up.
#pragma once

#include <algorithm>
#include <concepts>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>

#include "janusflow/ops/rowwise.hpp"

namespace janusflow {

namespace detail {
template <std::integral Id>
void require_ids(const char* op, std::span<const Id> ids, Index vocabulary) {
  for (const Id id : ids)
    require(std::cmp_greater_equal(id, 0) && std::cmp_less(id, vocabulary), op, ": id ", id,
            " is not in the vocabulary of ", vocabulary);
}
}  // namespace detail

/// Rows `ids` [T] of table [vocabulary, C], as [T, C]: float from float or bfloat16 (exact), double from double.
/// Throws when an id is outside of the table.
template <std::ranges::contiguous_range Ids, TensorLike Table>
auto embedding(const Ids& ids, const Table& table) {
  using From = typename Table::value_type;
  using T = std::conditional_t<std::is_same_v<From, double>, double, float>;
  const std::span list(std::ranges::data(ids), std::ranges::size(ids));
  const TensorView<const From, 2> rows = table.view();
  detail::require_ids<std::ranges::range_value_t<Ids>>("embedding", list, rows.shape[0]);
  const Index n = rows.shape[1], count = std::ssize(list);
  Tensor<T, 2> y(Shape{count, n});
  detail::for_rows(count, n, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const From* from = rows.row(static_cast<Index>(list[static_cast<std::size_t>(i)]));
      std::transform(from, from + n, y.data() + i * n, [](From v) { return static_cast<T>(v); });
    }
  });
  return y;
}

/// dtable of y = embedding(ids, table), added to what dtable [vocabulary, C] holds: row ids[i] gains dy's row i, in i's
/// order: where n rows come to one, within n eps32 times the sum of magnitudes.
template <std::ranges::contiguous_range Ids, class T, TensorLike Dy>
void embedding_backward(const Ids& ids, TensorView<T, 2> dtable, const Dy& gradient) {
  const std::span list(std::ranges::data(ids), std::ranges::size(ids));
  const TensorView<const T, 2> dy = gradient.view();
  const Index n = dtable.shape[1];
  detail::require_ids<std::ranges::range_value_t<Ids>>("embedding_backward", list, dtable.shape[0]);
  require(dy.shape == Shape{static_cast<Index>(std::ssize(list)), n}, "embedding_backward: dy ", dy.shape,
          " does not match ", list.size(), " ids and dtable ", dtable.shape);
  // One id may come twice: the threads share out columns, not rows.
  parallel_chunks(n, 256, [&](Index begin, Index end) {
    for (Index i = 0; i < dy.shape[0]; ++i) {
      T* to = dtable.row(static_cast<Index>(list[static_cast<std::size_t>(i)]));
      for (Index c = begin; c < end; ++c) to[c] += dy.row(i)[c];
    }
  });
}

}  // namespace janusflow
