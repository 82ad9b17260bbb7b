// Scaled dot-product attention by blocks of keys: the score matrix is never written.
#pragma once

#include <cmath>
#include <limits>
#include <span>

#include "janusflow/ops/gemm.hpp"
#include "janusflow/ops/online_softmax.hpp"
#include "janusflow/ops/past.hpp"

namespace janusflow {

/// A run of consecutive tokens in one long sequence that holds several samples, and what they see: themselves, as the mask says, and
/// all tokens of one earlier range. So a prompt's tokens may serve several pictures or questions behind it.
struct Segment {
  Index begin = 0, end = 0;
  Index prefix_begin = 0, prefix_end = 0;  // before begin; equal: nothing
  Index position = 0;                      // of the first token, for the rotary embedding

  Index length() const { return end - begin; }
};

/// How queries see keys. Query i of a sequence with P past positions stands at position P + i.
struct AttentionMask {
  bool causal = false;                   // position p sees positions 0 .. p; else every position
  std::span<const Index> first_key = {};  // [B]: positions before it are padding and seen by nobody; empty: none are
  std::span<const Segment> segments = {};  // of the tokens of all sequences, counted through; empty: each sequence is one
};

namespace detail {

/// Keys of one block; a multiple of the tile's columns for every width.
inline constexpr Index key_block = 256;
/// Up to so many queries, packing keys and values costs more than it saves.
inline constexpr Index few_queries = 4;

/// A head's rows as one: those that are remembered, copied where they are of another type than the new ones, then these.
template <class T, class N>
class JoinedRows {
 public:
  JoinedRows(const HeadRows<T>* remembered, Index length, TensorView<const N, 2> rows, Index head, Index dim)
      : remembered_(remembered), length_(length), rows_(rows), head_(head), dim_(dim) {
    if constexpr (!std::is_same_v<T, N>) {
      copied_ = Tensor<N, 2>(Shape{length, dim});
      for (Index s = 0; s < length; ++s)
        std::transform(remembered->row(head, s), remembered->row(head, s) + dim, copied_.data() + s * dim, [](float x) { return N(x); });
    }
  }
  const N* operator()(Index s) const {
    if (s >= length_) return rows_.row(s - length_) + head_ * dim_;
    if constexpr (std::is_same_v<T, N>) return remembered_->row(head_, s);
    else return copied_.data() + s * dim_;
  }

 private:
  const HeadRows<T>* remembered_;
  Index length_;
  TensorView<const N, 2> rows_;
  Index head_, dim_;
  Tensor<N, 2> copied_;
};

/// Rows of one head that lie `stride` numbers apart, and as many more of whatever follows them as may be asked for ahead.
template <class T>
struct RowRun {
  const T* first;
  Index stride, more;

  const T* row(Index i) const { return first + i * stride; }
};

/// All heads' keys and values by position: what is remembered, of T, then the new ones, of N.
template <class T, class N>
struct JoinedKeys {
  const KeysAndValues<T>* past;
  Index past_length;
  TensorView<const N, 2> keys, values;
  Index dim;

  Index length() const { return past_length + keys.shape[0]; }
  /// f(begin, end, run) for the keys at positions [begin, end) that lie together, first those that are remembered, then the new ones:
  /// run(head) is a head's RowRun of them. Likewise the values.
  template <class F>
  void for_keys(Index first, Index last, F&& f) const {
    for_runs(past ? &past->keys : nullptr, keys, first, last, f);
  }
  template <class F>
  void for_values(Index first, Index last, F&& f) const {
    for_runs(past ? &past->values : nullptr, values, first, last, f);
  }

  auto keys_of(Index head) const { return JoinedRows(past ? &past->keys : nullptr, past_length, keys, head, dim); }
  auto values_of(Index head) const { return JoinedRows(past ? &past->values : nullptr, past_length, values, head, dim); }

 private:
  template <class F>
  void for_runs(const HeadRows<T>* remembered, TensorView<const N, 2> rows, Index first, Index last, F& f) const {
    while (first < std::min(past_length, last)) {
      const Index end = std::min({remembered->end_of_run(first), past_length, last});
      f(first, end, [&](Index head) {
        return RowRun<T>{remembered->row(head, first), dim, remembered->rows_in_page(head, first) - (end - first)};
      });
      first = end;
    }
    if (first < last) f(first, last, [&](Index head) { return RowRun<N>{rows.row(first - past_length) + head * dim, rows.row_stride, 0}; });
  }
};

/// What one thread needs to attend a tile of queries; made once for many tiles. Scores and sums are tiles of the product,
/// [tiles][rows][tile_columns].
template <class Dot>
struct AttentionScratch {
  Index columns;  // of the values, whole tiles
  Tensor<typename Dot::InputWord, 1> words;   // the packed queries
  Tensor<typename Dot::InputWord, 1> weights;  // the packed softmax weights of a block
  Tensor<float, 1> scores, sums;

  explicit AttentionScratch(Index dim)
      : columns((dim + simd::tile_columns - 1) / simd::tile_columns * simd::tile_columns),
        words(Shape{input_row_words<Dot>(dim) * simd::panel_rows<Dot>()}),
        weights(Shape{input_row_words<Dot>(key_block) * simd::panel_rows<Dot>()}),
        scores(Shape{key_block * simd::panel_rows<Dot>()}),
        sums(Shape{columns * simd::panel_rows<Dot>()}) {}
};

/// Sets to minus infinity the scores of a block, tiles [pieces][rows][tile_columns], that row r may not see: all but [from, to(r)).
template <class To>
void hide_unseen(Index rows, Index pieces, float* scores, Index from, To&& to) {
  constexpr Index piece = simd::tile_columns;
  constexpr float hidden = -std::numeric_limits<float>::infinity();
  alignas(64) float numbers[simd::width];
  for (Index i = 0; i < simd::width; ++i) numbers[i] = static_cast<float>(i);
  const simd::Batch places = simd::Batch::load_aligned(numbers);
  for (Index r = 0; r < rows; ++r) {
    const Index end = to(r);
    if (from <= 0 && end >= pieces * piece) continue;
    // Vector by vector, of those alone that are not seen whole: how many lanes differs from row to row, which no branch foresees.
    const auto hide = [&](Index lane) {
      float* const at = scores + lane / piece * rows * piece + r * piece + lane % piece;
      const simd::Batch place = places + simd::Batch(static_cast<float>(lane));
      const simd::Batch seen = xsimd::select(place < simd::Batch(static_cast<float>(end)), simd::Batch::load_aligned(at), simd::Batch(hidden));
      xsimd::select(place < simd::Batch(static_cast<float>(from)), simd::Batch(hidden), seen).store_aligned(at);
    };
    for (Index lane = 0; lane < std::min(from, pieces * piece); lane += simd::width) hide(lane);
    for (Index lane = std::max<Index>(end, 0) / simd::width * simd::width; lane < pieces * piece; lane += simd::width) hide(lane);
  }
}

/// Attention of queries [begin, begin + rows) of one head over packed keys [S, D] and values [D, S]; out rows are written.
template <class Dot, class Query, class Out>
void attend_tile(Index begin, Index rows, Index past, Index first_key, bool causal, const PackedMatrix<Dot>& keys,
                 const PackedMatrix<Dot>& values, Query&& query, Out&& out, AttentionScratch<Dot>& scratch) {
  constexpr Index piece = simd::tile_columns;
  const Index dim = keys.in_features(), total = keys.out_features(), columns = scratch.columns;
  const Index limit = causal ? std::min(total, past + begin + rows) : total;  // keys the last query sees
  float *scores = scratch.scores.data(), *sums = scratch.sums.data();
  bool begun = false;  // whether the sums hold something
  for (Index r = 0; r < rows; ++r) pack_input_row<Dot>(query(begin + r), dim, scratch.words.data(), r, rows);

  const auto product = simd::gemm_tile_for<Dot>(rows);
  OnlineSoftmax<typename Dot::Value, simd::most_panel_rows<Dot>> softmax(score_scale(dim));
  for (Index block = first_key / key_block * key_block; block < limit; block += key_block) {
    const Index pieces = (std::min(limit, block + key_block) - block + piece - 1) / piece;
    for (Index i = 0; i < pieces; ++i) {
      product(keys.words(), scratch.words.data(), PanelPairs<Dot>(keys).at(block / piece + i, 0), scores + i * rows * piece, simd::Sums::begin);
    }
    hide_unseen(rows, pieces, scores, first_key - block, [&](Index r) { return (causal ? past + begin + r + 1 : total) - block; });
    const bool shrinks = softmax.absorb(rows, scores, pieces, [&](Index r, Index i, simd::Batch first, simd::Batch second) {
      alignas(64) float pair[piece];
      first.store_aligned(pair);
      second.store_aligned(pair + simd::width);
      constexpr Index at_once = std::min(piece, simd::panel_chunk * Dot::depth);  // neither a piece nor a chunk holds more
      for (Index key = 0; key < piece; key += at_once) {
        const Index word = (i * piece + key) / Dot::depth;
        Dot::input_words(pair + key, at_once,
                         scratch.weights.data() + (word / simd::panel_chunk * rows + r) * simd::panel_chunk + word % simd::panel_chunk);
      }
    });
    if (shrinks && begun)
      for (float* sum = sums; sum < sums + rows * columns; sum += rows * piece)
        for (Index r = 0; r < rows; ++r)
          for (Index d = 0; d < piece; ++d) sum[r * piece + d] *= softmax.shrink(r);
    // The value panels end with the keys, the block's words may not: what lies past the end has weight zero but must be read from
    // somewhere, so the product stops at the panels' own end.
    const Index offset = block / Dot::depth;
    const Index depth = std::min(pieces * piece / Dot::depth, values.words() - offset);
    for (Index column = 0; column < columns; column += piece)
      product(depth, scratch.weights.data(), PanelPairs<Dot>(values).at(column / piece, offset), sums + column * rows,
              begun ? simd::Sums::go_on : simd::Sums::begin);
    begun = true;
  }
  if (!begun) std::fill_n(sums, rows * columns, 0.0f);
  for (Index r = 0; r < rows; ++r) {
    const float norm = softmax.norm(r);
    float* to = out(begin + r);
    for (Index column = 0; column < dim; column += piece) {
      const float* from = sums + column * rows + r * piece;
      for (Index d = 0; d < std::min(piece, dim - column); ++d) to[column + d] = from[d] * norm;
    }
  }
}

/// How many rows ahead of their use a run's are asked for, and the next head's behind its end: they are too few for the prefetchers.
inline constexpr Index rows_ahead = 12;
/// Heads of one query that a thread attends side by side, at most: their rows follow each other in each page of what is remembered.
inline constexpr Index most_heads = 8;

/// Where the score of a head for key s of a block is, in [pieces][heads][tile_columns].
inline Index score_place(Index heads, Index head, Index s) {
  return (s / simd::tile_columns * heads + head) * simd::tile_columns + s % simd::tile_columns;
}

/// put(i, query . row i) for the run's first `count` rows, a few at a time, so that their sums do not wait for each other.
template <class N, class T, class Put>
void score_rows(const N* query, Index dim, const RowRun<T>& run, Index count, Put&& put) {
  constexpr Index few = 8;
  for (Index s = 0; s < count; s += few) {
    const Index together = std::min(few, count - s);
    const T* rows[few];
    for (Index i = 0; i < few; ++i) rows[i] = run.row(s + std::min(i, together - 1));
    for (Index ahead = s + rows_ahead; ahead < std::min(count + run.more, s + rows_ahead + few); ++ahead) simd::prefetch(run.row(ahead), dim);
    simd::Batch sums[few];
#pragma GCC unroll 8
    for (auto& sum : sums) sum = simd::Batch(0.0f);
    Index d = 0;
    for (; d + simd::width <= dim; d += simd::width) {
      const simd::Batch q = simd::load(query + d, simd::width);
#pragma GCC unroll 8
      for (Index i = 0; i < few; ++i) sums[i] = simd::multiply_add(q, simd::load(rows[i] + d, simd::width), sums[i]);
    }
    if (d < dim)
      for (Index i = 0; i < few; ++i) sums[i] = simd::multiply_add(simd::load(query + d, dim - d), simd::load(rows[i] + d, dim - d), sums[i]);
    for (Index i = 0; i < together; ++i) put(s + i, simd::sum_of_lanes(sums[i]));
  }
}

/// Adds the run's first `count` rows, row i weight(i) times, to out [dim], a few vectors of it at a time.
template <class T, class Weight>
void add_weighted_rows(const RowRun<T>& run, Index count, Weight&& weight, Index dim, float* out) {
  const auto add = [&]<Index Vectors>(std::integral_constant<Index, Vectors>, Index d, Index lanes) {
    simd::Batch sums[Vectors];
#pragma GCC unroll 8
    for (Index i = 0; i < Vectors; ++i) sums[i] = simd::load(out + d + i * simd::width, lanes);
    for (Index s = 0; s < count; ++s) {
      if (s + rows_ahead < count + run.more) simd::prefetch(run.row(s + rows_ahead) + d, Vectors * simd::width);
      const T* const value = run.row(s) + d;
      const simd::Batch times(weight(s));
#pragma GCC unroll 8
      for (Index i = 0; i < Vectors; ++i) sums[i] = simd::multiply_add(times, simd::load(value + i * simd::width, lanes), sums[i]);
    }
#pragma GCC unroll 8
    for (Index i = 0; i < Vectors; ++i) simd::store(sums[i], out + d + i * simd::width, lanes);
  };
  Index d = 0;
  for (; d + 8 * simd::width <= dim; d += 8 * simd::width) add(std::integral_constant<Index, 8>(), d, simd::width);
  for (; d + 4 * simd::width <= dim; d += 4 * simd::width) add(std::integral_constant<Index, 4>(), d, simd::width);
  for (; d < dim; d += simd::width) add(std::integral_constant<Index, 1>(), d, std::min(simd::width, dim - d));
}

/// Attention of `heads` heads of one query, most_heads at most, over keys [first_key, limit) as they lie, in float32; key_value_head(h)
/// is whose keys the h-th of them sees.
template <class T, class N, class KeyValueHead>
void attend_row(const N* query, Index heads, KeyValueHead&& key_value_head, const JoinedKeys<T, N>& all, Index first_key, Index limit, float* out) {
  const Index dim = all.dim;
  alignas(64) float scores[most_heads * key_block];
  OnlineSoftmax<float, most_heads> softmax(score_scale(dim));
  std::fill_n(out, heads * dim, 0.0f);
  for (Index block = first_key; block < limit; block += key_block) {
    const Index end = std::min(limit, block + key_block), pieces = (end - block + simd::tile_columns - 1) / simd::tile_columns;
    std::fill_n(scores + (pieces - 1) * heads * simd::tile_columns, heads * simd::tile_columns, -std::numeric_limits<float>::infinity());
    all.for_keys(block, end, [&](Index first, Index last, auto&& run) {
      for (Index h = 0; h < heads; ++h)
        score_rows(query + h * dim, dim, run(key_value_head(h)), last - first,
                   [&](Index i, float score) { scores[score_place(heads, h, first - block + i)] = score; });
    });
    const bool shrinks = softmax.absorb(heads, scores, pieces, [&](Index h, Index i, simd::Batch first, simd::Batch second) {
      float* const weights = scores + score_place(heads, h, i * simd::tile_columns);
      first.store_aligned(weights);
      second.store_aligned(weights + simd::width);
    });
    if (shrinks)
      for (Index h = 0; h < heads; ++h)
        for (Index d = 0; d < dim; ++d) out[h * dim + d] *= softmax.shrink(h);
    all.for_values(block, end, [&](Index first, Index last, auto&& run) {
      for (Index h = 0; h < heads; ++h)
        add_weighted_rows(run(key_value_head(h)), last - first, [&](Index i) { return scores[score_place(heads, h, first - block + i)]; },
                          dim, out + h * dim);
    });
  }
  for (Index h = 0; h < heads; ++h)
    for (Index d = 0; d < dim; ++d) out[h * dim + d] *= softmax.norm(h);
}

template <int R>
void require_attention(const char* op, const Shape<R>& q, const Shape<R>& k, const Shape<R>& v, Index heads, Index kv_heads) {
  require(heads >= 1 && kv_heads >= 1 && heads % kv_heads == 0 && q[2] >= heads && q[2] % heads == 0 && k == v && k[0] == q[0] &&
              k[2] == q[2] / heads * kv_heads,
          op, ": q ", q, " (", heads, " heads), k ", k, " and v ", v, " (", kv_heads, " heads) do not fit together");
}

}  // namespace detail

/// softmax(q kT / sqrt(head_dim) + mask) v, head by head.
///
/// q [B, T, heads * head_dim], k and v [B, T', kv_heads * head_dim] (rows may be strided), in float or already in Dot's type; with fewer
/// key-value heads than heads, consecutive query heads share one (grouped-query attention). `past` holds nothing, or for each sequence
/// what precedes its new keys, in float or rounded to bfloat16. With `causal` T' must be T. Returns [B, T, heads * head_dim]. A query that
/// sees no key yields zeros.
///
/// Products in Dot's precision (queries, keys, weights and values rounded to it), softmax in float32 by blocks of 256 keys with a
/// running maximum (Milakov and Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022, arXiv 2205.14135). A handful of queries
/// (decoding) are computed in float32 from keys and values as they lie. A sequence's result does not depend on the others.
///
/// Error against exact arithmetic on the rounded numbers, to first order: at most (2 ds + eps32 (range + 4 + blocks (range + 6) +
/// 2 seen + 2 blocks + 2)) sum p |v|, with ds = (head_dim + 14) eps32 max sum |q k| / sqrt(head_dim) a score's error, range the
/// spread of the scores, seen the keys in `blocks` blocks, p the exact weights; bfloat16 adds 2^-8 sum p |v| for its rounding of
/// the weights. Keys and values must be finite, those that a mask hides too: their weight is 0, and 0 times NaN is NaN. Throws Error
/// where shapes, pasts or first keys do not fit together.
template <class Dot, TensorLike Q, TensorLike K, TensorLike V>
Tensor<float, 3> attention(const Q& q, const K& k, const V& v, Index heads, Index kv_heads, AttentionMask mask = {},
                           std::span<const Past> past = {}) {
  using N = typename Q::value_type;
  static_assert(std::is_same_v<N, float> || std::is_same_v<N, typename Dot::Value>);
  const TensorView<const N, 3> queries = q.view(), keys = k.view(), values = v.view();
  const Index batch = queries.shape[0], length = queries.shape[1];
  detail::require_attention("attention", queries.shape, keys.shape, values.shape, heads, kv_heads);
  require(!mask.causal || keys.shape[1] == length, "attention: causal, but q ", queries.shape, " is not as long as k ", keys.shape);
  require(mask.segments.empty(), "attention: segments are for training (segmented_attention)");
  require(past.empty() || std::ssize(past) == batch, "attention: ", past.size(), " pasts for a batch of ", batch);
  require(mask.first_key.empty() || std::ssize(mask.first_key) == batch, "attention: ", mask.first_key.size(),
          " first keys for a batch of ", batch);
  for (const Index first : mask.first_key) require(first >= 0, "attention: the first key of a sequence is ", first);
  const Index dim = queries.shape[2] / heads, group = heads / kv_heads;
  for (const Past& before : past) {
    require(before.length == 0 || (before.length > 0 && before.layer), "attention: a past of ", before.length,
            before.layer ? " positions" : " positions of no layer");
    if (before.length == 0) continue;
    std::visit(
        [&](const auto& layer) {
          require(layer.keys.heads() == kv_heads && layer.keys.dim() == dim, "attention: a past of ", layer.keys.heads(), " heads of ",
                  layer.keys.dim(), " does not match k ", keys.shape, " (", kv_heads, " heads)");
          require(before.length <= std::min(layer.keys.length(), layer.values.length()), "attention: a past of ", before.length,
                  " positions of a layer that remembers ", std::min(layer.keys.length(), layer.values.length()));
        },
        *before.layer);
  }
  Tensor<float, 3> y(queries.shape);

  const auto past_of = [&](Index b) { return past.empty() ? Past{} : past[static_cast<std::size_t>(b)]; };
  // Calls f with a sequence's keys and values.
  const auto with_keys = [&](Index b, auto&& f) {
    const Past before = past_of(b);
    if (before.length == 0) return f(detail::JoinedKeys<N, N>{nullptr, 0, keys[b], values[b], dim});
    std::visit(
        [&]<class T>(const KeysAndValues<T>& layer) { f(detail::JoinedKeys<T, N>{&layer, before.length, keys[b], values[b], dim}); },
        *before.layer);
  };
  const auto first_key = [&](Index b) { return mask.first_key.empty() ? 0 : mask.first_key[static_cast<std::size_t>(b)]; };

  if (length <= detail::few_queries) {
    const Index together = std::min((heads + num_threads() - 1) / num_threads(), detail::most_heads), parts = (heads + together - 1) / together;
    parallel_for(batch * parts, [&](Index piece) {
      const Index b = piece / parts, head = piece % parts * together;
      with_keys(b, [&](const auto& all) {
        for (Index i = 0; i < length; ++i)
          detail::attend_row(queries[b].row(i) + head * dim, std::min(together, heads - head), [&](Index h) { return (head + h) / group; }, all,
                             first_key(b), mask.causal ? all.past_length + i + 1 : all.length(),
                             y.data() + ((b * length + i) * heads + head) * dim);
      });
    });
    return y;
  }

  std::vector<PackedMatrix<Dot>> packed_keys(static_cast<std::size_t>(batch * kv_heads)), packed_values(packed_keys.size());
  parallel_for(batch * kv_heads, [&](Index piece) {
    with_keys(piece / kv_heads, [&, head = piece % kv_heads](const auto& all) {
      auto& packed_key = packed_keys[static_cast<std::size_t>(piece)] = PackedMatrix<Dot>(all.length(), dim);
      auto& packed_value = packed_values[static_cast<std::size_t>(piece)] = PackedMatrix<Dot>(dim, all.length());
      packed_key.pack_rows(all.keys_of(head));
      packed_value.pack_columns(all.values_of(head));
    });
  });
  const Index tile = simd::panel_rows<Dot>(), chunk = 4 * tile;
  const Index chunks = (length + chunk - 1) / chunk;
  parallel_for(batch * heads * chunks, [&](Index piece) {
    // The longest causal chunks first, so that the last pieces to be taken are short.
    const Index b = piece % batch, head = piece / batch % heads, at = (chunks - 1 - piece / (batch * heads)) * chunk;
    const auto kv = static_cast<std::size_t>(b * kv_heads + head / group);
    detail::AttentionScratch<Dot> scratch(dim);
    const auto query = [&](Index i) { return queries[b].row(i) + head * dim; };
    const Index end = std::min(length, at + chunk);
    const simd::ManyTiles<Dot> many;
    for (Index begin = at; begin < end; begin += tile) {
      for (Index i = begin + tile; i < std::min(end, begin + 2 * tile); ++i) simd::prefetch(query(i), dim);
      detail::attend_tile<Dot>(
          begin, std::min(tile, end - begin), past_of(b).length, first_key(b), mask.causal, packed_keys[kv],
          packed_values[kv], query, [&](Index i) { return y.data() + (b * length + i) * heads * dim + head * dim; }, scratch);
    }
  });
  return y;
}

namespace reference {

/// attention as its definition says, for one sequence without past: q [T, heads * D], k, v [S, kv_heads * D], in q's type.
template <TensorLike Q, TensorLike K, TensorLike V, class T = typename Q::value_type>
Tensor<T, 2> attention(const Q& q, const K& k, const V& v, Index heads, Index kv_heads, bool causal, Index first_key = 0) {
  const TensorView<const T, 2> queries = q.view(), keys = k.view(), values = v.view();
  const Index dim = queries.shape[1] / heads, before = keys.shape[0] - queries.shape[0];
  Tensor<T, 2> y(queries.shape, T(0));
  for (Index h = 0; h < heads; ++h)
    for (Index i = 0; i < queries.shape[0]; ++i) {
      const Index c = h / (heads / kv_heads) * dim, limit = causal ? before + i + 1 : keys.shape[0];
      std::vector<T> weights(static_cast<std::size_t>(std::max<Index>(limit, 0)), T(0));
      T top = -std::numeric_limits<T>::infinity(), sum = 0;
      for (Index s = first_key; s < limit; ++s) {
        T score = 0;
        for (Index d = 0; d < dim; ++d) score += queries(i, h * dim + d) * keys(s, c + d);
        top = std::max(top, weights[static_cast<std::size_t>(s)] = score / std::sqrt(T(dim)));
      }
      for (Index s = first_key; s < limit; ++s) sum += weights[static_cast<std::size_t>(s)] = std::exp(weights[static_cast<std::size_t>(s)] - top);
      for (Index s = first_key; s < limit; ++s)
        for (Index d = 0; d < dim; ++d) y(i, h * dim + d) += weights[static_cast<std::size_t>(s)] / sum * values(s, c + d);
    }
  return y;
}

}  // namespace reference

}  // namespace janusflow
