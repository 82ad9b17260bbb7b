// AutoencoderTrainingConfig as JSON. Included by train/autoencoder_objective.hpp.
#pragma once

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/train/autoencoder_objective.hpp"

namespace janusflow {

JANUSFLOW_INLINE AutoencoderTrainingConfig AutoencoderTrainingConfig::from_json(const JsonObject& json, const std::filesystem::path& directory) {
  AutoencoderTrainingConfig config;
  config.read(json, directory, {"autoencoder", {"losses", "augmentation", "pictures_at_once"}, {"samples_every"}, false});
  config.pictures_at_once = json.integer("pictures_at_once", 1, 1'000'000, config.pictures_at_once);
  if (json.has("augmentation")) config.augmentation = AugmentationSettings::from_json(json.object("augmentation"));
  if (!json.has("losses")) return config;
  const JsonObject losses = json.object("losses");
  losses.require_known({"l1", "l2", "multi_scale", "scales", "edges", "kl", "kl_warmup"});
  AutoencoderLossSettings& weights = config.losses;
  weights.l1 = losses.number("l1", 0, 1e6, weights.l1);
  weights.l2 = losses.number("l2", 0, 1e6, weights.l2);
  weights.multi_scale = losses.number("multi_scale", 0, 1e6, weights.multi_scale);
  weights.scales = losses.integer("scales", 0, 16, weights.scales);
  weights.edges = losses.number("edges", 0, 1e6, weights.edges);
  weights.kl = losses.number("kl", 0, 1e6, weights.kl);
  weights.kl_warmup = losses.integer("kl_warmup", 0, max_extent, weights.kl_warmup);
  require(weights.l1 + weights.l2 > 0, losses.name("l1"), " and l2 must not both be zero");
  return config;
}

JANUSFLOW_INLINE Json AutoencoderTrainingConfig::to_json() const {
  Json json = RunConfig::to_json();
  json["losses"] = {{"l1", losses.l1}, {"l2", losses.l2}, {"multi_scale", losses.multi_scale}, {"scales", losses.scales},
                    {"edges", losses.edges}, {"kl", losses.kl}, {"kl_warmup", losses.kl_warmup}};
  json["augmentation"] = augmentation.to_json();
  json["pictures_at_once"] = pictures_at_once;
  return json;
}

}  // namespace janusflow
