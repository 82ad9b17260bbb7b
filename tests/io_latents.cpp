// Latents and pictures: bytes as torchvision rounds them, torch's layouts, noise by seed.
#include "janusflow/io/latents.hpp"

#include <doctest/doctest.h>

#include "golden.hpp"
#include "io_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;
using io_testing::error_of;

TEST_CASE("to_bytes rounds as torchvision's save_image, bit for bit") {
  const Checkpoint file(JANUSFLOW_TEST_DATA "/golden_tiny/golden.safetensors");
  const Golden golden(JANUSFLOW_TEST_DATA "/golden_tiny/golden.safetensors");
  const auto expected = file.at("vae.dec2.u8_round").to_tensor<std::uint8_t, 3>();
  const auto bytes = to_bytes(golden.picture("vae.dec2.out"), 0);
  REQUIRE(bytes.shape() == expected.shape());
  CHECK(std::equal(bytes.begin(), bytes.end(), expected.begin()));
}

TEST_CASE("to_bytes and from_bytes: the ends, the middle, and what is out of range") {
  Tensor<float, 4> x(Shape{2, 1, 3, 3}, 0.0f);
  const float values[] = {-1.0f, 1.0f, -7.0f, 7.0f, 0.0f, 1e38f, -1e38f, -1.004f, -0.996f};
  std::copy(std::begin(values), std::end(values), x.data() + 9);  // the second picture
  const auto bytes = to_bytes(x, 1);
  const std::uint8_t expected[] = {0, 255, 0, 255, 128, 255, 0, 0, 1};
  CHECK(std::equal(bytes.begin(), bytes.end(), std::begin(expected)));
  Tensor<std::uint8_t, 3> all(Shape{Index{16}, Index{16}, Index{3}});
  for (Index i = 0; i < all.size(); ++i) all.data()[i] = static_cast<std::uint8_t>(i);
  const auto unit = from_bytes(all);
  CHECK(unit(0, 0, 0, 0) == -1.0f);
  CHECK(*std::max_element(unit.begin(), unit.end()) == 1.0f);
  const auto back = to_bytes(unit, 0);
  CHECK(std::equal(back.begin(), back.end(), all.begin()));
}

TEST_CASE("to_bytes refuses what is not finite, in the picture that is asked for") {
  for (const float value : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
    Tensor<float, 4> x(Shape{2, 2, 2, 3}, 0.0f);
    x(1, 1, 1, 2) = value;
    CHECK(error_of([&] { to_bytes(x, 1); }) == "to_bytes: the picture holds NaN or infinity");
    CHECK_NOTHROW(to_bytes(x, 0));
  }
}

TEST_CASE("channels first and last are each other's inverse") {
  Tensor<float, 4> x(Shape{2, 3, 4, 5});
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(i);
  const auto last = channels_last(x);
  REQUIRE(last.shape() == Shape{2, 4, 5, 3});
  CHECK(last(1, 2, 3, 1) == x(1, 1, 2, 3));
  const auto first = channels_first(last);
  CHECK(first.shape() == x.shape());
  CHECK(std::equal(first.begin(), first.end(), x.begin()));
}

TEST_CASE("noise is the generator's normal numbers, picture by picture") {
  const auto z = noise(7, 4, 6, 5);
  REQUIRE(z.shape() == Shape{1, 4, 6, 5});
  std::vector<float> expected(120);
  TorchGenerator(7).normal(expected);
  CHECK(std::equal(z.begin(), z.end(), expected.begin()));
  CHECK(noise(8, 4, 6, 5).data()[0] != z.data()[0]);
  CHECK(noise(7, 4, 0, 5).empty());
}
