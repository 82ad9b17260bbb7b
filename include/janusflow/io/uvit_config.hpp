// The sizes of JanusFlow's ShallowUViT encoder and decoder.
#pragma once

#include <string>
#include <vector>

#include "janusflow/io/json.hpp"

namespace janusflow {

/// What the official ShallowUViTEncoder and ShallowUViTDecoder both have, with their defaults.
struct ShallowUViTConfig {
  std::vector<Index> block_out_channels{768};
  Index layers_in_middle = 2;
  Index hidden_size = 2048;  // of the time embedding
  double norm_eps = 1e-6;
  bool elementwise_affine = true;  // the published file misspells it; the official class then keeps this default
  bool use_bias = true;
  bool use_mid_block = true;

 protected:
  void read(const JsonObject& json) {
    block_out_channels = json.integers("block_out_channels", 1, max_extent, block_out_channels);
    require(!block_out_channels.empty() && block_out_channels.size() <= 16, json.name("block_out_channels"),
            " must have 1 to 16 entries, not ", block_out_channels.size());
    layers_in_middle = json.integer("layers_in_middle", 0, 1000, layers_in_middle);
    hidden_size = json.integer("hidden_size", 1, max_extent, hidden_size);
    norm_eps = json.number("norm_eps", 0.0, 1.0, norm_eps);
    elementwise_affine = json.get("elementwise_affine", elementwise_affine);
    use_bias = json.get("use_bias", use_bias);
    use_mid_block = json.get("use_mid_block", use_mid_block);
  }
  /// `json` with these added.
  Json written(Json json) const {
    json.update({{"block_out_channels", block_out_channels},
                 {"layers_in_middle", layers_in_middle},
                 {"hidden_size", hidden_size},
                 {"norm_eps", norm_eps},
                 {"elementwise_affine", elementwise_affine},
                 {"use_bias", use_bias},
                 {"use_mid_block", use_mid_block}});
    return json;
  }
};

/// The params of the official ShallowUViTEncoder, with its defaults: latents to the language model's picture tokens.
/// block_out_channels: front() of the time embedding and the input convolution, back() of the middle block.
struct ShallowUViTEncoderConfig : ShallowUViTConfig {
  Index input_channels = 3;
  Index stride = 4;
  Index kernel_size = 7;
  Index padding = 3;

  /// Throws Error, naming file and key, for a size out of bounds.
  static ShallowUViTEncoderConfig from_json(const JsonObject& json) {
    ShallowUViTEncoderConfig config;
    config.read(json);
    config.input_channels = json.integer("input_channels", 1, max_extent, config.input_channels);
    config.stride = json.integer("stride", 1, 64, config.stride);
    config.kernel_size = json.integer("kernel_size", 1, 64, config.kernel_size);
    // Absent or null, the official class takes kernel_size - stride.
    if (!json.has("padding"))
      require(config.kernel_size >= config.stride, json.name("kernel_size"), " (", config.kernel_size,
              ") must not be below stride (", config.stride, ") where padding is not given");
    config.padding = json.integer("padding", 0, 64, config.kernel_size - config.stride);

    require(config.block_out_channels.front() % 2 == 0, json.name("block_out_channels"), "[0] must be even, not ",
            config.block_out_channels.front(), ": half of the time embedding are sines, half cosines");
    require(
        config.block_out_channels.front() == config.block_out_channels.back(), json.name("block_out_channels"),
        " must begin and end with the same number: nothing stands between the input convolution and the middle block");
    return config;
  }

  /// The same, as the official class takes it.
  Json to_json() const {
    return written({{"input_channels", input_channels}, {"stride", stride}, {"kernel_size", kernel_size}, {"padding", padding}});
  }
};

/// The params of the official ShallowUViTDecoder, with its defaults: the language model's picture tokens to the
/// velocity. block_out_channels: back() of the encoder's skip connection.
struct ShallowUViTDecoderConfig : ShallowUViTConfig {
  Index in_channels = 768;
  Index out_channels = 3;
  Index upsamples = 2;

  /// Throws Error, naming file and key, for a size out of bounds.
  static ShallowUViTDecoderConfig from_json(const JsonObject& json) {
    ShallowUViTDecoderConfig config;
    config.read(json);
    config.in_channels = json.integer("in_channels", 1, max_extent, config.in_channels);
    config.out_channels = json.integer("out_channels", 1, max_extent, config.out_channels);
    config.upsamples = json.integer("upsamples", 1, 16, config.upsamples);
    return config;
  }

  /// The same, as the official class takes it.
  Json to_json() const {
    return written({{"in_channels", in_channels}, {"out_channels", out_channels}, {"upsamples", upsamples}});
  }
};

}  // namespace janusflow
