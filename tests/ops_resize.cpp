// resize_bicubic against Pillow, bit for bit.
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "janusflow/io/json.hpp"
#include "janusflow/io/safetensors.hpp"
#include "janusflow/ops/resize.hpp"
#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;

namespace {
using Picture = Tensor<std::uint8_t, 3>;
const std::filesystem::path folder = std::filesystem::path(JANUSFLOW_TEST_DATA) / "resize";

/// tests/reference/pictures.py's lcg_picture.
Picture random_picture(std::uint32_t state, Index height, Index width) {
  Picture picture(Shape{height, width, Index{3}});
  for (std::uint8_t& byte : picture) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::uint8_t>(state >> 24);
  }
  return picture;
}

std::uint32_t crc32(const Picture& picture) {
  std::uint32_t crc = ~0u;
  for (const std::uint8_t byte : picture) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  return ~crc;
}
}  // namespace

TEST_CASE("100 random sizes, in the order of passes of Pillow 13 and of those before") {
  std::ifstream file(folder / "cases.json");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto cases = jf::parse_json(text, "cases.json");
  REQUIRE(cases.size() == 100);
  for (const auto& one : cases) {
    const auto [width, height] = one.at("size").get<std::array<Index, 2>>();
    const auto [new_width, new_height] = one.at("out").get<std::array<Index, 2>>();
    const auto picture = random_picture(one.at("seed").get<std::uint32_t>(), height, width);
    CAPTURE(one.dump());
    CHECK(crc32(jf::resize_bicubic(picture, new_height, new_width)) == one.at("crc32").get<std::uint32_t>());
    CHECK(crc32(jf::resize_bicubic(picture, new_height, new_width, jf::ResizeOrder::rows_first)) ==
          one.at("crc32_horizontal_first").get<std::uint32_t>());
  }
}

TEST_CASE("small pictures byte by byte") {
  const jf::SafetensorsFile file(folder / "small.safetensors");
  const auto read = [&](const std::string& key) {
    const jf::RawTensor& raw = file.at(key);
    REQUIRE(raw.shape.size() == 3);
    Picture picture(Shape{raw.shape[0], raw.shape[1], raw.shape[2]});
    raw.copy_to(picture.data());
    return picture;
  };
  for (const std::string name : {"1", "5", "17"}) {
    const Picture x = read(name + ".x"), y = read(name + ".y");
    CHECK(same_bytes(jf::resize_bicubic(x, y.shape()[0], y.shape()[1]), y));
  }
}

TEST_CASE("sizes that cannot be are refused, threads do not matter") {
  const Picture picture = random_picture(1, 40, 60);
  CHECK(message_of([&] { jf::resize_bicubic(picture, 0, 5); }) ==
        "resize_bicubic: cannot resize [40, 60, 3] to [0, 5, 3]");
  CHECK(message_of([&] {
          jf::resize_bicubic(Picture(Shape{Index{0}, Index{4}, Index{3}}), 5, 5);
        }) == "resize_bicubic: cannot resize [0, 4, 3] to [5, 5, 3]");
  CHECK(same_bytes(jf::resize_bicubic(picture, 40, 60), picture));
  check_threads([&] { return jf::resize_bicubic(picture, 70, 33); });
}
