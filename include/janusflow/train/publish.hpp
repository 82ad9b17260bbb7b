// What a run has learned, as a directory in the published layout.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "janusflow/io/safetensors.hpp"
#include "janusflow/train/optimizer.hpp"

namespace janusflow {

/// What write_safetensors needs to write tensors as they are published: the moving average of those that train or trained (it has
/// gone on in stages that freeze them), f32 or rounded to bf16. key_of(name) is the key, or empty for a tensor that is not written.
template <class KeyOf>
std::vector<SafetensorsEntry> published_entries(std::span<const TrainedTensor> tensors, const Optimizer& optimizer, Dtype dtype, KeyOf&& key_of) {
  std::vector<SafetensorsEntry> entries;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::string key = key_of(tensors[i].name);
    if (key.empty()) continue;
    const TensorState& state = optimizer.states()[i];
    const std::span<const float> numbers = state.steps > 0 ? std::span<const float>(state.average) : std::span<const float>(tensors[i].value);
    auto entry = safetensors_entry(key, TensorView<const float, 1>(numbers.data(), Shape{std::ssize(numbers)}), dtype);
    entry.shape = tensors[i].shape;
    entries.push_back(std::move(entry));
  }
  return entries;
}

namespace detail {
/// Replaces the file `to` by a copy of `from`, unless they are one. Throws Error where that cannot be read or written.
void copy_file(const std::filesystem::path& from, const std::filesystem::path& to);
}  // namespace detail

/// Copies what of a model's directory says how texts and pictures are prepared for it.
void copy_processor(const std::filesystem::path& model, const std::filesystem::path& directory);

/// Of the files of a model's directory that decide how a text becomes ids.
std::uint64_t tokenizer_hash(const std::filesystem::path& model);

/// Writes to `directory` what the programs read: the settings of `model` as they are there, model.safetensors of the tensors that
/// are JanusFlow's (the alignment head is not), f32 or bf16, and the autoencoder in vae/. Every file is replaced whole. Throws Error
/// where something cannot be read or written. `wanted`, where given, says which keys are written.
void publish_model(const std::filesystem::path& model, const std::filesystem::path& vae, const std::filesystem::path& directory,
                   std::span<const TrainedTensor> tensors, const Optimizer& optimizer, Dtype dtype,
                   const std::function<bool(const std::string&)>& wanted = {});

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/publish.hpp"
#endif
