// A model's directory in its published layout: what is read of it, and what must be there.
#pragma once

#include <set>

#include "janusflow/io/load.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/nn/layout.hpp"

namespace janusflow {

/// The config and the mapped weights of a JanusFlow directory. Opening reads no weight.
struct ModelFiles {
  std::filesystem::path directory;
  JanusFlowConfig config;
  std::shared_ptr<const Checkpoint> checkpoint;

  /// Throws Error when a file is missing or malformed, or when the checkpoint holds tensors that the config has no place for.
  static ModelFiles open(const std::filesystem::path& directory) {
    require_directory(directory, "model");
    ModelFiles files{directory, read_config<JanusFlowConfig>(directory / "config.json"), std::make_shared<Checkpoint>(directory)};
    JanusFlow<Layout> model(files.config);
    require_known(*files.checkpoint, parameter_keys(model));
    return files;
  }

  /// Throws Error unless `directory` is one; `what` names it.
  static void require_directory(const std::filesystem::path& directory, std::string_view what) {
    std::error_code error;
    require(std::filesystem::is_directory(directory, error), "the ", what, " directory ", directory.string(),
            std::filesystem::exists(directory, error) ? " is not a directory" : " does not exist");
  }

  /// Throws Error naming the first tensor whose key is not among `keys`: weights of another model, or of a newer one, must not
  /// be half used in silence. Older transformers saved the rotary frequencies too; these follow from the config.
  static void require_known(const Checkpoint& checkpoint, const std::vector<std::string>& keys) {
    std::set<std::string, std::less<>> known(keys.begin(), keys.end());
    for (const std::string& key : keys) known.insert(old_attention_key(key));
    for (const RawTensor& tensor : checkpoint.tensors())
      require(known.contains(tensor.key) || tensor.key.ends_with(".rotary_emb.inv_freq"), tensor.name(),
              " is unknown: the config has no place for it");
  }
};

/// The same for an AutoencoderKL directory in diffusers' layout.
struct AutoencoderFiles {
  AutoencoderKLConfig config;
  std::shared_ptr<const Checkpoint> checkpoint;

  static AutoencoderFiles open(const std::filesystem::path& directory) {
    ModelFiles::require_directory(directory, "VAE");
    AutoencoderFiles files{read_config<AutoencoderKLConfig>(directory / "config.json"), std::make_shared<Checkpoint>(directory)};
    AutoencoderEncoder<Layout> encoder(files.config);
    AutoencoderDecoder<Layout> decoder(files.config);
    std::vector<std::string> keys = parameter_keys(encoder);
    for (std::string& key : parameter_keys(decoder)) keys.push_back(std::move(key));
    ModelFiles::require_known(*files.checkpoint, keys);
    return files;
  }
};

}  // namespace janusflow
