// The weights of a model: one safetensors file, or several with their index.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "janusflow/io/safetensors.hpp"

namespace janusflow {

/// The tensors of a model on disk, found by their key. Mapped, not read: the numbers come from the disk when they are
/// converted.
class Checkpoint {
 public:
  /// What a directory is searched for, in this order: transformers' names, then diffusers'.
  static constexpr std::array<const char*, 4> file_names{"model.safetensors", "model.safetensors.index.json",
                                                         "diffusion_pytorch_model.safetensors",
                                                         "diffusion_pytorch_model.safetensors.index.json"};

  /// Opens a .safetensors file, a *.safetensors.index.json, or a directory that holds one of file_names. Throws Error,
  /// in one sentence that names the file (and key), for whatever is missing or not valid.
  explicit Checkpoint(const std::filesystem::path& path) {
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

  /// The file that was opened: the safetensors file, or the index.
  const std::filesystem::path& path() const { return path_; }
  /// The files that hold the tensors.
  const std::vector<SafetensorsFile>& files() const { return files_; }
  /// All tensors, file by file, in the order in which they lie there.
  const std::vector<RawTensor>& tensors() const { return tensors_; }
  bool contains(std::string_view key) const { return places_.contains(key); }

  /// The tensor of that key, or null.
  const RawTensor* find(std::string_view key) const {
    const auto found = places_.find(key);
    return found == places_.end() ? nullptr : &tensors_[found->second.tensor];
  }
  /// The tensor of that key; throws Error naming the key and the file.
  const RawTensor& at(std::string_view key) const {
    const RawTensor* tensor = find(key);
    require(tensor != nullptr, path_.string(), " has no tensor ", key);
    return *tensor;
  }
  /// Maps the tensor's pages at once: for what is about to be read whole.
  void prepare(const RawTensor& tensor) const {
    if (const auto found = places_.find(tensor.key); found != places_.end()) files_[found->second.file].prepare(tensor);
  }
  /// Drops the tensor's mapped pages from resident memory, once its numbers were converted or packed.
  void release(const RawTensor& tensor) const {
    if (const auto found = places_.find(tensor.key); found != places_.end()) files_[found->second.file].release(tensor);
  }
  /// The same of all tensors whose keys begin with `prefix`: where a stage ends whose weights the next one does not read. What is
  /// needed again comes back from the file by itself.
  void release(std::string_view prefix) const {
    for (const RawTensor& tensor : tensors_)
      if (tensor.key.starts_with(prefix)) release(tensor);
  }

 private:
  struct Place {
    std::size_t tensor, file;
  };

  static std::filesystem::path find_in_directory(const std::filesystem::path& directory) {
    std::error_code error;
    for (const char* name : file_names)
      if (std::filesystem::exists(directory / name, error)) return directory / name;
    for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
      require(entry.path().extension() != ".bin", directory.string(), " holds PyTorch weights only (",
              entry.path().filename().string(),
              "): convert them to safetensors first, for example with save_pretrained(..., safe_serialization=True)");
    }
    std::string names;
    for (const char* name : file_names) names += (names.empty() ? "" : ", ") + std::string(name);
    fail(directory.string(), " holds no weights: looked for ", names);
  }

  void add(const RawTensor& tensor, std::size_t file) {
    places_.emplace(tensor.key, Place{tensors_.size(), file});
    tensors_.push_back(tensor);
  }

  void open_index(const std::filesystem::path& index) {
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

  std::filesystem::path path_;
  std::vector<SafetensorsFile> files_;
  std::vector<RawTensor> tensors_;
  std::map<std::string, Place, std::less<>> places_;
};

}  // namespace janusflow
