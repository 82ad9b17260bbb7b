// The sizes of JanusFlow's ShallowUViT encoder and decoder.
#pragma once

#include <string>
#include <vector>

#include "janusflow/io/json.hpp"

namespace janusflow {

namespace detail {
inline std::vector<Index> read_block_out_channels(const JsonObject& json, std::vector<Index> fallback) {
  auto channels = json.integers("block_out_channels", 1, max_extent, std::move(fallback));
  require(!channels.empty() && channels.size() <= 16, json.name("block_out_channels"),
          " must have 1 to 16 entries, not ", channels.size());
  return channels;
}
}  // namespace detail

/// The params of the official ShallowUViTEncoder, with its defaults: latents to the language model's picture tokens.
struct ShallowUViTEncoderConfig {
  Index input_channels = 3;
  Index stride = 4;
  Index kernel_size = 7;
  Index padding = 3;
  std::vector<Index> block_out_channels{768};  // front(): time embedding and input convolution, back(): middle block
  Index layers_in_middle = 2;
  Index hidden_size = 2048;  // of the time embedding
  double norm_eps = 1e-6;
  bool elementwise_affine = true;  // the published file misspells it; the official class then keeps this default
  bool use_bias = true;
  bool use_mid_block = true;

  /// Throws Error, naming file and key, for a size out of bounds.
  static ShallowUViTEncoderConfig from_json(const JsonObject& json) {
    ShallowUViTEncoderConfig config;
    config.input_channels = json.integer("input_channels", 1, max_extent, config.input_channels);
    config.stride = json.integer("stride", 1, 64, config.stride);
    config.kernel_size = json.integer("kernel_size", 1, 64, config.kernel_size);
    // Absent or null, the official class takes kernel_size - stride.
    if (!json.has("padding"))
      require(config.kernel_size >= config.stride, json.name("kernel_size"), " (", config.kernel_size,
              ") must not be below stride (", config.stride, ") where padding is not given");
    config.padding = json.integer("padding", 0, 64, config.kernel_size - config.stride);
    config.block_out_channels = detail::read_block_out_channels(json, config.block_out_channels);
    config.layers_in_middle = json.integer("layers_in_middle", 0, 1000, config.layers_in_middle);
    config.hidden_size = json.integer("hidden_size", 1, max_extent, config.hidden_size);
    config.norm_eps = json.number("norm_eps", 0.0, 1.0, config.norm_eps);
    config.elementwise_affine = json.get("elementwise_affine", config.elementwise_affine);
    config.use_bias = json.get("use_bias", config.use_bias);
    config.use_mid_block = json.get("use_mid_block", config.use_mid_block);

    require(config.block_out_channels.front() % 2 == 0, json.name("block_out_channels"), "[0] must be even, not ",
            config.block_out_channels.front(), ": half of the time embedding are sines, half cosines");
    require(
        config.block_out_channels.front() == config.block_out_channels.back(), json.name("block_out_channels"),
        " must begin and end with the same number: nothing stands between the input convolution and the middle block");
    return config;
  }

  /// The same, as the official class takes it.
  Json to_json() const {
    return {{"input_channels", input_channels},
            {"stride", stride},
            {"kernel_size", kernel_size},
            {"padding", padding},
            {"block_out_channels", block_out_channels},
            {"layers_in_middle", layers_in_middle},
            {"hidden_size", hidden_size},
            {"norm_eps", norm_eps},
            {"elementwise_affine", elementwise_affine},
            {"use_bias", use_bias},
            {"use_mid_block", use_mid_block}};
  }
};

/// The params of the official ShallowUViTDecoder, with its defaults: the language model's picture tokens to the
/// velocity.
struct ShallowUViTDecoderConfig {
  Index in_channels = 768;
  Index out_channels = 3;
  std::vector<Index> block_out_channels{768};  // back(): channels of the encoder's skip connection
  Index upsamples = 2;
  Index layers_in_middle = 2;
  Index hidden_size = 2048;  // of the time embedding
  double norm_eps = 1e-6;
  bool elementwise_affine = true;
  bool use_bias = true;
  bool use_mid_block = true;

  /// Throws Error, naming file and key, for a size out of bounds.
  static ShallowUViTDecoderConfig from_json(const JsonObject& json) {
    ShallowUViTDecoderConfig config;
    config.in_channels = json.integer("in_channels", 1, max_extent, config.in_channels);
    config.out_channels = json.integer("out_channels", 1, max_extent, config.out_channels);
    config.block_out_channels = detail::read_block_out_channels(json, config.block_out_channels);
    config.upsamples = json.integer("upsamples", 1, 16, config.upsamples);
    config.layers_in_middle = json.integer("layers_in_middle", 0, 1000, config.layers_in_middle);
    config.hidden_size = json.integer("hidden_size", 1, max_extent, config.hidden_size);
    config.norm_eps = json.number("norm_eps", 0.0, 1.0, config.norm_eps);
    config.elementwise_affine = json.get("elementwise_affine", config.elementwise_affine);
    config.use_bias = json.get("use_bias", config.use_bias);
    config.use_mid_block = json.get("use_mid_block", config.use_mid_block);
    return config;
  }

  /// The same, as the official class takes it.
  Json to_json() const {
    return {{"in_channels", in_channels},
            {"out_channels", out_channels},
            {"block_out_channels", block_out_channels},
            {"upsamples", upsamples},
            {"layers_in_middle", layers_in_middle},
            {"hidden_size", hidden_size},
            {"norm_eps", norm_eps},
            {"elementwise_affine", elementwise_affine},
            {"use_bias", use_bias},
            {"use_mid_block", use_mid_block}};
  }
};

}  // namespace janusflow
