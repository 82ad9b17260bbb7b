// The sizes of JanusFlow's ShallowUViT encoder and decoder.
#pragma once

#include <vector>

#include "janusflow/io/json.hpp"

namespace janusflow {

/// What the official ShallowUViTEncoder and ShallowUViTDecoder both have, with their defaults.
struct ShallowUViTConfig {
  std::vector<Index> block_out_channels{768};
  Index layers_in_middle = 2;
  Index hidden_size = 2048;  // of the time embedding
  double norm_eps = 1e-6;
  bool use_bias = true;
  bool use_mid_block = true;

 protected:
  void read(const JsonObject& json);
  /// `json` with these added.
  Json written(Json json) const;
};

/// The params of the official ShallowUViTEncoder, with its defaults: latents to the language model's picture tokens.
/// block_out_channels: front() of the time embedding and the input convolution, back() of the middle block.
struct ShallowUViTEncoderConfig : ShallowUViTConfig {
  Index input_channels = 3;
  Index stride = 4;
  Index kernel_size = 7;
  Index padding = 3;

  /// Throws Error, naming file and key, for a size out of bounds.
  static ShallowUViTEncoderConfig from_json(const JsonObject& json);

  /// The same, as the official class takes it.
  Json to_json() const;
};

/// The params of the official ShallowUViTDecoder, with its defaults: the language model's picture tokens to the
/// velocity. block_out_channels: back() of the encoder's skip connection.
struct ShallowUViTDecoderConfig : ShallowUViTConfig {
  Index in_channels = 768;
  Index out_channels = 3;
  Index upsamples = 2;

  /// Throws Error, naming file and key, for a size out of bounds.
  static ShallowUViTDecoderConfig from_json(const JsonObject& json);

  /// The same, as the official class takes it.
  Json to_json() const;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/io/impl/uvit_config.hpp"
#endif
