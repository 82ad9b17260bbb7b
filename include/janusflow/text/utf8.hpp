// UTF-8: code points, ill-formed bytes replaced as Python and Rust replace them, and Unicode white space.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace janusflow {

/// What stands at the beginning of some bytes.
struct Utf8Step {
  enum Kind { character, broken, incomplete } kind;
  std::size_t length;   ///< bytes that the character, or the ill-formed part, takes
  char32_t code_point;  ///< U+FFFD unless `character`
};

/// Looks at the first character of `bytes`, which must not be empty. An ill-formed sequence is cut where Unicode
/// recommends (section 3.9, "maximal subpart": what could still have become a character before the byte that ruined
/// it), which is what Python's `errors="replace"` and Rust's `from_utf8_lossy` do. `incomplete`: the bytes end inside a
/// sequence that is fine so far.
inline Utf8Step utf8_step(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {Utf8Step::character, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8Step::broken, 1, 0xFFFD};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range keeps overlong forms, surrogates and what lies beyond U+10FFFF out.
  const unsigned lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t code_point = lead & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Utf8Step::incomplete, i, 0xFFFD};
    const bool continues = i == 1 ? byte(i) >= lowest && byte(i) <= highest : (byte(i) & 0xC0) == 0x80;
    if (!continues) return {Utf8Step::broken, i, 0xFFFD};
    code_point = code_point << 6 | (byte(i) & 0x3F);
  }
  return {Utf8Step::character, length, code_point};
}

/// Appends the UTF-8 form of a Unicode scalar value.
inline void append_utf8(std::string& text, char32_t code_point) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  const auto put_tail = [&](int shift) { put(0x80 | (code_point >> shift & 0x3F)); };
  if (code_point < 0x80) return put(code_point);
  if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
  } else {
    if (code_point < 0x10000) {
      put(0xE0 | code_point >> 12);
    } else {
      put(0xF0 | code_point >> 18);
      put_tail(12);
    }
    put_tail(6);
  }
  put_tail(0);
}

/// Moves the text at the front of `bytes` to the end of `text`, ill-formed parts as U+FFFD, and leaves in `bytes` only
/// a sequence that more bytes could complete (at most three bytes).
inline void drain_utf8(std::string& bytes, std::string& text) {
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const auto step = utf8_step(rest);
    if (step.kind == Utf8Step::incomplete) break;
    if (step.kind == Utf8Step::character) {
      text += rest.substr(0, step.length);
    } else {
      append_utf8(text, U'\uFFFD');
    }
    rest.remove_prefix(step.length);
  }
  bytes.erase(0, bytes.size() - rest.size());
}

/// `bytes` as text: Python's `bytes.decode("utf-8", errors="replace")`, encoded again.
inline std::string to_valid_utf8(std::string_view bytes) {
  std::string rest(bytes), text;
  drain_utf8(rest, text);
  if (!rest.empty()) append_utf8(text, U'\uFFFD');
  return text;
}

/// The Unicode property White_Space: what `\s` is in Oniguruma and in Rust's regular expressions.
inline bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/// Bytes of the longest run of characters at the start of `text` (valid UTF-8) for which `predicate(code_point)` holds.
template <class Predicate>
std::size_t leading_length(std::string_view text, Predicate predicate) {
  std::size_t length = 0;
  while (length < text.size()) {
    const auto step = utf8_step(text.substr(length));
    if (!predicate(step.code_point)) break;
    length += step.length;
  }
  return length;
}

/// The last character of `text`, which must be valid UTF-8 and not empty.
inline std::string_view last_character(std::string_view text) {
  std::size_t start = text.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return text.substr(start);
}

/// Bytes of the longest run at the end of `text`, as leading_length counts the one at the start.
template <class Predicate>
std::size_t trailing_length(std::string_view text, Predicate predicate) {
  std::size_t length = 0;
  while (length < text.size()) {
    const auto character = last_character(text.substr(0, text.size() - length));
    if (!predicate(utf8_step(character).code_point)) break;
    length += character.size();
  }
  return length;
}

/// Python's `str.strip()` of valid UTF-8: white space, and the four separators U+001C to U+001F, off both ends.
inline std::string_view strip(std::string_view text) {
  const auto strips = [](char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); };
  text.remove_prefix(leading_length(text, strips));
  text.remove_suffix(trailing_length(text, strips));
  return text;
}

}  // namespace janusflow
