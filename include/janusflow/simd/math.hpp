// Vector maths on batches of floats: exp, and the activations made of it.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "janusflow/simd/rows.hpp"

// Contracts hold on every architecture, with and without fused multiply-add, and are tested over the whole range of float. NaN gives
// NaN. Only comparisons, additions, multiplications, divisions and integer shifts are used: xsimd's own exp and erf differ
// between architectures in 8.1.
//
// T is what the result will be rounded to. For bfloat16, whose rounding is off by up to 2^-9 of a number, polynomials have fewer terms.
namespace janusflow::simd {

namespace detail {
/// As many integers as a Batch has floats: the compilers' own vector type, for gcc 12's header of AVX-512 shifts warns.
using Integers = std::int32_t __attribute__((vector_size(sizeof(Batch))));

/// c[0] + c[1] x + c[2] x^2 + ...
template <class... C>
Batch polynomial(Batch x, float c0, C... c) {
  if constexpr (sizeof...(c) == 0)
    return Batch(c0);
  else
    return multiply_add(polynomial(x, c...), x, Batch(c0));
}
}  // namespace detail

/// e^x within 2 ulp for -86.9 <= x <= 88.72; below 0 (less than 1.9e-38 is left out), above infinity.
/// Cody and Waite's reduction x = n ln 2 + r, then Cephes' polynomial (expf) in r.
inline Batch exp(Batch x) {
  const Batch magic(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer, which its low bits then hold
  const Batch shifted = multiply_add(x, Batch(1.44269504088896341f), magic);
  const Batch n = shifted - magic;
  const Batch r = multiply_add(n, Batch(2.12194440e-4f), multiply_add(n, Batch(-0.693359375f), x));
  const Batch p = detail::polynomial(r, 5.0000001201e-1f, 1.6666665459e-1f, 4.1665795894e-2f, 8.3334519073e-3f,
                                     1.3981999507e-3f, 1.9875691500e-4f);
  const Batch mantissa = multiply_add(p, r * r, r) + Batch(1.f);
  // 2^(n - 1) * 2: n itself may be 128, one more than a float's exponent holds.
  const auto bits = (detail::same_bits<detail::Integers>(shifted) + 126) << 23;
  const Batch value = mantissa * detail::same_bits<Batch>(bits) * Batch(2.f);
  const Batch bounded = xsimd::select(x < Batch(-86.9f), Batch(0.f), value);
  return xsimd::select(x > Batch(88.72283f), Batch(std::numeric_limits<float>::infinity()), bounded);
}

/// 2^(scale x) for scale > 0, within 2 ulp (for bfloat16 within 1.1e-4 of itself) for -126 <= scale x <= 0, below from 2^-126 to 0, which it
/// is from -127 on; not for x above 0. Without fused multiply-add the product is rounded, unless the scale is 1: eps32 |scale x| relative
/// more. For softmax, whose numbers are differences to the largest.
template <class T = float>
Batch exp2_of_negative(Batch x, Batch scale = Batch(1.f)) {
  const Batch magic(12582912.f + 127.f);  // rounds to an integer, as in exp, and is the exponent's bias in its low bits
  x = max(Batch(-127.f) / scale, x);      // of which nothing is left: as bits of a float, zero
  const Batch shifted = multiply_add(x, scale, magic);
  const Batch r = multiply_add(x, scale, magic - shifted);
  // 2^r = 1 + r q(r) for |r| <= 1/2, q minimax for the relative error, 2e-9 or 1.02e-4.
  Batch q;
  if constexpr (std::is_same_v<T, float>)
    q = detail::polynomial(r, 6.931472029e-1f, 2.402264791e-1f, 5.550332471e-2f, 9.618437358e-3f, 1.339887448e-3f, 1.535336202e-4f);
  else
    q = detail::polynomial(r, 6.932829288e-1f, 2.422109759e-1f, 5.500893211e-2f);
  return multiply_add(q, r, Batch(1.f)) * detail::same_bits<Batch>(detail::same_bits<detail::Integers>(shifted) << 23);
}

/// The standard normal distribution function: absolute error at most 1e-7, for bfloat16 at most 2.4e-4 of itself above x = -4.5 and
/// 9e-10 below.
template <class T = float>
Batch normal_cdf(Batch x) {
  // What lies beyond |x| is 2^p(|x|), p falling for ever: minimax for the absolute error of the power, 8e-9 for all |x|, or for its relative
  // one, 1.3e-4 to |x| = 4.5.
  Batch p;
  if constexpr (std::is_same_v<T, float>)
    p = detail::polynomial(xsimd::abs(x), -1.f, -1.151105205f, -4.592081966e-1f, -5.249617845e-2f, 7.063420301e-3f, -1.369365134e-4f,
                           -1.861801781e-4f, 3.937767747e-5f, -2.834911638e-6f);
  else
    p = detail::polynomial(xsimd::abs(x), -1.f, -1.149387468f, -4.642977784e-1f, -4.791719024e-2f, 5.704394168e-3f, -3.063812611e-4f);
  const Batch tail = exp2_of_negative<T>(p);
  return xsimd::select(x < Batch(0.f), tail, Batch(1.f) - tail);
}

/// 1 / (1 + e^-x), within 4 ulp where e^-x is finite, else (x < -88.72) 0.
inline Batch sigmoid(Batch x) { return Batch(1.f) / (Batch(1.f) + exp(-x)); }

/// x sigmoid(x), within 4 ulp above x = -88.72, below 0; for bfloat16 within 1.2e-4 of itself above x = -86.9. As in PyTorch infinity gives
/// infinity, and minus infinity NaN.
template <class T = float>
Batch silu(Batch x) {
  if constexpr (std::is_same_v<T, float>) {
    return x / (Batch(1.f) + exp(-x));
  } else {
    // By e^-|x|, which is never too large: x / (1 + e^-x) or x e^x / (1 + e^x).
    const Batch power = exp2_of_negative<T>(-xsimd::abs(x), Batch(1.44269504088896341f));
    return xsimd::select(x < Batch(0.f), x * power, x) / (Batch(1.f) + power);
  }
}

/// The exact GELU, x normal_cdf(x): absolute error at most 1.1e-7 |x|, or as of normal_cdf. As in PyTorch infinity gives infinity, and
/// minus infinity NaN.
template <class T = float>
Batch gelu(Batch x) {
  return x * normal_cdf<T>(x);
}

}  // namespace janusflow::simd
