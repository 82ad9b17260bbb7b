// SiglipTrainingConfig as JSON. Included by train/siglip_objective.hpp.
#pragma once

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/train/siglip_objective.hpp"

namespace janusflow {

JANUSFLOW_INLINE SiglipTrainingConfig SiglipTrainingConfig::from_json(const JsonObject& json, const std::filesystem::path& directory) {
  SiglipTrainingConfig config;
  config.read(json, directory, {"siglip", {"logits", "text_tower", "augmentation"}, {}, false});
  if (json.has("augmentation")) config.augmentation = AugmentationSettings::from_json(json.object("augmentation"));
  if (json.has("logits")) {
    const JsonObject logits = json.object("logits");
    logits.require_known({"scale", "bias"});
    config.scale = logits.number("scale", 1e-3, 1e3, config.scale);
    config.bias = logits.number("bias", -100, 100, config.bias);
  }
  if (json.has("text_tower")) {
    const JsonObject text = json.object("text_tower");
    text.require_known({"layers", "length"});
    config.text_layers = text.integer("layers", 1, 1000, config.text_layers);
    config.text_length = text.integer("length", 1, max_extent, config.text_length);
  }
  return config;
}

JANUSFLOW_INLINE Json SiglipTrainingConfig::to_json() const {
  Json json = RunConfig::to_json();
  json["logits"] = {{"scale", scale}, {"bias", bias}};
  json["text_tower"] = {{"layers", text_layers}, {"length", text_length}};
  json["augmentation"] = augmentation.to_json();
  return json;
}

}  // namespace janusflow
