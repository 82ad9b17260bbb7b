// The sizes of a Llama language model, as transformers writes them.
#pragma once

#include <optional>
#include <vector>

#include "janusflow/io/json.hpp"

namespace janusflow {

/// transformers' LlamaConfig with its defaults. Only what changes the numbers is kept.
struct LlamaConfig {
  Index vocab_size = 32000;
  Index hidden_size = 4096;
  Index intermediate_size = 11008;
  Index num_hidden_layers = 32;
  Index num_attention_heads = 32;
  Index num_key_value_heads = 32;
  Index head_dim = 128;
  Index max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  bool tie_word_embeddings = false;
  std::optional<Index> bos_token_id;  // as far as the file gives them: JanusFlow's come from its tokenizer
  std::vector<Index> eos_token_ids;

  /// Reads a transformers config. Throws Error, naming file and key, for a size out of bounds and for what
  /// this library does not compute: another activation, scaled rotary embeddings, attention or MLP biases.
  static LlamaConfig from_json(const JsonObject& json);

  /// The same, as transformers writes it.
  Json to_json() const;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/io/impl/llama_config.hpp"
#endif
