// The byte alphabet of byte-level BPE (GPT-2): every byte stands as one printable character, so that tokens are text.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "janusflow/text/utf8.hpp"

namespace janusflow {

/// The character that stands for `byte`: itself where it prints in Latin-1, else the next free one from U+0100 on.
constexpr char32_t byte_level_character(unsigned byte) {
  const auto prints = [](unsigned b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE; };
  if (prints(byte)) return byte;
  char32_t next = 0x100;
  for (unsigned b = 0; b < byte; ++b) next += !prints(b);
  return next;
}

/// Appends `bytes` to `text` in the byte alphabet.
inline void append_byte_level(std::string& text, std::string_view bytes) {
  static const auto characters = [] {
    std::array<std::string, 256> table;
    for (unsigned byte = 0; byte < 256; ++byte) append_utf8(table[byte], byte_level_character(byte));
    return table;
  }();
  for (const char byte : bytes) text += characters[static_cast<unsigned char>(byte)];
}

/// The bytes that `token` (valid UTF-8) stands for; a token with a character outside the alphabet stands for itself, as
/// in the `tokenizers` library's ByteLevel decoder.
inline std::string byte_level_bytes(std::string_view token) {
  static const auto bytes = [] {
    std::array<int, 0x144> table;
    table.fill(-1);
    for (int byte = 0; byte < 256; ++byte) table[byte_level_character(static_cast<unsigned>(byte))] = byte;
    return table;
  }();
  std::string result;
  for (std::size_t at = 0; at < token.size();) {
    const auto step = utf8_step(token.substr(at));
    if (step.code_point >= bytes.size() || bytes[step.code_point] < 0) return std::string(token);
    result.push_back(static_cast<char>(bytes[step.code_point]));
    at += step.length;
  }
  return result;
}

}  // namespace janusflow
