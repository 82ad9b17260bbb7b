// Matrices in the order the product reads them: weights in column panels, inputs in row panels.
#pragma once

#include <algorithm>
#include <vector>

#include "janusflow/core/parallel.hpp"
#include "janusflow/core/tensor.hpp"
#include "janusflow/simd/gemm_kernel.hpp"

namespace janusflow {

/// A weight matrix [out, in] packed once for products x . wT under a dot policy: panels of `simd::width` outputs, each
/// [words of in][width]. Knows its shape before it has values, so that a model can be laid out from its config and then filled.
template <class Dot>
class PackedMatrix {
 public:
  using Policy = Dot;
  using Word = typename Dot::WeightWord;

  PackedMatrix() = default;
  PackedMatrix(Index out_features, Index in_features) : out_(out_features), in_(in_features) {}

  Index out_features() const { return out_; }
  Index in_features() const { return in_; }
  Index words() const { return (in_ + Dot::depth - 1) / Dot::depth; }
  Index panels() const { return (out_ + simd::width - 1) / simd::width; }
  bool filled() const { return filled_; }
  const Word* panel(Index p) const { return static_cast<const Word*>(storage_.data()) + p * words() * simd::width; }

  /// Fills from rows [out, in] of float or bfloat16; the shape must be this matrix's.
  template <class T>
  void pack(TensorView<const T, 2> weight) {
    require(weight.shape == Shape{out_, in_}, "pack: ", weight.shape, " is not the weight's ", Shape{out_, in_});
    pack_rows([&](Index n) { return weight.row(n); });
  }

  /// Fills from row(n), n in [0, out): a pointer to that output's `in` weights, float or bfloat16.
  template <class Row>
  void pack_rows(Row&& row) {
    allocate();
    parallel_for(panels(), [&](Index p) {
      // Blocks of 64 words keep the panel's rows and the written lines in the first-level cache.
      Word* panel = mutable_panel(p);
      for (Index begin = 0; begin < words(); begin += 64) {
        const Index end = std::min(words(), begin + 64);
        for (Index j = 0; j < simd::width; ++j) {
          Word* to = panel + begin * simd::width + j;
          const Index n = p * simd::width + j;
          if (n >= out_) {
            for (Index w = begin; w < end; ++w, to += simd::width) *to = Word{};
            continue;
          }
          const auto* weights = row(n);
          if constexpr (Dot::quantised)
            if (begin == 0) scales_[static_cast<std::size_t>(n)] = Dot::scale_of(weights, in_);
          const auto* from = weights + begin * Dot::depth;
          const Index whole = std::min(end, in_ / Dot::depth);
          Index w = begin;
          for (; w < whole; ++w, from += Dot::depth, to += simd::width) *to = word(from, Dot::depth, n);
          if (w < end) *to = word(from, in_ - w * Dot::depth, n);
        }
      }
      if constexpr (Dot::quantised) add_up(p);
    });
  }

  /// Scale of output n's weights, and what the inputs' offset adds to its sums; for quantised policies.
  const float* scales(Index panel) const { return scales_.data() + panel * simd::width; }
  const std::int32_t* corrections(Index panel) const { return corrections_.data() + panel * simd::width; }

  /// Fills from column(k), k in [0, in): a pointer to the `out` weights that multiply input k, as the transpose [in, out] has them.
  template <class Column>
    requires(!Dot::quantised)
  void pack_columns(Column&& column) {
    allocate();
    parallel_for(panels(), [&](Index p) {
      Word* to = mutable_panel(p);
      const Index first = p * simd::width, columns = std::min(simd::width, out_ - first);
      for (Index k = 0; k < in_; k += Dot::depth) {
        const Index count = std::min<Index>(Dot::depth, in_ - k);
        const float* from[Dot::depth];
        for (Index d = 0; d < count; ++d) from[d] = column(k + d) + first;
        for (Index j = 0; j < simd::width; ++j, ++to) {
          float values[Dot::depth] = {};
          if (j < columns)
            for (Index d = 0; d < count; ++d) values[d] = from[d][j];
          *to = Dot::weight_word(values, count);
        }
      }
    });
  }

 private:
  Word* mutable_panel(Index p) { return static_cast<Word*>(storage_.data()) + p * words() * simd::width; }

  void allocate() {
    const Index size = checked_product(std::array{panels(), words(), simd::width, static_cast<Index>(sizeof(Word))});
    if (!filled_) storage_ = Buffer(static_cast<std::size_t>(size));
    filled_ = true;
    if constexpr (Dot::quantised) {
      scales_.assign(static_cast<std::size_t>(panels() * simd::width), 0.0f);
      corrections_.assign(scales_.size(), 0);
    }
  }

  template <class T>
  Word word(const T* values, Index count, [[maybe_unused]] Index n) const {
    if constexpr (Dot::quantised) return Dot::weight_word(values, count, scales_[static_cast<std::size_t>(n)]);
    else return Dot::weight_word(values, count);
  }

  /// The corrections of a packed panel: the inputs' offset times the sum of each output's quantised weights.
  void add_up(Index p) {
    const Word* words_of_panel = panel(p);
    std::int32_t* sums = corrections_.data() + p * simd::width;
    for (Index w = 0; w < words(); ++w)
      for (Index j = 0; j < simd::width; ++j)
        for (int i = 0; i < Dot::depth; ++i)
          sums[j] += Dot::input_offset * static_cast<std::int8_t>(words_of_panel[w * simd::width + j] >> (8 * i));
  }

  Index out_ = 0, in_ = 0;
  bool filled_ = false;
  Buffer storage_;
  std::vector<float> scales_;
  std::vector<std::int32_t> corrections_;
};

/// Rounds a row of k floats into one row of an input panel, whose words are `stride` apart; returns its scale (1 where the policy
/// has none).
template <class Dot>
float pack_input_row(const float* from, Index k, typename Dot::InputWord* to, Index stride) {
  constexpr Index at_once = 64;
  typename Dot::InputWord words[at_once];
  float scale = 1.0f;
  if constexpr (Dot::quantised) scale = Dot::scale_of(from, k);
  for (Index begin = 0; begin < k; begin += at_once * Dot::depth) {
    const Index count = std::min(at_once * Dot::depth, k - begin);
    if constexpr (Dot::quantised) Dot::input_words(from + begin, count, scale, words);
    else Dot::input_words(from + begin, count, words);
    for (Index w = 0; w * Dot::depth < count; ++w, to += stride) *to = words[w];
  }
  return scale;
}

/// Activations [M, K] packed for one or more products under a dot policy: panels of tile_rows rows, the last one shorter.
template <class Dot>
class PackedInput {
 public:
  using Word = typename Dot::InputWord;

  /// `x` of any rank counts as its rows.
  template <int R>
  explicit PackedInput(TensorView<const float, R> x)
      : rows_(x.rows()), k_(x.shape.last()), words_((k_ + Dot::depth - 1) / Dot::depth),
        storage_(static_cast<std::size_t>(rows_ * words_) * sizeof(Word)), scales_(static_cast<std::size_t>(rows_), 1.0f) {
    parallel_for((rows_ + simd::tile_rows - 1) / simd::tile_rows, [&](Index p) {
      const Index begin = p * simd::tile_rows, count = std::min<Index>(simd::tile_rows, rows_ - begin);
      Word* panel = static_cast<Word*>(storage_.data()) + begin * words_;
      for (Index r = 0; r < count; ++r)
        scales_[static_cast<std::size_t>(begin + r)] = pack_input_row<Dot>(x.row(begin + r), k_, panel + r, count);
    });
  }

  Index rows() const { return rows_; }
  Index features() const { return k_; }
  /// The panel that starts at row `begin`, a multiple of tile_rows.
  const Word* panel(Index begin) const { return static_cast<const Word*>(storage_.data()) + begin * words_; }
  /// The scale of a row.
  float scale(Index row) const { return scales_[static_cast<std::size_t>(row)]; }

 private:
  Index rows_, k_, words_;
  Buffer storage_;
  std::vector<float> scales_;
};

}  // namespace janusflow
