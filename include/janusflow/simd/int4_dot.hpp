// 4-bit weights in groups of 32 with a scale each, times int8 inputs with a scale for as many.
#pragma once

#include "janusflow/simd/int8_dot.hpp"

namespace janusflow::simd {

/// Weights q * scale, q from -8 to 7, in groups of 32 values of K with a bfloat16 scale: 4.5 bits a weight. Inputs are rounded to 8
/// bits in the same groups, so that an outlier among them coarsens its own group alone. A group's sum of products is exact in int32;
/// groups are added in float32 in the order of K. Where K ends within a group, the rest of it is zero.
///
/// A column holds 64 values in nine words: the two groups' scales, the first one's in the lower half, then four words for each. Byte
/// i of a word is value i + 8 in its lower four bits, and value 4 + i + 8 in its upper ones.
struct Int4Dot : ByteDot<NibbleWords> {
  static constexpr int depth = 8;
  static constexpr const char* name = "q4";
  static constexpr std::int32_t offset = 8;
  static constexpr Index group = 32, group_words = group / depth, pair_words = 1 + 2 * group_words;
  static constexpr int few = std::is_same_v<NibbleWords, ByteWords> ? 4 : 6;  // rows of a tile that leave registers beside its sums

  static constexpr Index weight_words(Index k) { return (k + 2 * group - 1) / (2 * group) * pair_words; }
  static constexpr Index input_words(Index k) { return (k + 2 * group - 1) / (2 * group) * 2 * panel_chunk; }

  /// A group's weights, rounded. The largest of them, whose sign the scale has reversed, comes to lie at -8 or about there: of a few
  /// candidates for the scale the one with the least squared error is taken. Sums are in double in a set order (the products are
  /// exact then): every machine makes the same choice. NaN where a weight is not finite.
  static bfloat16 quantise_group(const float* values, std::int8_t* q) {
    float extreme = 0;
    std::fill_n(q, group, std::int8_t{0});
    for (Index i = 0; i < group; ++i) {
      if (!std::isfinite(values[i])) return bfloat16(std::numeric_limits<float>::quiet_NaN());
      if (std::abs(values[i]) > std::abs(extreme)) extreme = values[i];
    }
    if ((bfloat16(extreme / -8.0f).bits & 0x7fff) == 0) return bfloat16(1.0f);  // all zero, or as good as that
    bfloat16 best(0.0f);
    double most = 0;  // by how much the squared error is less than that of zeros
    for (const float at : {8.0f, 7.0f, 7.5f, 8.5f, 9.0f, 9.5f}) {
      const float inverse = -at / extreme;
      if (!std::isfinite(inverse)) continue;
      float rounded[group];
      for (Index i = 0; i < group; ++i) rounded[i] = std::clamp(std::nearbyint(values[i] * inverse), -8.0f, 7.0f);
      constexpr Index lanes = 8;
      double products[lanes] = {}, squares[lanes] = {};
      for (Index i = 0; i < group; i += lanes)
        for (Index j = 0; j < lanes; ++j) {
          products[j] += static_cast<double>(values[i + j]) * static_cast<double>(rounded[i + j]);
          squares[j] += static_cast<double>(rounded[i + j]) * static_cast<double>(rounded[i + j]);
        }
      for (Index j = 1; j < lanes; ++j) products[0] += products[j], squares[0] += squares[j];
      const bfloat16 scale(static_cast<float>(products[0] / squares[0]));  // of the least squared error for these integers
      const auto s = static_cast<double>(static_cast<float>(scale));
      const double gain = s * (2 * products[0] - s * squares[0]);
      if (gain <= most) continue;
      most = gain;
      best = scale;
      for (Index i = 0; i < group; ++i) q[i] = static_cast<std::int8_t>(rounded[i]);
    }
    return best;
  }

  /// Rounds the k weights of an output into its words, `stride` apart.
  static void pack_weights(const float* values, Index k, WeightWord* to, Index stride) {
    for (Index begin = 0; begin < k; begin += 2 * group, to += pair_words * stride) {
      *to = 0;
      for (Index half = 0; half < 2; ++half) {
        std::int8_t q[group];
        const bfloat16 scale = quantise_group(whole_group(values, begin + half * group, k).data(), q);
        *to |= static_cast<WeightWord>(scale.bits) << (16 * half);
        WeightWord* words = to + (1 + half * group_words) * stride;
        for (Index w = 0; w < group_words; ++w, words += stride) {
          *words = 0;
          for (Index i = 0; i < depth; ++i)
            *words |= static_cast<WeightWord>(q[w * depth + i] + offset) << (i < 4 ? 8 * i : 8 * (i - 4) + 4);
        }
      }
    }
  }
  /// Rounds a row of k inputs into chunks that are `stride` words apart: of each group its words, then its head.
  template <class T>
  static void pack_inputs(const T* values, Index k, InputWord* to, Index stride) {
    for (Index begin = 0; begin < input_words(k) / panel_chunk * group; begin += group, to += stride) {
      std::int8_t q[group] = {};
      const Index count = std::clamp<Index>(k - begin, 0, group);
      const float scale = scale_of(values + begin, count);
      const std::int32_t sum = sum_of(quantise(values + begin, count, 1.0f / scale, q));
      for (Index w = 0; w < head_word; ++w) to[w] = input_word(q + 4 * w);
      put_head(start_of(sum, offset), scale, to + head_word);
    }
  }

  template <int Rows, std::size_t Pairs>
  static void tile(Index words, const InputWord* input, std::array<PanelPair<WeightWord>, Pairs> weights, float* out) {
    alignas(64) float totals[Pairs * Rows * 2 * width] = {};
    alignas(64) std::int32_t sums[Pairs * Rows * 2 * width];
    for (Index k = 0; k < words; k += pair_words) {
      if constexpr (Rows == 1 && row_words_ahead > 0)
        for (const auto& pair : weights)
          for (Index w = 0; w < pair_words; ++w) pair.from(row_words_ahead + w).ask_ahead();
      for (Index half = 0; half < 2; ++half, input += Rows * panel_chunk) {
        add_up_group<Rows>(input, half, weights, sums);
        for (std::size_t p = 0; p < Pairs; ++p)
          add_scaled<Weights::with_offset, 1>(Rows, input, weights[p], half, {sums + p * Rows * 2 * width}, totals + p * Rows * 2 * width);
      }
      for (auto& pair : weights) pair = pair.from(pair_words);
    }
    std::copy_n(totals, Pairs * Rows * 2 * width, out);
  }

#if defined(JANUSFLOW_AMX)
  using Tiles = SignedByteTiles;
  static constexpr Index fewest_on_tiles = few + 1;  // fewer rows take longer there

  static void tile_on_tiles(Index rows, Index words, const InputWord* input, PanelPair<WeightWord> weights, float* out, bool) {
    alignas(64) std::int32_t sums[2][most_rows_on_tiles * 2 * width];
    GroupBytes bytes[2];
    std::fill_n(out, rows * 2 * width, 0.0f);
    // Both groups of a pair before their sums are scaled: a total is then read and written once for both.
    for (Index k = 0; k < words; k += pair_words, weights = weights.from(pair_words), input += 2 * rows * panel_chunk) {
      for (const Index half : {0, 1}) bytes[half].template unpack<Weights::signed_bytes>(weights.from(1 + half * group_words));
      for (const Index half : {0, 1}) {
        const InputWord* const group_input = input + half * rows * panel_chunk;
        multiply_on_tiles<Tiles>(rows, {&group_input, 1, head_word, panel_chunk, rows * panel_chunk}, bytes[half].pair(), sums[half], false);
      }
      add_scaled<Weights::signed_bytes, 2>(rows, input, weights, 0, {sums[0], sums[1]}, out);
    }
  }
#endif

 private:
  /// The integer sums of the first or second of two groups.
  template <int Rows, std::size_t Pairs>
  static void add_up_group(const InputWord* input, Index half, std::array<PanelPair<WeightWord>, Pairs> weights, std::int32_t* sums) {
    const Words low(0x0f0f0f0fu);
    for (auto& pair : weights) pair = pair.from(1 + half * group_words);
    if constexpr (Rows <= few) {
      IntegerBatch sum[Pairs][held<Rows>][2];
      set_to_zero(sum);
      for (Index w = 0; w < group_words; ++w, input += 2)
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Pairs; ++p) {
          const Words w0 = Words::load_aligned(weights[p].first), w1 = Words::load_aligned(weights[p].second);
          step<Rows>(sum[p], PanelRows<InputWord, Rows>{input}, {w0 & low, upper(w0) & low}, {w1 & low, upper(w1) & low});
          weights[p] = weights[p].from(1);
        }
      for (auto& pair : sum) to_rows(pair);
      put_down<Rows>(sum, sums);
    } else {  // the sums leave no registers to make bytes in
      static_assert(Pairs == 1);
      GroupBytes bytes;
      bytes.template unpack<Weights::with_offset>(weights[0]);
      add_up<Rows>(2 * group_words, input, std::array{bytes.pair()}, sums);
    }
  }

  /// How a group's weights are multiplied: as they lie, 8 above what they are, or as signed bytes.
  enum class Weights { with_offset, signed_bytes };

  /// A group's weights of two panels as bytes.
  struct GroupBytes {
    alignas(64) WeightWord words[2][2 * group_words * panel_columns];

    template <Weights as>
    void unpack(PanelPair<WeightWord> weights) {
      const auto byte = [](Words x) {
        x = x & Words(0x0f0f0f0fu);
        return as == Weights::with_offset ? x : (x + Words(0x78787878u)) ^ Words(0x80808080u);  // each less 8: none carries over
      };
      for (Index w = 0; w < group_words; ++w, weights = weights.from(1)) {
        const Words w0 = Words::load_aligned(weights.first), w1 = Words::load_aligned(weights.second);
        byte(w0).store_aligned(words[0] + 2 * w * panel_columns);
        byte(w1).store_aligned(words[1] + 2 * w * panel_columns);
        byte(upper(w0)).store_aligned(words[0] + (2 * w + 1) * panel_columns);
        byte(upper(w1)).store_aligned(words[1] + (2 * w + 1) * panel_columns);
      }
    }
    PanelPair<WeightWord> pair() const { return {words[0], words[1]}; }
  };

  /// Adds the integer sums of a group, the first or second, or of both to a tile's totals, behind their rows' heads and their columns'
  /// scales; `half` is the first one's.
  template <Weights as, std::size_t Groups>
  [[gnu::always_inline]] static void add_scaled(Index rows, const InputWord* input, PanelPair<WeightWord> weights, Index half,
                                                std::array<const std::int32_t*, Groups> sums, float* totals) {
    Batch scales[Groups][2];
    for (std::size_t g = 0; g < Groups; ++g, ++half) scales[g][0] = group_scale(weights.first, half), scales[g][1] = group_scale(weights.second, half);
    for (Index r = 0; r < rows; ++r, input += panel_chunk, totals += 2 * width) {
      Batch first = Batch::load_aligned(totals), second = Batch::load_aligned(totals + width);
      for (std::size_t g = 0; g < Groups; ++g) {
        const InputWord* const head = input + static_cast<Index>(g) * rows * panel_chunk + head_word;
        const IntegerBatch row_start(as == Weights::with_offset ? start(head[0]) : 0);
        const Batch row_scale(scale(head[1]));
        first = multiply_add(started(sums[g], row_start), scales[g][0] * row_scale, first);
        second = multiply_add(started(sums[g] + width, row_start), scales[g][1] * row_scale, second);
        sums[g] += 2 * width;
      }
      first.store_aligned(totals);
      second.store_aligned(totals + width);
    }
  }

  static constexpr Index head_word = group / 4;  // of a group's chunk

  /// The words shifted by four bits. (gcc 12 warns of its own header in xsimd's shift for AVX-512.)
  static Words upper(Words words) {
    using Lanes [[gnu::vector_size(sizeof(Words))]] = std::uint32_t;
    return Words((Words::register_type)((Lanes)(Words::register_type)words >> 4));
  }

  /// The scales of the first or second of two groups, which lie before both.
  static Batch group_scale(const WeightWord* panel, Index half) {
    const Words scales = Words::load_aligned(panel);
    return reinterpret<Batch>(half == 0 ? scales << 16 : scales & Words(0xffff0000u));
  }

  /// Values [begin, begin + group) of k, with zeros past the end.
  static std::array<float, static_cast<std::size_t>(group)> whole_group(const float* values, Index begin, Index k) {
    std::array<float, static_cast<std::size_t>(group)> whole{};
    std::copy(values + std::min(begin, k), values + std::min(begin + group, k), whole.begin());
    return whole;
  }
};

}  // namespace janusflow::simd
