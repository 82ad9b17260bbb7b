// The reader of a JanusFlow run's config. Included by train/training_config.hpp.
#pragma once

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/train/training_config.hpp"

namespace janusflow {

JANUSFLOW_INLINE TrainingConfig TrainingConfig::from_json(const JsonObject& json, const std::filesystem::path& directory) {
  TrainingConfig config;
  config.read(json, directory, {"janusflow", {"vae", "cache", "losses", "prompt_dropout", "noise_levels", "pack_length", "shared_encoder", "validation"},
                                {"samples_every", "sample_prompts"}, true});
  config.vae = json.has("vae") ? read_path(json, "vae", directory) : config.model / "vae";
  config.cache = json.has("cache") ? read_path(json, "cache", directory) : config.output / "cache";
  config.prompt_dropout = json.number("prompt_dropout", 0, 1, config.prompt_dropout);
  config.noise_levels = json.integer("noise_levels", 1, 1000, config.noise_levels);
  config.pack_length = json.integer("pack_length", 2, max_extent, config.pack_length);
  config.shared_encoder = json.get("shared_encoder", config.shared_encoder);
  if (json.has("validation")) config.read_validation(json.object("validation"), directory);
  if (json.has("losses")) config.read_losses(json.object("losses"));
  for (const Stage& stage : config.stages) {
    const bool answers = stage.asks_for(Task::understanding) || stage.asks_for(Task::text), paints = stage.asks_for(Task::generation);
    require((answers && config.losses.ar > 0) || (paints && config.losses.rf + config.losses.repa > 0), stage.where,
            " learns nothing: the losses of its tasks have no weight");
  }
  if (json.has("log")) config.sample_prompts = json.object("log").get<std::vector<std::string>>("sample_prompts", {});
  require(config.samples_every == 0 || !config.sample_prompts.empty(), json.name("log"), ".sample_prompts is missing: samples_every asks for sheets");
  return config;
}

JANUSFLOW_INLINE Json TrainingConfig::to_json() const {
  Json json = RunConfig::to_json();
  json.update({{"prompt_dropout", prompt_dropout}, {"noise_levels", noise_levels}, {"pack_length", pack_length}});
  json["losses"] = {{"ar", losses.ar}, {"rf", losses.rf}, {"repa", losses.repa}, {"repa_layer", losses.repa_layer},
                    {"repa_width", losses.repa_width},
                    {"times", losses.logit_normal ? "logit_normal" : "uniform"}, {"time_mean", losses.time_mean},
                    {"time_deviation", losses.time_deviation}};
  if (shared_encoder) json["shared_encoder"] = true;
  return json;
}

JANUSFLOW_INLINE void TrainingConfig::read_validation(const JsonObject& json, const std::filesystem::path& directory) {
  json.require_known({"manifest", "every"});
  validation.manifest = read_path(json, "manifest", directory);
  validation.every = json.integer("every", 1, 1'000'000'000, validation.every);
}

JANUSFLOW_INLINE void TrainingConfig::read_losses(const JsonObject& json) {
  json.require_known({"ar", "rf", "repa", "repa_layer", "repa_width", "times", "time_mean", "time_deviation"});
  losses.ar = json.number("ar", 0, 1e6, losses.ar);
  losses.rf = json.number("rf", 0, 1e6, losses.rf);
  losses.repa = json.number("repa", 0, 1e6, losses.repa);
  losses.repa_layer = json.integer("repa_layer", 1, 1000, losses.repa_layer);
  losses.repa_width = json.integer("repa_width", 1, max_extent, losses.repa_width);
  const auto times = json.get<std::string>("times", "logit_normal");
  require(times == "logit_normal" || times == "uniform", json.name("times"), " must be \"logit_normal\" or \"uniform\", not \"", times, '"');
  losses.logit_normal = times == "logit_normal";
  losses.time_mean = json.number("time_mean", -20, 20, losses.time_mean);
  losses.time_deviation = json.number("time_deviation", 0, 20, losses.time_deviation);
}

}  // namespace janusflow
