// Pictures changed at random: what stays as it is, where pixels go, and that a seed decides.
#include <doctest/doctest.h>

#include "io_testing.hpp"
#include "janusflow/train/augmentation.hpp"

using namespace janusflow;

namespace {

Tensor<float, 3> ramp(Index height, Index width) {
  Tensor<float, 3> picture(Shape{height, width, Index{3}});
  for (Index i = 0; i < picture.size(); ++i) picture.data()[i] = static_cast<float>(i % 17) / 8.5f - 1;
  return picture;
}

Tensor<float, 3> changed(const Tensor<float, 3>& picture, const AugmentationSettings& settings, std::uint64_t seed) {
  TorchGenerator random(seed);
  return augment(picture.view(), settings, random);
}

bool same(const Tensor<float, 3>& a, const Tensor<float, 3>& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

}  // namespace

TEST_CASE("augmentation: nothing changes where nothing is asked for, and a seed decides the rest") {
  const auto picture = ramp(6, 8);
  CHECK(same(changed(picture, {}, 1), picture));
  const AugmentationSettings all{.flip = 0.5, .shift = 2, .scale = 0.1, .rotation = 0.2, .contrast = 0.1, .brightness = 0.1, .noise = 0.1};
  CHECK(same(changed(picture, all, 5), changed(picture, all, 5)));
  CHECK(!same(changed(picture, all, 5), changed(picture, all, 6)));
  for (const float x : changed(picture, all, 7)) CHECK(std::abs(x) <= 1);
}

TEST_CASE("augmentation: mirrored and shifted pictures are sharp, and white comes in") {
  const auto picture = ramp(5, 7);
  const auto mirrored = changed(picture, {.flip = 1}, 1);
  for (Index y = 0; y < 5; ++y)
    for (Index x = 0; x < 7; ++x) CHECK(mirrored(y, x, 1) == picture(y, 6 - x, 1));
  int seen[3][3] = {};
  for (std::uint64_t seed = 0; seed < 900; ++seed) {
    const auto moved = changed(picture, {.shift = 1}, seed);
    int found = 0;
    for (Index down = -1; down <= 1; ++down)
      for (Index across = -1; across <= 1; ++across) {
        bool equal = true;
        for (Index y = 0; y < 5; ++y)
          for (Index x = 0; x < 7; ++x) {
            const Index from_y = y - down, from_x = x - across;
            const bool inside = from_y >= 0 && from_y < 5 && from_x >= 0 && from_x < 7;
            equal = equal && moved(y, x, 0) == (inside ? picture(from_y, from_x, 0) : 1.0f);
          }
        if (equal) ++found, ++seen[down + 1][across + 1];
      }
    CHECK(found == 1);
  }
  for (const auto& row : seen)
    for (const int count : row) CHECK(std::abs(count - 100) < 5 * std::sqrt(900 * 8 / 81.0));  // each of nine places as often: 5 sigma
}

TEST_CASE("augmentation: turning and scaling keep the middle, between pixels") {
  Tensor<float, 3> cross(Shape{Index{9}, Index{9}, Index{3}}, 1.0f);
  for (Index c = 0; c < 3; ++c) cross(4, 4, c) = -1;
  for (std::uint64_t seed = 0; seed < 10; ++seed) CHECK(changed(cross, {.scale = 0.3, .rotation = 0.5}, seed)(4, 4, 1) == -1);
  const auto picture = ramp(9, 9);
  CHECK(!same(changed(picture, {.rotation = 0.5}, 3), picture));
  // By twice the standard deviation at most: a spot at the right stays within that angle.
  Tensor<float, 3> spot(Shape{Index{41}, Index{41}, Index{3}}, 1.0f);
  for (Index c = 0; c < 3; ++c) spot(20, 36, c) = -1;
  double furthest = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const auto turned = changed(spot, {.rotation = 0.3}, seed);
    double down = 0, across = 0;
    for (Index y = 0; y < 41; ++y)
      for (Index x = 0; x < 41; ++x) {
        const double dark = 1 - static_cast<double>(turned(y, x, 0));
        down += dark * static_cast<double>(y - 20), across += dark * static_cast<double>(x - 20);
      }
    furthest = std::max(furthest, std::abs(std::atan2(down, across)));
  }
  CHECK(furthest > 0.5);
  CHECK(furthest < 0.6 + 0.5 / 16);  // where the spot is is known to half a pixel
  // Darker by up to 0.5: all pixels by the same.
  const auto darker = changed(cross, {.brightness = 0.5}, 2);
  CHECK(darker(0, 0, 0) < 1);
  CHECK(darker(0, 0, 0) >= 0.5f);
  CHECK(darker(0, 0, 0) == darker(8, 3, 2));
  CHECK(io_testing::error_of([] { TorchGenerator random(0); augment(Tensor<float, 3>(Shape{Index{2}, Index{2}, Index{1}}), {}, random); }) ==
        "augment: [2, 2, 1] is not the shape of a picture [H, W, 3]");
}
