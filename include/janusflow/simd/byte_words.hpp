// How a word of four input bytes multiplies a vector of words of four weight bytes, by each machine's own instruction.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "janusflow/simd/panels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace janusflow::simd {

// A level of the machine, ByteWords (for weights of 4 bits NibbleWords), has
//   InputWord    what an input row's panel holds for four signed bytes, and input_word, which makes it
//   taken_off    what a step takes off every weight byte: 128 where the instruction wants signed ones
//   step<Rows>   sum[r][j] += the words of weight j . the words of row r from `input` on, one or two of them; the weights'
//                bytes are unsigned
// and the order of its sums (panels.hpp). Products and sums are exact, but for the sums' wrapping around at 32 bits.

/// Input words of four signed bytes, as most instructions take them.
struct BytesAsTheyAre {
  using InputWord = std::uint32_t;

  static InputWord input_word(const std::int8_t* q) {
    InputWord word;
    std::memcpy(&word, q, sizeof(word));
    return word;
  }
};

#if defined(__AVX512VNNI__) || (defined(__AVXVNNI__) && !defined(__AVX512F__)) || \
    defined(__ARM_FEATURE_MATMUL_INT8) || defined(__ARM_FEATURE_DOTPROD)
/// Bytes times bytes in one instruction: VPDPBUSD, USMMLA, or SDOT, which wants both of them signed.
#if defined(__ARM_FEATURE_MATMUL_INT8)
struct ByteWords : BlockSums, BytesAsTheyAre {
#else
struct ByteWords : RowSums, BytesAsTheyAre {
#endif
#if defined(__ARM_FEATURE_DOTPROD) && !defined(__ARM_FEATURE_MATMUL_INT8)
  static constexpr std::int32_t taken_off = 128;
#else
  static constexpr std::int32_t taken_off = 0;
#endif

  template <int Rows, std::size_t Depth>
  [[gnu::always_inline]] static void step(IntegerBatch (&sum)[held<Rows>][2], PanelRows<InputWord, Rows> input,
                                          const WordBatch (&first)[Depth], const WordBatch (&second)[Depth]) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
    BlockSums::multiply<Rows>(sum, input, first, second, [](int32x4_t total, uint32x4_t columns, uint32x4_t rows) {
      return vusmmlaq_s32(total, vreinterpretq_u8_u32(columns), vreinterpretq_s8_u32(rows));
    });
#else
    for (std::size_t k = 0; k < Depth; ++k) {
#if defined(__ARM_FEATURE_DOTPROD)
      const WordBatch signs(0x80808080u);
      const int8x16_t w0 = vreinterpretq_s8_u32(first[k] ^ signs), w1 = vreinterpretq_s8_u32(second[k] ^ signs);
#endif
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const IntegerBatch x(static_cast<std::int32_t>(input.row(r)[k]));
#if defined(__AVX512VNNI__)
        sum[r][0] = IntegerBatch(_mm512_dpbusd_epi32(sum[r][0], first[k], x));
        sum[r][1] = IntegerBatch(_mm512_dpbusd_epi32(sum[r][1], second[k], x));
#elif defined(__AVXVNNI__)
        sum[r][0] = IntegerBatch(_mm256_dpbusd_avx_epi32(sum[r][0], first[k], x));
        sum[r][1] = IntegerBatch(_mm256_dpbusd_avx_epi32(sum[r][1], second[k], x));
#else
        sum[r][0] = IntegerBatch(vdotq_s32(sum[r][0], w0, vreinterpretq_s8_s32(x)));
        sum[r][1] = IntegerBatch(vdotq_s32(sum[r][1], w1, vreinterpretq_s8_s32(x)));
#endif
      }
    }
#endif
  }
};

#elif defined(__aarch64__)

/// Products of signed bytes in 16 bits, where the sum of two fits: at most 127 (the inputs') times 128, twice.
struct ByteWords : RowSums {
  struct InputWord {
    std::int8_t even[2], odd[2];  // values 0, 2 and 1, 3
  };
  static constexpr std::int32_t taken_off = 128;

  static InputWord input_word(const std::int8_t* q) { return {{q[0], q[2]}, {q[1], q[3]}}; }

  template <int Rows, std::size_t Depth>
  [[gnu::always_inline]] static void step(IntegerBatch (&sum)[Rows][2], PanelRows<InputWord, Rows> input,
                                          const WordBatch (&first)[Depth], const WordBatch (&second)[Depth]) {
    for (std::size_t k = 0; k < Depth; ++k) {
      const WordBatch signs(0x80808080u);
      const uint8x16_t w0 = vreinterpretq_u8_u32(first[k] ^ signs), w1 = vreinterpretq_u8_u32(second[k] ^ signs);
      const int8x16_t even = vreinterpretq_s8_u8(vuzp1q_u8(w0, w1));  // of both weights
      const int8x16_t odd = vreinterpretq_s8_u8(vuzp2q_u8(w0, w1));
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const InputWord& x = input.row(r)[k];
        const int8x16_t x0 = both(x.even), x1 = both(x.odd);
        const int16x8_t products0 =
            vmlal_s8(vmull_s8(vget_low_s8(even), vget_low_s8(x0)), vget_low_s8(odd), vget_low_s8(x1));
        sum[r][0] = IntegerBatch(vpadalq_s16(sum[r][0], products0));
        const int16x8_t products1 = vmlal_high_s8(vmull_high_s8(even, x0), odd, x1);
        sum[r][1] = IntegerBatch(vpadalq_s16(sum[r][1], products1));
      }
    }
  }

 private:
  static int8x16_t both(const std::int8_t (&values)[2]) {
    return vreinterpretq_s8_s16(vdupq_n_s16(std::bit_cast<std::int16_t>(std::array{values[0], values[1]})));
  }
};

#elif (defined(__AVX2__) && !defined(__AVX512F__)) || defined(__AVX512BW__)
/// The weights' magnitudes times inputs that have taken over their signs: two products, of at most 128 times 127, add up in 16 bits,
/// which unsigned weights' would not.
struct ByteWords : RowSums, BytesAsTheyAre {
  static constexpr std::int32_t taken_off = 128;
  static constexpr Index steps = steps_of_few;

  template <int Rows, std::size_t Depth>
  [[gnu::always_inline]] static void step(IntegerBatch (&sum)[Rows][2], PanelRows<InputWord, Rows> input,
                                          const WordBatch (&first)[Depth], const WordBatch (&second)[Depth]) {
    for (std::size_t k = 0; k < Depth; ++k) {
      const WordBatch signs(0x80808080u), w0 = first[k] ^ signs, w1 = second[k] ^ signs;
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const IntegerBatch x(static_cast<std::int32_t>(input.row(r)[k]));
        sum[r][0] = in_order(sum[r][0] + IntegerBatch(sums_of_pairs(pairs(w0, x))));
        sum[r][1] = in_order(sum[r][1] + IntegerBatch(sums_of_pairs(pairs(w1, x))));
      }
    }
  }

 protected:
  // Two neighbouring bytes' products in 16 bits, unsigned times signed, or both signed; two of those summed in 32.
#if defined(__AVX512BW__)
  using Register = __m512i;
  static Register unsigned_pairs(Register weight, Register x) { return _mm512_maddubs_epi16(weight, x); }
  static Register pairs(Register weight, Register x) {
    return _mm512_maddubs_epi16(_mm512_abs_epi8(weight), _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(weight), _mm512_setzero_si512(), x));
  }
  static Register added(Register a, Register b) { return _mm512_add_epi16(a, b); }
  static Register sums_of_pairs(Register a) { return _mm512_madd_epi16(a, _mm512_set1_epi16(1)); }
#else
  using Register = __m256i;
  static Register unsigned_pairs(Register weight, Register x) { return _mm256_maddubs_epi16(weight, x); }
  static Register pairs(Register weight, Register x) { return _mm256_maddubs_epi16(_mm256_abs_epi8(weight), _mm256_sign_epi8(x, weight)); }
  static Register added(Register a, Register b) { return _mm256_add_epi16(a, b); }
  static Register sums_of_pairs(Register a) { return _mm256_madd_epi16(a, _mm256_set1_epi16(1)); }
#endif
  /// Here: gcc 12 would first make the products of several words, which leave it no registers for the sums.
  static IntegerBatch in_order(IntegerBatch sums) {
    auto held = static_cast<Register>(sums);
    asm("" : "+v"(held));
    return IntegerBatch(held);
  }
};
#define JANUSFLOW_BYTE_PAIRS

#else
/// Products of 16-bit halves: a pair of products and their sum fit into 32 bits.
struct ByteWords : RowSums {
  struct InputWord {
    std::int16_t even[2], odd[2];  // values 0, 2 and 1, 3
  };
  static constexpr std::int32_t taken_off = 0;

  static InputWord input_word(const std::int8_t* q) { return {{q[0], q[2]}, {q[1], q[3]}}; }

  template <int Rows, std::size_t Depth>
  [[gnu::always_inline]] static void step(IntegerBatch (&sum)[Rows][2], PanelRows<InputWord, Rows> input,
                                          const WordBatch (&first)[Depth], const WordBatch (&second)[Depth]) {
    for (std::size_t k = 0; k < Depth; ++k) {
      accumulate<Rows, 0>(sum, input.from(static_cast<Index>(k)), first[k]);
      accumulate<Rows, 1>(sum, input.from(static_cast<Index>(k)), second[k]);
    }
  }

 private:
  template <int Rows, int Half>
  [[gnu::always_inline]] static void accumulate(IntegerBatch (&sum)[Rows][2], PanelRows<InputWord, Rows> input, WordBatch weight) {
#if defined(__SSE2__) && !defined(__AVX__)
    const __m128i even = _mm_and_si128(weight, _mm_set1_epi16(0xff)), odd = _mm_srli_epi16(weight, 8);
    for (int r = 0; r < Rows; ++r) {
      const InputWord& x = *input.row(r);
      const __m128i a = _mm_set1_epi32(std::bit_cast<int>(x.even)), b = _mm_set1_epi32(std::bit_cast<int>(x.odd));
      const __m128i products = _mm_add_epi32(_mm_madd_epi16(a, even), _mm_madd_epi16(b, odd));
      sum[r][Half] = IntegerBatch(_mm_add_epi32(sum[r][Half], products));
    }
#else
    alignas(64) std::array<std::uint32_t, static_cast<std::size_t>(width)> words;
    alignas(64) std::array<std::int32_t, static_cast<std::size_t>(width)> products;
    weight.store_aligned(words.data());
    for (int r = 0; r < Rows; ++r) {
      for (std::size_t j = 0; j < products.size(); ++j) {
        const auto byte = [&](int i) { return static_cast<std::int32_t>(words[j] >> (8 * i) & 0xff); };
        const InputWord& x = *input.row(r);
        products[j] = x.even[0] * byte(0) + x.odd[0] * byte(1) + x.even[1] * byte(2) + x.odd[1] * byte(3);
      }
      sum[r][Half] += IntegerBatch::load_aligned(products.data());
    }
#endif
  }
};

#endif

#if defined(JANUSFLOW_BYTE_PAIRS)
/// The same for weights of 4 bits, whose products add up in 16 bits, two sums in place of one: of up to eight words, two of at most 15 times
/// 127 each.
struct NibbleWords : ByteWords {
  static constexpr std::int32_t taken_off = 0;

  template <int Rows, std::size_t Depth>
  [[gnu::always_inline]] static void step(IntegerBatch (&sums)[Rows][2], PanelRows<InputWord, Rows> input,
                                          const WordBatch (&first)[Depth], const WordBatch (&second)[Depth]) {
    for (std::size_t k = 0; k < Depth; ++k) {
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const IntegerBatch x(static_cast<std::int32_t>(input.row(r)[k]));
        sums[r][0] = in_order(IntegerBatch(added(sums[r][0], unsigned_pairs(first[k], x))));
        sums[r][1] = in_order(IntegerBatch(added(sums[r][1], unsigned_pairs(second[k], x))));
      }
    }
  }
};
#else
using NibbleWords = ByteWords;
#endif

}  // namespace janusflow::simd
