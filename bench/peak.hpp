// What the machine can do at most: multiply-adds from registers, bytes from memory.
#pragma once

#include "janusflow/core/stopwatch.hpp"
#include "janusflow/core/parallel.hpp"
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

/// FLOP/s of all threads together in a loop of register-only multiply-adds of the policy (2 for each product and sum).
template <class Dot>
double peak_flops() {
  constexpr int chains = simd::registers == 32 ? 24 : 12;  // enough to hide the latency, few enough to stay in registers
  constexpr Index iterations = 3'000'000;
  double best = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const Stopwatch watch;
    parallel_for(num_threads(), [&](Index) {
      simd::Batch acc[chains], a(1.0f), b(0.5f);
      for (auto& x : acc) x = simd::Batch(0.0f);
      opaque(a);
      opaque(b);
      for (Index i = 0; i < iterations; ++i) {
#pragma GCC unroll 32
        for (int c = 0; c < chains; ++c) {
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
          if constexpr (Dot::quantised)
            acc[c] = _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(acc[c]), _mm512_castps_si512(a), _mm512_castps_si512(b)));
          else if constexpr (Dot::depth == 2)
            acc[c] = _mm512_dpbf16_ps(acc[c], std::bit_cast<__m512bh>(static_cast<__m512>(a)),
                                      std::bit_cast<__m512bh>(static_cast<__m512>(b)));
          else
#endif
            acc[c] = simd::multiply_add(a, b, acc[c]);
        }
#pragma GCC unroll 32
        for (int c = 0; c < chains; ++c) opaque(acc[c]);
      }
    });
    // Without an instruction for it, a product is as many float32 products: the peak is the same.
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
    constexpr Index depth = Dot::depth;
#else
    constexpr Index depth = 1;
#endif
    best = std::max(best, 2.0 * static_cast<double>(num_threads() * iterations * chains * simd::width * depth) / watch.seconds());
  }
  return best;
}

/// Bytes/s that all threads together read from a block far larger than the caches, one stream a thread.
inline double read_bandwidth() {
  constexpr Index floats = Index{1} << 28;  // 1 GiB
  Tensor<float, 1> block(Shape{floats}, 1.0f);
  double best = 0;
  for (int attempt = 0; attempt < 3; ++attempt) {
    const Stopwatch watch;
    const Index share = floats / num_threads();
    parallel_for(num_threads(), [&](Index thread) {
      const float* from = block.data() + thread * share;
      simd::Batch sums[8];
      for (auto& sum : sums) sum = simd::Batch(0.0f);
      for (Index i = 0; i + 8 * simd::width <= share; i += 8 * simd::width)
        for (Index j = 0; j < 8; ++j) sums[j] += simd::Batch::load_aligned(from + i + j * simd::width);
      for (auto& sum : sums) opaque(sum);
    });
    best = std::max(best, static_cast<double>(floats) * sizeof(float) / watch.seconds());
  }
  return best;
}

}  // namespace janusflow::bench
