// What model_files.hpp asks of the models: their parameters' keys. Included by pipeline/model_files.hpp.
#pragma once

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

}  // namespace janusflow
