// bfloat16 and half precision, over all their values.
#include "janusflow/core/bfloat16.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

using namespace janusflow;

namespace {

float value_of(std::uint32_t bits) { return bfloat16::from_bits(static_cast<std::uint16_t>(bits)); }

/// The nearest bfloat16 by comparing distances, in double where they are exact; ties to the even one. For finite x.
std::uint16_t nearest(float x) {
  const auto below = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16);  // towards zero
  const auto above = static_cast<std::uint16_t>(below + 1);
  const double low = value_of(below);
  // One step past the largest stands infinity, where IEEE rounding takes the next power of two.
  const double high = std::isinf(value_of(above)) ? std::copysign(0x1p128, low) : static_cast<double>(value_of(above));
  const double to_low = std::abs(x - low), to_high = std::abs(high - x);
  if (to_low != to_high) return to_low < to_high ? below : above;
  return below % 2 == 0 ? below : above;
}

}  // namespace

TEST_CASE("every bfloat16 survives the way to float and back") {
  int nans = 0, changed = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float wide = value_of(bits);
    if (std::bit_cast<std::uint32_t>(wide) != bits << 16) ++changed;
    const bfloat16 back(wide);
    if (std::isnan(wide)) {
      ++nans;
      if (!std::isnan(static_cast<float>(back)) || std::signbit(wide) != (back.bits >> 15 == 1)) ++changed;
    } else if (back.bits != bits) {
      ++changed;
    }
  }
  CHECK(nans == 2 * 127);
  CHECK(changed == 0);
}

TEST_CASE("rounding is to nearest, ties to even, around every finite bfloat16") {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    if ((bits & 0x7f80u) == 0x7f80u) continue;
    // The value itself, either side of it, the tie and either side of the tie, and the last float before the next bfloat16.
    for (const std::uint32_t offset : {0x0u, 0x1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const float x = std::bit_cast<float>(bits << 16 | offset);
      if (bfloat16(x).bits != nearest(x)) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("rounding is to nearest, ties to even, for arbitrary floats") {
  std::mt19937 random(1);
  int wrong = 0;
  for (int i = 0; i < 2'000'000; ++i) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isfinite(x) && bfloat16(x).bits != nearest(x)) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("bfloat16 at the ends of the range") {
  constexpr float largest = std::numeric_limits<float>::max(), infinity = std::numeric_limits<float>::infinity();
  static_assert(bfloat16(1.0f).bits == 0x3f80);
  static_assert(static_cast<float>(bfloat16(-2.5f)) == -2.5f);
  CHECK(static_cast<float>(bfloat16(largest)) == infinity);
  CHECK(static_cast<float>(bfloat16(-largest)) == -infinity);
  CHECK(static_cast<float>(bfloat16(infinity)) == infinity);
  CHECK(std::signbit(static_cast<float>(bfloat16(-0.0f))));
  CHECK(bfloat16().bits == 0);
  CHECK(bfloat16(std::numeric_limits<float>::denorm_min()).bits == 0);
  // A NaN whose payload lies in the lower half alone would become infinity if it were only cut.
  for (const std::uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu}) {
    CHECK(std::isnan(static_cast<float>(bfloat16(std::bit_cast<float>(bits)))));
  }
}

TEST_CASE("every half is the float that its bits say") {
  int wrong = 0;
  for (std::uint32_t half = 0; half < 65536; ++half) {
    const float value = float_from_half(static_cast<std::uint16_t>(half));
    const int exponent = static_cast<int>(half >> 10 & 0x1f), mantissa = static_cast<int>(half & 0x3ff);
    const bool negative = half >> 15;
    bool right = std::signbit(value) == negative;
    if (exponent == 31) {
      right = right && (mantissa ? std::isnan(value) : std::isinf(value));
    } else {
      const double magnitude = exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
      right = right && std::abs(static_cast<double>(value)) == magnitude;
    }
    if (!right) ++wrong;
  }
  CHECK(wrong == 0);
  static_assert(float_from_half(0x3c00) == 1.0f);
  static_assert(float_from_half(0x7bff) == 65504.0f);
  static_assert(float_from_half(0x8001) == -0x1p-24f);
}
