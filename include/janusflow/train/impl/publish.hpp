// The writing of a trained model's directory. Included by train/publish.hpp.
#pragma once

#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/config.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/nn/layout.hpp"
#include "janusflow/train/content_hash.hpp"
#include "janusflow/train/publish.hpp"

namespace janusflow {

namespace detail {

JANUSFLOW_INLINE void copy_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  if (std::filesystem::equivalent(from, to, error)) return;
  const MappedFile source(from);
  write_atomically(to, [&](AtomicFile& file) { file.write(source.bytes()); });
}

/// The files of a model's directory, as far as they are there, that decide how a text becomes ids.
JANUSFLOW_INLINE std::vector<std::filesystem::path> tokenizer_files(const std::filesystem::path& model) {
  std::vector<std::filesystem::path> paths;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "processor_config.json"})
    if (name_exists(model / name)) paths.push_back(model / name);
  return paths;
}

}  // namespace detail

JANUSFLOW_INLINE void copy_processor(const std::filesystem::path& model, const std::filesystem::path& directory) {
  auto paths = detail::tokenizer_files(model);
  if (const auto pictures = model / "preprocessor_config.json"; name_exists(pictures)) paths.push_back(pictures);
  for (const auto& path : paths) detail::copy_file(path, directory / path.filename());
}

JANUSFLOW_INLINE std::uint64_t tokenizer_hash(const std::filesystem::path& model) {
  std::uint64_t hash = 0;
  for (const auto& path : detail::tokenizer_files(model))
    hash = content_hash(MappedFile(path).bytes(), content_hash(path.filename().string(), hash));
  return hash;
}

JANUSFLOW_INLINE void publish_model(
    const std::filesystem::path& model, const std::filesystem::path& vae, const std::filesystem::path& directory,
    std::span<const TrainedTensor> tensors, const Optimizer& optimizer, Dtype dtype, const std::function<bool(const std::string&)>& wanted) {
  make_directories(directory / "vae");
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
  std::error_code none;
  for (const auto& path : paths_in(vae))
    if (std::filesystem::is_regular_file(path, none)) detail::copy_file(path, directory / "vae" / path.filename());
}

}  // namespace janusflow
