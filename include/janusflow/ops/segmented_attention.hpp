// Attention of long sequences that hold several samples, with its backward: what training runs.
#pragma once

#include <algorithm>
#include <vector>

#include "janusflow/ops/attention.hpp"
#include "janusflow/ops/linear_backward.hpp"
#include "janusflow/ops/softmax.hpp"

namespace janusflow {

namespace detail {

/// Queries [begin, end) that see keys [prefix_begin, prefix_end), then the keys [own_begin, own_end), all counted over the batch;
/// causal: query i sees the prefix and the first i + 1 of its own.
struct AttentionPiece {
  Index begin, end, prefix_begin, prefix_end, own_begin, own_end;
  bool causal;

  Index queries() const { return end - begin; }
  Index prefix() const { return prefix_end - prefix_begin; }
  Index keys() const { return prefix() + own_end - own_begin; }
  /// Keys that query i (counted from begin) sees.
  Index seen(Index i) const { return causal ? prefix() + i + 1 : keys(); }
  /// Row of the batch where key s lies.
  Index row(Index s) const { return s < prefix() ? prefix_begin + s : own_begin + s - prefix(); }
};

/// The pieces of a batch, checked: [B, T] queries and [B, S] keys, each sequence one piece, or the mask's segments.
inline std::vector<AttentionPiece> attention_pieces(Index batch, Index queries, Index keys, const AttentionMask& mask) {
  for (const Index first : mask.first_key) require(first == 0, "attention: padding is not for training; leave its tokens out");
  std::vector<AttentionPiece> pieces;
  if (mask.segments.empty()) {
    require(!mask.causal || queries == keys, "attention: ", queries, " queries and ", keys, " keys cannot be causal");
    for (Index b = 0; b < batch; ++b)
      pieces.push_back({b * queries, (b + 1) * queries, b * keys, b * keys, b * keys, (b + 1) * keys, mask.causal});
    return pieces;
  }
  require(queries == keys, "attention: segments of ", queries, " queries and ", keys, " keys");
  Index end = 0;
  for (const Segment& s : mask.segments) {
    require(s.begin == end && s.end >= s.begin && s.prefix_begin >= 0 && s.prefix_end >= s.prefix_begin && s.prefix_end <= s.begin,
            "attention: segment [", s.begin, ", ", s.end, ") behind [", s.prefix_begin, ", ", s.prefix_end,
            ") must follow the one before, which ends at ", end, ", and stand behind what it sees");
    end = s.end;
    if (s.length() > 0) pieces.push_back({s.begin, s.end, s.prefix_begin, s.prefix_end, s.begin, s.end, mask.causal});
  }
  require(end == batch * queries, "attention: segments end at ", end, ", the tokens at ", batch * queries);
  return pieces;
}

/// Runs of pieces that share no keys with others: [first, last) of the pieces.
inline std::vector<std::pair<Index, Index>> independent_runs(const std::vector<AttentionPiece>& pieces) {
  std::vector<std::pair<Index, Index>> runs;
  Index reaches = std::numeric_limits<Index>::max();  // the first row that a later piece sees
  std::vector<Index> cuts;
  for (Index i = std::ssize(pieces) - 1; i >= 0; --i) {
    const AttentionPiece& p = pieces[static_cast<std::size_t>(i)];
    reaches = std::min(reaches, p.prefix() > 0 ? std::min(p.prefix_begin, p.own_begin) : p.own_begin);
    if (i == 0 || pieces[static_cast<std::size_t>(i - 1)].own_end <= reaches) cuts.push_back(i);
  }
  std::reverse(cuts.begin(), cuts.end());
  for (std::size_t i = 0; i < cuts.size(); ++i)
    runs.emplace_back(cuts[i], i + 1 < cuts.size() ? cuts[i + 1] : std::ssize(pieces));
  return runs;
}

/// The product of an input of `rows` rows (panels of tile_rows at panel(row), `depth` deep; `transposed`: as outer_tile has them) with
/// the first `columns` columns of a packed matrix, on this thread: store(row, column, lanes, vector).
template <bool transposed, class Panel, class Store>
void product_here(Index rows, Index depth, Index columns, Panel&& panel, const PackedMatrix<simd::Float32Dot>& weight, Store&& store) {
  alignas(64) float tile[simd::tile_rows * simd::tile_columns];
  const PanelPairs<simd::Float32Dot> pairs{weight};
  for (Index pair = 0; pair * simd::tile_columns < columns; ++pair)
    for (Index row = 0; row < rows; row += simd::tile_rows) {
      const Index count = std::min<Index>(simd::tile_rows, rows - row);
      if constexpr (transposed) simd::outer_tile_for(count)(depth, panel(row), pairs.at(pair, 0), tile);
      else simd::gemm_tile_for<simd::Float32Dot>(count)(depth, panel(row), pairs.at(pair, 0), tile, simd::Sums::begin);
      for (Index r = 0; r < count; ++r)
        for (Index half = 0; half < 2; ++half) {
          const Index column = (2 * pair + half) * simd::width;
          if (column >= columns) break;
          store(row + r, column, std::min(simd::width, columns - column),
                simd::Batch::load_aligned(tile + r * simd::tile_columns + half * simd::width));
        }
    }
}

/// Rows [rows, depth] as input panels in `packed`.
template <class Row>
void pack_panels(Index rows, Index depth, Row&& row, float* packed) {
  const Index words = input_row_words<simd::Float32Dot>(depth);
  for (Index r = 0; r < rows; ++r) {
    const Index first = r / simd::tile_rows * simd::tile_rows, count = std::min<Index>(simd::tile_rows, rows - first);
    pack_input_row<simd::Float32Dot>(row(r), depth, packed + first * words, r - first, count);
  }
}

/// One head of one piece: gradients are written to dq and added to dk and dv, rows of the batch, at the head's columns.
class AttentionBackward {
 public:
  using Dot = simd::Float32Dot;
  using Rows = TensorView<const float, 2>;

  AttentionBackward(const AttentionPiece& piece, Index dim, Rows k, Rows v, Index column)
      : piece_(piece),
        dim_(dim),
        keys_(piece.keys(), dim),
        values_(piece.keys(), dim),
        key_columns_(dim, piece.keys()),
        padded_((piece.keys() + simd::width - 1) / simd::width * simd::width),
        weights_(Shape{std::min(piece.queries(), at_once), padded_}),
        slopes_(weights_.shape()),
        packed_(Shape{std::max(at_once, piece.keys()) * at_once + at_once * input_row_words<Dot>(std::max(piece.keys(), dim))}) {
    keys_.pack_rows([&](Index s) { return k.row(piece.row(s)) + column; });
    values_.pack_rows([&](Index s) { return v.row(piece.row(s)) + column; });
    key_columns_.pack_columns([&](Index s) { return k.row(piece.row(s)) + column; });
  }

  /// For the queries' columns from `head` and the keys' from `kv`.
  void operator()(Rows q, Rows dy, Index head, Index kv, TensorView<float, 2> dq, TensorView<float, 2> dk, TensorView<float, 2> dv) {
    for (Index begin = 0; begin < piece_.queries(); begin += at_once) {
      const Index count = std::min(at_once, piece_.queries() - begin), first = piece_.begin + begin;
      const Index seen = piece_.seen(begin + count - 1);
      const float scale = 1.0f / std::sqrt(static_cast<float>(dim_));
      multiply(count, dim_, seen, [&](Index r) { return q.row(first + r) + head; }, keys_, weights_);
      multiply(count, dim_, seen, [&](Index r) { return dy.row(first + r) + head; }, values_, slopes_);
      for (Index r = 0; r < count; ++r) softmax_slopes(piece_.seen(begin + r), seen, scale, &weights_(r, 0), &slopes_(r, 0));
      // dq = slopes . k, dk += slopesT . q, dv += weightsT . dy
      pack_panels(count, seen, [&](Index r) { return &slopes_(r, 0); }, packed_.data());
      const Index words = input_row_words<Dot>(seen);
      product_here<false>(count, seen, dim_, [&](Index r) { return packed_.data() + r * words; }, key_columns_,
                   [&](Index r, Index c, Index lanes, simd::Batch x) { simd::store(x, dq.row(first + r) + head + c, lanes); });
      add_transposed(slopes_, count, seen, q, first, head, dk, kv);
      add_transposed(weights_, count, seen, dy, first, head, dv, kv);
    }
  }

 private:
  static constexpr Index at_once = 8 * simd::tile_rows;

  template <class Row>
  void multiply(Index rows, Index depth, Index columns, Row&& row, const PackedMatrix<Dot>& weight, Tensor<float, 2>& out) {
    pack_panels(rows, depth, row, packed_.data());
    const Index words = input_row_words<Dot>(depth);
    product_here<false>(rows, depth, columns, [&](Index r) { return packed_.data() + r * words; }, weight,
                 [&](Index r, Index c, Index lanes, simd::Batch x) { simd::store(x, &out(r, c), lanes); });
  }

  /// Scores (before their scale) become weights p, the weights' gradients dp become the gradients p (dp - sum p dp) scale of
  /// the unscaled scores. Both are 0 from the keys that are not seen on.
  static void softmax_slopes(Index seen, Index end, float scale, float* scores, float* slopes) {
    simd::map(seen, scores, [s = simd::Batch(scale)](simd::Batch x) { return x * s; }, scores);
    softmax_row(seen, scores, scores);
    const float mean = simd::sum(seen, 0, [](simd::Batch p, simd::Batch d) { return p * d; }, scores, slopes);
    const simd::Batch level(mean), factor(scale);
    simd::map(seen, slopes, [&](simd::Batch p, simd::Batch d) { return p * (d - level) * factor; }, scores, slopes);
    std::fill(scores + seen, scores + end, 0.0f);
    std::fill(slopes + seen, slopes + end, 0.0f);
  }

  /// to[row of key s] += sum over r of m(r, s) x[first + r].
  void add_transposed(const Tensor<float, 2>& m, Index rows, Index keys, Rows x, Index first, Index head, TensorView<float, 2> to,
                      Index kv) {
    PackedMatrix<Dot> right(dim_, rows);
    right.pack_columns([&](Index r) { return x.row(first + r) + head; });
    for (Index s = 0; s < keys; s += simd::tile_rows) {
      const Index count = std::min<Index>(simd::tile_rows, keys - s);
      for (Index r = 0; r < rows; ++r) std::copy_n(&m(r, s), count, packed_.data() + s * rows + r * count);
    }
    product_here<true>(keys, rows, dim_, [&](Index s) { return packed_.data() + s * rows; }, right,
                 [&](Index s, Index c, Index lanes, simd::Batch sum) {
                   float* at = to.row(piece_.row(s)) + kv + c;
                   simd::store(simd::load(at, lanes) + sum, at, lanes);
                 });
  }

  const AttentionPiece& piece_;
  Index dim_;
  PackedMatrix<Dot> keys_, values_, key_columns_;
  Index padded_;
  Tensor<float, 2> weights_, slopes_;
  Tensor<float, 1> packed_;
};

/// The same as its definition says, in any type.
template <class T>
void attend_backward(const AttentionPiece& piece, Index dim, TensorView<const T, 2> q, TensorView<const T, 2> k, TensorView<const T, 2> v,
                     TensorView<const T, 2> dy, Index head, Index kv, TensorView<T, 2> dq, TensorView<T, 2> dk, TensorView<T, 2> dv) {
  const T scale = 1 / std::sqrt(T(dim));
  for (Index i = 0; i < piece.queries(); ++i) {
    const Index seen = piece.seen(i);
    Tensor<T, 1> p(Shape{seen}), dp(Shape{seen});
    const T *from = q.row(piece.begin + i) + head, *d = dy.row(piece.begin + i) + head;
    for (Index s = 0; s < seen; ++s) {
      p.data()[s] = dp.data()[s] = 0;
      for (Index c = 0; c < dim; ++c) {
        p.data()[s] += from[c] * k.row(piece.row(s))[kv + c] * scale;
        dp.data()[s] += d[c] * v.row(piece.row(s))[kv + c];
      }
    }
    p = reference::softmax(p);
    const Tensor<T, 1> slope = softmax_backward(p, dp);
    T* to = dq.row(piece.begin + i) + head;
    std::fill_n(to, dim, T(0));
    for (Index s = 0; s < seen; ++s)
      for (Index c = 0; c < dim; ++c) {
        to[c] += slope.data()[s] * scale * k.row(piece.row(s))[kv + c];
        dk.row(piece.row(s))[kv + c] += slope.data()[s] * scale * from[c];
        dv.row(piece.row(s))[kv + c] += p.data()[s] * d[c];
      }
  }
}

}  // namespace detail

/// attention without a past, of tokens in segments: softmax(q kT / sqrt(head_dim)) v, head by head; a token sees its segment's prefix
/// and, up to itself where the mask is causal, its own segment. q [B, T, heads * head_dim], k and v [B, S, kv_heads * head_dim], rows
/// may be strided; S must be T where the mask is causal or has segments. In q's type; the float32 contract is attention's.
template <TensorLike Q, TensorLike K, TensorLike V>
auto segmented_attention(const Q& query, const K& key, const V& value, Index heads, Index kv_heads, const AttentionMask& mask) {
  using T = typename Q::value_type;
  const TensorView<const T, 3> q3 = query.view(), k3 = key.view(), v3 = value.view();
  detail::require_attention("segmented_attention", q3.shape, k3.shape, v3.shape, heads, kv_heads);
  const auto q = detail::as_rows(q3), k = detail::as_rows(k3), v = detail::as_rows(v3);
  const Index dim = q.shape[1] / heads, group = heads / kv_heads;
  const auto pieces = detail::attention_pieces(q3.shape[0], q3.shape[1], k3.shape[1], mask);
  Tensor<T, 3> y(q3.shape);
  parallel_for(std::ssize(pieces) * kv_heads, [&](Index i) {
    const detail::AttentionPiece& piece = pieces[static_cast<std::size_t>(i / kv_heads)];
    const Index column = i % kv_heads * dim;
    if constexpr (detail::vectorised<T>) {
      using Dot = simd::Float32Dot;
      PackedMatrix<Dot> keys(piece.keys(), dim), values(dim, piece.keys());
      keys.pack_rows([&](Index s) { return k.row(piece.row(s)) + column; });
      values.pack_columns([&](Index s) { return v.row(piece.row(s)) + column; });
      detail::AttentionScratch<Dot> scratch(dim);
      for (Index head = column * group; head < (column + dim) * group; head += dim)
        for (Index begin = 0; begin < piece.queries(); begin += simd::tile_rows)
          detail::attend_tile<Dot>(
              begin, std::min<Index>(simd::tile_rows, piece.queries() - begin), piece.prefix(), 0, piece.causal, keys, values,
              [&](Index r) { return q.row(piece.begin + r) + head; },
              [&](Index r) { return y.data() + (piece.begin + r) * heads * dim + head; }, scratch);
    } else {
      Tensor<T, 2> keys(Shape{piece.keys(), dim}), values(keys.shape());
      for (Index s = 0; s < piece.keys(); ++s) {
        std::copy_n(k.row(piece.row(s)) + column, dim, &keys(s, 0));
        std::copy_n(v.row(piece.row(s)) + column, dim, &values(s, 0));
      }
      for (Index head = column * group; head < (column + dim) * group; head += dim) {
        const auto part = reference::attention(q.slice(piece.begin, piece.end).columns(head, head + dim), keys, values, 1, 1, piece.causal);
        for (Index r = 0; r < piece.queries(); ++r)
          std::copy_n(part.data() + r * dim, dim, y.data() + (piece.begin + r) * heads * dim + head);
      }
    }
  });
  return y;
}

/// Gradients of attention's inputs.
template <class T>
struct AttentionGradients {
  Tensor<T, 3> dq, dk, dv;
};

/// {dq, dk, dv} of y = segmented_attention(q, k, v, heads, kv_heads, mask). The weights are computed again, a block of queries at a
/// time (Dao et al. 2022, arXiv 2205.14135, appendix B.2): dv = pT dy; ds = p (dp - sum p dp), dp = dy vT; dq = ds k, dk = dsT q, both
/// divided by sqrt(head_dim). Sums over queries run in their order.
template <TensorLike Q, TensorLike K, TensorLike V, TensorLike Dy>
auto segmented_attention_backward(const Q& query, const K& key, const V& value, Index heads, Index kv_heads, const AttentionMask& mask,
                                  const Dy& gradient) {
  using T = typename Q::value_type;
  const TensorView<const T, 3> q3 = query.view(), k3 = key.view(), v3 = value.view(), dy3 = gradient.view();
  detail::require_attention("segmented_attention_backward", q3.shape, k3.shape, v3.shape, heads, kv_heads);
  detail::require_same("segmented_attention_backward", q3.shape, dy3.shape);
  const auto q = detail::as_rows(q3), k = detail::as_rows(k3), v = detail::as_rows(v3), dy = detail::as_rows(dy3);
  const Index dim = q.shape[1] / heads, group = heads / kv_heads;
  const auto pieces = detail::attention_pieces(q3.shape[0], q3.shape[1], k3.shape[1], mask);
  const auto runs = detail::independent_runs(pieces);
  AttentionGradients<T> result{Tensor<T, 3>(q3.shape), Tensor<T, 3>(k3.shape), Tensor<T, 3>(k3.shape)};
  const TensorView<T, 2> dq(result.dq.data(), q.shape), dk(result.dk.data(), k.shape), dv(result.dv.data(), k.shape);
  // Pieces that share keys, and heads that share a key head, add to the same rows: one thread takes them, in order.
  parallel_for(std::ssize(runs) * kv_heads, [&](Index i) {
    const auto [first, last] = runs[static_cast<std::size_t>(i / kv_heads)];
    const Index column = i % kv_heads * dim;
    for (Index row = pieces[static_cast<std::size_t>(first)].own_begin; row < pieces[static_cast<std::size_t>(last - 1)].own_end; ++row) {
      std::fill_n(dk.row(row) + column, dim, T(0));
      std::fill_n(dv.row(row) + column, dim, T(0));
    }
    for (Index p = first; p < last; ++p) {
      const detail::AttentionPiece& piece = pieces[static_cast<std::size_t>(p)];
      if constexpr (detail::vectorised<T>) {
        detail::AttentionBackward backward(piece, dim, k, v, column);
        for (Index head = column * group; head < (column + dim) * group; head += dim) backward(q, dy, head, column, dq, dk, dv);
      } else {
        for (Index head = column * group; head < (column + dim) * group; head += dim)
          detail::attend_backward<T>(piece, dim, q, k, v, dy, head, column, dq, dk, dv);
      }
    }
  });
  return result;
}

}  // namespace janusflow
