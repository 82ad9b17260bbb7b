// 4-bit weights in groups of 32, whose steps are whole multiples of their output's own, times int8 inputs: int8 in half of the memory.
#pragma once

#include "janusflow/simd/int8_dot.hpp"

namespace janusflow::simd {

/// Int8Dot with weights that are stored in 4 bits: (n k + m) scale, n from -8 to 7, where each group of 32 values of K has its own step k,
/// from 1 to 17, and middle m, and each output its scale: 4.5 bits a weight. n k + m is from -128 to 127, so a group's weights are bytes of
/// Int8Dot: many rows multiply those, made once for all of them. Few rows, which wait for memory, multiply the 4 bits as they lie, and each
/// group's sum by its step; so do all rows where sums of 16 bits make that the shorter way. The integer sum is exact, and so the same.
/// (Scales of groups that are rounded themselves: Dettmers et al., arXiv 2305.14314, section 3, "double quantization".)
///
/// A column is its scale, then 64 values in nine words: k of the first and the second group and m of both, a byte each, then four words
/// for each group. Byte i of those is value i + 8 in its lower four bits, and value 4 + i + 8 in its upper ones.
struct Int4Dot : ByteDot<NibbleWords> {
  static constexpr int depth = 8;
  static constexpr const char* name = "q4";
  static constexpr std::uint32_t offset = 8;
  static constexpr Index group = 32, group_words = group / depth, pair_words = 1 + 2 * group_words;
  static constexpr Index deepest = ((Index{1} << 31) - 1) / (128 * 127);  // terms of a sum that surely fits
  static constexpr bool sums_of_16_bits = !std::is_same_v<NibbleWords, ByteWords>;
  static constexpr int most_rows = sums_of_16_bits ? 6 : 4;  // of a tile, that leave registers beside its sums
  using ManyRows = std::conditional_t<sums_of_16_bits, Int4Dot, Int8Dot>;

  static constexpr Index pairs_of_groups(Index k) { return (k + 2 * group - 1) / (2 * group); }
  static constexpr Index weight_words(Index k) { return 1 + pairs_of_groups(k) * pair_words; }
  static constexpr Index input_words(Index k) {
    const Index groups = 2 * pairs_of_groups(k);
    return Int8Dot::input_words(k) + (groups + panel_chunk - 1) / panel_chunk * panel_chunk;
  }

  using GroupOfFloats = std::array<float, static_cast<std::size_t>(group)>;
  /// A group's weights over its output's scale, rounded: n k + m.
  struct Group {
    std::int32_t step = 1, middle = 0;
    GroupOfFloats n{};
  };
  /// Of the step that just spans the group and the one below it, each with a middle that is moved twice to where the error's mean would be
  /// zero, the choice of the least squared error, in units of a 128th. Nothing is left to how a compiler joins or orders operations: every
  /// machine makes the same choice.
  static Group quantise_group(const GroupOfFloats& values, float scale) {
    GroupVectors x = vectors_of(values);
    for (Batch& vector : x) vector = vector / Batch(scale);
    const auto [low, high] = range_of(x);
    const float spanning = std::clamp(std::ceil((high - low) / 15.0f), 1.0f, 17.0f);
    Group best;
    std::int32_t least = std::numeric_limits<std::int32_t>::max();
    for (float step = spanning; step >= std::max(1.0f, spanning - 1); --step) {
      const float least_middle = 8 * step - 128, most_middle = 127 - 7 * step;
      float middle = std::clamp(std::nearbyint((high + low + step) / 2), least_middle, most_middle);
      for (int round = 0;; ++round) {
        GroupVectors n;
        IntegerBatch errors(0), squares(0);
        for (std::size_t i = 0; i < x.size(); ++i) {
          n[i] = min(max(xsimd::nearbyint((x[i] - Batch(middle)) * Batch(1 / step)), Batch(-8.0f)), Batch(7.0f));
          const Batch error = xsimd::nearbyint((x[i] - (n[i] * Batch(step) + Batch(middle))) * Batch(128.0f));  // less than 2^12
          errors += xsimd::to_int(error);
          squares += xsimd::to_int(error * error);
        }
        if (const std::int32_t sum = sum_of(squares); sum < least) {
          least = sum;
          best.step = static_cast<std::int32_t>(step), best.middle = static_cast<std::int32_t>(middle);
          for (std::size_t i = 0; i < n.size(); ++i) n[i].store_unaligned(best.n.data() + i * static_cast<std::size_t>(width));
        }
        if (round == 2) break;
        middle = std::clamp(std::nearbyint(middle + static_cast<float>(sum_of(errors)) / (128 * group)), least_middle, most_middle);
      }
    }
    return best;
  }
  /// The scale of an output's k weights: every group's range is at most 255 of it, every weight 127. NaN where one is not finite.
  static float scale_of_weights(const float* values, Index k) {
    float widest = 0, largest = 0;
    for (Index begin = 0; begin < k; begin += group) {
      const GroupVectors x = vectors_of(whole_group(values, begin, k));
      for (const Batch& vector : x)
        if (!xsimd::all(xsimd::abs(vector) <= Batch(std::numeric_limits<float>::max()))) return std::numeric_limits<float>::quiet_NaN();
      const auto [low, high] = range_of(x);
      widest = std::max(widest, high / 255.0f - low / 255.0f);
      largest = std::max({largest, -low, high});
    }
    return largest == 0 ? 1.0f : std::max({widest, largest / 127.0f, std::numeric_limits<float>::min()});
  }

  /// Rounds the k weights of an output into its words, `stride` apart.
  static void pack_weights(const float* values, Index k, WeightWord* to, Index stride) {
    const float scale = scale_of_weights(values, k);
    *to = std::bit_cast<WeightWord>(scale);
    to += stride;
    for (Index begin = 0; begin < k; begin += 2 * group, to += pair_words * stride) {
      *to = 0;
      for (Index half = 0; half < 2; ++half) {
        const Index first = begin + half * group;
        const Group rounded = first < k && std::isfinite(scale) ? quantise_group(whole_group(values, first, k), scale) : Group();
        *to |= static_cast<WeightWord>(rounded.step) << (8 * half) | static_cast<WeightWord>(rounded.middle & 0xff) << (16 + 8 * half);
        WeightWord* words = to + (1 + half * group_words) * stride;
        for (Index w = 0; w < group_words; ++w, words += stride) {
          *words = 0;
          for (Index i = 0; i < depth; ++i)
            *words |= static_cast<WeightWord>(rounded.n[static_cast<std::size_t>(w * depth + i)] + offset) << (i < 4 ? 8 * i : 8 * (i - 4) + 4);
        }
      }
    }
  }
  /// Rounds a row of k inputs as Int8Dot does, into chunks that are `stride` words apart; then come the sums of its groups, at most 32 times
  /// 127, in the upper half of a word, in the lower one what those of n are less than those of n + 8.
  template <class T>
  static void pack_inputs(const T* values, Index k, InputWord* to, Index stride) {
    Int8Dot::pack_inputs(values, k, to, stride);
    const InputWord* from = to + stride;
    to += Int8Dot::input_words(k) / panel_chunk * stride;
    for (Index g = 0; g < 2 * pairs_of_groups(k); ++g) {
      const auto sum = static_cast<std::uint32_t>(sum_of_group(from + g % 2 * 2 * group_words));
      put_number(sum << 16 | ((0 - offset * sum) & 0xffff), to[g % panel_chunk]);
      if (g % 2) from += stride;
      if (g % panel_chunk == panel_chunk - 1) to += stride;
    }
  }

  template <int Rows, std::size_t Pairs>
  static void tile(Index words, const InputWord* input, std::array<PanelPair<WeightWord>, Pairs> weights, float* out) {
    IntegerBatch totals[Pairs][Rows][2];
    set_to_zero(totals);
    auto groups = weights;
    for (auto& pair : groups) pair = pair.from(1);
    const Index chunk = Rows * panel_chunk, pairs = (words - 1) / pair_words;
    const InputWord* values = input + chunk;
    const InputWord* const sums_of_inputs = values + pairs * chunk;
    for (Index g = 0; g < 2 * pairs; g += 2, values += chunk) {
      if constexpr (Rows == 1 && row_words_ahead > 0)
        for (const auto& pair : groups)
          for (Index w = 0; w < pair_words; ++w) pair.from(row_words_ahead + w).ask_ahead();
      const InputWord* const sums = sums_of_inputs + g / panel_chunk * chunk + g % panel_chunk;
      add_group<Rows, 0>(values, sums, groups, totals);
      add_group<Rows, 1>(values + 2 * group_words, sums + 1, groups, totals);
      for (auto& pair : groups) pair = pair.from(pair_words);
    }
    alignas(64) std::int32_t whole[Pairs * Rows * 2 * width];
    put_down<Rows>(totals, whole);
    for (std::size_t p = 0; p < Pairs; ++p) scale_sums<true>(Rows, input, weights[p], whole + p * Rows * 2 * width, out + p * Rows * 2 * width);
  }

  /// Words of a column as ManyRows has it.
  static constexpr Index many_rows_words(Index words) { return 1 + (words - 1) / pair_words * panel_chunk; }
  /// A panel of `words` words as ManyRows has it; either way the words of a column are panel_columns apart.
  static void for_many_rows(Index words, const WeightWord* from, WeightWord* to) {
    const WeightWord* const end = from + words * panel_columns;
    const auto take = [&] { return Words::load_aligned(std::exchange(from, from + panel_columns)); };
    const auto put = [&](Words word) { word.store_aligned(std::exchange(to, to + panel_columns)); };
    put(take());
    while (from < end) {
      const Bits factors = bits(take());
      for (const int half : {0, 1}) {
        // With Int8Dot's offset a byte is (n + 8) k and the least of its group: no more than a byte holds, so that nothing carries over.
        const Bits step = factors >> (8 * half) & 0xff, middle = factors >> (16 + 8 * half);
        const Bits least = ((middle + static_cast<std::uint32_t>(Int8Dot::offset) - step * offset) & 0xff) * 0x01010101u;
        const auto steps = (Unsigned16)(step * 0x00010001u);
        const auto bytes = [&](Words n) { return words_of((Bits)((Unsigned16)bits(n) * steps) + least); };
        for (Index w = 0; w < group_words; ++w) {
          const Words n = take();
          put(bytes(n & Words(0x0f0f0f0fu)));
          put(bytes(upper(n)));
        }
      }
    }
  }

 private:
  using Bits [[gnu::vector_size(sizeof(Words))]] = std::uint32_t;  // vectors as the compilers know them
  using Signed32 [[gnu::vector_size(sizeof(Words))]] = std::int32_t;
  using Signed16 [[gnu::vector_size(sizeof(Words))]] = std::int16_t;
  using Unsigned16 [[gnu::vector_size(sizeof(Words))]] = std::uint16_t;

  template <class Some>
  static Bits bits(Some batch) {
    return (Bits) static_cast<typename Some::register_type>(batch);
  }
  static Words words_of(Bits bits) { return Words((Words::register_type)bits); }
  static IntegerBatch integers(Bits bits) { return IntegerBatch((IntegerBatch::register_type)bits); }
  /// The upper four bits of each byte as the lower ones.
  static Words upper(Words words) { return words_of(bits(words) >> 4) & Words(0x0f0f0f0fu); }

  /// A group's step and middle in each column, and what they make of its sums: those of (n + 8) x, and of x as pack_inputs puts them down.
  struct Factors {
#if defined(__AVX512BW__) || (defined(__AVX2__) && !defined(__AVX512F__)) || (defined(__SSE2__) && !defined(__AVX__))
    Bits pairs;  // the step in the lower 16 bits, the middle in the upper ones

    Factors(Words word, Index half) : pairs((Bits)((half == 0 ? (Signed16)(bits(word) << 8) : (Signed16)bits(word)) >> 8)) {}
    static_assert(taken_off == 0);
    static Bits start(Bits inputs) { return sums_of_16_bits ? Bits{} : inputs; }
    [[gnu::always_inline]] Bits added(Bits total, Bits sum, Bits inputs) const {
      if constexpr (sums_of_16_bits) {  // the sums are two of 16 bits
        const Bits steps = [&]<int... i>(std::integer_sequence<int, i...>) {
          return (Bits)__builtin_shufflevector((Signed16)pairs, (Signed16)pairs, (i & ~1)...);
        }(std::make_integer_sequence<int, 2 * static_cast<int>(width)>());
        return multiplied(multiplied(total, sum, steps), inputs, pairs);
      } else {  // from their start on they have the lower half of `inputs` in them: they are those of n x, in 16 bits
        return multiplied(total, (sum & 0xffff) | (inputs & 0xffff0000), pairs);
      }
    }
    /// total + the products of the lower and of the upper halves.
    static Bits multiplied(Bits total, Bits a, Bits b) {
#if defined(__AVX512VNNI__)
      return (Bits)_mm512_dpwssd_epi32((__m512i)total, (__m512i)a, (__m512i)b);
#elif defined(__AVX512BW__)
      return total + (Bits)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVXVNNI__)
      return (Bits)_mm256_dpwssd_avx_epi32((__m256i)total, (__m256i)a, (__m256i)b);
#elif defined(__AVX2__)
      return total + (Bits)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#else
      return total + (Bits)_mm_madd_epi16((__m128i)a, (__m128i)b);
#endif
    }
#else
    Bits step, least;

    Factors(Words word, Index half)
        : step(bits(word) >> (8 * half) & 0xff),
          least((Bits)((Signed32)(bits(word) << (8 - 8 * half)) >> 24) + step * (static_cast<std::uint32_t>(taken_off) - offset)) {}
    static Bits start(Bits) { return Bits{}; }
    [[gnu::always_inline]] Bits added(Bits total, Bits sum, Bits inputs) const {
      return total + step * sum + least * (Bits)((Signed32)inputs >> 16);
    }
#endif
  };

  /// Adds to a tile's totals the products of the first or second of two groups.
  template <int Rows, int half, std::size_t Pairs>
  [[gnu::always_inline]] static void add_group(const InputWord* input, const InputWord* sums_of_inputs,
                                               const std::array<PanelPair<WeightWord>, Pairs>& groups, IntegerBatch (&totals)[Pairs][Rows][2]) {
    const Words low(0x0f0f0f0fu);
    IntegerBatch sum[Pairs][held<Rows>][2];
    set_to_zero(sum);
    Bits inputs[Rows];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      inputs[r] = Bits{} + number<std::uint32_t>(sums_of_inputs[r * panel_chunk]);
      for (auto& pair : sum) pair[r][0] = pair[r][1] = integers(Factors::start(inputs[r]));
    }
    auto weights = groups;
    for (auto& pair : weights) pair = pair.from(1 + half * group_words);
    for (Index w = 0; w < group_words; ++w, input += 2)
#pragma GCC unroll 16
      for (std::size_t p = 0; p < Pairs; ++p) {
        const Words w0 = Words::load_aligned(weights[p].first), w1 = Words::load_aligned(weights[p].second);
        step<Rows>(sum[p], PanelRows<InputWord, Rows>{input}, {w0 & low, upper(w0)}, {w1 & low, upper(w1)});
        weights[p] = weights[p].from(1);
      }
#pragma GCC unroll 16
    for (std::size_t p = 0; p < Pairs; ++p) {
      to_rows(sum[p]);
      const Factors first(Words::load_aligned(groups[p].first), half), second(Words::load_aligned(groups[p].second), half);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        totals[p][r][0] = integers(first.added(bits(totals[p][r][0]), bits(sum[p][r][0]), inputs[r]));
        totals[p][r][1] = integers(second.added(bits(totals[p][r][1]), bits(sum[p][r][1]), inputs[r]));
      }
    }
  }

  /// The sum of a group of inputs.
  template <class Word>
  static std::int32_t sum_of_group(const Word* from) {
    if constexpr (std::is_same_v<Word, std::uint32_t>) {  // bytes with 128 more than they are, four sums of 16 bits in a word
      constexpr std::uint64_t bytes = 0x00ff00ff00ff00ff;
      std::uint64_t sums = 0;
      for (Index w = 0; w < 2 * group_words; w += 2) {
        std::uint64_t q;
        std::memcpy(&q, from + w, sizeof(q));
        q ^= 0x8080808080808080;
        sums += (q & bytes) + (q >> 8 & bytes);
      }
      return static_cast<std::int32_t>(sums * 0x0001000100010001 >> 48) - 128 * static_cast<std::int32_t>(group);
    } else {
      std::int32_t sum = 0;
      for (Index w = 0; w < 2 * group_words; ++w) sum += from[w].even[0] + from[w].even[1] + from[w].odd[0] + from[w].odd[1];
      return sum;
    }
  }

  /// Values [begin, begin + group) of k, past the end the first one of them, which changes no range.
  static GroupOfFloats whole_group(const float* values, Index begin, Index k) {
    GroupOfFloats whole;
    whole.fill(values[begin]);
    std::copy(values + begin, values + std::min(begin + group, k), whole.begin());
    return whole;
  }
  using GroupVectors = std::array<Batch, static_cast<std::size_t>(group / width)>;
  static GroupVectors vectors_of(const GroupOfFloats& values) {
    GroupVectors vectors;
    for (std::size_t i = 0; i < vectors.size(); ++i) vectors[i] = Batch::load_unaligned(values.data() + i * static_cast<std::size_t>(width));
    return vectors;
  }
  struct Range {
    float low, high;
  };
  static Range range_of(const GroupVectors& x) {
    Batch low = -x[0], high = x[0];
    for (const Batch& vector : x) low = max(low, -vector), high = max(high, vector);
    return {-max_of_lanes(low), max_of_lanes(high)};
  }
};

}  // namespace janusflow::simd
