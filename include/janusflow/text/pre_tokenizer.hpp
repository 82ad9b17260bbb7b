// Pre-tokenizers: text cut into the pieces inside which byte-pair encoding merges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
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

  void operator()(SplitText& split) const {
    std::vector<TextPiece> pieces;
    pieces.reserve(split.pieces.size());
    Regex::Matcher matcher(regex);
    for (const TextPiece& piece : split.pieces) {
      if (piece.token >= 0) {
        pieces.push_back(piece);
        continue;
      }
      const std::size_t first = pieces.size();
      bool previous_matched = false;
      const auto add = [&](std::size_t begin, std::size_t end, bool inside_match) {
        const bool matched = inside_match != invert;
        const bool joined = pieces.size() > first && joins(previous_matched, matched);
        if (joined) {
          pieces.back().end = piece.begin + end;
        } else if (behavior != SplitBehavior::removed || !matched) {
          pieces.push_back({piece.begin + begin, piece.begin + end});
        }
        previous_matched = matched;
      };
      const std::string_view text = split[piece];
      std::size_t last = 0;
      matcher.for_each(text, [&](std::size_t begin, std::size_t end) {
        if (last != begin) add(last, begin, false);
        add(begin, end, true);  // an empty match too: it keeps its neighbours apart
        last = end;
      });
      if (last != text.size()) add(last, text.size(), false);
    }
    std::erase_if(pieces, [](const TextPiece& piece) { return piece.begin == piece.end; });
    split.pieces = std::move(pieces);
  }

 private:
  bool joins(bool previous_matched, bool matched) const {
    switch (behavior) {
      case SplitBehavior::contiguous:
        return matched == previous_matched;
      case SplitBehavior::merged_with_previous:
        return matched && !previous_matched;
      case SplitBehavior::merged_with_next:
        return previous_matched && !matched;
      default:
        return false;
    }
  }
};

/// Writes every piece in the byte alphabet, after a space in front where there is none and a cut, if these are asked
/// for.
struct ByteLevel {
  bool add_prefix_space = false;
  std::optional<Split> split;  ///< GPT-2's own expression, or none

  void operator()(SplitText& text) const {
    if (add_prefix_space) {
      rewrite(text, [](std::string& out, std::string_view piece) {
        if (!piece.starts_with(' ')) out += ' ';
        out += piece;
      });
    }
    if (split) (*split)(text);
    rewrite(text, append_byte_level);
  }

 private:
  template <class Append>
  static void rewrite(SplitText& split, Append append) {
    std::string text;
    text.reserve(split.text.size() * 5 / 4);
    for (TextPiece& piece : split.pieces) {
      const std::size_t begin = text.size();
      if (piece.token < 0) append(text, split[piece]);
      piece.begin = begin;
      piece.end = text.size();
    }
    split.text = std::move(text);
  }
};

/// Steps done one after another on what the one before left.
using PreTokenizer = std::vector<std::variant<Split, ByteLevel>>;

inline void pre_tokenize(const PreTokenizer& steps, SplitText& text) {
  for (const auto& step : steps) std::visit([&](const auto& cut) { cut(text); }, step);
}

}  // namespace janusflow
