// Attention, embeddings, and the cutting and joining of variables.
#pragma once

#include <span>
#include <vector>

#include "janusflow/autodiff/tape.hpp"
#include "janusflow/ops/attention_inputs.hpp"
#include "janusflow/ops/embedding.hpp"
#include "janusflow/ops/pixel_shuffle.hpp"
#include "janusflow/ops/rope.hpp"
#include "janusflow/ops/segmented_attention.hpp"
#include "janusflow/ops/sequence.hpp"

namespace janusflow {

// Each is the kernel of the same name (ops/), read by the tape: arguments, shapes and errors are the kernel's.

/// segmented_attention: in T, without a past and without padding.
template <class Dot, class T>
Var<T, 3> attention(const Var<T, 3>& q, const Var<T, 3>& k, const Var<T, 3>& v, Index heads, Index kv_heads, AttentionMask mask = {},
                    std::span<const Past> past = {}) {
  for (const Past& p : past) require(p.length == 0, "attention: a recorded pass has no past");
  return detail::result_of(
      "attention", segmented_attention(q.value(), k.value(), v.value(), heads, kv_heads, mask),
      [q, k, v, heads, kv_heads, causal = mask.causal,
       segments = std::vector<Segment>(mask.segments.begin(), mask.segments.end())](Tensor<T, 3> dy) {
        auto gradients = segmented_attention_backward(q.value(), k.value(), v.value(), heads, kv_heads, {causal, {}, segments}, dy);
        q.accumulate(std::move(gradients.dq));
        k.accumulate(std::move(gradients.dk));
        v.accumulate(std::move(gradients.dv));
      },
      q, k, v);
}

template <class T>
Var<T, 3> rope(const Var<T, 3>& x, const Rotation& rotation) {
  return detail::result_of(
      "rope", rope(detail::copied(x.value()), rotation),
      [x, rotation](Tensor<T, 3> dy) { x.accumulate(rope_backward(rotation, std::move(dy))); }, x);
}

template <class Value, class T, class Weight>
auto attention_inputs(const Var<T, 3>& x, const Weight& q, const Weight& k, const Weight& v, const Rotation& rotation) {
  static_assert(std::is_same_v<Value, float>);  // of what is rounded there is no gradient
  auto [queries, keys, values] = linear_each(x, q, k, v);
  return std::array{rope(queries, rotation), rope(keys, rotation), std::move(values)};
}

template <class T>
Var<T, 2> embedding(std::span<const std::int32_t> ids, const Var<T, 2>& table) {
  return detail::result_of(
      "embedding", embedding(ids, table.value()),
      [table, list = std::vector<std::int32_t>(ids.begin(), ids.end())](Tensor<T, 2> dy) {
        if (table.needs_gradient()) embedding_backward(list, table.gradient_sum(), dy);
      },
      table);
}

template <class T, int R>
Var<T, R> select(const Var<T, R>& x, std::span<const Index> indices) {
  return detail::result_of(
      "select", select(x.value(), indices),
      [x, list = std::vector<Index>(indices.begin(), indices.end())](Tensor<T, R> dy) {
        if (x.needs_gradient()) select_backward<T, R>(list, x.gradient_sum(), dy);
      },
      x);
}

template <class T>
Var<T, 3> take_tokens(const Var<T, 3>& x, Index begin, Index end) {
  return detail::result_of(
      "take_tokens", take_tokens(x.value(), begin, end),
      [x, begin](Tensor<T, 3> dy) {
        if (x.needs_gradient()) take_tokens_backward<T>(begin, x.gradient_sum(), dy);
      },
      x);
}
template <class T>
Var<T, 3> drop_tokens(const Var<T, 3>& x, Index count) {
  return take_tokens(x, count, x.shape()[1]);
}

template <class T>
Var<T, 3> concat_tokens(const Var<T, 3>& a, const Var<T, 3>& b) {
  return detail::result_of(
      "concat_tokens", concat_tokens(a.value(), b.value()),
      [a, b](Tensor<T, 3> dy) {
        const Index length = a.shape()[1];
        if (a.needs_gradient()) a.accumulate(take_tokens(dy, 0, length));
        if (b.needs_gradient()) b.accumulate(take_tokens(dy, length, dy.shape()[1]));
      },
      a, b);
}

template <class T>
Var<T, 4> concat_channels(const Var<T, 4>& a, const Var<T, 4>& b) {
  return detail::result_of(
      "concat_channels", concat_channels(a.value(), b.value()),
      [a, b](Tensor<T, 4> dy) {
        const Index channels = a.shape()[3];
        const auto d = std::as_const(dy).view();
        if (a.needs_gradient()) a.accumulate(Tensor<T, 4>(d.columns(0, channels)));
        if (b.needs_gradient()) b.accumulate(Tensor<T, 4>(d.columns(channels, d.shape[3])));
      },
      a, b);
}

/// Rows of several variables [T_i, C], one below the other: [sum of T_i, C].
template <class T>
Var<T, 2> concat_rows(std::span<const Var<T, 2>> parts) {
  require(!parts.empty(), "concat_rows: nothing to join");
  Index rows = 0;
  const Index channels = parts.front().shape()[1];
  for (const auto& part : parts) {
    require(part.shape()[1] == channels, "concat_rows: ", parts.front().shape(), " and ", part.shape(), " differ in their channels");
    rows += part.shape()[0];
  }
  Tensor<T, 2> y(Shape{rows, channels});
  T* to = y.data();
  for (const auto& part : parts)
    for (Index r = 0; r < part.shape()[0]; ++r, to += channels) std::copy_n(part.value().row(r), channels, to);
  const auto* first = &parts.front();
  for (const auto& part : parts) {
    if (part.needs_gradient()) first = &part;
    detail::note_use(part);
  }
  return detail::result_of(
      "concat_rows", std::move(y),
      [list = std::vector<Var<T, 2>>(parts.begin(), parts.end())](Tensor<T, 2> dy) {
        Index begin = 0;
        for (const auto& part : list) {
          const Index end = begin + part.shape()[0];
          if (part.needs_gradient()) part.accumulate(Tensor<T, 2>(std::as_const(dy).view().slice(begin, end)));
          begin = end;
        }
      },
      *first);
}

template <class T>
Var<T, 3> add_rows(const Var<T, 3>& x, const Var<T, 3>& rows) {
  return detail::result_of(
      "add_rows", add_rows(detail::copied(x.value()), Tensor<T, 3>(rows.value())),
      [x, rows](Tensor<T, 3> dy) {
        if (rows.needs_gradient())
          for (Index b = 0; b < dy.shape()[0]; ++b) rows.accumulate(Tensor<T, 3>(std::as_const(dy).view().slice(b, b + 1)));
        x.accumulate(std::move(dy));
      },
      x, rows);
}

template <class T>
Var<T, 4> pixel_shuffle(const Var<T, 4>& x, Index factor) {
  return detail::result_of(
      "pixel_shuffle", pixel_shuffle(x.value(), factor), [x, factor](Tensor<T, 4> dy) { x.accumulate(pixel_unshuffle(dy, factor)); }, x);
}

}  // namespace janusflow
