// Opening of a model's files, and the keys of its parameters. Included by pipeline/model_files.hpp.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <system_error>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/expected_tensors.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/pipeline/model_files.hpp"

namespace janusflow {

namespace detail {

/// Adds the keys of a model's parameters, and their old names.
template <class M>
void add_known_keys(M& model, std::vector<std::string>& known) {
  for (const std::string& key : parameter_keys(model)) {
    known.push_back(key);
    known.push_back(old_attention_key(key));
  }
}

/// The part of a model that a parameter belongs to: what the checkpoint of one task may leave out as a whole.
JANUSFLOW_INLINE std::string_view part_of(std::string_view key) {
  for (const std::string_view part : {"language_model.lm_head.", "vision_und_enc_model.vision_tower.attn_pool."})
    if (key.starts_with(part)) return part;
  return key.substr(0, key.find('.'));
}

/// Throws Error naming the first tensor that has another shape than the config says, or that is missing from a part that is there: a
/// model is as large as its config says, so that is compared before room is made for one.
JANUSFLOW_INLINE void require_fits(const Checkpoint& checkpoint, const std::map<std::string, std::vector<Index>>& expected) {
  const CheckpointDifference difference = compare(checkpoint, expected);
  if (!difference.misshapen.empty()) fail(difference.misshapen.front());
  std::set<std::string_view> parts{"language_model"};  // that no task leaves out
  for (const RawTensor& tensor : checkpoint.tensors()) parts.insert(part_of(tensor.key));
  for (const std::string& key : difference.missing)
    if (parts.contains(part_of(key))) checkpoint.at(key);
}

}  // namespace detail

template <class P>
std::vector<std::string> known_keys(const JanusFlowConfig& config) {
  JanusFlow<P> model(config);
  std::vector<std::string> known;
  detail::add_known_keys(model, known);
  if (config.language.tie_word_embeddings) known.emplace_back(tied_head_key);
  return known;
}

template <class P>
std::vector<std::string> known_keys(const AutoencoderKLConfig& config) {
  AutoencoderEncoder<P> encoder(config);
  AutoencoderDecoder<P> decoder(config);
  std::vector<std::string> known;
  detail::add_known_keys(encoder, known);
  detail::add_known_keys(decoder, known);
  return known;
}

JANUSFLOW_INLINE ModelFiles ModelFiles::open(const std::filesystem::path& directory) {
  require_directory(directory, "model");
  ModelFiles files{directory, read_config<JanusFlowConfig>(directory / "config.json"), std::make_shared<Checkpoint>(directory)};
  require_known(*files.checkpoint, known_keys<Layout>(files.config));
  JanusFlow<Layout> layout(files.config);
  detail::require_fits(*files.checkpoint, expected_tensors(layout));
  return files;
}

JANUSFLOW_INLINE void ModelFiles::require_directory(const std::filesystem::path& directory, std::string_view what) {
  std::error_code error;
  require(std::filesystem::is_directory(directory, error), "the ", what, " directory ", directory.string(),
          std::filesystem::exists(directory, error) ? " is not a directory" : " does not exist");
}

JANUSFLOW_INLINE void ModelFiles::require_known(const Checkpoint& checkpoint, const std::vector<std::string>& keys) {
  const std::set<std::string, std::less<>> known(keys.begin(), keys.end());
  for (const RawTensor& tensor : checkpoint.tensors())
    require(known.contains(tensor.key) || tensor.key.ends_with(".rotary_emb.inv_freq"), tensor.name(),
            " is unknown: the config has no place for it");
}

JANUSFLOW_INLINE AutoencoderFiles AutoencoderFiles::open(const std::filesystem::path& directory) {
  ModelFiles::require_directory(directory, "VAE");
  AutoencoderFiles files{read_config<AutoencoderKLConfig>(directory / "config.json"), std::make_shared<Checkpoint>(directory)};
  ModelFiles::require_known(*files.checkpoint, known_keys<Layout>(files.config));
  AutoencoderEncoder<Layout> encoder(files.config);
  AutoencoderDecoder<Layout> decoder(files.config);
  auto expected = expected_tensors(encoder);
  expected.merge(expected_tensors(decoder));
  detail::require_fits(*files.checkpoint, expected);
  return files;
}

}  // namespace janusflow
