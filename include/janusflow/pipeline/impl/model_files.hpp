// Opening of a model's files. Included by pipeline/model_files.hpp.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <system_error>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/expected_tensors.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/pipeline/model_files.hpp"

namespace janusflow {

namespace detail {

/// Throws Error unless `directory` is one; `what` names it.
JANUSFLOW_INLINE void require_directory(const std::filesystem::path& directory, std::string_view what) {
  std::error_code error;
  require(std::filesystem::is_directory(directory, error), "the ", what, " directory ", directory.string(),
          std::filesystem::exists(directory, error) ? " is not a directory" : " does not exist");
}

/// The part of a model that a parameter belongs to: what the checkpoint of one task may leave out as a whole.
JANUSFLOW_INLINE std::string_view part_of(std::string_view key) {
  for (const std::string_view part : {"language_model.lm_head.", "vision_und_enc_model.vision_tower.attn_pool."})
    if (key.starts_with(part)) return part;
  return key.substr(0, key.find('.'));
}

/// Throws Error naming the first tensor that the config has no place for, that has another shape than it says, or that is missing from a
/// part that is there: a model is as large as its config says, so that is compared before room is made for one.
JANUSFLOW_INLINE void require_fits(const Checkpoint& checkpoint, const std::map<std::string, std::vector<Index>>& expected) {
  const CheckpointDifference difference = compare(checkpoint, expected);
  require_no_unknown(checkpoint, difference);
  if (!difference.misshapen.empty()) fail(difference.misshapen.front());
  std::set<std::string_view> parts{"language_model"};  // that no task leaves out
  for (const RawTensor& tensor : checkpoint.tensors()) parts.insert(part_of(tensor.key));
  for (const std::string& key : difference.missing)
    if (parts.contains(part_of(key))) checkpoint.at(key);
}

}  // namespace detail

JANUSFLOW_INLINE ModelFiles ModelFiles::open(const std::filesystem::path& directory) {
  detail::require_directory(directory, "model");
  ModelFiles files{directory, read_config<JanusFlowConfig>(directory / "config.json"), std::make_shared<Checkpoint>(directory)};
  JanusFlow<Layout> layout(files.config);
  detail::require_fits(*files.checkpoint, expected_tensors(layout));
  return files;
}

JANUSFLOW_INLINE AutoencoderFiles AutoencoderFiles::open(const std::filesystem::path& directory) {
  detail::require_directory(directory, "VAE");
  AutoencoderFiles files{read_config<AutoencoderKLConfig>(directory / "config.json"), std::make_shared<Checkpoint>(directory)};
  AutoencoderKL<Layout> layout(files.config);
  detail::require_fits(*files.checkpoint, expected_tensors(layout));
  return files;
}

}  // namespace janusflow
