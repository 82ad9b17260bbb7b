// Matrices in the order the product reads them: weights in column panels, inputs in row panels.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "janusflow/core/parallel.hpp"
#include "janusflow/core/tensor.hpp"
#include "janusflow/simd/gemm_kernel.hpp"

namespace janusflow {

/// A weight matrix [out, in] packed once for products x . wT under a dot policy: blocks of simd::panel_columns outputs, each
/// [words of in][panel_columns], the same on every machine. A tile reads panels: simd::width neighbouring columns of a block. Knows
/// its shape before it has values, so that a model can be laid out from its config and then filled.
template <class Dot>
class PackedMatrix {
 public:
  using Policy = Dot;
  using Word = typename Dot::WeightWord;

  PackedMatrix() = default;
  /// Throws where sums over so many inputs could leave the policy's integers.
  PackedMatrix(Index out_features, Index in_features) : out_(out_features), in_(in_features) {
    if constexpr (requires { Dot::deepest; })
      require(in_ <= Dot::deepest, Dot::name, ": a weight ", Shape{out_, in_}, " has more than ", Dot::deepest, " inputs, whose sum fits 32 bits");
  }

  Index out_features() const { return out_; }
  Index in_features() const { return in_; }
  Index words() const { return Dot::weight_words(in_); }
  Index panels() const { return (out_ + simd::width - 1) / simd::width; }
  Index blocks() const { return (out_ + simd::panel_columns - 1) / simd::panel_columns; }
  bool filled() const { return filled_; }
  /// Panel p from word `word` on; the words of a column are panel_columns apart.
  const Word* panel(Index p, Index word = 0) const {
    const Index column = p * simd::width;
    return data_ + (column / simd::panel_columns * words() + word) * simd::panel_columns + column % simd::panel_columns;
  }
  /// All words, block after block.
  std::span<const Word> storage() const {
    return {data_, static_cast<std::size_t>(filled_ ? blocks() * words() * simd::panel_columns : 0)};
  }

  /// Takes words that lie packed elsewhere, blocks() * words() * panel_columns of them, 64-byte aligned; `owner` keeps them alive.
  void adopt(const Word* words, std::shared_ptr<const void> owner) {
    data_ = words;
    owner_ = std::move(owner);
    filled_ = true;
  }

  /// Fills from rows [out, in] of float or bfloat16; the shape must be this matrix's.
  template <class T>
  void pack(TensorView<const T, 2> weight) {
    require(weight.shape == Shape{out_, in_}, "pack: ", weight.shape, " is not the weight's ", Shape{out_, in_});
    pack_rows([&](Index n) { return weight.row(n); });
  }

  /// Fills from row(n), n in [0, out): a pointer to that output's `in` weights, float or bfloat16.
  template <class Row>
  void pack_rows(Row&& row) {
    Word* const storage = allocate();
    parallel_for(blocks(), [&](Index b) {
      Word* const block = storage + b * words() * simd::panel_columns;
      const Index first = b * simd::panel_columns, columns = std::min(simd::panel_columns, out_ - first);
      if (columns < simd::panel_columns) std::fill_n(block, words() * simd::panel_columns, Word{});
      if constexpr (Dot::quantised) {
        std::vector<float> values(static_cast<std::size_t>(in_));
        for (Index j = 0; j < columns; ++j) {
          const auto* weights = row(first + j);
          std::transform(weights, weights + in_, values.begin(), [](auto w) { return static_cast<float>(w); });
          Dot::pack_weights(values.data(), in_, block + j, simd::panel_columns);
        }
      } else {
        // Of a row further on the same part is asked for, since rows may lie anywhere.
        const auto ask_ahead = [&](Index n, Index k, Index count) __attribute__((always_inline)) {
          if (n + rows_ahead < out_) simd::prefetch(row(n + rows_ahead) + k, count);
        };
        if constexpr (std::is_same_v<Word, typename Dot::InputWord> && requires(Word* words) { Dot::input_words(row(0), in_, words); }) {
          // An input's words are a weight's: rounded row by row, then turned.
          constexpr Index chunk = simd::panel_chunk;
          alignas(64) Word rounded[simd::panel_columns * chunk] = {}, turned[simd::panel_columns * chunk];
          for (Index begin = 0; begin < words(); begin += chunk) {
            const Index k = begin * Dot::depth, count = std::min(chunk * Dot::depth, in_ - k);
            for (Index j = 0; j < columns; ++j) {
              ask_ahead(first + j, k, count);
              Dot::input_words(row(first + j) + k, count, rounded + j * chunk);
            }
            const bool whole = begin + chunk <= words();
            Word* const to = block + begin * simd::panel_columns;
            simd::turn(rounded, whole ? to : turned);
            if (!whole) std::copy_n(turned, (words() - begin) * simd::panel_columns, to);
          }
        } else {
          // 64 words at a time keep the rows and the written lines in the first-level cache.
          for (Index begin = 0; begin < words(); begin += 64) {
            const Index end = std::min(words(), begin + 64), whole = std::min(end, in_ / Dot::depth);
            for (Index j = 0; j < columns; ++j) {
              ask_ahead(first + j, begin * Dot::depth, std::min(end * Dot::depth, in_) - begin * Dot::depth);
              Word* to = block + begin * simd::panel_columns + j;
              const auto* from = row(first + j) + begin * Dot::depth;
              Index w = begin;
              for (; w < whole; ++w, from += Dot::depth, to += simd::panel_columns) *to = Dot::weight_word(from, Dot::depth);
              if (w < end) *to = Dot::weight_word(from, in_ - w * Dot::depth);
            }
          }
        }
      }
    });
  }

  /// Fills from column(k), k in [0, in): a pointer to the `out` weights that multiply input k, float or bfloat16, as the transpose
  /// [in, out] has them.
  template <class Column>
    requires(!Dot::quantised)
  void pack_columns(Column&& column) {
    using T = std::remove_cvref_t<decltype(*column(0))>;
    constexpr Index together = 8;  // blocks, so that a column is read by whole runs of lines
    Word* const storage = allocate();
    parallel_for((blocks() + together - 1) / together, [&](Index piece) {
      const Index begin = piece * together, end = std::min(blocks(), begin + together), first = begin * simd::panel_columns;
      const Index part = std::min(out_, end * simd::panel_columns) - first;
      for (Index k = 0; k < in_; k += Dot::depth) {
        const Index count = std::min<Index>(Dot::depth, in_ - k);
        const T* from[Dot::depth];
        for (Index d = 0; d < count; ++d) from[d] = column(k + d) + first;
        for (Index ahead = k + rows_ahead; ahead < std::min(in_, k + rows_ahead + Dot::depth); ++ahead) simd::prefetch(column(ahead) + first, part);
        for (Index b = begin; b < end; ++b) {
          const Index columns = std::min(simd::panel_columns, out_ - b * simd::panel_columns);
          Word* to = storage + (b * words() + k / Dot::depth) * simd::panel_columns;
          if (columns == simd::panel_columns && count == Dot::depth) {  // sizes that the compiler knows
            Dot::weight_words_of(from, to);
          } else {
            for (Index j = 0; j < simd::panel_columns; ++j, ++to) {
              T values[Dot::depth] = {};
              if (j < columns)
                for (Index d = 0; d < count; ++d) values[d] = from[d][j];
              *to = Dot::weight_word(values, count);
            }
          }
          for (Index d = 0; d < count; ++d) from[d] += simd::panel_columns;
        }
      }
    });
  }

 private:
  /// How many rows ahead of those in work memory is asked for.
  static constexpr Index rows_ahead = simd::panel_columns;

  /// Memory of one's own, for all words.
  Word* allocate() {
    const Index size = checked_product(std::array{blocks(), words(), simd::panel_columns, static_cast<Index>(sizeof(Word))});
    auto memory = std::make_shared<Buffer>(static_cast<std::size_t>(size));
    auto* words = static_cast<Word*>(memory->data());
    adopt(words, std::move(memory));
    return words;
  }

  Index out_ = 0, in_ = 0;
  bool filled_ = false;
  const Word* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

/// Words of a row of k values in an input panel: whole chunks.
template <class Dot>
constexpr Index input_row_words(Index k) {
  if constexpr (Dot::quantised) return Dot::input_words(k);
  else return (k + simd::panel_chunk * Dot::depth - 1) / (simd::panel_chunk * Dot::depth) * simd::panel_chunk;
}

/// Rounds k numbers, float or of Dot's own type, into row r of an input panel of `rows` rows.
template <class Dot, class T>
void pack_input_row(const T* from, Index k, typename Dot::InputWord* panel, Index r, Index rows) {
  constexpr Index values = simd::panel_chunk * Dot::depth;
  const Index stride = rows * simd::panel_chunk;
  auto* to = panel + r * simd::panel_chunk;
  if constexpr (Dot::quantised) Dot::pack_inputs(from, k, to, stride);
  else
    for (; k > 0; k -= values, from += values, to += stride) Dot::input_words(from, std::min(k, values), to);
}

/// Activations [M, K] packed for one or more products under a dot policy: panels of simd::panel_rows rows, the last one shorter.
template <class Dot>
class PackedInput {
 public:
  using Word = typename Dot::InputWord;

  /// `x` of any rank counts as its rows.
  template <class T, int R>
  explicit PackedInput(TensorView<const T, R> x) : PackedInput(x.rows(), x.shape.last(), [&](Index r, float*) { return x.row(r); }) {}
  /// From read(row, buffer): the row's k numbers, put into the buffer or where they lie.
  template <class Read>
  PackedInput(Index rows, Index k, Read&& read) : PackedInput(rows, k) {
    const Index panel_rows = simd::panel_rows<Dot>();
    parallel_for((rows_ + panel_rows - 1) / panel_rows, [&](Index p) {
      const Index begin = p * panel_rows, count = rows_of(begin);
      const Buffer row(static_cast<std::size_t>(k_) * sizeof(float));
      for (Index r = 0; r < count; ++r) pack_input_row<Dot>(read(begin + r, static_cast<float*>(row.data())), k_, panel(begin), r, count);
    });
  }
  /// For who writes the panels: all words up to k; what a last chunk has beyond is not read.
  PackedInput(Index rows, Index k)
      : rows_(rows), k_(k), words_(input_row_words<Dot>(k_)), storage_(static_cast<std::size_t>(rows_ * words_) * sizeof(Word)) {}

  Index rows() const { return rows_; }
  Index features() const { return k_; }
  /// The panel that starts at row `begin`, a multiple of simd::panel_rows.
  const Word* panel(Index begin) const { return static_cast<const Word*>(storage_.data()) + begin * words_; }
  Word* panel(Index begin) { return static_cast<Word*>(storage_.data()) + begin * words_; }
  /// Rows of that panel.
  Index rows_of(Index begin) const { return std::min(simd::panel_rows<Dot>(), rows_ - begin); }

 private:
  Index rows_, k_, words_;
  Buffer storage_;
};

/// A tensor [..., C] that exists only as products with matrices of policy Dot read it: what lies between two of them need not be
/// written as floats, and read and rounded again.
template <class Dot, int R>
struct PackedRows {
  static constexpr int rank = R;
  Shape<R> shape;
  PackedInput<Dot> input;
};

/// What products take as x: a tensor, or packed rows.
template <class X>
concept ProductInput = TensorLike<X> || requires(const X& x) { []<class Dot, int R>(const PackedRows<Dot, R>&) {}(x); };

namespace detail {

template <TensorLike X>
Shape<X::rank> input_shape(const X& x) {
  return x.view().shape;
}
template <class Dot, int R>
Shape<R> input_shape(const PackedRows<Dot, R>& x) {
  return x.shape;
}
/// x packed for Dot.
template <class Dot, TensorLike X>
PackedInput<Dot> packed_input(const X& x) {
  return PackedInput<Dot>(TensorView<const typename X::value_type, X::rank>(x.view()));
}
template <class Dot, int R>
const PackedInput<Dot>& packed_input(const PackedRows<Dot, R>& x) {
  return x.input;
}

}  // namespace detail

}  // namespace janusflow
