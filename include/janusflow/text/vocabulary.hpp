// A vocabulary: the tokens of a model, and those added to it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "janusflow/core/error.hpp"
#include "janusflow/text/added_tokens.hpp"
#include "janusflow/text/byte_pair_encoding.hpp"

namespace janusflow {

/// The largest id that a token may have.
inline constexpr std::int32_t max_token_id = (1 << 30) - 1;

struct Vocabulary {
  BytePairEncoding model;
  AddedTokens added;

  /// Adds a token, or changes the flags of the added one with the same content; returns its id by the rule of the
  /// `tokenizers` library: that of the model's token of this name, else the next after the model's size and all added
  /// ids. Throws Error when the content is empty or that id is another token's.
  std::int32_t add(AddedToken token) {
    require(!token.content.empty(), "an added token must not be empty");
    const auto known = token_to_id(token.content);
    const std::int32_t id = known ? *known : next_id();
    require(known || (id <= max_token_id && !id_to_token(id)), "the added token \"", token.content,
            "\" would get the id ", id, ", which is taken");
    added.set(id, std::move(token));
    return id;
  }

  std::optional<std::int32_t> token_to_id(std::string_view token) const {
    const auto* id = added.find(token);
    return id ? std::optional(*id) : model.token_to_id(token);
  }
  /// The token's text as the vocabulary has it, or null.
  const std::string* id_to_token(std::int32_t id) const {
    const auto* token = added.find(id);
    return token ? &token->content : model.id_to_token(id);
  }
  std::size_t size() const {
    const auto is_new = [&](const auto& entry) { return !model.token_to_id(entry.second.content); };
    return model.size() + static_cast<std::size_t>(std::ranges::count_if(added.tokens(), is_new));
  }

 private:
  std::int32_t next_id() const {
    const auto after_model = static_cast<std::int32_t>(model.size());
    return added.tokens().empty() ? after_model : std::max(after_model, added.tokens().rbegin()->first + 1);
  }
};

}  // namespace janusflow
