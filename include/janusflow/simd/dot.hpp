// Dot-product policies: how one word of an input row multiplies one vector of weight words into an accumulator.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "janusflow/core/bfloat16.hpp"
#include "janusflow/simd/amx_tiles.hpp"
#include "janusflow/simd/panels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace janusflow::simd {

// A policy has
//   Value             the type a weight is rounded to
//   depth             values of the inner dimension K in one word
//   WeightWord        what one column of a packed weight panel holds for `depth` values of K
//   InputWord         what one row of a packed input panel holds for them
//   weight_word       rounds `depth` values (fewer at the end of K: the rest is zero) into a word
//   weight_words_of   the words of panel_columns columns, from `depth` rows of K (not where quantised)
//   input_words       rounds a row of floats, or of what is rounded already, into words, the last one filled with zeros
//   step<Rows>        acc[r][j] += *input.row(r) . weight_j  for Rows rows and two weight vectors, a word deep or two
// and an order of its sums (RowSums or BlockSums), which says how many words a step takes and how many steps a loop's turn; where
// there are registers of whole tiles, also
//   Tiles             their instructions (amx_tiles.hpp)
//   tile_on_tiles     gemm_tile by them, for
//   fewest_on_tiles   rows or more
// A quantised one (int8_dot.hpp, int4_dot.hpp) has integers in its words, and scales among them; it packs whole rows and sums a whole
// tile. One whose tiles are for few rows has
//   most_rows         those of its largest tile
//   ManyRows          the policy by which more rows are multiplied, on the same inputs
//   for_many_rows     makes that one's words of its own, many_rows_words of them
// The packing and the blocking are written once, over any policy.

/// Weights in a register: of some steps in a row gcc 12 would read them from memory, or make them anew, for each of their products.
inline Batch in_register(Batch weights) {
#if defined(__x86_64__)
  if constexpr (steps_of_few > 1) {
    auto held = static_cast<Batch::register_type>(weights);
    asm("" : "+x"(held));
    return Batch(held);
  }
#endif
  return weights;
}

/// float32: one fused multiply-add a word.
struct Float32Dot : RowSums {
  using Value = float;
  using WeightWord = float;
  using InputWord = float;
  static constexpr int depth = 1;
  static constexpr Index steps = steps_of_few;
  static constexpr const char* name = "f32";
  static constexpr bool quantised = false;

  static constexpr Index weight_words(Index k) { return k; }
  static float weight_word(const float* values, Index) { return values[0]; }
  static float weight_word(const bfloat16* values, Index) { return values[0]; }
  static void weight_words_of(const float* const (&rows)[1], float* words) { std::copy_n(rows[0], panel_columns, words); }
  static void input_words(const float* values, Index count, float* words) {
    if (count == panel_chunk) std::memcpy(words, values, sizeof(float) * panel_chunk);  // of a size that the compiler knows
    else std::copy_n(values, count, words);
  }

  template <int Rows, class Input>
  [[gnu::always_inline]] static void step(Batch (&acc)[Rows][2], const Input& input, const Batch (&first)[1], const Batch (&second)[1]) {
    const Batch b0 = in_register(first[0]), b1 = in_register(second[0]);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Batch a(*input.row(r));
      acc[r][0] = multiply_add(a, b0, acc[r][0]);
      acc[r][1] = multiply_add(a, b1, acc[r][1]);
    }
  }
};

#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
using BFloat16Sums = BlockSums;
#else
using BFloat16Sums = RowSums;
#endif

/// bfloat16 x bfloat16 summed in float32: two values a word. Without an instruction for it each value is widened exactly and
/// multiplied in float32. AVX512-BF16's adds one exact product after the other, likewise. Armv8.6's BFMMLA adds two exact products,
/// then that to the sum, each time rounding to odd, whatever the mode: half as many roundings, each of up to twice the size, so that
/// one bound holds for all. AMX: amx_tiles.hpp. The instructions take numbers below the normal ones for zeros.
struct BFloat16Dot : BFloat16Sums {
  using Value = bfloat16;
  using WeightWord = std::uint32_t;
  static constexpr int depth = 2;
  static constexpr const char* name = "bf16";
  static constexpr bool quantised = false;

  static constexpr Index weight_words(Index k) { return (k + 1) / 2; }
  static std::uint32_t weight_word(const float* values, Index count) {
    return pair(bfloat16(values[0]), count > 1 ? bfloat16(values[1]) : bfloat16());
  }
  static std::uint32_t weight_word(const bfloat16* values, Index count) {
    return pair(values[0], count > 1 ? values[1] : bfloat16());
  }
  static void weight_words_of(const float* const (&rows)[2], std::uint32_t* words) {
    for (Index j = 0; j < panel_columns; ++j) words[j] = pair(bfloat16(rows[0][j]), bfloat16(rows[1][j]));
  }
  static void weight_words_of(const bfloat16* const (&rows)[2], std::uint32_t* words) {
    for (Index j = 0; j < panel_columns; ++j) words[j] = pair(rows[0][j], rows[1][j]);
  }

#if defined(JANUSFLOW_AMX)
  using Tiles = BFloat16Tiles;
  static constexpr Index fewest_on_tiles = 1;  // for their sums are not the vectors'

  static void tile_on_tiles(Index rows, Index words, const std::uint32_t* input, PanelPair<std::uint32_t> weights, float* tile, bool go_on) {
    multiply_on_tiles<Tiles>(rows, {&input, 1, words, panel_chunk, rows * panel_chunk}, weights, tile, go_on);
  }
#endif
#if defined(__AVX512BF16__) || defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  using InputWord = std::uint32_t;
  static void input_words(const float* values, Index count, std::uint32_t* words) {
#if defined(__AVX512BF16__)
    for (; count >= 32; count -= 32, values += 32, words += 16)
      _mm512_storeu_si512(words, std::bit_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(values + 16), _mm512_loadu_ps(values))));
    for (; count >= 16; count -= 16, values += 16, words += 8)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), std::bit_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(values))));
#else
    for (; count >= 8; count -= 8, values += 8, words += 4) {
      const bfloat16x8_t low = vcvtq_low_bf16_f32(vld1q_f32(values));
      vst1q_u32(words, vreinterpretq_u32_bf16(vcvtq_high_bf16_f32(low, vld1q_f32(values + 4))));
    }
#endif
    for (; count > 0; count -= depth, values += depth) *words++ = weight_word(values, count);
  }
  static void input_words(const bfloat16* values, Index count, std::uint32_t* words) {
    if (count == depth * panel_chunk) {  // of a size that the compiler knows
      std::memcpy(words, values, sizeof(std::uint32_t) * panel_chunk);
    } else {
      for (; count > 0; count -= depth, values += depth) *words++ = weight_word(values, count);
    }
  }

  template <int Rows, std::size_t Depth, class Input>
  [[gnu::always_inline]] static void step(Batch (&acc)[held<Rows>][2], const Input& input, const WordBatch (&first)[Depth],
                                          const WordBatch (&second)[Depth]) {
#if defined(__AVX512BF16__)
    const auto b0 = std::bit_cast<__m512bh>(static_cast<__m512i>(first[0]));
    const auto b1 = std::bit_cast<__m512bh>(static_cast<__m512i>(second[0]));
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const auto a = std::bit_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(*input.row(r))));
      acc[r][0] = _mm512_dpbf16_ps(acc[r][0], a, b0);
      acc[r][1] = _mm512_dpbf16_ps(acc[r][1], a, b1);
    }
#else
    multiply<Rows>(acc, input, first, second, [](float32x4_t sum, uint32x4_t columns, uint32x4_t rows) {
      return vbfmmlaq_f32(sum, vreinterpretq_bf16_u32(columns), vreinterpretq_bf16_u32(rows));
    });
#endif
  }
#else
  static constexpr Index steps = steps_of_few;
  struct InputWord {
    float low, high;
  };
  template <class T>
  static void input_words(const T* values, Index count, InputWord* words) {
    for (; count >= width; count -= width, values += width, words += width / depth) {
      Batch rounded = load(values, width);
      if constexpr (std::is_same_v<T, float>) rounded = rounded_to_bfloat16(rounded);
      std::memcpy(static_cast<void*>(words), &rounded, sizeof(rounded));
    }
    for (; count > 0; count -= depth, values += depth)
      *words++ = {static_cast<float>(bfloat16(values[0])), count > 1 ? static_cast<float>(bfloat16(values[1])) : 0.0f};
  }

  template <int Rows, class Input>
  [[gnu::always_inline]] static void step(Batch (&acc)[Rows][2], const Input& input, const WordBatch (&first)[1],
                                          const WordBatch (&second)[1]) {
    const Batch low0 = in_register(reinterpret<Batch>(first[0] << 16)), low1 = in_register(reinterpret<Batch>(second[0] << 16));
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Batch a(input.row(r)->low);
      acc[r][0] = multiply_add(a, low0, acc[r][0]);
      acc[r][1] = multiply_add(a, low1, acc[r][1]);
    }
    const WordBatch upper(0xffff0000u);
    const Batch high0 = in_register(reinterpret<Batch>(first[0] & upper)), high1 = in_register(reinterpret<Batch>(second[0] & upper));
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Batch a(input.row(r)->high);
      acc[r][0] = multiply_add(a, high0, acc[r][0]);
      acc[r][1] = multiply_add(a, high1, acc[r][1]);
    }
  }
#endif

 private:
  static std::uint32_t pair(bfloat16 low, bfloat16 high) {
    return static_cast<std::uint32_t>(low.bits) | (static_cast<std::uint32_t>(high.bits) << 16);
  }
};

}  // namespace janusflow::simd
