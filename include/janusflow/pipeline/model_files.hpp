// A model's directory in its published layout: what is read of it, and what must be there.
#pragma once

#include <filesystem>
#include <memory>

#include "janusflow/io/checkpoint.hpp"
#include "janusflow/io/config.hpp"

namespace janusflow {

/// The config and the mapped weights of a JanusFlow directory. Opening reads no weight.
struct ModelFiles {
  std::filesystem::path directory;
  JanusFlowConfig config;
  std::shared_ptr<const Checkpoint> checkpoint;

  /// Throws Error when a file is missing or malformed, or when the checkpoint holds tensors that the config has no place for, or of
  /// other shapes, or leaves some of a part out (as a whole a part that no task needs may be missing).
  static ModelFiles open(const std::filesystem::path& directory);
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
