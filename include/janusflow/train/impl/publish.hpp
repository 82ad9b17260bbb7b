// The writing of a trained model's directory. Included by train/publish.hpp.
#pragma once

#include <set>
#include <string>
#include <system_error>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/config.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/nn/layout.hpp"
#include "janusflow/train/publish.hpp"

namespace janusflow {

namespace detail {

JANUSFLOW_INLINE void copy_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  if (std::filesystem::equivalent(from, to, error)) return;
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing, error);
  require(!error, "cannot copy ", from.string(), " to ", to.string(), ": ", error.message());
}

JANUSFLOW_INLINE void make_directories(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  require(!error, "cannot make the directory ", path.string(), ": ", error.message());
}

}  // namespace detail

JANUSFLOW_INLINE void copy_processor(const std::filesystem::path& model, const std::filesystem::path& directory) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "processor_config.json", "preprocessor_config.json"})
    if (std::filesystem::exists(model / name)) detail::copy_file(model / name, directory / name);
}

JANUSFLOW_INLINE void publish_model(
    const std::filesystem::path& model, const std::filesystem::path& vae, const std::filesystem::path& directory,
    std::span<const TrainedTensor> tensors, const Optimizer& optimizer, Dtype dtype, const std::function<bool(const std::string&)>& wanted) {
  detail::make_directories(directory / "vae");
  Json config = read_json_file(model / "config.json");
  JanusFlow<Layout> layout(JanusFlowConfig::from_json(JsonObject(config, (model / "config.json").string())));
  const auto keys = parameter_keys(layout);
  const std::set<std::string> published(keys.begin(), keys.end());
  const auto entries = published_entries(tensors, optimizer, dtype, [&](const std::string& name) {
    return published.contains(name) && (!wanted || wanted(name)) ? name : std::string();
  });
  write_safetensors(directory / "model.safetensors", entries, {{"format", "pt"}});
  config["torch_dtype"] = dtype == Dtype::bf16 ? "bfloat16" : "float32";
  write_json_file(directory / "config.json", config);
  copy_processor(model, directory);
  for (const auto& entry : std::filesystem::directory_iterator(vae))
    if (entry.is_regular_file()) detail::copy_file(entry.path(), directory / "vae" / entry.path().filename());
}

}  // namespace janusflow
