// What a PNG or JPEG file must be before its pixels are decoded: complete, and undamaged as far as the format can tell.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "janusflow/core/error.hpp"

namespace janusflow {

/// CRC-32 as PNG and zlib have it (polynomial 0xEDB88320).
inline std::uint32_t crc32(std::span<const std::byte> bytes) {
  static constexpr auto table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1u ? 0xedb88320u : 0u);
      entries[i] = value;
    }
    return entries;
  }();
  std::uint32_t crc = ~0u;
  for (const std::byte byte : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<std::uint32_t>(byte)) & 0xffu];
  return ~crc;
}

namespace detail {

inline std::uint32_t big_endian(std::span<const std::byte> bytes, std::size_t at, int count) {
  std::uint32_t value = 0;
  for (int i = 0; i < count; ++i)
    value = (value << 8) | static_cast<std::uint32_t>(bytes[at + static_cast<std::size_t>(i)]);
  return value;
}

/// Follows the chunks from IHDR to IEND and compares their check sums, which the decoder leaves out.
inline void check_png(std::span<const std::byte> bytes, const std::string& name) {
  for (std::size_t at = 8;;) {
    require(bytes.size() - at >= 12, name, " is cut off: the PNG file ends before its last chunk");
    const std::size_t length = big_endian(bytes, at, 4);
    require(length <= bytes.size() - at - 12, name, " is cut off: a PNG chunk of ", length,
            " bytes does not fit into the file");
    const std::string_view type(reinterpret_cast<const char*>(bytes.data()) + at + 4, 4);
    require(at != 8 || type == "IHDR", name, " is damaged: the PNG file does not begin with its header");
    require(type != "CgBI", name, " is in Apple's private variant of PNG, which is not read");
#if !defined(FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION)  // a fuzzer cannot guess check sums
    require(crc32(bytes.subspan(at + 4, length + 4)) == big_endian(bytes, at + 8 + length, 4), name,
            " is damaged: the check sum of a PNG chunk is wrong");
#endif
    if (type == "IEND") return;
    at += 12 + length;
  }
}

/// The Huffman tables of a DHT segment's content: each a byte, 16 counts of codes by length, and that many symbols. A
/// table holds at most 256 codes; stb_image before 2.28 does not check this and writes past its arrays.
inline void check_huffman_tables(std::span<const std::byte> content, const std::string& name) {
  while (!content.empty()) {
    require(content.size() >= 17, name, " is damaged: a Huffman table of the JPEG file is cut off");
    std::size_t codes = 0;
    for (std::size_t i = 1; i <= 16; ++i) codes += static_cast<std::size_t>(content[i]);
    require(codes <= 256, name, " is damaged: a Huffman table of the JPEG file has ", codes, " codes, more than 256");
    require(content.size() - 17 >= codes, name, " is damaged: a Huffman table of the JPEG file is cut off");
    content = content.subspan(17 + codes);
  }
}

/// Follows the segments to the end marker: the decoder would fill what is missing of a cut-off file with grey.
inline void check_jpeg(std::span<const std::byte> bytes, const std::string& name) {
  const auto marker_at = [&](std::size_t at) { return at + 1 < bytes.size() && bytes[at] == std::byte{0xff}; };
  bool scan = false;
  for (std::size_t at = 2; at + 1 < bytes.size();) {
    const auto code = static_cast<unsigned>(bytes[at + 1]);
    if (!marker_at(at)) {  // coded data, or bytes before a marker that decoders skip
      ++at;
    } else if (code == 0xff) {  // fill byte
      ++at;
    } else if (code == 0x00 || code == 0x01 ||
               (code >= 0xd0 && code <= 0xd8)) {  // a stuffed byte, or a marker without content
      at += 2;
    } else if (code == 0xd9) {
      require(scan, name, " is damaged: the JPEG file holds no picture");
      return;
    } else {
      require(bytes.size() - at >= 4, name, " is cut off: the JPEG file ends inside a segment");
      const std::size_t length = big_endian(bytes, at + 2, 2);
      require(length >= 2 && length <= bytes.size() - at - 2, name, " is cut off: a JPEG segment of ", length,
              " bytes does not fit into the file");
      if (code == 0xc4) check_huffman_tables(bytes.subspan(at + 4, length - 2), name);
      scan = scan || code == 0xda;
      at += 2 + length;
    }
  }
  fail(name, " is cut off: the JPEG file has no end marker");
}

}  // namespace detail

/// Tells PNG from JPEG by the first bytes and checks that the file is complete (and, for PNG, its check sums). Throws
/// Error, its sentence beginning with `name`.
inline void check_picture_file(std::span<const std::byte> bytes, const std::string& name) {
  const auto begins_with = [&](std::string_view signature) {
    return bytes.size() >= signature.size() && std::memcmp(bytes.data(), signature.data(), signature.size()) == 0;
  };
  require(!bytes.empty(), name, " is empty");
  if (begins_with("\x89PNG\r\n\x1a\n")) return detail::check_png(bytes, name);
  require(begins_with("\xff\xd8"), name, " is neither a PNG nor a JPEG file");
  detail::check_jpeg(bytes, name);
}

}  // namespace janusflow
