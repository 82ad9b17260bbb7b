// What a Tokenizer does. Included by text/tokenizer.hpp.
#pragma once

#include <unordered_map>
#include <utility>
#include <vector>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/file.hpp"
#include "janusflow/text/tokenizer.hpp"

namespace janusflow {

JANUSFLOW_INLINE Tokenizer Tokenizer::from_file(const std::filesystem::path& path) {
  return from_json(read_file(path, std::uintmax_t{256} << 20), path.string());
}

JANUSFLOW_INLINE Tokenizer Tokenizer::from_json(std::string_view text, const std::string& name) {
  return Tokenizer(read_tokenizer_json(text, name));
}

JANUSFLOW_INLINE std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  SplitText split{to_valid_utf8(text), {}};
  if (!split.text.empty()) split.pieces.push_back({0, split.text.size()});
  definition_.vocabulary.added.split(split);
  pre_tokenize(definition_.pre_tokenizer, split);

  std::vector<std::int32_t> ids;
  if (add_special_tokens) ids = definition_.prefix;
  std::unordered_map<std::string_view, std::pair<std::size_t, std::size_t>>
      known;  // words of this text: where their ids stand
  for (const TextPiece& piece : split.pieces) {
    if (piece.token >= 0) {
      ids.push_back(piece.token);
      continue;
    }
    const auto [entry, first_time] = known.try_emplace(split[piece], ids.size(), 0);
    auto& [begin, end] = entry->second;
    if (first_time) {
      definition_.vocabulary.model.encode(split[piece], ids);
      end = ids.size();
    } else {
      for (std::size_t i = begin; i < end; ++i) ids.push_back(std::int32_t{ids[i]});
    }
  }
  if (add_special_tokens) ids.insert(ids.end(), definition_.suffix.begin(), definition_.suffix.end());
  return ids;
}

JANUSFLOW_INLINE std::string Tokenizer::token_bytes(std::int32_t id, bool skip_special_tokens) const {
  const auto* added = definition_.vocabulary.added.find(id);
  if (added && added->special && skip_special_tokens) return {};
  const auto* token = definition_.vocabulary.id_to_token(id);
  return token ? byte_level_bytes(*token) : std::string();
}

JANUSFLOW_INLINE std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const {
  StreamDecoder decoder(*this, skip_special_tokens);
  std::string text;
  for (const std::int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

}  // namespace janusflow
