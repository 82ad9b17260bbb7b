// What a Trainer needs to know of what it trains.
#pragma once

#include <concepts>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "janusflow/io/raw_tensor.hpp"
#include "janusflow/train/manifest.hpp"
#include "janusflow/train/optimizer.hpp"
#include "janusflow/train/run_config.hpp"

namespace janusflow {

/// Told before or between steps what is computed, and the share of it that is done. Returns false to stop.
using Preparing = std::function<bool(const std::string&, double)>;

/// The losses of a step: their weighted sum, and each by the place of its name in Objective::loss_names; none where nothing was counted.
struct StepLosses {
  double total = 0;
  std::vector<std::optional<double>> parts;

  explicit StepLosses(std::size_t count) : parts(count) {}
  /// Counts a part's value, which is of a share of the step.
  void add(std::size_t part, double value, double weight) {
    parts[part] = parts[part].value_or(0) + value;
    total += weight * value;
  }
};

/// A module and how it learns: JanusFlowObjective, AutoencoderObjective, SiglipObjective. Made of its Config and a manifest, it opens
/// everything and throws Error, in one sentence, for whatever does not fit together.
template <class O>
concept Objective = std::derived_from<typename O::Config, RunConfig> && requires(O& objective, const O& constant, const Stage& stage,
                                                                                 const std::vector<TrainedTensor>& tensors,
                                                                                 const Preparing& preparing, const TaskCounts& samples) {
  O::loss_names;                                                               // what the log calls its losses
  objective.module();                                                          // all parameters, by visit
  { O::stays_frozen(std::string()) } -> std::same_as<bool>;                    // parameters that no loss is a function of
  { constant.model_config().to_json() } -> std::same_as<Json>;                 // what of the model decides the numbers
  objective.check_samples(preparing);                                          // throws Error for the first sample that cannot be learned
  { objective.prepare(stage, tensors, preparing) } -> std::same_as<bool>;      // what a stage needs; false: stopped
  { objective.learn(samples, samples) } -> std::same_as<StepLosses>;           // adds the gradients of samples [first, second) of each task
  objective.flush();                                                           // brings to the disk what was computed beside
  constant.publish(std::filesystem::path(), tensors, std::declval<const Optimizer&>(), Dtype::bf16);
};

}  // namespace janusflow
