// The vision tower's pixels, bit for bit as the official image processor gives them.
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "io_testing.hpp"
#include "janusflow/io/picture_format.hpp"
#include "janusflow/io/preprocess.hpp"
#include "janusflow/io/safetensors.hpp"

using namespace janusflow;
using namespace io_testing;

namespace {

/// tests/reference/pictures.py's lcg_picture.
Tensor<std::uint8_t, 3> random_picture(std::uint32_t state, Index height, Index width) {
  Tensor<std::uint8_t, 3> picture(Shape<3>{{height, width, 3}});
  for (std::uint8_t& byte : picture) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::uint8_t>(state >> 24);
  }
  return picture;
}

/// [S, S, 3] to torch's [3, S, S].
Tensor<float, 3> channels_first(const Tensor<float, 3>& pixels) {
  const auto [height, width, channels] = pixels.shape().extents;
  Tensor<float, 3> turned(Shape<3>{{channels, height, width}});
  for (Index y = 0; y < height; ++y)
    for (Index x = 0; x < width; ++x)
      for (Index c = 0; c < channels; ++c) turned(c, y, x) = pixels(y, x, c);
  return turned;
}

template <class T>
std::uint32_t checksum(const Tensor<T, 3>& tensor) {
  return crc32(std::as_bytes(std::span(tensor.data(), static_cast<std::size_t>(tensor.size()))));
}

template <class T>
bool same_bits(const Tensor<T, 3>& a, const Tensor<T, 3>& b) {
  return a.shape() == b.shape() && checksum(a) == checksum(b) &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

}  // namespace

TEST_CASE("the golden model's pictures") {
  const SafetensorsFile golden(data() / "golden_tiny" / "golden.safetensors");
  const auto config = ImageProcessorConfig::from_directory(data() / "golden_tiny", 96);
  for (const std::string name : {"pre.0", "pre.1"}) {
    CAPTURE(name);
    const auto picture = golden.at(name + ".image_u8").to_tensor<std::uint8_t, 3>();
    CHECK(same_bits(channels_first(preprocess(picture, config)),
                    golden.at(name + ".pixel_values").to_tensor<float, 3>()));
  }
}

TEST_CASE("odd sizes, extreme shapes, both means, in the order of passes of Pillow 13 and of those before") {
  const Json cases = read_json_file(data() / "preprocess" / "cases.json");
  const SafetensorsFile small(data() / "preprocess" / "small.safetensors");
  REQUIRE(cases.size() == 15);
  int compared = 0;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const JsonObject one(cases[i], "cases.json");
    CAPTURE(cases[i].dump());
    const auto size = one.get<std::vector<Index>>("size");
    const auto picture = random_picture(one.get<std::uint32_t>("seed"), size[1], size[0]);
    const auto mean = one.get<std::vector<double>>("mean"), deviation = one.get<std::vector<double>>("std");
    ImageProcessorConfig config = ImageProcessorConfig::from_json(JsonObject(
        {{"image_size", one.get<Index>("image_size")}, {"image_mean", mean}, {"image_std", deviation}}, "case"));
    const auto background = one.get<std::vector<Index>>("background");
    for (std::size_t c = 0; c < 3; ++c) CHECK(config.background_color()[c] == background[c]);
    const auto padded = resize_and_pad(picture, config);
    const auto pixels = channels_first(preprocess(picture, config));
    CHECK(checksum(padded) == one.get<std::uint32_t>("padded_crc32"));
    CHECK(checksum(pixels) == one.get<std::uint32_t>("pixel_values_crc32"));
    CHECK(checksum(resize_and_pad(picture, config, ResizeOrder::rows_first)) ==
          one.get<std::uint32_t>("padded_crc32_horizontal_first"));
    CHECK(checksum(channels_first(preprocess(picture, config, ResizeOrder::rows_first))) ==
          one.get<std::uint32_t>("pixel_values_crc32_horizontal_first"));
    if (const RawTensor* raw = small.find(std::to_string(i) + ".padded")) {
      CHECK(same_bits(padded, raw->to_tensor<std::uint8_t, 3>()));
      CHECK(same_bits(pixels, small.at(std::to_string(i) + ".pixel_values").to_tensor<float, 3>()));
      ++compared;
    }
  }
  CHECK(compared == 2);
}

TEST_CASE("without normalisation the bytes are only rescaled") {
  ImageProcessorConfig config;
  config.image_size = 14;
  config.do_normalize = false;
  const Tensor<std::uint8_t, 3> picture(Shape<3>{{14, 7, 3}}, std::uint8_t{51});
  const auto pixels = preprocess(picture, config);
  CHECK(pixels.shape() == Shape<3>{{14, 14, 3}});
  CHECK(pixels(0, 7, 0) == 0.2f);
  CHECK(contains(error_of([&] {
                   preprocess(Tensor<std::uint8_t, 3>(Shape<3>{{2, 2, 4}}), config);
                 }),
                 "[2, 2, 4] is not the shape"));
  CHECK(contains(error_of([&] {
                   preprocess(Tensor<std::uint8_t, 3>(Shape<3>{{0, 2, 3}}), config);
                 }),
                 "[0, 2, 3] is not the shape"));
}
