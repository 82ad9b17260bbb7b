// Opening of checkpoints. Included by io/checkpoint.hpp.
#pragma once

#include <system_error>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/checkpoint.hpp"
#include "janusflow/io/impl/json.hpp"

namespace janusflow {

JANUSFLOW_INLINE Checkpoint::Checkpoint(const std::filesystem::path& path) {
  std::error_code error;  // a path that cannot even be looked at is reported by the file's own opening
  const std::filesystem::path file = std::filesystem::is_directory(path, error) ? find_in_directory(path) : path;
  if (file.extension() == ".json") {
    open_index(file);
  } else {
    files_.emplace_back(file);
    for (const RawTensor& tensor : files_.back().tensors()) add(tensor, 0);
  }
  path_ = file;
}

JANUSFLOW_INLINE const RawTensor* Checkpoint::find(std::string_view key) const {
  const auto found = places_.find(key);
  return found == places_.end() ? nullptr : &tensors_[found->second.tensor];
}

JANUSFLOW_INLINE const RawTensor& Checkpoint::at(std::string_view key) const {
  const RawTensor* tensor = find(key);
  require(tensor != nullptr, path_.string(), " has no tensor ", key);
  return *tensor;
}

JANUSFLOW_INLINE void Checkpoint::prepare(const RawTensor& tensor) const {
  if (const auto found = places_.find(tensor.key); found != places_.end()) files_[found->second.file].prepare(tensor);
}

JANUSFLOW_INLINE void Checkpoint::release(const RawTensor& tensor) const {
  if (const auto found = places_.find(tensor.key); found != places_.end()) files_[found->second.file].release(tensor);
}

JANUSFLOW_INLINE void Checkpoint::release(std::string_view prefix) const {
  for (const RawTensor& tensor : tensors_)
    if (tensor.key.starts_with(prefix)) release(tensor);
}

JANUSFLOW_INLINE std::filesystem::path Checkpoint::find_in_directory(const std::filesystem::path& directory) {
  std::error_code error;
  for (const char* name : file_names)
    if (name_exists(directory / name)) return directory / name;
  for (std::filesystem::directory_iterator entry(directory, error); entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    require(entry->path().extension() != ".bin", directory.string(), " holds PyTorch weights only (",
            entry->path().filename().string(),
            "): convert them to safetensors first, for example with save_pretrained(..., safe_serialization=True)");
  }
  std::string names;
  for (const char* name : file_names) names += (names.empty() ? "" : ", ") + std::string(name);
  fail(directory.string(), " holds no weights: looked for ", names);
}

JANUSFLOW_INLINE void Checkpoint::add(const RawTensor& tensor, std::size_t file) {
  places_.emplace(tensor.key, Place{tensors_.size(), file});
  tensors_.push_back(tensor);
}

JANUSFLOW_INLINE void Checkpoint::open_index(const std::filesystem::path& index) {
  const Json json = read_json_file(index);
  const JsonObject weight_map = JsonObject(json, index.string()).object("weight_map");
  std::map<std::string, std::vector<std::string>> keys_of;  // shard -> keys
  for (const auto& [key, value] : weight_map.json().items()) {
    const auto shard = weight_map.get<std::string>(key);
    // A shard lies beside its index. Anything else (another directory, an absolute path, the index itself) is not
    // followed.
    require(shard.ends_with(".safetensors") && shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos,
            weight_map.name(key), " must be the name of a .safetensors file in the same directory, not \"", shard,
            '"');
    keys_of[shard].push_back(key);
  }
  for (const auto& [shard, keys] : keys_of) {
    const auto path = index.parent_path() / shard;
    std::error_code error;
    require(std::filesystem::exists(path, error), index.string(), ": the shard ", shard, " is missing");
    const SafetensorsFile& file = files_.emplace_back(path);
    for (const auto& key : keys) require(file.find(key), weight_map.name(key), ": ", shard, " has no such tensor");
    for (const RawTensor& tensor : file.tensors())
      if (const auto mapped = weight_map.json().find(tensor.key);
          mapped != weight_map.json().end() && *mapped == shard)
        add(tensor, files_.size() - 1);
  }
}

}  // namespace janusflow
