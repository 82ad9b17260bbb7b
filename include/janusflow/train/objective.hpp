// What a Trainer needs to know of what it trains.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "janusflow/autodiff/tape.hpp"
#include "janusflow/io/raw_tensor.hpp"
#include "janusflow/train/communicator.hpp"
#include "janusflow/train/manifest.hpp"
#include "janusflow/train/optimizer.hpp"
#include "janusflow/train/run_config.hpp"

namespace janusflow {

/// Told before or between steps what is computed, and the share of it that is done. Returns false to stop.
using Preparing = std::function<bool(const std::string&, double)>;

/// Given the tape that goes back last in a step, before anything is recorded on it.
using TapeWatch = std::function<void(Tape&)>;

/// Files that decide a run's numbers, by what they are; a checkpoint does not go on with others.
using FileHashes = std::map<std::string, std::uint64_t>;

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
  /// Adds what the other ranks have counted.
  void sum_over(Communicator& communicator) {
    std::vector<double> numbers{total};
    for (const auto& part : parts) numbers.insert(numbers.end(), {part.value_or(0), part ? 1.0 : 0.0});
    communicator.sum(numbers);
    total = numbers[0];
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (numbers[2 * i + 2] > 0) parts[i] = numbers[2 * i + 1];
  }
};

/// A module and how it learns: JanusFlowObjective, AutoencoderObjective, SiglipObjective. Made of its Config, a manifest and
/// a communicator, of which it asks nothing yet, it opens everything and throws Error, in one sentence, for whatever does not fit together.
template <class O>
concept Objective = std::derived_from<typename O::Config, RunConfig> && requires(O& objective, const O& constant, const Stage& stage,
                                                                                 const std::vector<TrainedTensor>& tensors,
                                                                                 const Preparing& preparing, const TaskCounts& samples, const TapeWatch& watch) {
  O::loss_names;                                                               // what the log calls its losses
  objective.module();                                                          // all parameters, by visit
  { O::stays_frozen(std::string()) } -> std::same_as<bool>;                    // parameters that no loss is a function of
  { constant.model_config().to_json() } -> std::same_as<Json>;                 // what of the model decides the numbers
  { constant.file_hashes() } -> std::same_as<FileHashes>;                      // and what decides them beside weights and manifest
  { objective.check_samples(preparing) } -> std::same_as<bool>;                // throws Error for the first that cannot be learned; false: stopped
  { objective.prepare(stage, tensors, preparing) } -> std::same_as<bool>;      // what a stage needs; false: stopped
  { objective.learn(samples, samples, watch) } -> std::same_as<StepLosses>;    // adds the gradients of this rank's part of samples [first, second) of each task
  objective.flush();                                                           // brings to the disk what was computed beside
  constant.publish(std::filesystem::path(), tensors, std::declval<const Optimizer&>(), Dtype::bf16);
};

}  // namespace janusflow
