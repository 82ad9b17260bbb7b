// The merging of a word's symbols. Included by text/byte_pair_encoding.hpp.
#pragma once

#include <queue>
#include <tuple>

#include "janusflow/core/error.hpp"
#include "janusflow/core/inline.hpp"
#include "janusflow/text/byte_pair_encoding.hpp"

namespace janusflow {

JANUSFLOW_INLINE bool BytePairEncoding::add_token(std::string token, std::int32_t id) {
  if (tokens_.contains(id)) return false;
  const auto [entry, added] = ids_.try_emplace(std::move(token), id);
  if (added) tokens_.emplace(id, entry->first);
  return added;
}

JANUSFLOW_INLINE bool BytePairEncoding::add_merge(std::string_view left, std::string_view right) {
  const auto left_id = token_to_id(left), right_id = token_to_id(right);
  const auto merged_id = token_to_id(std::string(left).append(right));
  if (!left_id || !right_id || !merged_id) return false;
  merges_[pair_key(*left_id, *right_id)] = {next_rank_++, *merged_id};
  return true;
}

JANUSFLOW_INLINE void BytePairEncoding::encode(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (options_.ignore_merges) {
    if (const auto id = token_to_id(word)) return ids.push_back(*id);
  }
  std::vector<Symbol> symbols = split_characters(word);
  merge(symbols);
  for (const Symbol& symbol : symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

JANUSFLOW_INLINE std::vector<BytePairEncoding::Symbol> BytePairEncoding::split_characters(std::string_view word) const {
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

JANUSFLOW_INLINE void BytePairEncoding::merge(std::vector<Symbol>& symbols) const {
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

}  // namespace janusflow
