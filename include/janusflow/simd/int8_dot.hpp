// int8 x int8 summed in int32: four values a word, weights scaled per output and inputs per row.
#pragma once

#include <array>
#include <cmath>

#include "janusflow/simd/dot.hpp"

namespace janusflow::simd {

/// Symmetric 8-bit quantisation: q = round(x / scale), scale = max |x| / 127, of each output's weights once and of each input row
/// as it comes. The sum of products is exact in int32 (up to 2^31 / 127^2, 133,000 terms); an output is that sum times both
/// scales. An accumulator's 32 bits are integers here: they become floats when the tile is finished.
struct Int8Dot {
  using Value = std::int8_t;
  using WeightWord = std::uint32_t;
  static constexpr int depth = 4;
  static constexpr const char* name = "int8";
  static constexpr bool quantised = true;

  /// The scale of n values; 1 where all are zero.
  template <class T>
  static float scale_of(const T* values, Index n) {
    float largest = 0;
    if constexpr (std::is_same_v<T, float>) {
      Batch top(0.0f);
      for (Index i = 0; i < n; i += width) top = max(top, xsimd::abs(load(values + i, std::min(width, n - i))));
      largest = fold(top, [](float a, float b) { return std::max(a, b); });
    } else {
      for (Index i = 0; i < n; ++i) largest = std::max(largest, std::abs(static_cast<float>(values[i])));
    }
    return largest > 0 ? largest / 127.0f : 1.0f;
  }

  template <class T>
  static std::uint32_t weight_word(const T* values, Index count, float scale) {
    std::uint32_t word = 0;
    for (Index i = 0; i < count; ++i) word |= static_cast<std::uint32_t>(quantise(values[i], 1.0f / scale) & 0xff) << (8 * i);
    return word;
  }

#if defined(__AVX512VNNI__)
  // The instruction multiplies unsigned by signed: inputs are shifted by 128, which adds 128 times the weights' sum.
  static constexpr std::int32_t input_offset = 128;
  using InputWord = std::uint32_t;

  static void input_words(const float* values, Index count, float scale, std::uint32_t* words) {
    const __m512 inverse = _mm512_set1_ps(1.0f / scale);
    for (; count >= 16; count -= 16, values += 16, words += 4) {
      const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(values), inverse));  // rounds to nearest even
      const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_add_epi32(q, _mm512_set1_epi32(input_offset)));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(words), bytes);
    }
    for (; count > 0; count -= depth, values += depth) {
      *words = 0x80808080u;
      for (Index i = 0; i < std::min<Index>(count, depth); ++i)
        *words ^= (static_cast<std::uint32_t>(quantise(values[i], 1.0f / scale) & 0xff)) << (8 * i);
      ++words;
    }
  }

  template <int Rows>
  static void step(Batch (&acc)[Rows][2], const std::uint32_t* input, const std::uint32_t* first, const std::uint32_t* second) {
    const __m512i b0 = _mm512_load_si512(first), b1 = _mm512_load_si512(second);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const __m512i a = _mm512_set1_epi32(static_cast<int>(input[r]));
      acc[r][0] = _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(acc[r][0]), a, b0));
      acc[r][1] = _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(acc[r][1]), a, b1));
    }
  }
#else
  // Products of 16-bit halves: a pair of products and their sum fit into 32 bits, where the byte instruction of AVX2 would saturate.
  static constexpr std::int32_t input_offset = 0;
  struct InputWord {
    std::int16_t even[2], odd[2];  // values 0, 2 and 1, 3
  };

  static void input_words(const float* values, Index count, float scale, InputWord* words) {
    for (; count > 0; count -= depth, values += depth) {
      std::int16_t q[depth] = {};
      for (Index i = 0; i < std::min<Index>(count, depth); ++i) q[i] = static_cast<std::int16_t>(quantise(values[i], 1.0f / scale));
      *words++ = {{q[0], q[2]}, {q[1], q[3]}};
    }
  }

  template <int Rows>
  static void step(Batch (&acc)[Rows][2], const InputWord* input, const std::uint32_t* first, const std::uint32_t* second) {
    accumulate<Rows, 0>(acc, input, first);
    accumulate<Rows, 1>(acc, input, second);
  }

 private:
  template <int Rows, int Half>
  static void accumulate(Batch (&acc)[Rows][2], const InputWord* input, const std::uint32_t* weight) {
#if defined(__AVX512BW__)
    const __m512i w = _mm512_load_si512(weight);
    const __m512i even = _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8), odd = _mm512_srai_epi16(w, 8);
    for (int r = 0; r < Rows; ++r) {
      const __m512i a = _mm512_set1_epi32(std::bit_cast<int>(input[r].even)), b = _mm512_set1_epi32(std::bit_cast<int>(input[r].odd));
      const __m512i sum = _mm512_add_epi32(_mm512_madd_epi16(a, even), _mm512_madd_epi16(b, odd));
      acc[r][Half] = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(acc[r][Half]), sum));
    }
#elif defined(__AVX2__) && !defined(__AVX512F__)
    const __m256i w = _mm256_load_si256(reinterpret_cast<const __m256i*>(weight));
    const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), odd = _mm256_srai_epi16(w, 8);
    for (int r = 0; r < Rows; ++r) {
      const __m256i a = _mm256_set1_epi32(std::bit_cast<int>(input[r].even)), b = _mm256_set1_epi32(std::bit_cast<int>(input[r].odd));
      const __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(a, even), _mm256_madd_epi16(b, odd));
      acc[r][Half] = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(acc[r][Half]), sum));
    }
#elif defined(__SSE2__) && !defined(__AVX__)
    const __m128i w = _mm_load_si128(reinterpret_cast<const __m128i*>(weight));
    const __m128i even = _mm_srai_epi16(_mm_slli_epi16(w, 8), 8), odd = _mm_srai_epi16(w, 8);
    for (int r = 0; r < Rows; ++r) {
      const __m128i a = _mm_set1_epi32(std::bit_cast<int>(input[r].even)), b = _mm_set1_epi32(std::bit_cast<int>(input[r].odd));
      const __m128i sum = _mm_add_epi32(_mm_madd_epi16(a, even), _mm_madd_epi16(b, odd));
      acc[r][Half] = _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(acc[r][Half]), sum));
    }
#else
    using Integers = std::array<std::int32_t, static_cast<std::size_t>(width)>;
    for (int r = 0; r < Rows; ++r) {
      alignas(64) std::array<float, static_cast<std::size_t>(width)> bits;
      acc[r][Half].store_aligned(bits.data());
      auto sums = std::bit_cast<Integers>(bits);
      for (std::size_t j = 0; j < sums.size(); ++j) {
        const std::uint32_t w = weight[j];
        const auto byte = [&](int i) { return static_cast<std::int32_t>(static_cast<std::int8_t>(w >> (8 * i))); };
        sums[j] += input[r].even[0] * byte(0) + input[r].odd[0] * byte(1) + input[r].even[1] * byte(2) + input[r].odd[1] * byte(3);
      }
      bits = std::bit_cast<decltype(bits)>(sums);
      acc[r][Half] = Batch::load_aligned(bits.data());
    }
#endif
  }

 public:
#endif

  template <class T>
  static std::int32_t quantise(T value, float inverse_scale) {
    return static_cast<std::int32_t>(std::nearbyint(static_cast<float>(value) * inverse_scale));
  }
};

}  // namespace janusflow::simd
