// What a PNG or JPEG file must be before its pixels are decoded: complete, and undamaged as far as the format can tell.
#pragma once

#include <algorithm>
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

/// What a picture file's data is, beside what its header promises: a decoder makes room for the promise before it finds that the data ends.
struct PictureData {
  std::uint64_t compressed = 0;  // bytes of it in the file
  std::uint64_t least = 0;       // bytes that so many pixels take at the least
  std::uint64_t raw = 0;         // of a PNG: bytes that it is inflated to
};

namespace detail {

inline std::uint32_t big_endian(std::span<const std::byte> bytes, std::size_t at, int count) {
  std::uint32_t value = 0;
  for (int i = 0; i < count; ++i)
    value = (value << 8) | static_cast<std::uint32_t>(bytes[at + static_cast<std::size_t>(i)]);
  return value;
}

/// The bytes of a PNG's pixels before compression, each line behind a byte for its filter. `header` is IHDR's content.
inline std::uint64_t png_raw_size(std::span<const std::byte> header) {
  constexpr std::uint64_t channels[] = {1, 0, 3, 1, 2, 0, 4};  // by colour type
  struct Pass {
    std::uint64_t x, y, dx, dy;
  };
  constexpr Pass whole[] = {{0, 0, 1, 1}};
  constexpr Pass interlaced[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
  const std::uint64_t width = big_endian(header, 0, 4), height = big_endian(header, 4, 4);
  const std::uint64_t depth = big_endian(header, 8, 1), colour = big_endian(header, 9, 1);
  if (colour >= std::size(channels)) return 0;  // the decoder refuses it
  std::uint64_t size = 0;
  for (const auto& [x, y, dx, dy] : header[12] == std::byte{0} ? std::span<const Pass>(whole) : std::span<const Pass>(interlaced)) {
    if (width <= x || height <= y) continue;
    const std::uint64_t bits = (width - x + dx - 1) / dx * channels[colour] * depth;
    size += (height - y + dy - 1) / dy * (1 + (bits + 7) / 8);
  }
  return size;
}

/// Follows the chunks from IHDR to IEND and compares their check sums, which the decoder leaves out.
inline PictureData check_png(std::span<const std::byte> bytes, const std::string& name) {
  constexpr std::uint64_t most = 1032;  // bytes out of one of deflate's: 258 by two bits
  PictureData data;
  for (std::size_t at = 8;;) {
    require(bytes.size() - at >= 12, name, " is cut off: the PNG file ends before its last chunk");
    const std::size_t length = big_endian(bytes, at, 4);
    require(length <= bytes.size() - at - 12, name, " is cut off: a PNG chunk of ", length,
            " bytes does not fit into the file");
    const std::string_view type(reinterpret_cast<const char*>(bytes.data()) + at + 4, 4);
    require(type != "CgBI", name, " is in Apple's private variant of PNG, which is not read");
    require(at != 8 || type == "IHDR", name, " is damaged: the PNG file does not begin with its header");
#if !defined(FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION)  // a fuzzer cannot guess check sums
    require(crc32(bytes.subspan(at + 4, length + 4)) == big_endian(bytes, at + 8 + length, 4), name,
            " is damaged: the check sum of a PNG chunk is wrong");
#endif
    if (type == "IEND") return data;
    if (type == "IHDR" && length == 13) data.raw = png_raw_size(bytes.subspan(at + 8, length)), data.least = (data.raw + most - 1) / most;
    if (type == "IDAT") data.compressed += length;
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

/// The blocks of 8 x 8 samples that a JPEG file must code: `frame` is the content of its SOF segment. Planes may have fewer samples than
/// pixels, and a scan of one plane has no block beside it.
inline std::uint64_t jpeg_blocks(std::span<const std::byte> frame) {
  if (frame.size() < 6 || frame.size() < 6 + 3 * static_cast<std::size_t>(frame[5])) return 0;  // the decoder refuses it
  const std::uint64_t height = big_endian(frame, 1, 2), width = big_endian(frame, 3, 2);
  std::uint64_t across = 1, down = 1, blocks = 0;
  const auto each = [&](auto&& plane) {
    for (std::size_t at = 6; at < 6 + 3 * static_cast<std::size_t>(frame[5]); at += 3) {
      const auto factors = static_cast<unsigned>(frame[at + 1]);
      plane(factors >> 4, factors & 15);
    }
  };
  each([&](std::uint64_t h, std::uint64_t v) { across = std::max(across, h), down = std::max(down, v); });
  each([&](std::uint64_t h, std::uint64_t v) {
    const std::uint64_t columns = (width * h + across - 1) / across, lines = (height * v + down - 1) / down;
    blocks += (columns + 7) / 8 * ((lines + 7) / 8);
  });
  return blocks;
}

/// Follows the segments to the end marker: the decoder would fill what is missing of a cut-off file with grey.
inline PictureData check_jpeg(std::span<const std::byte> bytes, const std::string& name) {
  PictureData data;
  bool four_inks = false, adobe = false;
  const auto marker_at = [&](std::size_t at) { return at + 1 < bytes.size() && bytes[at] == std::byte{0xff}; };
  bool scan = false;
  for (std::size_t at = 2; at + 1 < bytes.size();) {
    const auto code = static_cast<unsigned>(bytes[at + 1]);
    if (!marker_at(at)) {  // coded data, or bytes before a marker that decoders skip
      ++at, ++data.compressed;
    } else if (code == 0xff) {  // fill byte
      ++at;
    } else if (code == 0x00 || code == 0x01 ||
               (code >= 0xd0 && code <= 0xd8)) {  // a stuffed byte, or a marker without content
      at += 2, ++data.compressed;
    } else if (code == 0xd9) {
      require(scan, name, " is damaged: the JPEG file holds no picture");
      require(!four_inks || adobe, name, " is a JPEG file of four inks without Adobe's marker, which would say how they are meant");
      return data;
    } else {
      require(bytes.size() - at >= 4, name, " is cut off: the JPEG file ends inside a segment");
      const std::size_t length = big_endian(bytes, at + 2, 2);
      require(length >= 2 && length <= bytes.size() - at - 2, name, " is cut off: a JPEG segment of ", length,
              " bytes does not fit into the file");
      const auto content = bytes.subspan(at + 4, length - 2);
      if (code == 0xc4) check_huffman_tables(content, name);
      // Without progression a block is two codes at the least, of its first coefficient's difference and of the end: two bits.
      if (code == 0xc0 || code == 0xc1) data.least = std::max(data.least, (2 * jpeg_blocks(content) + 7) / 8);
      if (code >= 0xc0 && code <= 0xc2) four_inks = four_inks || (content.size() > 5 && content[5] == std::byte{4});
      // The marker's last byte is the transform: none or YCCK. The decoder would take anything else for YCbCr.
      if (code == 0xee && content.size() >= 12 && std::memcmp(content.data(), "Adobe", 6) == 0)
        adobe = content[11] == std::byte{0} || content[11] == std::byte{2};
      scan = scan || code == 0xda;
      at += 2 + length;
    }
  }
  fail(name, " is cut off: the JPEG file has no end marker");
}

}  // namespace detail

/// Tells PNG from JPEG by the first bytes and checks that the file is complete (and, for PNG, its check sums). Returns what its data is.
/// Throws Error, its sentence beginning with `name`.
inline PictureData check_picture_file(std::span<const std::byte> bytes, const std::string& name) {
  const auto begins_with = [&](std::string_view signature) {
    return bytes.size() >= signature.size() && std::memcmp(bytes.data(), signature.data(), signature.size()) == 0;
  };
  require(!bytes.empty(), name, " is empty");
  if (begins_with("\x89PNG\r\n\x1a\n")) return detail::check_png(bytes, name);
  require(begins_with("\xff\xd8"), name, " is neither a PNG nor a JPEG file");
  return detail::check_jpeg(bytes, name);
}

}  // namespace janusflow
