// Reads tokenizer.json, the file format of the `tokenizers` library, as far as byte-level BPE goes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/text/pre_tokenizer.hpp"
#include "janusflow/text/vocabulary.hpp"

namespace janusflow {

/// What a tokenizer.json says.
struct TokenizerDefinition {
  Vocabulary vocabulary;
  PreTokenizer pre_tokenizer;
  std::vector<std::int32_t> prefix, suffix;  ///< special tokens that the post-processor puts around a text
};

/// Reads the text of a tokenizer.json; `name` (a path) is what errors begin with. Throws Error when it is malformed, or
/// asks for something that byte-level BPE of the DeepSeek kind does not need (another model, a normalizer, another
/// pre-tokenizer ...).
TokenizerDefinition read_tokenizer_json(std::string_view text, const std::string& name);

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/text/impl/tokenizer_json.hpp"
#endif
