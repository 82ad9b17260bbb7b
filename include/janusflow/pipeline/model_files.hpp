// A model's directory in its published layout: what is read of it, and what must be there.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/io/checkpoint.hpp"
#include "janusflow/io/config.hpp"
#include "janusflow/nn/layout.hpp"

namespace janusflow {

/// The keys that a checkpoint of such a config may have: those of the parameters of a model with policy P, and what older or
/// other writers call them or add.
template <class P>
std::vector<std::string> known_keys(const JanusFlowConfig& config);
template <class P>
std::vector<std::string> known_keys(const AutoencoderKLConfig& config);

/// The config and the mapped weights of a JanusFlow directory. Opening reads no weight.
struct ModelFiles {
  std::filesystem::path directory;
  JanusFlowConfig config;
  std::shared_ptr<const Checkpoint> checkpoint;

  /// Throws Error when a file is missing or malformed, or when the checkpoint holds tensors that the config has no place for, or of
  /// other shapes, or leaves some of a part out (as a whole a part that no task needs may be missing).
  static ModelFiles open(const std::filesystem::path& directory);

  /// Throws Error unless `directory` is one; `what` names it.
  static void require_directory(const std::filesystem::path& directory, std::string_view what);

  /// Throws Error naming the first tensor whose key is not among `keys`: weights of another model, or of a newer one, must not
  /// be half used in silence. Older transformers saved the rotary frequencies too; these follow from the config.
  static void require_known(const Checkpoint& checkpoint, const std::vector<std::string>& keys);
};

/// The same for an AutoencoderKL directory in diffusers' layout.
struct AutoencoderFiles {
  AutoencoderKLConfig config;
  std::shared_ptr<const Checkpoint> checkpoint;

  static AutoencoderFiles open(const std::filesystem::path& directory);
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/pipeline/impl/model_files.hpp"
#endif
