// The configs of ShallowUViT as JSON, read and written. Included by io/uvit_config.hpp.
#pragma once

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/io/uvit_config.hpp"

namespace janusflow {

JANUSFLOW_INLINE void ShallowUViTConfig::read(const JsonObject& json) {
  block_out_channels = json.integers("block_out_channels", 1, max_extent, block_out_channels);
  require(!block_out_channels.empty() && block_out_channels.size() <= 16, json.name("block_out_channels"),
          " must have 1 to 16 entries, not ", block_out_channels.size());
  layers_in_middle = json.integer("layers_in_middle", 0, 1000, layers_in_middle);
  hidden_size = json.integer("hidden_size", 1, max_extent, hidden_size);
  norm_eps = json.number("norm_eps", 0.0, 1.0, norm_eps);
  // elementwise_affine is not read: the official norms have weights, whatever it says.
  use_bias = json.get("use_bias", use_bias);
  use_mid_block = json.get("use_mid_block", use_mid_block);
}

JANUSFLOW_INLINE Json ShallowUViTConfig::written(Json json) const {
  json.update({{"block_out_channels", block_out_channels},
               {"layers_in_middle", layers_in_middle},
               {"hidden_size", hidden_size},
               {"norm_eps", norm_eps},
               {"elementwise_affine", true},
               {"use_bias", use_bias},
               {"use_mid_block", use_mid_block}});
  return json;
}

JANUSFLOW_INLINE ShallowUViTEncoderConfig ShallowUViTEncoderConfig::from_json(const JsonObject& json) {
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

JANUSFLOW_INLINE Json ShallowUViTEncoderConfig::to_json() const {
  return written({{"input_channels", input_channels}, {"stride", stride}, {"kernel_size", kernel_size}, {"padding", padding}});
}

JANUSFLOW_INLINE ShallowUViTDecoderConfig ShallowUViTDecoderConfig::from_json(const JsonObject& json) {
  ShallowUViTDecoderConfig config;
  config.read(json);
  config.in_channels = json.integer("in_channels", 1, max_extent, config.in_channels);
  config.out_channels = json.integer("out_channels", 1, max_extent, config.out_channels);
  config.upsamples = json.integer("upsamples", 1, 16, config.upsamples);
  return config;
}

JANUSFLOW_INLINE Json ShallowUViTDecoderConfig::to_json() const {
  return written({{"in_channels", in_channels}, {"out_channels", out_channels}, {"upsamples", upsamples}});
}

}  // namespace janusflow
