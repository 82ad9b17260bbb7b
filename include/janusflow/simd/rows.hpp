// Loops over contiguous rows of floats in batches of the machine's width, ends of rows included.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <xsimd/xsimd.hpp>

#include "janusflow/core/bfloat16.hpp"
#include "janusflow/core/shape.hpp"

namespace janusflow::simd {

/// One register of floats of the architecture that the compiler is told to build for.
using Batch = xsimd::batch<float>;
/// As many 32-bit integers.
using IntegerBatch = xsimd::batch<std::int32_t>;
/// Floats in a Batch: 4 (SSE2, NEON), 8 (AVX2) or 16 (AVX-512).
inline constexpr Index width = static_cast<Index>(Batch::size);

/// Vector registers of the architecture this translation unit is compiled for.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int registers = 32;
#else
inline constexpr int registers = 16;
#endif

/// a * b + c, fused where the machine can.
inline Batch multiply_add(Batch a, Batch b, Batch c) {
#if defined(__AVX512F__)
  // xsimd 8.1 has no AVX-512 override and leaves the fusing to the compiler, which clang does not do.
  if constexpr (std::is_base_of_v<xsimd::avx512f, Batch::arch_type>)
    return Batch(typename Batch::register_type(_mm512_fmadd_ps(a, b, c)));
  else
#endif
    return xsimd::fma(a, b, c);
}

/// The same bits as lanes of another type. (xsimd's own way is a call for NEON, and named otherwise from release to release.)
template <class To, class From>
To reinterpret(From x) {
  return To(std::bit_cast<typename To::register_type>(static_cast<typename From::register_type>(x)));
}

/// The square root of each lane, correctly rounded. (gcc 12 warns of its own header in xsimd::sqrt for AVX-512.)
inline Batch sqrt(Batch x) {
#if defined(__AVX512F__)
  if constexpr (std::is_base_of_v<xsimd::avx512f, Batch::arch_type>)
    return Batch(typename Batch::register_type(_mm512_maskz_sqrt_ps(static_cast<__mmask16>(-1), x)));
  else
#endif
    return xsimd::sqrt(x);
}

/// Each lane as a float, rounded to nearest even.
inline Batch to_float(IntegerBatch x) {
#if defined(__AVX512F__)
  // gcc 12 warns of its own header in the intrinsic.
  if constexpr (std::is_base_of_v<xsimd::avx512f, Batch::arch_type>) {
    using Integers [[gnu::vector_size(64)]] = int;
    using Floats [[gnu::vector_size(64)]] = float;
    return Batch(typename Batch::register_type(__builtin_convertvector((Integers)(typename IntegerBatch::register_type)x, Floats)));
  } else
#endif
    return xsimd::to_float(x);
}

/// The larger of each lane; b where either is NaN, as MAXPS has it. (xsimd::max gives a from release 14 on.)
inline Batch max(Batch a, Batch b) {
#if defined(__AVX512F__)
  return Batch(_mm512_maskz_max_ps(static_cast<__mmask16>(-1), a, b));  // gcc 12 warns of its own header in the unmasked one
#elif defined(__AVX__)
  return Batch(_mm256_max_ps(a, b));
#elif defined(__x86_64__)
  return Batch(_mm_max_ps(a, b));
#else
  return xsimd::select(a > b, a, b);
#endif
}

/// The first `lanes` (1 to width) floats from p; lanes after them hold `fill` and memory after them is not touched.
inline Batch load(const float* p, Index lanes, float fill = 0) {
  if (lanes == width) return Batch::load_unaligned(p);
  alignas(64) std::array<float, width> part;
  part.fill(fill);
  std::copy_n(p, lanes, part.begin());
  return Batch::load_aligned(part.data());
}

/// The same of bfloat16, widened.
inline Batch load(const bfloat16* p, Index lanes) {
  if (lanes < width) {
    std::array<bfloat16, width> part{};
    std::copy_n(p, lanes, part.begin());
    return load(part.data(), width);
  }
#if defined(__AVX512F__)
  // gcc 12 warns of its own header in the unmasked intrinsic, and makes two halves of what follows.
  if constexpr (std::is_base_of_v<xsimd::avx512f, Batch::arch_type>) {
    const __m512i words = _mm512_maskz_cvtepu16_epi32(static_cast<__mmask16>(-1), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return Batch(_mm512_castsi512_ps(_mm512_maskz_slli_epi32(static_cast<__mmask16>(-1), words, 16)));
  }
#endif
  using Halves [[gnu::vector_size(sizeof(Batch) / 2)]] = std::uint16_t;
  using Words [[gnu::vector_size(sizeof(Batch))]] = std::uint32_t;
  Halves halves;
  std::memcpy(&halves, p, sizeof(halves));
  const Words words = __builtin_convertvector(halves, Words) << 16;
  typename Batch::register_type widened;
  std::memcpy(&widened, &words, sizeof(words));
  return Batch(widened);
}

/// Asks for the n numbers at p, which will be read soon. (Always inlined: gcc 12 leaves out calls of a function that only prefetches.)
template <class T>
[[gnu::always_inline]] inline void prefetch(const T* p, Index n) {
  for (Index i = 0; i < n; i += 64 / static_cast<Index>(sizeof(T))) __builtin_prefetch(p + i);
}

namespace detail {
template <class To, class From>
To same_bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

/// The bits of each lane, as the compilers' own vector type, whose upper half is the lane rounded to bfloat16.
using Bits [[gnu::vector_size(sizeof(Batch))]] = std::uint32_t;
inline Bits nearest_bfloat16(Batch x) {
  using Floats [[gnu::vector_size(sizeof(Batch))]] = float;
  const auto bits = same_bits<Bits>(x);
  const auto lanes = same_bits<Floats>(x);
  const Bits quiet = bits | 0x400000u, nearest = bits + 0x7fffu + ((bits >> 16) & 1u);  // as bfloat16's constructor
  return lanes == lanes ? nearest : quiet;
}
}  // namespace detail

/// Each lane rounded to bfloat16, as a float.
inline Batch rounded_to_bfloat16(Batch x) {
  return detail::same_bits<Batch>(detail::Bits(detail::nearest_bfloat16(x) & 0xffff0000u));
}

/// Writes the first `lanes` (1 to width) lanes of x to p.
inline void store(Batch x, float* p, Index lanes) {
  if (lanes == width) return x.store_unaligned(p);
  alignas(64) std::array<float, width> part;
  x.store_aligned(part.data());
  std::copy_n(part.begin(), lanes, p);
}

/// The same rounded to bfloat16.
inline void store(Batch x, bfloat16* p, Index lanes) {
  if (lanes < width) {
    alignas(64) std::array<float, width> part;
    x.store_aligned(part.data());
    std::transform(part.begin(), part.begin() + lanes, p, [](float value) { return bfloat16(value); });
    return;
  }
#if defined(__AVX512BF16__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), std::bit_cast<__m256i>(_mm512_cvtneps_pbh(x)));
#else
  using Halves [[gnu::vector_size(sizeof(Batch) / 2)]] = std::uint16_t;
  const Halves halves = __builtin_convertvector(detail::nearest_bfloat16(x) >> 16, Halves);
  std::memcpy(static_cast<void*>(p), &halves, sizeof(halves));
#endif
}

/// Writes a whole vector to p, a multiple of its size, past the caches where a vector is a cache line: for results that are larger than
/// the caches, and would only push out what is still needed. finish_streaming() before another thread reads them.
inline void stream(Batch x, float* p) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, x);
#else
  x.store_aligned(p);
#endif
}
/// The same of two vectors, neighbours.
inline void stream(Batch first, Batch second, float* p) { stream(first, p), stream(second, p + width); }
/// The same rounded to bfloat16, of which both are a cache line: past the caches where p is one's begin and an instruction rounds them together.
inline void stream(Batch first, Batch second, bfloat16* p) {
#if defined(__AVX512BF16__)
  if (reinterpret_cast<std::uintptr_t>(p) % 64 == 0)
    return _mm512_stream_si512(reinterpret_cast<__m512i*>(p), std::bit_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first)));
#endif
  store(first, p, width), store(second, p + width, width);
}
inline void finish_streaming() {
#if defined(__AVX512F__)
  _mm_sfence();
#endif
}

/// The lanes of x folded by a commutative f of batches: the upper half onto the lower one, until one is left.
template <Index half = width / 2, class Some, class F>
typename Some::value_type fold(Some x, F f) {
  // The compilers' own vector type: xsimd 8.1 has no such shuffle.
  using Lanes [[gnu::vector_size(sizeof(Some))]] = typename Some::value_type;
  Lanes lanes;
  std::memcpy(&lanes, &x, sizeof(lanes));
  if constexpr (half == 0) {
    return lanes[0];
  } else {
    const Lanes moved = [&]<int... i>(std::integer_sequence<int, i...>) {
      return __builtin_shufflevector(lanes, lanes, ((i + half) % width)...);
    }(std::make_integer_sequence<int, static_cast<int>(width)>());
    Some upper;
    std::memcpy(&upper, &moved, sizeof(moved));
    return fold<half / 2>(f(x, upper), f);
  }
}

inline float sum_of_lanes(Batch x) {
  return fold(x, [](Batch a, Batch b) { return a + b; });
}
/// Of lanes that are numbers.
inline float max_of_lanes(Batch x) { return fold(x, max); }

/// out[i] = f(in[i]...) for i in [0, n). `out` may be one of the inputs. The end of the row goes through the very same
/// instructions as its body, so that a number's result does not depend on where in a row it stands.
template <class F, class... In>
void map(Index n, float* out, F f, const In*... in) {
  for (Index i = 0; i < n; i += width) {
    const Index lanes = std::min(width, n - i);
    store(f(load(in + i, lanes)...), out + i, lanes);
  }
}

/// The sum over i in [0, n) of f(in[i]...), in an order that n alone decides. The lanes after a row's end read `fill`,
/// for which f must give 0.
template <class F, class... In>
float sum(Index n, float fill, F f, const In*... in) {
  constexpr Index unroll = 4;  // hides the latency of an addition, and shortens the chains of roundings
  std::array<Batch, unroll> totals;
  totals.fill(Batch(0.f));
  Index i = 0;
  for (; i + unroll * width <= n; i += unroll * width)
    for (Index u = 0; u < unroll; ++u) totals[u] += f(Batch::load_unaligned(in + i + u * width)...);
  for (; i < n; i += width) totals[0] += f(load(in + i, std::min(width, n - i), fill)...);
  return sum_of_lanes((totals[0] + totals[1]) + (totals[2] + totals[3]));
}

/// totals[c] = sum over the rows r of f(c, in[r * stride + c]...), for c in [0, n), in an order that `rows` alone
/// decides; f takes the column of the batch's first lane and the batches.
template <class F, class... In>
void column_sums(Index rows, Index n, Index stride, float* totals, F f, const In*... in) {
  constexpr Index block = 8;
  Index c = 0;
  for (; c + block * width <= n; c += block * width) {
    std::array<Batch, block> sums;
    sums.fill(Batch(0.f));
    for (Index r = 0; r < rows; ++r)
      for (Index u = 0; u < block; ++u)
        sums[u] += f(c + u * width, Batch::load_unaligned(in + r * stride + c + u * width)...);
    for (Index u = 0; u < block; ++u) sums[u].store_unaligned(totals + c + u * width);
  }
  for (; c < n; c += width) {
    const Index lanes = std::min(width, n - c);
    Batch sums(0.f);
    for (Index r = 0; r < rows; ++r) sums += f(c, load(in + r * stride + c, lanes)...);
    store(sums, totals + c, lanes);
  }
}

}  // namespace janusflow::simd
