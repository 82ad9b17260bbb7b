// The steps of pre-tokenizers. Included by text/pre_tokenizer.hpp.
#pragma once

#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/text/pre_tokenizer.hpp"

namespace janusflow {

JANUSFLOW_INLINE void Split::operator()(SplitText& split) const {
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
  // (An added token keeps no text once the rest is written in the byte alphabet.)
  std::erase_if(pieces, [](const TextPiece& piece) { return piece.token < 0 && piece.begin == piece.end; });
  split.pieces = std::move(pieces);
}

JANUSFLOW_INLINE bool Split::joins(bool previous_matched, bool matched) const {
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

template <class Append>
void ByteLevel::rewrite(SplitText& split, Append append) {
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

JANUSFLOW_INLINE void ByteLevel::operator()(SplitText& text) const {
  if (add_prefix_space) {
    rewrite(text, [](std::string& out, std::string_view piece) {
      if (!piece.starts_with(' ')) out += ' ';
      out += piece;
    });
  }
  if (split) (*split)(text);
  rewrite(text, append_byte_level);
}

JANUSFLOW_INLINE void pre_tokenize(const PreTokenizer& steps, SplitText& text) {
  for (const auto& step : steps) std::visit([&](const auto& cut) { cut(text); }, step);
}

}  // namespace janusflow
