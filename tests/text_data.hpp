// What the tests of the text floor read: goldens of the `tokenizers` library, and base64.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "janusflow/io/json.hpp"

namespace janusflow::test {

inline std::filesystem::path tokenizer_directory() { return std::filesystem::path(JANUSFLOW_TEST_DATA) / "tokenizer"; }

inline const Json& tokenizer_cases() {
  static const Json cases = read_json_file(tokenizer_directory() / "cases.json");
  return cases;
}

inline std::string from_base64(std::string_view text) {
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  unsigned bits = 0, count = 0;
  for (const char c : text.substr(0, text.find('='))) {
    bits = bits << 6 | static_cast<unsigned>(alphabet.find(c));
    if ((count += 6) >= 8) bytes.push_back(static_cast<char>(bits >> (count -= 8) & 0xFF));
  }
  return bytes;
}

}  // namespace janusflow::test
