// What a run has learned, as a directory in the published layout.
#pragma once

#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "janusflow/io/config.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/nn/layout.hpp"
#include "janusflow/train/optimizer.hpp"

namespace janusflow {

namespace detail {

inline void copy_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  if (std::filesystem::equivalent(from, to, error)) return;
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing, error);
  require(!error, "cannot copy ", from.string(), " to ", to.string(), ": ", error.message());
}

inline void make_directories(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  require(!error, "cannot make the directory ", path.string(), ": ", error.message());
}

/// The moving average of a tensor that trains or trained, else its value.
inline std::span<const float> published_numbers(const TrainedTensor& tensor, const TensorState& state) {
  return state.steps > 0 ? std::span<const float>(state.average) : std::span<const float>(tensor.value);
}

}  // namespace detail

/// Writes to `directory` what the programs read: the settings of `model` as they are there, model.safetensors of the tensors that
/// are JanusFlow's (the alignment head is not), f32 or bf16, and the autoencoder in vae/. Every file is replaced whole. Throws Error
/// where something cannot be read or written.
inline void publish_model(const std::filesystem::path& model, const std::filesystem::path& vae, const std::filesystem::path& directory,
                          std::span<const TrainedTensor> tensors, const Optimizer& optimizer, Dtype dtype) {
  detail::make_directories(directory / "vae");
  Json config = read_json_file(model / "config.json");
  JanusFlow<Layout> layout(JanusFlowConfig::from_json(JsonObject(config, (model / "config.json").string())));
  const auto keys = parameter_keys(layout);
  const std::set<std::string> published(keys.begin(), keys.end());
  std::vector<SafetensorsEntry> entries;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!published.contains(tensors[i].name)) continue;
    const auto numbers = detail::published_numbers(tensors[i], optimizer.states()[i]);
    auto entry = safetensors_entry(tensors[i].name, TensorView<const float, 1>(numbers.data(), Shape{std::ssize(numbers)}), dtype);
    entry.shape = tensors[i].shape;
    entries.push_back(std::move(entry));
  }
  write_safetensors(directory / "model.safetensors", entries, {{"format", "pt"}});
  config["torch_dtype"] = dtype == Dtype::bf16 ? "bfloat16" : "float32";
  write_json_file(directory / "config.json", config);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "processor_config.json", "preprocessor_config.json"})
    if (std::filesystem::exists(model / name)) detail::copy_file(model / name, directory / name);
  for (const auto& entry : std::filesystem::directory_iterator(vae))
    if (entry.is_regular_file()) detail::copy_file(entry.path(), directory / "vae" / entry.path().filename());
}

}  // namespace janusflow
