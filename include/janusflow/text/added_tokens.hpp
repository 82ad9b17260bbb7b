// Added tokens: those of a vocabulary that are looked for in the raw text, before anything else cuts it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "janusflow/text/byte_pair_encoding.hpp"
#include "janusflow/text/pre_tokenizer.hpp"

namespace janusflow {

class JsonObject;

/// One added token, with the fields of tokenizer.json.
struct AddedToken {
  std::string content;
  bool single_word = false;  ///< only where no word character touches it
  bool lstrip = false;       ///< takes the white space in front with it
  bool rstrip = false;       ///< takes the white space behind with it
  bool normalized = true;    ///< looked for after those that are not
  bool special = false;      ///< left out when decoding for people

  /// Reads its content and its flags. What is special is not normalized unless the file says so.
  static AddedToken from_json(const JsonObject& json);
};

/// The added tokens of a vocabulary by id, and where they are in a text.
class AddedTokens {
 public:
  /// Adds a token, or changes the one with this id; its content must not be empty.
  void set(std::int32_t id, AddedToken token);

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
  void split(SplitText& text) const;

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

  void split_pass(SplitText& split, bool normalized) const;

  void cut(std::string_view text, std::size_t offset, bool normalized, std::vector<TextPiece>& pieces) const;

  static bool touches_word(std::string_view text, std::size_t begin, std::size_t end);

  StringMap<std::int32_t> ids_;
  std::map<std::int32_t, AddedToken> tokens_;
  std::array<Trie, 2> tries_;  // by `normalized`
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/text/impl/added_tokens.hpp"
#endif
