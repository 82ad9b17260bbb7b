// Dot-product policies: how one word of an input row multiplies one vector of weight words into an accumulator.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "janusflow/core/bfloat16.hpp"
#include "janusflow/simd/rows.hpp"

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
//   input_words       rounds a row of floats into words, the last one filled with zeros
//   step<Rows>        acc[r][j] += input[r * panel_chunk] . weight_j  for Rows rows and two weight vectors
// A quantised one (int8_dot.hpp, int4_dot.hpp) has integers in its words, and scales among them; it packs whole rows and sums a whole
// tile. The packing and the blocking are written once, over any policy.

/// Columns that lie side by side in a packed matrix, on every machine alike (so that a file can hold it): whole vectors.
inline constexpr Index panel_columns = 16;
static_assert(panel_columns % width == 0);

/// Words of a row that lie together in an input panel, which is [words / panel_chunk][rows][panel_chunk]: a row is packed a cache line
/// at a time, and what one step reads of all rows still lies close together.
inline constexpr Index panel_chunk = 16;
/// From word k of a panel's row to the next one, without a branch.
template <int Rows>
constexpr Index to_next_word(Index k) {
  return 1 + static_cast<Index>(k % panel_chunk == panel_chunk - 1) * ((Rows - 1) * panel_chunk);
}

/// float32: one fused multiply-add a word.
struct Float32Dot {
  using Value = float;
  using WeightWord = float;
  using InputWord = float;
  static constexpr int depth = 1;
  static constexpr const char* name = "f32";
  static constexpr bool quantised = false;

  static constexpr Index weight_words(Index k) { return k; }
  static float weight_word(const float* values, Index) { return values[0]; }
  static float weight_word(const bfloat16* values, Index) { return values[0]; }
  static void input_words(const float* values, Index count, float* words) {
    if (count == panel_chunk) std::memcpy(words, values, sizeof(float) * panel_chunk);  // of a size that the compiler knows
    else std::copy_n(values, count, words);
  }

  template <int Rows>
  static void step(Batch (&acc)[Rows][2], const float* input, const float* first, const float* second) {
    const Batch b0 = Batch::load_aligned(first), b1 = Batch::load_aligned(second);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Batch a(input[r * panel_chunk]);
      acc[r][0] = multiply_add(a, b0, acc[r][0]);
      acc[r][1] = multiply_add(a, b1, acc[r][1]);
    }
  }
};

/// bfloat16 x bfloat16 summed in float32: two values a word. With AVX512-BF16 one instruction; elsewhere each value is widened
/// exactly and multiplied in float32, so only the order of the two additions differs.
struct BFloat16Dot {
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

#if defined(__AVX512BF16__)
  using InputWord = std::uint32_t;
  static void input_words(const float* values, Index count, std::uint32_t* words) {
    for (; count >= 32; count -= 32, values += 32, words += 16)
      _mm512_storeu_si512(words, std::bit_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(values + 16), _mm512_loadu_ps(values))));
    for (; count >= 16; count -= 16, values += 16, words += 8)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), std::bit_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(values))));
    for (; count > 0; count -= depth, values += depth) *words++ = weight_word(values, count);
  }

  template <int Rows>
  static void step(Batch (&acc)[Rows][2], const std::uint32_t* input, const std::uint32_t* first,
                   const std::uint32_t* second) {
    const auto b0 = std::bit_cast<__m512bh>(_mm512_load_si512(first));
    const auto b1 = std::bit_cast<__m512bh>(_mm512_load_si512(second));
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const auto a = std::bit_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(input[r * panel_chunk])));
      acc[r][0] = _mm512_dpbf16_ps(acc[r][0], a, b0);
      acc[r][1] = _mm512_dpbf16_ps(acc[r][1], a, b1);
    }
  }
#else
  struct InputWord {
    float low, high;
  };
  static void input_words(const float* values, Index count, InputWord* words) {
    for (; count > 0; count -= depth, values += depth)
      *words++ = {static_cast<float>(bfloat16(values[0])), count > 1 ? static_cast<float>(bfloat16(values[1])) : 0.0f};
  }

  template <int Rows>
  static void step(Batch (&acc)[Rows][2], const InputWord* input, const std::uint32_t* first,
                   const std::uint32_t* second) {
    using Words = xsimd::batch<std::uint32_t>;
    const Words w0 = Words::load_aligned(first), w1 = Words::load_aligned(second);
    const Batch low0 = reinterpret<Batch>(w0 << 16), low1 = reinterpret<Batch>(w1 << 16);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Batch a(input[r * panel_chunk].low);
      acc[r][0] = multiply_add(a, low0, acc[r][0]);
      acc[r][1] = multiply_add(a, low1, acc[r][1]);
    }
    const Words upper(0xffff0000u);
    const Batch high0 = reinterpret<Batch>(w0 & upper), high1 = reinterpret<Batch>(w1 & upper);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Batch a(input[r * panel_chunk].high);
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
