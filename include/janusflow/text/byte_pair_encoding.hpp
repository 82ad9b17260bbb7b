// Byte-pair encoding: the merges of a trained vocabulary, applied in the order in which they were learnt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "janusflow/core/error.hpp"
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
  bool add_token(std::string token, std::int32_t id) {
    if (tokens_.contains(id)) return false;
    const auto [entry, added] = ids_.try_emplace(std::move(token), id);
    if (added) tokens_.emplace(id, entry->first);
    return added;
  }

  /// Learns the next merge; false unless left, right and their concatenation are tokens.
  bool add_merge(std::string_view left, std::string_view right) {
    const auto left_id = token_to_id(left), right_id = token_to_id(right);
    const auto merged_id = token_to_id(std::string(left).append(right));
    if (!left_id || !right_id || !merged_id) return false;
    merges_[pair_key(*left_id, *right_id)] = {next_rank_++, *merged_id};
    return true;
  }

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
  void encode(std::string_view word, std::vector<std::int32_t>& ids) const {
    if (options_.ignore_merges) {
      if (const auto id = token_to_id(word)) return ids.push_back(*id);
    }
    std::vector<Symbol> symbols = split_characters(word);
    merge(symbols);
    for (const Symbol& symbol : symbols) {
      if (symbol.id >= 0) ids.push_back(symbol.id);
    }
  }

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

  std::vector<Symbol> split_characters(std::string_view word) const {
    std::vector<Symbol> symbols;
    symbols.reserve(word.size());
    bool after_unknown = false;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t length = utf8_step(word.substr(at)).length;
      const auto id = token_to_id(word.substr(at, length));
      at += length;
      if (id) {
        symbols.push_back({*id, 0, 0});
      } else if (options_.unknown_token && !(after_unknown && options_.fuse_unknown)) {
        const auto unknown = token_to_id(*options_.unknown_token);
        require(unknown.has_value(),
                "encode: the vocabulary has neither a token for a character of the text nor the unknown token \"",
                *options_.unknown_token, '"');
        symbols.push_back({*unknown, 0, 0});
      }
      after_unknown = !id;
    }
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      symbols[i].previous = static_cast<std::ptrdiff_t>(i) - 1;
      symbols[i].next = i + 1 < symbols.size() ? static_cast<std::ptrdiff_t>(i) + 1 : -1;
    }
    return symbols;
  }

  void merge(std::vector<Symbol>& symbols) const {
    using Candidate = std::tuple<std::uint32_t, std::ptrdiff_t, std::int32_t>;  // rank, left symbol, merged id
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
    const auto consider = [&](std::ptrdiff_t left, std::ptrdiff_t right) {
      if (left < 0 || right < 0) return;
      const auto found = merges_.find(pair_key(symbols[left].id, symbols[right].id));
      if (found != merges_.end()) queue.emplace(found->second.rank, left, found->second.id);
    };
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<std::ptrdiff_t>(i), symbols[i].next);
    while (!queue.empty()) {
      const auto [rank, at, merged] = queue.top();
      queue.pop();
      Symbol& left = symbols[at];
      if (left.id < 0 || left.next < 0) continue;
      Symbol& right = symbols[left.next];
      // The neighbours may have changed since; another pair that makes the same token is taken in its place, as the
      // library does.
      const auto found = merges_.find(pair_key(left.id, right.id));
      if (found == merges_.end() || found->second.id != merged) continue;
      left.id = merged;
      left.next = right.next;
      right.id = -1;
      if (left.next >= 0) symbols[left.next].previous = at;
      consider(left.previous, at);
      consider(at, left.next);
    }
  }

  Options options_;
  StringMap<std::int32_t> ids_;
  std::unordered_map<std::int32_t, std::string> tokens_;
  std::unordered_map<std::uint64_t, Merge, PairHash> merges_;
  std::uint32_t next_rank_ = 0;
};

}  // namespace janusflow
