// Products of bytes summed in int32, and int8: four values a word, weights scaled per output and inputs per row.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "janusflow/simd/byte_words.hpp"
#include "janusflow/simd/dot.hpp"

namespace janusflow::simd {

/// What the quantised policies share, over a machine's step (byte_words.hpp). Weights are unsigned bytes, q + offset, and inputs signed
/// ones, as most instructions want them; an input row has a head with minus what that offset (less what a step takes off) adds to its sum,
/// so that the integer sum is that of the signed products. Sums wrap around as two's complement does: only the final one must fit into 32
/// bits.
template <class Machine>
struct ByteDot : Machine {
  using InputWord = typename Machine::InputWord;
  using Value = std::int8_t;
  using WeightWord = std::uint32_t;
  using Words = WordBatch;
  static constexpr bool quantised = true;

  /// The integer sums of `words` words, put down as they are: [Pairs][Rows][2 width]. Not inlined, since they take all the registers.
  template <int Rows, std::size_t Pairs>
  [[gnu::noinline]] static void add_up(Index words, const InputWord* input, std::array<PanelPair<WeightWord>, Pairs> weights,
                                       std::int32_t* sums) {
    IntegerBatch sum[Pairs][Machine::template held<Rows>][2];
    set_to_zero(sum);
    asm("" : "+r"(words));  // gcc 12 spills the sums of a loop that it knows to be short
    add_products<ByteDot, Rows>(sum, words, PanelRows<InputWord, Rows>{input}, weights);
    put_down<Rows>(sum, sums);
  }
  /// A number in place of an input word, as the head of a row of inputs has them: where its integer sum starts, and its scale.
  template <class Number>
  static void put_number(Number number, InputWord& to) {
    to = {};
    std::memcpy(static_cast<void*>(&to), &number, sizeof(number));
  }
  template <class Number>
  static Number number(const InputWord& word) {
    Number number;
    std::memcpy(&number, &word, sizeof(number));
    return number;
  }
  /// A tile's integer sums as its results: behind the rows' heads, which they start from or have started from, and the columns' scales.
  template <bool started>
  [[gnu::always_inline]] static void scale_sums(Index rows, const InputWord* input, PanelPair<WeightWord> weights, const std::int32_t* sums,
                                                float* out) {
    const Batch scale0 = reinterpret<Batch>(Words::load_aligned(weights.first)), scale1 = reinterpret<Batch>(Words::load_aligned(weights.second));
    for (Index r = 0; r < rows; ++r, input += panel_chunk, sums += 2 * width, out += 2 * width) {
      const IntegerBatch start(started ? 0 : number<std::int32_t>(input[0]));
      const Batch row_scale(number<float>(input[1]));
      (to_float(IntegerBatch::load_aligned(sums) + start) * (scale0 * row_scale)).store_aligned(out);
      (to_float(IntegerBatch::load_aligned(sums + width) + start) * (scale1 * row_scale)).store_aligned(out + width);
    }
  }

  /// Minus what the weights' offset adds to a row's sum, less what a step takes off.
  static std::int32_t start_of(std::int32_t sum, std::int32_t offset) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(Machine::taken_off - offset) * static_cast<std::uint32_t>(sum));
  }

  /// 8 bits, symmetric: the scale of n values, float or bfloat16, is max |x| / 127, at least 2^-126, whose inverse is finite, and 1 where
  /// all are zero. NaN where a value is.
  template <class T>
  static float scale_of(const T* values, Index n) {
    Batch top(0.0f);
    auto odd = xsimd::isnan(top);
    for (Index i = 0; i < n; i += width) {
      const Batch size = xsimd::abs(load(values + i, std::min(width, n - i)));
      top = max(top, size);
      odd = odd || xsimd::isnan(size);  // which the maximum passes over
    }
    if (xsimd::any(odd)) return std::numeric_limits<float>::quiet_NaN();
    const float largest = max_of_lanes(top);
    return largest == 0 ? 1.0f : std::max(largest / 127.0f, std::numeric_limits<float>::min());
  }
  static std::int32_t quantise(float value, float inverse_scale) {
    return static_cast<std::int32_t>(std::nearbyint(value * inverse_scale));
  }
  /// quantise() of n values, and zeros up to a whole number of vectors; returns their sums, lane by lane.
  template <class T>
  static IntegerBatch quantise(const T* values, Index n, float inverse_scale, std::int8_t* q) {
    IntegerBatch sums(0);
    for (Index i = 0; i < n; i += width) {
      const Batch scaled = load(values + i, std::min(width, n - i)) * Batch(inverse_scale);
#if defined(__AVX512F__)
      const IntegerBatch integers(_mm512_cvtps_epi32(scaled));  // to nearest even
      _mm_storeu_si128(reinterpret_cast<__m128i*>(q + i), _mm512_cvtepi32_epi8(integers));
#else
      const IntegerBatch integers = xsimd::to_int(xsimd::nearbyint(scaled));
      // The lowest byte of each, by a shuffle: for a conversion gcc 12 takes them one by one.
      using Bytes [[gnu::vector_size(sizeof(Batch))]] = std::int8_t;
      const auto bytes = std::bit_cast<Bytes>(static_cast<typename IntegerBatch::register_type>(integers));
      const auto lowest = [&]<int... lane>(std::integer_sequence<int, lane...>) {
        return __builtin_shufflevector(bytes, bytes, (4 * lane)...);
      }(std::make_integer_sequence<int, static_cast<int>(width)>());
      std::memcpy(q + i, &lowest, sizeof(lowest));
#endif
      sums += integers;
    }
    return sums;
  }
  static std::int32_t sum_of(IntegerBatch x) {
    return static_cast<std::int32_t>(fold(reinterpret<Words>(x), [](Words a, Words b) { return a + b; }));
  }
};

/// Symmetric 8-bit quantisation: q = round(x / scale), scale = max |x| / 127, of each output's weights once and of each input row
/// as it comes. The sum of products is exact in int32, as far as `deepest`; an output is that sum times both scales, and not
/// finite where an input of its row is not. A column of weights is its scale, then four values a word.
struct Int8Dot : ByteDot<ByteWords> {
  static constexpr int depth = 4;
  static constexpr const char* name = "int8";
  static constexpr std::int32_t offset = 128;
  static constexpr Index deepest = ((Index{1} << 31) - 1) / (127 * 127);  // terms of a sum that surely fits

  static constexpr Index weight_words(Index k) { return 1 + (k + depth - 1) / depth; }
  static constexpr Index input_words(Index k) { return (1 + (k + at_once - 1) / at_once) * panel_chunk; }

  /// Rounds the k weights of an output into its words, `stride` apart.
  static void pack_weights(const float* values, Index k, WeightWord* to, Index stride) {
    const float scale = scale_of(values, k);
    *to = std::bit_cast<WeightWord>(scale);
    for (Index begin = 0; begin < k; begin += at_once) {
      std::int8_t q[at_once] = {};
      quantise(values + begin, std::min(at_once, k - begin), 1.0f / scale, q);
      for (Index i = 0; i < std::min(at_once, k - begin); i += depth) {
        WeightWord word;
        std::memcpy(&word, q + i, sizeof(word));
        *(to += stride) = word ^ 0x80808080u;  // + 128
      }
    }
  }
  /// Rounds a row of k inputs into chunks that are `stride` words apart: its head, then the words.
  template <class T>
  static void pack_inputs(const T* values, Index k, InputWord* to, Index stride) {
    const float scale = scale_of(values, k);
    InputWord* const head = to;
    IntegerBatch sums(0);
    for (Index begin = 0; begin < k; begin += at_once) {
      to += stride;
      if constexpr (std::is_base_of_v<BytesAsTheyAre, Int8Dot>)
        if (begin + at_once <= k) {  // as they come: gcc 12 would gather the words one by one
          sums += quantise(values + begin, at_once, 1.0f / scale, reinterpret_cast<std::int8_t*>(to));
          continue;
        }
      alignas(64) std::int8_t q[at_once] = {};
      sums += quantise(values + begin, std::min(at_once, k - begin), 1.0f / scale, q);
      for (Index w = 0; w < panel_chunk; ++w) to[w] = input_word(q + w * depth);
    }
    put_number(start_of(sum_of(sums), offset), head[0]);
    put_number(scale, head[1]);
  }

  template <int Rows, std::size_t Pairs>
  static void tile(Index words, const InputWord* input, std::array<PanelPair<WeightWord>, Pairs> weights, float* out) {
    alignas(64) std::int32_t sums[Pairs * Rows * 2 * width];
    auto values = weights;
    for (auto& pair : values) pair = pair.from(1);
    add_up<Rows>(words - 1, input + Rows * panel_chunk, values, sums);
    for (std::size_t p = 0; p < Pairs; ++p) scale_sums<false>(Rows, input, weights[p], sums + p * Rows * 2 * width, out + p * Rows * 2 * width);
  }

#if defined(JANUSFLOW_AMX)
  using Tiles = ByteTiles;
  static constexpr Index fewest_on_tiles = 2;  // one row waits for memory, from which vectors get more

  static void tile_on_tiles(Index rows, Index words, const InputWord* input, PanelPair<WeightWord> weights, float* out, bool) {
    alignas(64) std::int32_t sums[most_rows_on_tiles * 2 * width];
    const InputWord* const values = input + rows * panel_chunk;
    multiply_on_tiles<Tiles>(rows, {&values, 1, words - 1, panel_chunk, rows * panel_chunk}, weights.from(1), sums, false);
    scale_sums<false>(rows, input, weights, sums, out);
  }
#endif

 private:
  static constexpr Index at_once = panel_chunk * depth;  // values of a chunk
};

}  // namespace janusflow::simd
