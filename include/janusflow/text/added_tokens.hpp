// Added tokens: those of a vocabulary that are looked for in the raw text, before anything else cuts it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "janusflow/text/byte_pair_encoding.hpp"
#include "janusflow/text/pre_tokenizer.hpp"

namespace janusflow {

/// One added token, with the fields of tokenizer.json.
struct AddedToken {
  std::string content;
  bool single_word = false;  ///< only where no word character touches it
  bool lstrip = false;       ///< takes the white space in front with it
  bool rstrip = false;       ///< takes the white space behind with it
  bool normalized = true;    ///< looked for after those that are not
  bool special = false;      ///< left out when decoding for people
};

/// The added tokens of a vocabulary by id, and where they are in a text.
class AddedTokens {
 public:
  /// Adds a token, or changes the one with this id; its content must not be empty.
  void set(std::int32_t id, AddedToken token) {
    tries_[token.normalized].set(token.content, id);
    tries_[!token.normalized].set(token.content, -1);
    ids_[token.content] = id;
    tokens_[id] = std::move(token);
  }

  const AddedToken* find(std::int32_t id) const {
    const auto found = tokens_.find(id);
    return found == tokens_.end() ? nullptr : &found->second;
  }
  const std::int32_t* find(std::string_view content) const {
    const auto found = ids_.find(content);
    return found == ids_.end() ? nullptr : &found->second;
  }
  const std::map<std::int32_t, AddedToken>& tokens() const { return tokens_; }

  /// Cuts the text at its added tokens: of several, the leftmost, and the longest that starts there; in a first pass
  /// those that are not `normalized`, in a second, in what remains, those that are.
  void split(SplitText& text) const {
    split_pass(text, false);
    split_pass(text, true);
  }

 private:
  /// A tree of bytes; a path from its root that spells a token ends at that token's id.
  class Trie {
   public:
    void set(std::string_view content, std::int32_t id) {
      std::uint32_t node = 0;
      for (const char byte : content) {
        const auto [child, added] = children_.try_emplace(key(node, byte), static_cast<std::uint32_t>(ids_.size()));
        if (added) ids_.push_back(-1);
        node = child->second;
      }
      ids_[node] = id;
    }

    /// The longest token at the start of `text`, or -1.
    std::int32_t longest(std::string_view text) const {
      std::uint32_t node = 0;
      std::int32_t id = -1;
      for (const char byte : text) {
        const auto child = children_.find(key(node, byte));
        if (child == children_.end()) break;
        node = child->second;
        if (ids_[node] >= 0) id = ids_[node];
      }
      return id;
    }

   private:
    static std::uint64_t key(std::uint32_t node, char byte) {
      return std::uint64_t{node} << 8 | static_cast<unsigned char>(byte);
    }

    std::unordered_map<std::uint64_t, std::uint32_t> children_;
    std::vector<std::int32_t> ids_{-1};  // by node
  };

  void split_pass(SplitText& split, bool normalized) const {
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

  void cut(std::string_view text, std::size_t offset, bool normalized, std::vector<TextPiece>& pieces) const {
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::int32_t id = tries_[normalized].longest(text.substr(at));
      if (id < 0) {
        ++at;
        continue;
      }
      const AddedToken& token = tokens_.at(id);
      std::size_t begin = at, end = at += token.content.size();
      if (token.single_word && touches_word(text, begin, end)) continue;
      if (token.lstrip) begin = std::max(done, begin - trailing_length(text.substr(0, begin), is_white_space));
      if (token.rstrip) end += leading_length(text.substr(end), is_white_space);
      if (done < begin) pieces.push_back({offset + done, offset + begin});
      pieces.push_back({offset + begin, offset + end, id});
      done = end;
    }
    if (done < text.size()) pieces.push_back({offset + done, offset + text.size()});
  }

  static bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
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

  StringMap<std::int32_t> ids_;
  std::map<std::int32_t, AddedToken> tokens_;
  std::array<Trie, 2> tries_;  // by `normalized`
};

}  // namespace janusflow
