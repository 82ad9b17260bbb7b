// Byte-pair encoding: the merges of a trained vocabulary, applied in the order in which they were learnt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "janusflow/text/utf8.hpp"

namespace janusflow {

/// A hash that lets maps from strings be searched by string_view.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <class Value>
using StringMap = std::unordered_map<std::string, Value, StringHash, std::equal_to<>>;

/// The BPE model of the `tokenizers` library (Sennrich et al., arXiv 1508.07909): the symbols of a word start as its
/// characters, and the pair of neighbours whose merge was learnt first, the leftmost of equals, becomes one, until none
/// can.
class BytePairEncoding {
 public:
  struct Options {
    std::optional<std::string>
        unknown_token;           ///< stands for a character without a token; without it, the character is dropped
    bool fuse_unknown = false;   ///< neighbouring unknown characters become one token
    bool ignore_merges = false;  ///< a word that is a token is not taken apart
  };

  BytePairEncoding() = default;
  explicit BytePairEncoding(Options options) : options_(std::move(options)) {}

  void reserve(std::size_t tokens, std::size_t merges) {
    ids_.reserve(tokens);
    tokens_.reserve(tokens);
    merges_.reserve(merges);
  }

  /// Adds a token; false where the token or the id is already taken.
  bool add_token(std::string token, std::int32_t id);

  /// Learns the next merge; false unless left, right and their concatenation are tokens.
  bool add_merge(std::string_view left, std::string_view right);

  std::optional<std::int32_t> token_to_id(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  /// The token's text, or null. It lives as long as the model.
  const std::string* id_to_token(std::int32_t id) const {
    const auto found = tokens_.find(id);
    return found == tokens_.end() ? nullptr : &found->second;
  }
  std::size_t size() const { return ids_.size(); }

  /// Appends the ids of `word` (valid UTF-8). O(n log n) in its length. Throws Error when a character needs the unknown
  /// token, and that is not in the vocabulary.
  void encode(std::string_view word, std::vector<std::int32_t>& ids) const;

 private:
  /// A link of the list of symbols; `id` is -1 once it has become part of its left neighbour.
  struct Symbol {
    std::int32_t id;
    std::ptrdiff_t previous, next;  // -1: none
  };
  struct Merge {
    std::uint32_t rank;
    std::int32_t id;
  };
  struct PairHash {
    std::size_t operator()(std::uint64_t pair) const {
      pair *= 0x9E3779B97F4A7C15u;  // Fibonacci hashing; the high half has the good bits
      return static_cast<std::size_t>(pair ^ pair >> 32);
    }
  };

  static std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
  }

  std::vector<Symbol> split_characters(std::string_view word) const;

  void merge(std::vector<Symbol>& symbols) const;

  Options options_;
  StringMap<std::int32_t> ids_;
  std::unordered_map<std::int32_t, std::string> tokens_;
  std::unordered_map<std::uint64_t, Merge, PairHash> merges_;
  std::uint32_t next_rank_ = 0;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/text/impl/byte_pair_encoding.hpp"
#endif
