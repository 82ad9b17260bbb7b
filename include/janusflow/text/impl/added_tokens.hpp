// Added tokens, read and searched for. Included by text/added_tokens.hpp.
#pragma once

#include <algorithm>
#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/text/added_tokens.hpp"

namespace janusflow {

JANUSFLOW_INLINE AddedToken AddedToken::from_json(const JsonObject& json) {
  const bool special = json.get<bool>("special", false);
  return {.content = json.get<std::string>("content"),
          .single_word = json.get<bool>("single_word", false),
          .lstrip = json.get<bool>("lstrip", false),
          .rstrip = json.get<bool>("rstrip", false),
          .normalized = json.get<bool>("normalized", !special),
          .special = special};
}

JANUSFLOW_INLINE void AddedTokens::set(std::int32_t id, AddedToken token) {
  tries_[token.normalized].set(token.content, id);
  tries_[!token.normalized].set(token.content, -1);
  ids_[token.content] = id;
  tokens_[id] = std::move(token);
}

JANUSFLOW_INLINE void AddedTokens::split(SplitText& text) const {
  split_pass(text, false);
  split_pass(text, true);
}

JANUSFLOW_INLINE void AddedTokens::split_pass(SplitText& split, bool normalized) const {
  std::vector<TextPiece> pieces;
  for (const TextPiece& piece : split.pieces) {
    if (piece.token < 0) {
      cut(split[piece], piece.begin, normalized, pieces);
    } else {
      pieces.push_back(piece);
    }
  }
  split.pieces = std::move(pieces);
}

JANUSFLOW_INLINE void AddedTokens::cut(std::string_view text, std::size_t offset, bool normalized, std::vector<TextPiece>& pieces) const {
  std::size_t done = 0, spaces_end = 0;  // the latter of the white space that was last found behind a token
  for (std::size_t at = 0; at < text.size();) {
    const std::int32_t id = tries_[normalized].longest(text.substr(at));
    if (id < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_.at(id);
    std::size_t begin = at, end = at += token.content.size();
    if (token.single_word && touches_word(text, begin, end)) continue;
    // White space is looked at once, also where it is made of tokens itself.
    if (token.lstrip) begin = begin > done ? begin - trailing_length(text.substr(done, begin - done), is_white_space) : done;
    if (token.rstrip) {
      if (end >= spaces_end) spaces_end = end + leading_length(text.substr(end), is_white_space);
      end = spaces_end;
    }
    if (begin >= end) continue;  // white space that the token before has taken
    if (done < begin) pieces.push_back({offset + done, offset + begin});
    pieces.push_back({offset + begin, offset + end, id});
    done = end;
  }
  if (done < text.size()) pieces.push_back({offset + done, offset + text.size()});
}

JANUSFLOW_INLINE bool AddedTokens::touches_word(std::string_view text, std::size_t begin, std::size_t end) {
  // \w of Rust's regular expressions
  static const Regex word(R"(\A[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}])", Regex::Syntax::oniguruma,
                          "single_word");
  const auto starts_with_word = [](std::string_view part) {
    bool found = false;
    Regex::Matcher(word).for_each(part, [&](std::size_t, std::size_t) { found = true; });
    return found;
  };
  return (begin > 0 && starts_with_word(last_character(text.substr(0, begin)))) ||
         (end < text.size() && starts_with_word(text.substr(end)));
}

}  // namespace janusflow
