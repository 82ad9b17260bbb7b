// SiglipConfig as JSON, read and written. Included by io/siglip_config.hpp.
#pragma once

#include <array>
#include <string_view>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/io/siglip_config.hpp"

namespace janusflow {

JANUSFLOW_INLINE SiglipConfig SiglipConfig::from_json(const JsonObject& json) {
  struct Known {
    std::string_view name;
    Index width, layers, heads, patch_size;
    double mlp_ratio;
  };
  static constexpr std::array<Known, 6> table{{{"siglip_base_patch16_256", 768, 12, 12, 16, 4.0},
                                               {"siglip_base_patch16_384", 768, 12, 12, 16, 4.0},
                                               {"siglip_large_patch16_256", 1024, 24, 16, 16, 4.0},
                                               {"siglip_large_patch16_384", 1024, 24, 16, 16, 4.0},
                                               {"siglip_so400m_patch14_224", 1152, 27, 16, 14, 3.7362},
                                               {"siglip_so400m_patch14_384", 1152, 27, 16, 14, 3.7362}}};
  SiglipConfig config;
  config.model_name = json.get<std::string>("model_name", config.model_name);
  const Known* known = nullptr;
  for (const Known& entry : table)
    if (entry.name == config.model_name) known = &entry;
  for (const char* key : {"width", "layers", "heads", "patch_size"})
    require(known || json.has(key), json.name("model_name"), " \"", config.model_name, "\" is not known and ", key,
            " is not given");
  if (known)
    config = {config.model_name, 384, known->width, known->layers, known->heads, known->patch_size, known->mlp_ratio};
  config.width = json.integer("width", 1, max_extent, config.width);
  config.layers = json.integer("layers", 1, 1000, config.layers);
  config.heads = json.integer("heads", 1, 10000, config.heads);
  config.patch_size = json.integer("patch_size", 1, 1000, config.patch_size);
  config.mlp_ratio = json.number("mlp_ratio", 0.01, 100.0, config.mlp_ratio);
  config.image_size = json.integer("image_size", 1, 16384);

  require(config.width % config.heads == 0, json.name("width"), " (", config.width, ") must be a multiple of heads (",
          config.heads, ")");
  require(config.mlp_width() >= 1, json.name("mlp_ratio"), " ", config.mlp_ratio,
          " leaves the MLP without a hidden layer");
  require(config.patch_size <= config.image_size, json.name("patch_size"), " (", config.patch_size,
          ") is larger than image_size (", config.image_size, ")");
  const Index layer = json.integer("select_layer", -1000, 1000);
  require(layer == -1, json.name("select_layer"), " must be -1 (the last layer), not ", layer);
  for (const char* key : {"pixel_mean", "pixel_std"})
    require(!json.has(key), json.name(key), " is not supported: the picture is normalised by the image processor");
  return config;
}

JANUSFLOW_INLINE Json SiglipConfig::to_json() const {
  return {{"model_name", model_name}, {"image_size", image_size}, {"select_feature", "same"},
          {"select_layer", -1},       {"width", width},           {"layers", layers},
          {"heads", heads},           {"patch_size", patch_size}, {"mlp_ratio", mlp_ratio}};
}

}  // namespace janusflow
