// Inputs at the edges of what operations take: empty, not finite, as large as can be, or not what was asked for.
#include <limits>
#include <vector>

#include "janusflow/ops/attention.hpp"
#include "janusflow/ops/conv2d_backward.hpp"
#include "janusflow/ops/group_norm.hpp"
#include "janusflow/ops/losses.hpp"
#include "janusflow/ops/pixel_shuffle.hpp"
#include "janusflow/ops/resize.hpp"
#include "janusflow/ops/rope.hpp"
#include "janusflow/ops/sequence.hpp"
#include "janusflow/ops/softmax.hpp"
#include "ops_testing.hpp"

namespace {

namespace jf = janusflow;
using namespace testing;
using jf::simd::Float32Dot, jf::simd::BFloat16Dot, jf::simd::Int8Dot, jf::simd::Int4Dot;

constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();

template <int R>
Tensor<float, R> filled(Shape<R> shape, float value = 1) {
  return Tensor<float, R>(shape, value);
}

template <class Dot>
jf::PackedMatrix<Dot> packed(const Tensor<float, 2>& weight) {
  jf::PackedMatrix<Dot> matrix(weight.shape()[0], weight.shape()[1]);
  matrix.pack(weight.view());
  return matrix;
}

jf::PackedFilter<Float32Dot> filter(const Tensor<float, 4>& weight) {
  jf::PackedFilter<Float32Dot> packed(weight.shape()[0], weight.shape()[1], weight.shape()[2]);
  packed.pack(weight.view());
  return packed;
}

}  // namespace

TEST_CASE_TEMPLATE("a number that is not finite spoils its row, and no other", Dot, Float32Dot, BFloat16Dot, Int8Dot, Int4Dot) {
  const Index in = 100;
  const auto weight = packed<Dot>(filled(Shape{Index{20}, in}));
  for (const float odd : {nan, -nan, infinity, -infinity})
    for (const Index at : {0, 5, 40, 63, 99}) {
      auto x = filled(Shape{Index{3}, in});
      x(1, at) = odd;
      const auto y = jf::linear(x, weight);
      for (const Index column : {0, 19}) {
        CHECK_FALSE(std::isfinite(y(1, column)));
        CHECK(y(0, column) == doctest::Approx(in));
        CHECK(y(2, column) == doctest::Approx(in));
      }
    }
}

TEST_CASE_TEMPLATE("a weight that is not finite spoils its output, and no other", Dot, Int8Dot, Int4Dot) {
  for (const float odd : {nan, infinity}) {
    auto weight = filled(Shape{Index{20}, Index{100}});
    weight(7, 50) = odd;
    const auto y = jf::linear(filled(Shape{Index{3}, Index{100}}), packed<Dot>(weight));
    for (Index column = 0; column < 20; ++column) CHECK(std::isfinite(y(1, column)) == (column != 7));
  }
}

TEST_CASE_TEMPLATE("the smallest numbers are rounded as any others, down to steps of 2^-126", Dot, Int8Dot, Int4Dot) {
  for (const float size : {1e-30f, 2e-36f, 3e-37f, 2e-38f, 1e-40f}) {
    const auto y = jf::linear(filled(Shape{Index{2}, Index{64}}, size), packed<Dot>(filled(Shape{Index{1}, Index{64}}, 1e20f)));
    const double exact = 64.0 * static_cast<double>(size) * 1e20;
    CHECK(std::abs(y(0, 0) - exact) <= 64e20 * (static_cast<double>(size) / 200 + 0x1p-127));
  }
}

TEST_CASE_TEMPLATE("as many inputs as a sum of 32 bits surely holds, and not one more", Dot, Int8Dot, Int4Dot) {
  const Index deepest = Dot::deepest;
  const auto weight = packed<Dot>(filled(Shape{Index{1}, deepest}));
  for (const Index rows : {2, 9}) CHECK(jf::linear(filled(Shape{rows, deepest}, -1), weight)(1, 0) == doctest::Approx(-static_cast<double>(deepest)));
  CHECK(message_of([&] { jf::PackedMatrix<Dot>(1, deepest + 1); }) ==
        (std::is_same_v<Dot, Int8Dot> ? "int8: a weight [1, 133145] has more than 133144" : "q4: a weight [1, 132105] has more than 132104") +
            std::string(" inputs, whose sum fits 32 bits"));
}

TEST_CASE("a past must be there") {
  jf::KeysAndValues<float> remembered(1, 8);
  const auto three = filled(Shape{Index{3}, Index{8}});
  remembered.keys.append(three.view());
  remembered.values.append(three.view());
  const auto narrow = filled(Shape{Index{3}, Index{4}});
  CHECK(message_of([&] { remembered.keys.append(narrow.view()); }) == "key-value cache: rows [3, 4] are not of 1 heads of 8");
  CHECK(message_of([&] { remembered.keys.truncate(-1); }) == "key-value cache: cannot keep -1 positions");
  remembered.keys.append(three.view());  // of which there are no values yet
  const jf::RememberedLayer layer(std::move(remembered));
  for (const Index length : {1, 6}) {
    const auto q = filled(Shape{Index{1}, length, Index{8}});
    const auto attend = [&](jf::Past past) { return message_of([&] { jf::attention<Float32Dot>(q, q, q, 1, 1, {}, std::span(&past, 1)); }); };
    CHECK(attend({&layer, 3}) == "nothing was thrown");
    CHECK(attend({&layer, 4}) == "attention: a past of 4 positions of a layer that remembers 3");
    CHECK(attend({&layer, -1}) == "attention: a past of -1 positions");
    CHECK(attend({nullptr, 3}) == "attention: a past of 3 positions of no layer");
  }
}

TEST_CASE("backwards say what does not fit, as their forwards do") {
  auto dx = filled(Shape{Index{1}, Index{2}, Index{4}}, 0);
  CHECK(message_of([&] { jf::take_tokens_backward(1, dx.view(), filled(Shape{Index{1}, Index{2}, Index{4}})); }) ==
        "take_tokens_backward: dy [1, 2, 4] from token 1 does not match dx [1, 2, 4]");
  const std::vector<Index> outside{1}, first{0};
  CHECK(message_of([&] { jf::select_backward(outside, dx.view(), filled(dx.shape())); }) ==
        "select_backward: index 1 is outside the first dimension of [1, 2, 4]");
  CHECK(message_of([&] { jf::select_backward(first, dx.view(), filled(Shape{Index{1}, Index{4}, Index{2}})); }) ==
        "select_backward: dy [1, 4, 2] does not match 1 indices and dx [1, 2, 4]");
  const auto x = filled(Shape{Index{40}}), y = filled(Shape{Index{4}});
  CHECK(message_of([&] { jf::mean_squared_error_backward(x, y, 1.0f); }) == "mean_squared_error_backward: [40] does not match [4]");
  CHECK(message_of([&] { jf::mean_absolute_error_backward(x, y, 1.0f); }) == "mean_absolute_error_backward: [40] does not match [4]");
  CHECK(message_of([&] { jf::mean_cosine_similarity_backward(x, y, 1.0f); }) == "mean_cosine_similarity_backward: [40] does not match [4]");
  CHECK(message_of([&] { jf::columns(x, 0, 41); }) == "columns: 0 to 41 of [40]");

  const auto backward = [&](const auto& weight, jf::ConvGeometry geometry, Index side) {
    const auto dy = filled(Shape{Index{1}, side, side, Index{8}});
    return message_of([&] { jf::conv2d_backward_input(Shape<4>{{1, 8, 8, 4}}, weight, geometry, dy); });
  };
  const auto square = filled(Shape{Index{8}, Index{4}, Index{3}, Index{3}}), narrow = filled(Shape{Index{8}, Index{4}, Index{3}, Index{1}}),
             wide = filled(Shape{Index{8}, Index{4}, Index{3}, Index{5}});
  CHECK(backward(square, {0, 1, 1, 1, 1}, 8) == "conv2d_backward_input: a stride of 0 pixels");
  CHECK(backward(narrow, {2, 1, 1, 1, 1}, 4) == "conv2d_backward_input: x [1, 8, 8, 4] does not match weight [8, 4, 3, 1]");
  CHECK(backward(wide.view().columns(0, 3), jf::ConvGeometry::same(3), 8) ==
        "conv2d_backward_input: the weight [8, 4, 3, 3] is not contiguous");
}

TEST_CASE("convolutions without channels, pixels or a kernel") {
  const auto picture = [](Index width, Index channels) { return filled(Shape{Index{1}, Index{4}, width, channels}); };
  const auto weight = [](Index channels, Index kernel) { return filled(Shape{Index{8}, channels, kernel, kernel}); };
  CHECK(message_of([&] { jf::conv2d(picture(4, 0), filter(weight(0, 3)), {}, jf::ConvGeometry::same(3)); }) ==
        "conv2d: x [1, 4, 4, 0] does not match weight [8, 0, 3, 3]");
  CHECK(message_of([&] { jf::conv2d(picture(4, 4), filter(weight(4, 0)), {}, {}); }) ==
        "conv2d: x [1, 4, 4, 4] does not match weight [8, 4, 0, 0]");
  CHECK(message_of([&] { jf::conv2d_backward_weight(picture(4, 0), 3, jf::ConvGeometry::same(3), picture(4, 8)); }) ==
        "conv2d_backward_weight: x [1, 4, 4, 0] does not match weight [8, 0, 3, 3]");
  jf::UpsampleFilter<Float32Dot> doubling(8, 4, 3);
  doubling.pack(weight(4, 3).view());
  CHECK(jf::upsample_conv2d(picture(0, 4), doubling, {}).shape() == Shape{Index{1}, Index{8}, Index{0}, Index{8}});
}

TEST_CASE("conv2d: a padding beyond a strip is zeros") {
  const auto weight = filter(filled(Shape{Index{1}, Index{4}, Index{3}, Index{3}}));
  const Tensor<float, 1> bias(Shape{Index{1}}, 5.0f);
  const auto y = jf::conv2d(filled(Shape{Index{1}, Index{2000}, Index{400}, Index{4}}), weight, bias, {1, 1, 1, 4000, 1});
  CHECK(y(0, 1000, 200, 0) == 41.0f);
  CHECK(y(0, 1999, 200, 0) == 29.0f);
  CHECK(y(0, 4000, 200, 0) == 5.0f);
}

TEST_CASE("conv2d_onto: not onto the picture that it reads") {
  auto y = random_tensor<float>(Shape{Index{1}, Index{8}, Index{8}, Index{16}}, 1);
  const auto ones = filled(Shape{Index{16}});
  const auto read = jf::silu_of_group_norm(y, ones, ones, 4, 1e-6f);
  const auto weight = filter(random_tensor<float>(Shape{Index{16}, Index{16}, Index{3}, Index{3}}, 2));
  CHECK(message_of([&] { jf::conv2d_onto(std::move(y), read, weight, {}, jf::ConvGeometry::same(3)); }) ==
        "conv2d_onto: x [1, 8, 8, 16] lies in y's memory");
  CHECK(message_of([&] { jf::conv2d_onto(filled(Shape{Index{1}, Index{4}, Index{16}, Index{16}}), read, weight, {}, jf::ConvGeometry::same(3)); }) ==
        "conv2d_onto: y [1, 4, 16, 16] is not the product's [1, 8, 8, 16]");
}

TEST_CASE("sizes that no machine has are refused, and nothing takes forever") {
  const Index most = std::numeric_limits<Index>::max();
  const Tensor<std::uint8_t, 3> picture(Shape{Index{2}, Index{2}, Index{3}}, std::uint8_t{1});
  CHECK_THROWS_AS(jf::resize_bicubic(picture.view(), 2, Index{1} << 44), Error);
  CHECK_THROWS_AS(jf::pixel_shuffle(filled(Shape{Index{1}, Index{2}, Index{2}, Index{4}}), Index{1} << 32), Error);
  CHECK(jf::softmax(filled(Shape{Index{1} << 60, Index{0}})).empty());
  const auto nothing = filled(Shape{Index{1}, Index{2}, Index{2}, Index{0}});
  CHECK_THROWS_AS(jf::group_norm(nothing, filled(Shape{Index{0}}), filled(Shape{Index{0}}), Index{1} << 45, 1e-6f), Error);
  const auto headless = filled(Shape{Index{1}, Index{8}, Index{0}});
  CHECK_THROWS_AS(jf::attention<Float32Dot>(headless, headless, headless, Index{1} << 60, Index{1} << 60), Error);
  CHECK_THROWS_AS(jf::Rotation({0, most}, 8, 10000.0), Error);
}
