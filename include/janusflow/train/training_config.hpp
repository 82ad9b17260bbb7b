// The config file of a JanusFlow training run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "janusflow/train/run_config.hpp"

namespace janusflow {

/// Weights of the three losses and how times are drawn (arXiv 2411.07975, equations 3 to 5).
struct LossSettings {
  double ar = 1, rf = 1, repa = 1;    // next token, rectified flow, representation alignment
  Index repa_layer = 6;               // the block of the language model whose states are aligned, counted from 1
  Index repa_width = 2048;            // of the hidden layers of the head that aligns them
  bool logit_normal = true;           // else times are uniform
  double time_mean = 0, time_deviation = 1;  // of the logit
};

/// Samples that are looked at but never learned from.
struct ValidationSettings {
  std::filesystem::path manifest;  // empty: none
  Index every = 1000;              // steps; and after the last
};

/// What a JanusFlow run is made of beside what all runs are.
struct TrainingConfig : RunConfig {
  std::filesystem::path vae, cache;
  LossSettings losses;
  double prompt_dropout = 0.1;     // share of generation prompts that are left out, for guidance
  Index noise_levels = 1;          // of each generation sample in a step; they share its prompt
  Index pack_length = 4096;        // tokens of a packed sequence
  bool shared_encoder = false;     // pictures that are asked about go through the generation encoder, in SigLIP's place
  ValidationSettings validation;
  std::vector<std::string> sample_prompts;

  /// Reads and checks a config. Throws Error naming file and key for whatever is missing, unknown or out of range.
  static TrainingConfig from_json(const JsonObject& json, const std::filesystem::path& directory);

  /// As RunConfig::to_json.
  Json to_json() const;

 private:
  void read_losses(const JsonObject& json);
  void read_validation(const JsonObject& json, const std::filesystem::path& directory);
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/training_config.hpp"
#endif
