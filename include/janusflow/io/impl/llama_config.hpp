// LlamaConfig as JSON, read and written. Included by io/llama_config.hpp.
#pragma once

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/io/llama_config.hpp"

namespace janusflow {

JANUSFLOW_INLINE LlamaConfig LlamaConfig::from_json(const JsonObject& json) {
  LlamaConfig config;
  config.vocab_size = json.integer("vocab_size", 1, max_extent, config.vocab_size);
  config.hidden_size = json.integer("hidden_size", 1, max_extent, config.hidden_size);
  config.intermediate_size = json.integer("intermediate_size", 1, max_extent, config.intermediate_size);
  config.num_hidden_layers = json.integer("num_hidden_layers", 1, 1000, config.num_hidden_layers);
  config.num_attention_heads = json.integer("num_attention_heads", 1, 10000, config.num_attention_heads);
  config.num_key_value_heads = json.integer("num_key_value_heads", 1, 10000, config.num_attention_heads);
  if (!json.has("head_dim"))
    require(config.hidden_size % config.num_attention_heads == 0, json.name("hidden_size"), " (", config.hidden_size,
            ") must be a multiple of num_attention_heads (", config.num_attention_heads, ")");
  config.head_dim = json.integer("head_dim", 1, max_extent, config.hidden_size / config.num_attention_heads);
  config.max_position_embeddings =
      json.integer("max_position_embeddings", 1, Index{1} << 31, config.max_position_embeddings);
  config.rms_norm_eps = json.number("rms_norm_eps", 0.0, 1.0, config.rms_norm_eps);
  config.rope_theta = json.number("rope_theta", 1.0, 1e12, config.rope_theta);
  config.tie_word_embeddings = json.get("tie_word_embeddings", config.tie_word_embeddings);
  if (json.has("bos_token_id")) config.bos_token_id = json.integer("bos_token_id", 0, max_extent);
  if (json.has("eos_token_id"))
    config.eos_token_ids = json.json()["eos_token_id"].is_array()
                               ? json.integers("eos_token_id", 0, max_extent)
                               : std::vector<Index>{json.integer("eos_token_id", 0, max_extent)};

  require(config.head_dim % 2 == 0, json.name("head_dim"), " must be even, not ", config.head_dim);
  require(config.num_attention_heads % config.num_key_value_heads == 0, json.name("num_attention_heads"), " (",
          config.num_attention_heads, ") must be a multiple of num_key_value_heads (", config.num_key_value_heads,
          ")");
  const auto activation = json.get<std::string>("hidden_act", "silu");
  require(activation == "silu", json.name("hidden_act"), " must be \"silu\", not \"", activation, '"');
  // transformers 5 moved rope_theta into rope_parameters, and may write the absence of scaling as an object of type
  // "default".
  for (const char* key : {"rope_parameters", "rope_scaling"}) {  // of both the latter holds, there too
    if (!json.has(key)) continue;
    const JsonObject rope = json.object(key);
    const auto type = rope.get<std::string>("rope_type", rope.get<std::string>("type", "default"));
    require(type == "default", rope.name("rope_type"), " \"", type,
            "\" is not supported: only unscaled rotary embeddings are");
    config.rope_theta = rope.number("rope_theta", 1.0, 1e12, config.rope_theta);
  }
  for (const char* key : {"attention_bias", "mlp_bias"})
    require(!json.get(key, false), json.name(key), " must be false: biases are not supported");
  return config;
}

JANUSFLOW_INLINE Json LlamaConfig::to_json() const {
  Json json{{"model_type", "llama"},
            {"vocab_size", vocab_size},
            {"hidden_size", hidden_size},
            {"intermediate_size", intermediate_size},
            {"num_hidden_layers", num_hidden_layers},
            {"num_attention_heads", num_attention_heads},
            {"num_key_value_heads", num_key_value_heads},
            {"max_position_embeddings", max_position_embeddings},
            {"rms_norm_eps", rms_norm_eps},
            {"rope_theta", rope_theta},
            {"hidden_act", "silu"},
            {"tie_word_embeddings", tie_word_embeddings}};
  if (head_dim * num_attention_heads != hidden_size) json["head_dim"] = head_dim;
  if (bos_token_id) json["bos_token_id"] = *bos_token_id;
  if (eos_token_ids.size() == 1) json["eos_token_id"] = eos_token_ids[0];
  if (eos_token_ids.size() > 1) json["eos_token_id"] = eos_token_ids;
  return json;
}

}  // namespace janusflow
