// The sizes of an AutoencoderKL, as diffusers writes them.
#pragma once

#include <vector>

#include "janusflow/io/json.hpp"

namespace janusflow {

/// diffusers' AutoencoderKL config with its defaults. force_upcast and sample_size do not change the numbers here.
struct AutoencoderKLConfig {
  Index in_channels = 3;
  Index out_channels = 3;
  std::vector<Index> block_out_channels{64};
  Index layers_per_block = 1;
  Index latent_channels = 4;
  Index norm_num_groups = 32;
  Index sample_size = 32;
  double scaling_factor = 0.18215;
  double shift_factor = 0.0;
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;
  bool mid_block_add_attention = true;

  /// Pixels along one side of a latent: each block but the last halves the picture.
  Index downscale() const { return Index{1} << (block_out_channels.size() - 1); }

  /// Reads a diffusers config. Throws Error, naming file and key, for sizes out of bounds and for what is not computed
  /// here: other block types or activations, latents normalised per channel.
  static AutoencoderKLConfig from_json(const JsonObject& json);

  /// The same, as diffusers writes it.
  Json to_json() const;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/io/impl/autoencoder_config.hpp"
#endif
