// Operations that move numbers or mix them with conditions: modulate, concat_channels, pixel shuffles, upsampling,
// embedding, rope, time.
#include "janusflow/ops/embedding.hpp"
#include "janusflow/ops/modulate.hpp"
#include "janusflow/ops/pixel_shuffle.hpp"
#include "janusflow/ops/rope.hpp"
#include "janusflow/ops/sequence.hpp"
#include "janusflow/ops/timestep_embedding.hpp"
#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;

namespace {
const Index widths[] = {1, 3, 5, 17, 31, 63, 100};
}

TEST_CASE("modulate") {
  for (const Index n : widths) {
    const auto x = random_tensor<float>(Shape{Index{2}, Index{5}, Index{7}, n}, 1);
    const auto scale_shift = random_tensor<float>(Shape{Index{2}, 2 * n}, 2);
    const auto modulate = [&](const auto& v) { return jf::modulate(v, scale_shift); };
    const auto y = modulate(x);
    const auto exact = jf::modulate(cast<double>(x), cast<double>(scale_shift));
    CHECK(exact(1, 4, 6, n - 1) == doctest::Approx(double{x(1, 4, 6, n - 1)} * (1 + double{scale_shift(1, n - 1)}) +
                                                   double{scale_shift(1, 2 * n - 1)}));
    CHECK(worst_ratio(y, exact, [&](Index i) {
            const Index b = i / (35 * n), c = i % n;
            return 3 * eps32 *
                   (std::abs(x.data()[i]) * (1 + std::abs(scale_shift(b, c))) + std::abs(scale_shift(b, n + c)));
          }) <= 1);
    CHECK(same_bytes(modulate(Strided(x).columns), y));
    check_threads([&] { return modulate(x); });
  }
  const Tensor<float, 4> x(Shape{Index{2}, Index{1}, Index{1}, Index{3}}, 0.f);
  CHECK(message_of([&] {
          jf::modulate(x, Tensor<float, 2>(Shape{Index{2}, Index{3}}));
        }) == "modulate: x [2, 1, 1, 3] does not match scale_shift [2, 3]");
}

TEST_CASE("gradients of modulate") {
  auto x = random_tensor<double>(Shape{Index{2}, Index{3}, Index{2}, Index{5}}, 3);
  auto scale_shift = random_tensor<double>(Shape{Index{2}, Index{10}}, 4);
  const auto dy = random_tensor<double>(x.shape(), 5);
  const auto [dx, dscale_shift] = jf::modulate_backward(x, scale_shift, dy);
  const auto y = [&] { return jf::modulate(x, scale_shift); };
  check_gradient(x, y, dy, dx);
  check_gradient(scale_shift, y, dy, dscale_shift);
}

TEST_CASE("concat_channels") {
  const auto a = random_tensor<float>(Shape{Index{2}, Index{3}, Index{5}}, 6),
             b = random_tensor<float>(Shape{Index{2}, Index{3}, Index{17}}, 7);
  const auto y = jf::concat_channels(a, Strided(b).columns);
  REQUIRE(y.shape() == Shape{Index{2}, Index{3}, Index{22}});
  CHECK(same_bytes(Tensor<float, 3>(y.view().columns(0, 5)), a));
  CHECK(same_bytes(Tensor<float, 3>(y.view().columns(5, 22)), b));
  CHECK(message_of([&] {
          jf::concat_channels(a, Tensor<float, 3>(Shape{Index{2}, Index{2}, Index{5}}));
        }) == "concat_channels: a [2, 3, 5] does not match b [2, 2, 5]");
}

TEST_CASE("pixel_shuffle follows torch's formula and pixel_unshuffle undoes it") {
  for (const Index factor : {1, 2, 3}) {
    const Index channels = 5;
    const auto x = random_tensor<double>(Shape{Index{2}, Index{3}, Index{4}, channels * factor * factor}, 8);
    const auto y = jf::pixel_shuffle(x, factor);
    REQUIRE(y.shape() == Shape{Index{2}, 3 * factor, 4 * factor, channels});
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < 3 * factor; ++h)
        for (Index w = 0; w < 4 * factor; ++w)
          for (Index c = 0; c < channels; ++c)
            REQUIRE(y(b, h, w, c) ==
                    x(b, h / factor, w / factor, c * factor * factor + h % factor * factor + w % factor));
    CHECK(same_bytes(jf::pixel_unshuffle(Strided(y).columns, factor), x));
    CHECK(same_bytes(jf::pixel_shuffle(Strided(x).columns, factor), y));
    check_threads([&] { return jf::pixel_shuffle(x, factor); });
    check_threads([&] { return jf::pixel_unshuffle(y, factor); });
  }
  const Tensor<float, 4> x(Shape{Index{1}, Index{3}, Index{2}, Index{6}}, 0.f);
  CHECK(message_of([&] { jf::pixel_shuffle(x, 2); }) ==
        "pixel_shuffle: the channels of x [1, 3, 2, 6] are not a multiple of 2 squared");
  CHECK(message_of([&] { jf::pixel_unshuffle(x, 2); }) ==
        "pixel_unshuffle: height and width of x [1, 3, 2, 6] are not multiples of 2");
}

TEST_CASE("pixel shuffles are each other's gradient") {
  // Both only move numbers: <shuffle(x), dy> = <x, unshuffle(dy)> is the whole statement.
  auto x = random_tensor<double>(Shape{Index{1}, Index{2}, Index{3}, Index{8}}, 9);
  const auto dy = random_tensor<double>(Shape{Index{1}, Index{4}, Index{6}, Index{2}}, 10);
  check_gradient(
      x, [&] { return jf::pixel_shuffle(x, 2); }, dy, jf::pixel_unshuffle(dy, 2));
}

TEST_CASE("upsample_nearest2x") {
  auto x = random_tensor<double>(Shape{Index{2}, Index{3}, Index{4}, Index{5}}, 11);
  const auto y = jf::upsample_nearest2x(Strided(x).columns);
  REQUIRE(y.shape() == Shape{Index{2}, Index{6}, Index{8}, Index{5}});
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 6; ++h)
      for (Index w = 0; w < 8; ++w)
        for (Index c = 0; c < 5; ++c) REQUIRE(y(b, h, w, c) == x(b, h / 2, w / 2, c));
  const auto dy = random_tensor<double>(y.shape(), 12);
  check_gradient(
      x, [&] { return jf::upsample_nearest2x(x); }, dy, jf::upsample_nearest2x_backward(dy));
  check_threads([&] { return jf::upsample_nearest2x(x); });
}

TEST_CASE("embedding gathers rows of float, double and bfloat16") {
  const auto table = random_tensor<float>(Shape{Index{11}, Index{37}}, 13);
  const std::vector<int> ids{3, 0, 10, 3};
  const auto y = jf::embedding(ids, table);
  REQUIRE(y.shape() == Shape{Index{4}, Index{37}});
  for (Index i = 0; i < 4; ++i)
    CHECK(std::equal(y.data() + i * 37, y.data() + (i + 1) * 37, table.data() + ids[static_cast<std::size_t>(i)] * 37));
  CHECK(same_bytes(jf::embedding(ids, Strided(table).columns), y));
  CHECK(same_bytes(cast<float>(jf::embedding(ids, cast<double>(table))), y));

  const auto rounded = cast<jf::bfloat16>(table);
  CHECK(same_bytes(jf::embedding(ids, rounded), jf::embedding(ids, cast<float>(rounded))));

  CHECK(jf::embedding(std::vector<Index>{}, table).shape() == Shape{Index{0}, Index{37}});
  CHECK(message_of([&] {
          jf::embedding(std::vector<int>{1, 11}, table);
        }) == "embedding: id 11 is not in the vocabulary of 11");
  CHECK(message_of([&] { jf::embedding(std::vector<int>{-1}, table); }) ==
        "embedding: id -1 is not in the vocabulary of 11");
}

TEST_CASE("gradient of embedding adds up the rows of an id that comes twice") {
  auto table = random_tensor<double>(Shape{Index{5}, Index{3}}, 14);
  const std::vector<int> ids{4, 1, 4};
  const auto dy = random_tensor<double>(Shape{Index{3}, Index{3}}, 15);
  Tensor<double, 2> dtable(table.shape(), 0.0);
  jf::embedding_backward(ids, dtable.view(), dy);
  check_gradient(
      table, [&] { return jf::embedding(ids, table); }, dy, dtable);
  CHECK(message_of([&] { jf::embedding_backward(ids, dtable.view(), dy.view().slice(0, 2)); }) ==
        "embedding_backward: dy [2, 3] does not match 3 ids and dtable [5, 3]");
}

TEST_CASE("rope rotates halves of heads") {
  for (const Index head_dim : {2, 6, 10, 24, 62, 128}) {
    const std::vector<Index> positions{29, 30, 31, 3, 4, 35};  // of two sequences
    const Index heads = 3, half = head_dim / 2;
    const jf::Rotation rotation(positions, head_dim, 10000);
    const auto x = random_tensor<float>(Shape{Index{2}, Index{3}, heads * head_dim}, 16);
    const auto y = jf::rope(x.clone(), rotation);
    const auto exact = jf::rope(cast<double>(x), rotation);
    CHECK(worst_ratio(y, exact, [&](Index i) {
            const Index pair = i % head_dim < half ? i + half : i - half;
            return 2 * eps32 * (std::abs(x.data()[i]) + std::abs(x.data()[pair]));
          }) <= 1);
    // The definition, at the last position: the frequency's float32 rounding allows an angle error of 36 * 2^-23.
    const double angle = 35 * std::pow(10000.0, -2.0 * static_cast<double>(half - 1) / static_cast<double>(head_dim));
    const double left = x(1, 2, half - 1), right = x(1, 2, head_dim - 1);
    CHECK(std::abs(exact(1, 2, half - 1) - (left * std::cos(angle) - right * std::sin(angle))) < 36 * 2 * eps32 * 4);

    // A token by itself, whose angles begin at its own position.
    const jf::Rotation alone({positions.back()}, head_dim, 10000);
    const auto last = jf::rope(Tensor<float, 3>(x.view().reshape(Shape{Index{6}, Index{1}, heads * head_dim}).slice(5, 6)), alone);
    CHECK(std::equal(last.begin(), last.end(), &y(1, 2, 0)));
    check_threads([&] { return jf::rope(x.clone(), rotation); });
    // A rotation's gradient is the rotation back; cos^2 + sin^2 is 1 within 4 roundings.
    CHECK(worst_ratio(jf::rope_backward(rotation, exact.clone()), cast<double>(x), [&](Index) { return 4 * eps32 * 8; }) <= 1);
  }
}

TEST_CASE("gradient of rope") {
  const jf::Rotation rotation({5, 6, 0, 1}, 6, 100);
  auto x = random_tensor<double>(Shape{Index{2}, Index{2}, Index{12}}, 17);
  const auto dy = random_tensor<double>(x.shape(), 18);
  check_gradient(
      x, [&] { return jf::rope(x.clone(), rotation); }, dy, jf::rope_backward(rotation, dy.clone()));
}

TEST_CASE("rope names what does not fit") {
  const jf::Rotation rotation({5, 6, 7, 8}, 6, 10000);
  const auto rope = [&](Index tokens, Index features) { jf::rope(Tensor<float, 3>(Shape{Index{1}, tokens, features}, 0.f), rotation); };
  CHECK(message_of([&] { rope(3, 12); }) == "rope: x [1, 3, 12] does not match 4 positions");
  CHECK(message_of([&] { rope(4, 10); }) == "rope: x [1, 4, 10] is no whole heads of 6");
  CHECK(message_of([] { jf::Rotation({0}, 5, 10000); }) == "rope: head_dim must be even and positive, not 5");
  CHECK(message_of([] { jf::Rotation({0, -1}, 6, 10000); }) == "rope: a token's position is -1");
  CHECK(message_of([] { jf::Rotation({0}, 6, 0); }) == "rope: theta must be positive, not 0");
}

TEST_CASE("timestep_embedding") {
  const std::vector<double> times{0, 1, 500.5, 999};
  const auto y = jf::timestep_embedding(times, 32);
  REQUIRE(y.shape() == Shape{Index{4}, Index{32}});
  for (Index b = 0; b < 4; ++b)
    for (Index i = 0; i < 16; ++i) {
      const double angle =
          times[static_cast<std::size_t>(b)] * std::exp(-std::log(10000.0) * static_cast<double>(i) / 16);
      CHECK(y(b, i) == doctest::Approx(std::cos(angle)).epsilon(1e-12));
      CHECK(y(b, 16 + i) == doctest::Approx(std::sin(angle)).epsilon(1e-12));
    }
  CHECK(message_of([&] { jf::timestep_embedding(times, 5); }) ==
        "timestep_embedding: dim must be even and positive, not 5");
}
