// Where a run stands, in one file: weights, moments, averages, and what decides the rest.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "janusflow/io/safetensors.hpp"
#include "janusflow/train/optimizer.hpp"
#include "janusflow/train/training_config.hpp"

namespace janusflow {

/// How far a run has got. Samples and random numbers are functions of the seed and of these, so there is nothing else to remember.
struct TrainingProgress {
  Index stage = 0;        // the stage that goes on
  Index step = 0;         // steps of it that are done
  Index total_steps = 0;  // of all stages
};

/// Writes a checkpoint: first under another name, which it loses when all of it is on the disk. `config` is what decides the numbers
/// of the run. Throws Error, with whatever was at `path` as it was, when that is not possible.
void save_training_state(const std::filesystem::path& path, std::span<const TrainedTensor> tensors, const Optimizer& optimizer,
                         const TrainingProgress& progress, const Json& config);

/// Reads a checkpoint into tensors and optimiser, bit for bit what was saved. Throws Error, before anything is changed, when the file
/// is no checkpoint, is one of a run with another config, has other tensors, stands where the config's "stages" have no step, or holds
/// NaN or infinity.
TrainingProgress load_training_state(const std::filesystem::path& path, std::span<const TrainedTensor> tensors, Optimizer& optimizer,
                                     const Json& config);

/// A run's checkpoints: files of a directory, named by the steps done, of which the last few are kept.
class CheckpointDirectory {
 public:
  /// Makes the directory where there is none.
  CheckpointDirectory(std::filesystem::path path, Index keep);

  /// Removes what a run that was killed while it wrote has left. No other run may be at work there. Throws Error where the directory
  /// cannot be read, as do the others.
  void remove_leftovers() const;

  std::filesystem::path file(Index total_steps) const;

  /// The file with the most steps, if there is one.
  std::optional<std::filesystem::path> latest() const;

  /// Throws Error where there is a file with more steps than these: another run was at work there.
  void require_none_beyond(Index total_steps) const;

  /// Saves, then removes the oldest files beyond those that are kept.
  void save(std::span<const TrainedTensor> tensors, const Optimizer& optimizer, const TrainingProgress& progress, const Json& config) const;

 private:
  /// By their number of steps.
  std::vector<std::filesystem::path> files() const;

  std::filesystem::path path_;
  Index keep_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/training_state.hpp"
#endif
