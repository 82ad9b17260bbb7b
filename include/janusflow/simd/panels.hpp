// The order of packed words in memory, and of the sums of a tile of them in registers.
#pragma once

#include "janusflow/simd/rows.hpp"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace janusflow::simd {

/// Columns that lie side by side in a packed matrix, on every machine alike (so that a file can hold it): whole vectors.
inline constexpr Index panel_columns = 16;
static_assert(panel_columns % width == 0);
/// Whether a vector of them is a whole cache line.
inline constexpr bool whole_lines = width == panel_columns;

/// Words of a row that lie together in an input panel, which is [words / panel_chunk][rows][panel_chunk]: a row is packed a
/// cache line at a time, and what one step reads of all rows still lies close together.
inline constexpr Index panel_chunk = 16;
/// From word k of a panel's row to the one `step` further, a multiple of which k is, without a branch.
template <int Rows, Index step = 1>
constexpr Index to_next_word(Index k) {
  return step + static_cast<Index>(k % panel_chunk == panel_chunk - step) * ((Rows - 1) * panel_chunk);
}

/// How many words of the depth ahead of their use a tile asks for its weights, and a panel's rows for theirs. The first tile of a block that
/// takes a pair of weight panels finds them beyond the second-level cache, and so do most tiles their inputs where the block's are deep; the
/// processor's own prefetchers, which begin anew with every panel, come too late. Where vectors are narrower nothing is asked for: the
/// processor has more time, and two threads that share a core's decoder less of it for every instruction beside the products.
inline constexpr Index words_ahead = 64;

/// How many words ahead one row asks for its weights to come into the second-level cache, where vectors are whole lines. It goes through runs
/// of panels from end to end, which prefetchers foresee; those of the processors that have AMX are late all the same, others (Zen) are not.
#if defined(__AMX_TILE__) || defined(__AMXTILE__)
inline constexpr Index row_words_ahead = 12;
#else
inline constexpr Index row_words_ahead = 0;
#endif

/// Where the input words of a tile's rows are, from one word of the depth to the next: as a packed panel has them.
template <class Word, int Rows>
struct PanelRows {
  static constexpr bool asks_ahead = whole_lines && Rows > 1;
  /// So many steps of a policy in a row lie in one chunk: there is no need to look for the next one in between.
  template <class Dot>
  static constexpr Index steps = Dot::steps;

  const Word* at;
  const Word* panel = at;

  const Word* row(int r) const { return at + r * panel_chunk; }
  PanelRows from(Index word) const { return {at + word, panel}; }  // within a chunk
  template <Index step>
  void next(Index k) {
    at += to_next_word<Rows, step>(k);
  }
  /// Asks, at word k, for what the rows have some words behind it; behind the panel's end begins the next one.
  [[gnu::always_inline]] void ask_ahead(Index k) const { __builtin_prefetch(panel + (k + words_ahead) * Rows); }
};
/// The same as a picture has them, every row `stride` words behind the one before.
template <class Word, int Rows>
class StridedRows {
 public:
  static constexpr bool asks_ahead = whole_lines;
  template <class Dot>
  static constexpr Index steps = 1;

  /// `ahead` is what will be read afterwards, each word of the depth asks for `step` words of it.
  StridedRows(const Word* first, Index stride, const Word* ahead, Index step) : stride_(stride), ahead_(ahead), step_(step) {
    for (int i = 0; i < thirds; ++i) third_[i] = first + 3 * i * stride;
    keep();
  }
  const Word* row(int r) const { return third_[r / 3] + r % 3 * stride_; }
  const StridedRows& from(Index) const { return *this; }  // the first word
  template <Index step>
  void next(Index) {
    for (auto& row : third_) row += step;
    keep();
  }
  [[gnu::always_inline]] void ask_ahead(Index) {
    __builtin_prefetch(ahead_);
    ahead_ += step_;
  }

 private:
  // Few enough registers for every row's address: what lies one or two strides further, an instruction of x86 adds itself.
  static constexpr int thirds = (Rows + 2) / 3;
  void keep() {
#pragma GCC unroll 8
    for (auto& row : third_) asm("" : "+r"(row));  // gcc 12 would find itself fourteen pointers
  }

  const Word* third_[thirds];
  Index stride_;
  const Word* ahead_;
  Index step_;
};

/// to[j][i] = from[i][j] for panel_columns rows of as many 32-bit words: what was packed row by row, column by column.
template <class Word>
void turn(const Word* from, Word* to) {
  static_assert(sizeof(Word) == 4 && panel_columns == 16 && panel_chunk == panel_columns);
  using Row [[gnu::vector_size(64)]] = std::uint32_t;
  Row rows[16];
  std::memcpy(rows, from, sizeof(rows));
  // Blocks of 1, 2, 4 and 8 beside the diagonal change places, each time in all blocks of twice the size.
  const auto exchange = [&]<int block, int... l>(std::integral_constant<int, block>, std::integer_sequence<int, l...>) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      if (i & block) continue;
      const Row a = rows[i], b = rows[i + block];
      rows[i] = __builtin_shufflevector(a, b, (l & block ? 16 + l - block : l)...);
      rows[i + block] = __builtin_shufflevector(a, b, (l & block ? 16 + l : l + block)...);
    }
  };
  constexpr auto lanes = std::make_integer_sequence<int, 16>();
  exchange(std::integral_constant<int, 1>(), lanes);
  exchange(std::integral_constant<int, 2>(), lanes);
  exchange(std::integral_constant<int, 4>(), lanes);
  exchange(std::integral_constant<int, 8>(), lanes);
  std::memcpy(to, rows, sizeof(rows));
}

/// Where the two weight panels of a tile begin, or go on: a vector of words each, whose next word of the depth is panel_columns further.
template <class Word>
struct PanelPair {
  const Word *first, *second;

  PanelPair from(Index word) const { return {first + word * panel_columns, second + word * panel_columns}; }
  /// Asks for the words of both panels to come into the second-level cache.
  [[gnu::always_inline]] void ask_ahead() const {
    __builtin_prefetch(first, 0, 2);
    __builtin_prefetch(second, 0, 2);
  }
};

/// Vectors of 32-bit words, as weights are packed in.
using WordBatch = xsimd::batch<std::uint32_t>;

// The sums of some tiles, [pairs of panels][rows][two vectors], in registers and in memory.
template <class Sum, std::size_t Pairs, std::size_t Held>
[[gnu::always_inline]] inline void set_to_zero(Sum (&sums)[Pairs][Held][2]) {
#pragma GCC unroll 16
  for (auto& pair : sums)
#pragma GCC unroll 16
    for (auto& row : pair) row[0] = row[1] = Sum(typename Sum::value_type(0));
}
template <int Rows, class Sum, std::size_t Pairs, std::size_t Held>
[[gnu::always_inline]] inline void take_up(Sum (&sums)[Pairs][Held][2], const typename Sum::value_type* tiles) {
#pragma GCC unroll 16
  for (auto& pair : sums)
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r, tiles += 2 * width) {
      pair[r][0] = Sum::load_aligned(tiles);
      pair[r][1] = Sum::load_aligned(tiles + width);
    }
}
template <int Rows, class Sum, std::size_t Pairs, std::size_t Held>
[[gnu::always_inline]] inline void put_down(const Sum (&sums)[Pairs][Held][2], typename Sum::value_type* tiles) {
#pragma GCC unroll 16
  for (const auto& pair : sums)
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r, tiles += 2 * width) {
      pair[r][0].store_aligned(tiles);
      pair[r][1].store_aligned(tiles + width);
    }
}

/// Steps of a loop's turn where registers, and so a step's instructions, are few: the loop's own weigh.
inline constexpr Index steps_of_few = registers == 16 ? 4 : 1;

/// Sums that lie as they are wanted, two vectors a row, and take one word of the depth at a time.
struct RowSums {
  static constexpr Index words_at_once = 1, steps = 1;
  template <int Rows>
  static constexpr int held = Rows;

  template <class Sums>
  static void from_rows(Sums&) {}
  template <class Sums>
  static void to_rows(Sums&) {}
};

#if defined(__aarch64__)
/// Sums as Arm's matrix instructions have them, in blocks of two columns by two rows, {c0 r0, c0 r1, c1 r0, c1 r1}: in place of
/// rows 2p and 2p + 1 of four columns are the blocks of the first and of the last two columns. They take two words of the depth
/// at a time. Behind an odd number of rows comes one of zeros.
struct BlockSums {
  static constexpr Index words_at_once = 2, steps = 1;
  template <int Rows>
  static constexpr int held = Rows + Rows % 2;

  template <class Sum, std::size_t Held>
  static void from_rows(Sum (&sums)[Held][2]) {
    rearrange(sums, [](uint32x4_t a, uint32x4_t b) { return vzipq_u32(a, b); });
  }
  template <class Sum, std::size_t Held>
  static void to_rows(Sum (&sums)[Held][2]) {
    rearrange(sums, [](uint32x4_t a, uint32x4_t b) { return vuzpq_u32(a, b); });
  }

  /// sum = instruction(sum, columns, rows) for all rows and the columns of two weight vectors, one or two words deep.
  template <int Rows, std::size_t Depth, class Sum, class Input, class Instruction>
  [[gnu::always_inline]] static void multiply(Sum (&sums)[held<Rows>][2], const Input& input,
                                              const WordBatch (&first)[Depth], const WordBatch (&second)[Depth],
                                              Instruction instruction) {
    const uint32x4x2_t columns[2] = {vzipq_u32(first[0], last(first)), vzipq_u32(second[0], last(second))};
#pragma GCC unroll 16
    for (int r = 0; r < Rows; r += 2) {
      const uint32x4_t rows = vcombine_u32(words<Depth>(input.row(r)), r + 1 < Rows ? words<Depth>(input.row(r + 1)) : vdup_n_u32(0));
      for (int j = 0; j < 2; ++j) {
        sums[r][j] = Sum(instruction(sums[r][j], columns[j].val[0], rows));
        sums[r + 1][j] = Sum(instruction(sums[r + 1][j], columns[j].val[1], rows));
      }
    }
  }

 private:
  /// The second word of the depth, or zeros.
  template <std::size_t Depth>
  static uint32x4_t last(const WordBatch (&weights)[Depth]) {
    if constexpr (Depth == 2) return weights[1];
    else return vdupq_n_u32(0);
  }
  template <std::size_t Depth>
  static uint32x2_t words(const std::uint32_t* row) {
    if constexpr (Depth == 2) return vld1_u32(row);
    else return vset_lane_u32(*row, vdup_n_u32(0), 0);
  }

  template <class Sum, std::size_t Held, class Order>
  static void rearrange(Sum (&sums)[Held][2], Order order) {
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Held; r += 2)
      for (int j = 0; j < 2; ++j) {
        const uint32x4x2_t pair = order(reinterpret<WordBatch>(sums[r][j]), reinterpret<WordBatch>(sums[r + 1][j]));
        sums[r][j] = reinterpret<Sum>(WordBatch(pair.val[0]));
        sums[r + 1][j] = reinterpret<Sum>(WordBatch(pair.val[1]));
      }
  }
};
#endif

/// sums[p][r][j] += sum_k input[r][k] . weight_pj[k], k in [0, words), by a policy's steps, for some pairs of weight panels; the sums are
/// rows before and after. `input` are the rows of a panel or of a picture.
template <class Dot, int Rows, std::size_t Pairs, class Sum, class Input>
[[gnu::always_inline]] inline void add_products(Sum (&sums)[Pairs][Dot::template held<Rows>][2], Index words, Input input,
                                                std::array<PanelPair<typename Dot::WeightWord>, Pairs> weights) {
  using Weights = xsimd::batch<typename Dot::WeightWord>;
  constexpr Index at_once = Dot::words_at_once, together = Input::template steps<Dot> * at_once;
  for (auto& pair : sums) Dot::from_rows(pair);
  Index k = 0;
  for (; k + together <= words; input.template next<together>(k), k += together) {
#pragma GCC unroll 16
    for (std::size_t p = 0; p < Pairs; ++p) {
#pragma GCC unroll 16
      for (Index s = 0; s < together; s += at_once) {
        Weights w0[at_once], w1[at_once];
        for (Index n = 0; n < at_once; ++n) {
          const auto [first, second] = weights[p].from(s + n);
          if constexpr (Input::asks_ahead) {
            __builtin_prefetch(first + words_ahead * panel_columns);
            __builtin_prefetch(second + words_ahead * panel_columns);
            input.ask_ahead(k + s + n);
          } else if constexpr (Rows == 1 && row_words_ahead > 0) {
            weights[p].from(s + n + row_words_ahead).ask_ahead();
          }
          w0[n] = Weights::load_aligned(first);
          w1[n] = Weights::load_aligned(second);
        }
        Dot::template step<Rows>(sums[p], input.from(s), w0, w1);
      }
      weights[p] = weights[p].from(together);
    }
  }
  if constexpr (together > 1)
    for (; k < words; input.template next<1>(k), ++k)
      for (std::size_t p = 0; p < Pairs; ++p) {
        Dot::template step<Rows>(sums[p], input, {Weights::load_aligned(weights[p].first)}, {Weights::load_aligned(weights[p].second)});
        weights[p] = weights[p].from(1);
      }
  for (auto& pair : sums) Dot::to_rows(pair);
}

}  // namespace janusflow::simd
