// What the machine can do at most: multiply-adds from registers, bytes from memory.
#pragma once

#include "janusflow/core/parallel.hpp"
#include "janusflow/core/stopwatch.hpp"
#include "janusflow/core/tensor.hpp"
#include "janusflow/simd/gemm_kernel.hpp"
#include "janusflow/simd/int8_dot.hpp"

namespace janusflow::bench {

// Keeps a vector register's value alive and unknown to the optimiser.
inline void opaque(simd::Batch& x) {
  auto value = static_cast<simd::Batch::register_type>(x);
#if defined(__aarch64__)
  asm volatile("" : "+w"(value));
#elif defined(__AVX512F__)
  asm volatile("" : "+v"(value));
#else
  asm volatile("" : "+x"(value));
#endif
  x = simd::Batch(value);
}

#if defined(__AVX512VNNI__) || (defined(__AVXVNNI__) && !defined(__AVX512F__)) || defined(__ARM_FEATURE_MATMUL_INT8) || \
    defined(__ARM_FEATURE_DOTPROD)
#define JANUSFLOW_BYTE_PRODUCTS
#elif defined(__AVX512BW__) || (defined(__AVX2__) && !defined(__AVX512F__)) || (defined(__SSE2__) && !defined(__AVX__))
#define JANUSFLOW_HALF_PRODUCTS
#endif

/// Products and sums of a lane in the policy's own instructions. Where there are none, a product is as many float32 products: the peak
/// is the same. (Products of 4-bit weights, whose sums fit into 16 bits longer, are not counted: shares of this peak can exceed 1 with
/// them.)
template <class Dot>
constexpr Index products_at_once() {
#if defined(JANUSFLOW_BYTE_PRODUCTS)
  if (Dot::quantised) return 4 * simd::ByteWords::words_at_once;
#elif defined(JANUSFLOW_HALF_PRODUCTS)
  if (Dot::quantised) return 2;
#endif
#if defined(__AVX512BF16__)
  if (!Dot::quantised) return Dot::depth;
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  if (!Dot::quantised && Dot::depth == 2) return 4;
#endif
  return 1;
}

#if defined(JANUSFLOW_BYTE_PRODUCTS) || defined(JANUSFLOW_HALF_PRODUCTS)
/// Products of bytes: by the instruction for them, or as halves of 16 bits, with an addition of their sums. VPMADDUBSW multiplies bytes
/// too, but two products of an unsigned and a signed one overflow the 16 bits of their sum, and what keeps them from it costs as much.
inline simd::IntegerBatch multiply(simd::IntegerBatch acc, simd::IntegerBatch a, simd::IntegerBatch b) {
#if defined(__AVX512VNNI__)
  return simd::IntegerBatch(_mm512_dpbusd_epi32(acc, a, b));
#elif defined(__AVXVNNI__) && !defined(__AVX512F__)
  return simd::IntegerBatch(_mm256_dpbusd_avx_epi32(acc, a, b));
#elif defined(__AVX512BW__)
  return acc + simd::IntegerBatch(_mm512_madd_epi16(a, b));
#elif defined(__AVX2__)
  return acc + simd::IntegerBatch(_mm256_madd_epi16(a, b));
#elif defined(__SSE2__)
  return acc + simd::IntegerBatch(_mm_madd_epi16(a, b));
#elif defined(__ARM_FEATURE_MATMUL_INT8)
  return vusmmlaq_s32(acc, vreinterpretq_u8_s32(a), vreinterpretq_s8_s32(b));
#else
  return vdotq_s32(acc, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b));
#endif
}
#endif

/// One of a policy's instructions, on the bits of whatever a and b hold.
template <class Dot>
simd::Batch multiply(simd::Batch acc, simd::Batch a, simd::Batch b) {
#if defined(JANUSFLOW_BYTE_PRODUCTS) || defined(JANUSFLOW_HALF_PRODUCTS)
  if constexpr (Dot::quantised) {
    const auto bits = [](simd::Batch x) { return simd::reinterpret<simd::IntegerBatch>(x); };
    return simd::reinterpret<simd::Batch>(multiply(bits(acc), bits(a), bits(b)));
  } else
#endif
#if defined(__AVX512BF16__)
  if constexpr (Dot::depth == 2)
    return _mm512_dpbf16_ps(acc, std::bit_cast<__m512bh>(static_cast<__m512>(a)), std::bit_cast<__m512bh>(static_cast<__m512>(b)));
  else
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  if constexpr (Dot::depth == 2)
    return vbfmmlaq_f32(acc, vreinterpretq_bf16_f32(a), vreinterpretq_bf16_f32(b));
  else
#endif
    return simd::multiply_add(a, b, acc);
}

/// FLOP/s at best of loops that all threads run at once, `products` of each.
template <class Loop>
double best_flops(Index products, Loop&& loop) {
  double best = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const Stopwatch watch;
    parallel_for(num_threads(), [&](Index) { loop(); });
    best = std::max(best, 2.0 * static_cast<double>(num_threads() * products) / watch.seconds());
  }
  return best;
}

/// Multiply-adds of whole tiles from registers that hold what they were loaded with.
template <simd::OnTiles Dot>
double tile_flops() {
  using Unit = typename Dot::Tiles;
  using Tiles = typename Unit::Registers;
  constexpr Index iterations = 1'000'000, rows = simd::register_rows, words = simd::panel_chunk;
  return best_flops(iterations * 4 * rows * simd::panel_columns * words * Dot::depth, [] {
    alignas(64) std::uint32_t values[rows * words];
    std::fill_n(values, rows * words, 0x3f003f00u);  // bfloat16's 0.5, and bytes
    const simd::TilesInUse<Tiles> many;
    Tiles::shape(2 * rows, words);
    constexpr int upper = Tiles::rows(2, 0), lower = Tiles::rows(2, 1), first = Tiles::columns(2, 0), second = Tiles::columns(2, 1);
    for (const auto load : {&Unit::template load<upper>, &Unit::template load<lower>, &Unit::template load<first>, &Unit::template load<second>})
      load(values, 4 * words);
    for (Index i = 0; i < iterations; ++i) {
      Unit::template multiply<Tiles::sums(0, 0), upper, first>();
      Unit::template multiply<Tiles::sums(0, 1), upper, second>();
      Unit::template multiply<Tiles::sums(1, 0), lower, first>();
      Unit::template multiply<Tiles::sums(1, 1), lower, second>();
    }
  });
}

/// FLOP/s of all threads together in a loop of register-only multiply-adds of the policy (2 for each product and sum).
template <class Dot>
double peak_flops() {
  if constexpr (simd::OnTiles<Dot>)
    if (simd::on_tiles<Dot>()) return tile_flops<Dot>();
  constexpr int chains = simd::registers == 32 ? 24 : 12;  // enough to hide the latency, few enough to stay in registers
  constexpr Index iterations = 3'000'000;
  return best_flops(iterations * chains * simd::width * products_at_once<Dot>(), [] {
    simd::Batch acc[chains], a(1.0f), b(0.5f);
    for (auto& x : acc) x = simd::Batch(0.0f);
    opaque(a);
    opaque(b);
    for (Index i = 0; i < iterations; ++i) {
#pragma GCC unroll 32
      for (int c = 0; c < chains; ++c) {
        opaque(a);  // or a product whose sum is an instruction of its own would be computed once
        acc[c] = multiply<Dot>(acc[c], a, b);
        opaque(acc[c]);
      }
    }
  });
}

/// Seconds in which all threads together read `block` once: each its share, as `Streams` sequences side by side, asking for cache
/// lines `ahead` bytes before they are used (0: never); Stay: they may stay in the second-level cache.
template <int Streams, bool Stay>
double seconds_to_read(const Tensor<float, 1>& block, Index ahead) {
  constexpr Index stride = 4 * simd::width;
  const Index part = block.size() / (num_threads() * Streams) / stride * stride;
  const Stopwatch watch;
  parallel_for(num_threads(), [&](Index thread) {
    const float* from = block.data() + thread * Streams * part;
    simd::Batch sums[Streams][4];
    for (auto& stream : sums)
      for (auto& sum : stream) sum = simd::Batch(0.0f);
    for (Index i = 0; i < part; i += stride)
      for (Index s = 0; s < Streams; ++s)
        for (Index j = 0; j < 4; ++j) {
          const float* p = from + s * part + i + j * simd::width;
          if (ahead) __builtin_prefetch(reinterpret_cast<const char*>(p) + ahead, 0, Stay ? 2 : 0);
          sums[s][j] += simd::Batch::load_aligned(p);
        }
    for (auto& stream : sums)
      for (auto& sum : stream) opaque(sum);
  });
  return watch.seconds() * static_cast<double>(block.size()) / static_cast<double>(part * num_threads() * Streams);
}

/// The same with as many sequences as is fastest.
template <bool Stay>
double seconds_to_read(const Tensor<float, 1>& block, Index ahead) {
  return std::min({seconds_to_read<1, Stay>(block, ahead), seconds_to_read<2, Stay>(block, ahead), seconds_to_read<4, Stay>(block, ahead)});
}

/// Bytes/s that all threads together read at most from `block`, which must be far larger than the caches: the best of passes of several
/// kinds, for processors differ in what is fastest.
inline double read_bandwidth(const Tensor<float, 1>& block) {
  double best = seconds_to_read<false>(block, 0);
  for (const Index ahead : {1024, 4096})
    best = std::min({best, seconds_to_read<false>(block, ahead), seconds_to_read<true>(block, ahead)});
  return static_cast<double>(block.size()) * sizeof(float) / best;
}

/// The block that read_bandwidth wants: 1 GiB, in large pages where there are any.
inline Tensor<float, 1> bandwidth_block() { return Tensor<float, 1>(Shape{Index{1} << 28}, 1.0f); }

}  // namespace janusflow::bench
