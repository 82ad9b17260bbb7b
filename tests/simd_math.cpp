// Vector maths against the C library in double, over the whole range of float.
#include "janusflow/simd/math.hpp"

#include "janusflow/simd/panels.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

using janusflow::Index;
namespace simd = janusflow::simd;

namespace {
constexpr float infinity = std::numeric_limits<float>::infinity();

/// Floats of every exponent and sign: every 4099th bit pattern (a prime, so that mantissas vary).
const std::vector<float>& all_magnitudes() {
  static const std::vector<float> values = [] {
    std::vector<float> list;
    for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 4099) {
      const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      if (std::isfinite(x)) list.push_back(x);
    }
    for (int i = -120'000; i <= 120'000; ++i) list.push_back(static_cast<float>(i) * 1e-3f);
    return list;
  }();
  return values;
}

template <class F>
std::vector<float> evaluate(F f, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  simd::map(static_cast<Index>(x.size()), y.data(), f, x.data());
  return y;
}

template <class F>
float one(F f, float x) {
  return evaluate(f, {x}).front();
}

double ulp(double exact) { return std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23); }

const auto exp_batch = [](simd::Batch x) { return simd::exp(x); };
const auto cdf_batch = [](simd::Batch x) { return simd::normal_cdf(x); };
const auto sigmoid_batch = [](simd::Batch x) { return simd::sigmoid(x); };
const auto silu_batch = [](simd::Batch x) { return simd::silu(x); };
const auto gelu_batch = [](simd::Batch x) { return simd::gelu(x); };
}  // namespace

TEST_CASE("exp is within 2 ulp, and 0 or infinity outside of float's normal range") {
  const auto& x = all_magnitudes();
  const auto y = evaluate(exp_batch, x);
  double worst = 0;
  bool limits = true;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    if (x[i] < -86.9f)
      limits = limits && y[i] == 0;
    else if (x[i] > 88.72283f)
      limits = limits && y[i] == infinity;
    else
      worst = std::max(worst, std::abs(y[i] - exact) / ulp(exact));
  }
  CHECK(limits);
  CHECK(worst <= 2.0);
}

TEST_CASE("powers of two below 1 are within 2 ulp, and nothing below float's normal range") {
  double worst = 0;
  bool zeros = true;
  std::vector<float> x;
  for (const float v : all_magnitudes())
    if (v <= 0) x.push_back(v);
  const auto y = evaluate([](simd::Batch v) { return simd::exp2_of_negative(v); }, x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp2(static_cast<double>(x[i]));
    if (x[i] < -126) zeros = zeros && y[i] >= 0 && y[i] <= (x[i] > -127 ? 0x1p-126f : 0.0f);
    else worst = std::max(worst, std::abs(y[i] - exact) / ulp(exact));
  }
  CHECK(zeros);
  CHECK(worst <= 2.0);
}

TEST_CASE("powers of two of products") {
  std::vector<float> x;
  for (const float v : all_magnitudes())
    if (v <= 0) x.push_back(v);
  for (const float scale : {0.18033688f, 1.44269504f, 0.0127f, 3.0f}) {
    const auto y = evaluate([&](simd::Batch v) { return simd::exp2_of_negative(v, simd::Batch(scale)); }, x);
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double exponent = static_cast<double>(x[i]) * scale, exact = std::exp2(exponent);
      if (exponent < -127.0001) worst = std::max(worst, y[i] == 0 ? 0.0 : 2.0);
      else if (exponent < -126.0001) worst = std::max(worst, y[i] >= 0 && y[i] <= 0x1p-126f ? 0.0 : 2.0);
      else if (exponent > -125.9999) worst = std::max(worst, std::abs(y[i] - exact) / (2 * ulp(exact) + 0x1p-24 * std::abs(exponent) * exact));
    }
    CHECK(worst <= 1);
  }
}

TEST_CASE("stores to bfloat16 round as its constructor does") {
  std::vector<float> x{0.0f, -0.0f, infinity, -infinity, std::bit_cast<float>(0x7fffffffu), std::bit_cast<float>(0xff800001u),
                       std::bit_cast<float>(0x3f808000u), std::bit_cast<float>(0x3f818000u), std::bit_cast<float>(0x3f808001u),
                       std::numeric_limits<float>::max()};
  for (const float v : all_magnitudes())
    if (std::abs(v) >= std::numeric_limits<float>::min()) x.push_back(v);  // AVX512-BF16 takes what is below for zero
  Index different = 0;
  for (const Index lanes : {simd::width, simd::width - 1, Index{1}}) {
    std::vector<janusflow::bfloat16> y(static_cast<std::size_t>(simd::width));
    for (std::size_t i = 0; i + y.size() <= x.size(); i += y.size()) {
      simd::store(simd::Batch::load_unaligned(x.data() + i), y.data(), lanes);
      for (Index j = 0; j < lanes; ++j) {
        const janusflow::bfloat16 expected(x[i + static_cast<std::size_t>(j)]), got = y[static_cast<std::size_t>(j)];
        different += std::isnan(static_cast<float>(expected)) ? !std::isnan(static_cast<float>(got)) : got.bits != expected.bits;
      }
    }
  }
  CHECK(different == 0);
}

TEST_CASE("turning words is a transpose") {
  alignas(64) std::uint32_t from[256], to[256];
  for (std::uint32_t i = 0; i < 256; ++i) from[i] = i * 2654435761u;
  simd::turn(from, to);
  for (int r = 0; r < 16; ++r)
    for (int c = 0; c < 16; ++c) CHECK(to[c * 16 + r] == from[r * 16 + c]);
}

TEST_CASE("the normal distribution function") {
  const auto& x = all_magnitudes();
  const auto cdf = evaluate(cdf_batch, x);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, std::abs(cdf[i] - 0.5 * std::erfc(-static_cast<double>(x[i]) * std::sqrt(0.5))));
  CHECK(worst <= 1e-7);
}

TEST_CASE("sigmoid, silu and gelu") {
  const auto& x = all_magnitudes();
  const auto s = evaluate(sigmoid_batch, x), l = evaluate(silu_batch, x), g = evaluate(gelu_batch, x);
  double worst_sigmoid = 0, worst_silu = 0, worst_gelu = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double wide = x[i], sigmoid = 1 / (1 + std::exp(-wide));
    if (x[i] > -86.9f) {
      worst_sigmoid = std::max(worst_sigmoid, std::abs(s[i] - sigmoid) / ulp(sigmoid));
      if (x[i] != 0) worst_silu = std::max(worst_silu, std::abs(l[i] - wide * sigmoid) / ulp(wide * sigmoid));
    }
    const double gelu = wide * 0.5 * std::erfc(-wide * std::sqrt(0.5));
    if (std::abs(wide) > 1e-30) worst_gelu = std::max(worst_gelu, std::abs(g[i] - gelu) / std::abs(wide));
  }
  CHECK(worst_sigmoid <= 4.0);
  CHECK(worst_silu <= 4.0);
  CHECK(worst_gelu <= 1.1e-7);
}

TEST_CASE("functions whose result is rounded to bfloat16 are off by an eighth of that rounding at most, far below zero by next to nothing") {
  using janusflow::bfloat16;
  const auto& x = all_magnitudes();
  const auto power = evaluate([](simd::Batch v) { return simd::exp2_of_negative<bfloat16>(-xsimd::abs(v)); }, x);
  const auto cdf = evaluate([](simd::Batch v) { return simd::normal_cdf<bfloat16>(v); }, x);
  const auto silu = evaluate([](simd::Batch v) { return simd::silu<bfloat16>(v); }, x);
  const auto gelu = evaluate([](simd::Batch v) { return simd::gelu<bfloat16>(v); }, x);
  double worst_power = 0, worst_cdf = 0, worst_far = 0, worst_silu = 0, worst_gelu = 0;
  bool zeros = true;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double wide = x[i];
    if (std::abs(wide) > 127) zeros = zeros && power[i] == 0;
    else if (std::abs(wide) <= 126) worst_power = std::max(worst_power, std::abs(power[i] / std::exp2(-std::abs(wide)) - 1));
    const double exact = 0.5 * std::erfc(-wide * std::sqrt(0.5));
    if (wide >= -4.5) worst_cdf = std::max(worst_cdf, std::abs(cdf[i] / exact - 1));
    else worst_far = std::max(worst_far, std::abs(cdf[i] - exact));
    if (std::abs(wide) <= 1e-30) continue;
    if (wide >= -86.9) worst_silu = std::max(worst_silu, std::abs(silu[i] / (wide / (1 + std::exp(-wide))) - 1));
    worst_gelu = std::max(worst_gelu, std::abs(gelu[i] - wide * exact) / (std::abs(wide) * (wide >= -4.5 ? 2.4e-4 * exact : 9e-10)));
  }
  CHECK(zeros);
  CHECK(worst_power <= 1.1e-4);
  CHECK(worst_cdf <= 2.4e-4);
  CHECK(worst_far <= 9e-10);
  CHECK(worst_silu <= 1.2e-4);
  CHECK(worst_gelu <= 1.001);
  CHECK(2.4e-4 <= 0x1p-9 / 8);
}

TEST_CASE_TEMPLATE("functions whose result is rounded: NaN and infinities", T, float, janusflow::bfloat16) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto power = [](simd::Batch x) { return simd::exp2_of_negative<T>(x); };
  const auto cdf = [](simd::Batch x) { return simd::normal_cdf<T>(x); };
  const auto silu = [](simd::Batch x) { return simd::silu<T>(x); };
  const auto gelu = [](simd::Batch x) { return simd::gelu<T>(x); };
  CHECK(std::isnan(one(power, nan)));
  CHECK(std::isnan(one(power, std::bit_cast<float>(0x7fffffffu))));
  CHECK(one(power, -infinity) == 0);
  CHECK(one(power, 0.0f) == 1);
  CHECK(std::isnan(one(cdf, nan)));
  CHECK(one(cdf, infinity) == 1);
  CHECK(one(cdf, -infinity) == 0);
  CHECK(std::isnan(one(silu, nan)));
  CHECK(one(silu, infinity) == infinity);
  CHECK(std::isnan(one(silu, -infinity)));
  CHECK(one(silu, -200.0f) == 0);
  CHECK(std::isnan(one(gelu, nan)));
  CHECK(one(gelu, infinity) == infinity);
  CHECK(std::isnan(one(gelu, -infinity)));
}

TEST_CASE("NaN and infinities") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(one(exp_batch, nan)));
  CHECK(std::isnan(one(sigmoid_batch, nan)));
  CHECK(one(exp_batch, infinity) == infinity);
  CHECK(one(exp_batch, -infinity) == 0);
  CHECK(one(sigmoid_batch, infinity) == 1);
  CHECK(one(sigmoid_batch, -infinity) == 0);
}

TEST_CASE("the end of a row gives the same bits as its body, and memory past it stays") {
  std::vector<float> x(67), y(67);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.37f * static_cast<float>(i) - 11.f;
  const auto body = evaluate(gelu_batch, x);
  for (Index n = 1; n <= 66; ++n) {
    y.assign(67, 7.f);
    simd::map(n, y.data(), gelu_batch, x.data());
    CHECK(std::equal(y.begin(), y.begin() + n, body.begin()));
    CHECK(y[static_cast<std::size_t>(n)] == 7.f);
  }
}

TEST_CASE("row and column sums of any length") {
  for (const Index n : {0, 1, 3, 5, 16, 17, 31, 63, 64, 100, 257}) {
    std::vector<float> x(static_cast<std::size_t>(3 * n + 1));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 11);
    const float total = simd::sum(n, 0, [](simd::Batch v) { return v; }, x.data());
    float exact = 0;  // small integers: every order of additions is exact
    for (Index i = 0; i < n; ++i) exact += x[static_cast<std::size_t>(i)];
    CHECK(total == exact);
    std::vector<float> columns(static_cast<std::size_t>(n + 1), -1.f);
    simd::column_sums(3, n, n, columns.data(), [](Index, simd::Batch v) { return v; }, x.data());
    for (std::size_t c = 0; c < static_cast<std::size_t>(n); ++c)
      CHECK(columns[c] == x[c] + x[c + static_cast<std::size_t>(n)] + x[c + 2 * static_cast<std::size_t>(n)]);
    CHECK(columns.back() == -1.f);
  }
}
