// AutoencoderKLConfig as JSON, read and written. Included by io/autoencoder_config.hpp.
#pragma once

#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/autoencoder_config.hpp"
#include "janusflow/io/impl/json.hpp"

namespace janusflow {

JANUSFLOW_INLINE AutoencoderKLConfig AutoencoderKLConfig::from_json(const JsonObject& json) {
  AutoencoderKLConfig config;
  const auto type = json.get<std::string>("_class_name", "AutoencoderKL");
  require(type == "AutoencoderKL", json.name("_class_name"), " must be \"AutoencoderKL\", not \"", type, '"');
  config.in_channels = json.integer("in_channels", 1, max_extent, config.in_channels);
  config.out_channels = json.integer("out_channels", 1, max_extent, config.out_channels);
  config.block_out_channels = json.integers("block_out_channels", 1, max_extent, config.block_out_channels);
  config.layers_per_block = json.integer("layers_per_block", 1, 100, config.layers_per_block);
  config.latent_channels = json.integer("latent_channels", 1, max_extent, config.latent_channels);
  config.norm_num_groups = json.integer("norm_num_groups", 1, max_extent, config.norm_num_groups);
  if (json.has("sample_size") && json.json()["sample_size"].is_number())  // a pair is possible too
    config.sample_size = json.integer("sample_size", 1, max_extent);
  config.scaling_factor = json.number("scaling_factor", 1e-6, 1e6, config.scaling_factor);
  config.shift_factor = json.number("shift_factor", -1e6, 1e6, config.shift_factor);
  config.use_quant_conv = json.get("use_quant_conv", config.use_quant_conv);
  config.use_post_quant_conv = json.get("use_post_quant_conv", config.use_post_quant_conv);
  config.mid_block_add_attention = json.get("mid_block_add_attention", config.mid_block_add_attention);

  const std::size_t blocks = config.block_out_channels.size();
  require(blocks >= 1 && blocks <= 8, json.name("block_out_channels"), " must have 1 to 8 entries, not ", blocks);
  for (const Index channels : config.block_out_channels)
    require(channels % config.norm_num_groups == 0, json.name("block_out_channels"), ": ", channels,
            " must be a multiple of norm_num_groups (", config.norm_num_groups, ")");
  const auto activation = json.get<std::string>("act_fn", "silu");
  require(activation == "silu", json.name("act_fn"), " must be \"silu\", not \"", activation, '"');
  for (const auto& [key, only] :
       {std::pair{"down_block_types", "DownEncoderBlock2D"}, {"up_block_types", "UpDecoderBlock2D"}}) {
    const auto types = json.get<std::vector<std::string>>(key, std::vector<std::string>(1, only));
    require(types.size() == blocks, json.name(key), " must have as many entries as block_out_channels: ", blocks,
            ", not ", types.size());
    for (const auto& name : types)
      require(name == only, json.name(key), ": \"", name, "\" is not supported, only \"", only, "\" is");
  }
  for (const char* key : {"latents_mean", "latents_std"})
    require(!json.has(key), json.name(key), " must be null: latents normalised per channel are not supported");
  return config;
}

JANUSFLOW_INLINE Json AutoencoderKLConfig::to_json() const {
  const std::size_t blocks = block_out_channels.size();
  return {{"_class_name", "AutoencoderKL"},
          {"act_fn", "silu"},
          {"in_channels", in_channels},
          {"out_channels", out_channels},
          {"block_out_channels", block_out_channels},
          {"down_block_types", std::vector<std::string>(blocks, "DownEncoderBlock2D")},
          {"up_block_types", std::vector<std::string>(blocks, "UpDecoderBlock2D")},
          {"layers_per_block", layers_per_block},
          {"latent_channels", latent_channels},
          {"norm_num_groups", norm_num_groups},
          {"sample_size", sample_size},
          {"scaling_factor", scaling_factor},
          {"shift_factor", shift_factor == 0.0 ? Json() : Json(shift_factor)},
          {"use_quant_conv", use_quant_conv},
          {"use_post_quant_conv", use_post_quant_conv},
          {"mid_block_add_attention", mid_block_add_attention}};
}

}  // namespace janusflow
