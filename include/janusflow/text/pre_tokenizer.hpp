// Pre-tokenizers: text cut into the pieces inside which byte-pair encoding merges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "janusflow/text/byte_level.hpp"
#include "janusflow/text/regex.hpp"

namespace janusflow {

/// A part of a text. `token` is the id of the added token that it is, or -1: still to be encoded.
struct TextPiece {
  std::size_t begin, end;
  std::int32_t token = -1;
};

/// A text (valid UTF-8) cut into pieces, left to right; parts of the text may have been left out.
struct SplitText {
  std::string text;
  std::vector<TextPiece> pieces;

  std::string_view operator[](const TextPiece& piece) const {
    return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
  }
};

/// What becomes of the matches of a Split (names of the `tokenizers` library).
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Cuts every piece at the matches of an expression. A piece is searched by itself: anchors and look-around see no more
/// of the text.
struct Split {
  Regex regex;
  SplitBehavior behavior;
  bool invert = false;  ///< what lies between the matches takes their place

  void operator()(SplitText& split) const;

 private:
  bool joins(bool previous_matched, bool matched) const;
};

/// Writes every piece in the byte alphabet, after a space in front where there is none and a cut, if these are asked
/// for.
struct ByteLevel {
  bool add_prefix_space = false;
  std::optional<Split> split;  ///< GPT-2's own expression, or none

  void operator()(SplitText& text) const;

 private:
  template <class Append>
  static void rewrite(SplitText& split, Append append);
};

/// Steps done one after another on what the one before left.
using PreTokenizer = std::vector<std::variant<Split, ByteLevel>>;

void pre_tokenize(const PreTokenizer& steps, SplitText& text);

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/text/impl/pre_tokenizer.hpp"
#endif
