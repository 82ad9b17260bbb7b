// upsample_conv2d against a nearest-neighbour doubling followed by conv2d, each phase and border.
#include <doctest/doctest.h>

#include <random>

#include "janusflow/ops/conv2d.hpp"
#include "janusflow/ops/pixel_shuffle.hpp"

using namespace janusflow;

namespace {

template <int R>
Tensor<float, R> random_tensor(Shape<R> shape, unsigned seed) {
  Tensor<float, R> x(shape);
  std::mt19937 twister(seed);
  for (float& value : x) value = static_cast<float>(twister()) * 0x1p-31f - 1.0f;
  return x;
}

template <class Dot>
void compare(Shape<4> shape, Index out, double relative_bound) {
  const auto x = random_tensor(shape, 1);
  const auto w = random_tensor(Shape{out, shape[3], Index{3}, Index{3}}, 2);
  const auto bias = random_tensor(Shape{out}, 3);
  UpsampleFilter<Dot> filter(out, shape[3], 3);
  filter.pack(w.view());
  const auto y = upsample_conv2d(x, filter, bias);
  // In double, on the doubled picture as the definition has it.
  Tensor<double, 4> xd(shape), wd(w.shape());
  std::copy(x.begin(), x.end(), xd.begin());
  std::copy(w.begin(), w.end(), wd.begin());
  Tensor<double, 1> bd(bias.shape());
  std::copy(bias.begin(), bias.end(), bd.begin());
  const auto expected = reference::conv2d(upsample_nearest2x(xd), wd, bd, ConvGeometry::same(3));
  REQUIRE(y.shape() == expected.shape());
  // |x|, |w| <= 1: no sum of products exceeds 9 in.
  const double bound = relative_bound * 9 * static_cast<double>(shape[3]) + 1e-6;
  for (Index i = 0; i < y.size(); ++i) REQUIRE(std::abs(y.data()[i] - expected.data()[i]) <= bound);
}

}  // namespace

TEST_CASE("upsample_conv2d equals doubling, then conv2d") {
  for (const Shape<4> shape : {Shape<4>{{1, 1, 1, 1}}, {{2, 3, 5, 7}}, {{1, 4, 1, 33}}, {{3, 2, 6, 16}}})
    for (const Index out : {1, 5, 33}) {
      compare<simd::Float32Dot>(shape, out, (9.0 * static_cast<double>(shape[3]) + 4) * 0x1p-24);
      compare<simd::BFloat16Dot>(shape, out, 2 * 0x1p-8);  // each factor rounded to 8 bits
    }
}

TEST_CASE("upsample_conv2d says what does not fit") {
  UpsampleFilter<simd::Float32Dot> filter(4, 3, 3);
  auto weight = random_tensor(Shape<4>{{4, 3, 3, 3}}, 1);
  filter.pack(weight.view());
  const auto message = [&](const Tensor<float, 4>& x, const Tensor<float, 1>& bias) -> std::string {
    try {
      upsample_conv2d(x, filter, bias);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK(message(random_tensor(Shape<4>{{1, 2, 2, 5}}, 1), random_tensor(Shape<1>{{4}}, 1)) ==
        "upsample_conv2d: x [1, 2, 2, 5] does not match weight [4, 3, 3, 3]");
  CHECK(message(random_tensor(Shape<4>{{1, 2, 2, 3}}, 1), random_tensor(Shape<1>{{5}}, 1)) ==
        "upsample_conv2d: bias [5] does not match weight [4, 3, 3, 3]");
}
