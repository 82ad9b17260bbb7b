// Text to token ids and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "janusflow/text/tokenizer_json.hpp"

namespace janusflow {

/// A byte-level BPE tokenizer that gives the ids of the `tokenizers` library (0.21), whose tokenizer.json it reads. Any
/// number of threads may use one at once, as long as none adds tokens.
class Tokenizer {
 public:
  explicit Tokenizer(TokenizerDefinition definition) : definition_(std::move(definition)) {}

  /// Reads tokenizer.json; throws Error, naming the file, when it is missing, malformed or not of a supported kind.
  static Tokenizer from_file(const std::filesystem::path& path);
  /// Reads the text of a tokenizer.json; `name` is what errors begin with.
  static Tokenizer from_json(std::string_view text, const std::string& name = "tokenizer.json");

  /// The ids of `text`: added tokens are looked for first, the rest is cut by the pre-tokenizer and merged. Ill-formed
  /// UTF-8 counts as U+FFFD (Python's `errors="replace"`). With `add_special_tokens`, the post-processor's tokens stand
  /// around them. Time is n log n in the bytes, given expressions that search in linear time; where text only begins like
  /// an added token, that token's length times n. Throws Error when an expression exceeds its step limit.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens = false) const;

  /// The text of `ids`, as valid UTF-8: bytes that are none become U+FFFD, ids without a token nothing.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens = true) const;

  /// The bytes that one token contributes to a text: possibly part of a character.
  std::string token_bytes(std::int32_t id, bool skip_special_tokens = true) const;

  std::optional<std::int32_t> token_to_id(std::string_view token) const {
    return definition_.vocabulary.token_to_id(token);
  }
  /// The token as the vocabulary spells it (in the byte alphabet); valid until a token is added.
  std::optional<std::string_view> id_to_token(std::int32_t id) const {
    const auto* token = definition_.vocabulary.id_to_token(id);
    return token ? std::optional<std::string_view>(*token) : std::nullopt;
  }
  /// Whether `token` is one of those looked for in the raw text.
  bool is_added(std::string_view token) const { return definition_.vocabulary.added.find(token) != nullptr; }
  /// Number of tokens, added ones included.
  std::size_t vocab_size() const { return definition_.vocabulary.size(); }

  /// Adds a token, or changes the flags of the one with the same content; returns its id (see Vocabulary::add).
  std::int32_t add_token(AddedToken token) { return definition_.vocabulary.add(std::move(token)); }
  /// Adds a special token that is found before all normalized ones, as the official processor adds its missing tags.
  std::int32_t add_special_token(std::string content) {
    return add_token({.content = std::move(content), .normalized = false, .special = true});
  }

 private:
  TokenizerDefinition definition_;
};

/// Decodes ids as they come, holding back the bytes of a character that is not complete yet: the texts of all pushes
/// and of finish(), joined, are Tokenizer::decode of all ids. The tokenizer must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true)
      : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}

  /// The text that `id` completes; it may be empty.
  std::string push(std::int32_t id) {
    bytes_ += tokenizer_->token_bytes(id, skip_special_tokens_);
    std::string text;
    drain_utf8(bytes_, text);
    return text;
  }

  /// What is left when no more ids come: nothing, or U+FFFD for a character cut short.
  std::string finish() { return to_valid_utf8(std::exchange(bytes_, {})); }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::string bytes_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/text/impl/tokenizer.hpp"
#endif
