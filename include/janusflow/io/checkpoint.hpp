// The weights of a model: one safetensors file, or several with their index.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
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
  explicit Checkpoint(const std::filesystem::path& path);

  /// The file that was opened: the safetensors file, or the index.
  const std::filesystem::path& path() const { return path_; }
  /// The files that hold the tensors.
  const std::vector<SafetensorsFile>& files() const { return files_; }
  /// All tensors, file by file, in the order in which they lie there.
  const std::vector<RawTensor>& tensors() const { return tensors_; }
  bool contains(std::string_view key) const { return places_.contains(key); }

  /// The tensor of that key, or null.
  const RawTensor* find(std::string_view key) const;
  /// The tensor of that key; throws Error naming the key and the file.
  const RawTensor& at(std::string_view key) const;
  /// Maps the tensor's pages at once: for what is about to be read whole.
  void prepare(const RawTensor& tensor) const;
  /// Drops the tensor's mapped pages from resident memory, once its numbers were converted or packed.
  void release(const RawTensor& tensor) const;
  /// The same of all tensors whose keys begin with `prefix`: where a stage ends whose weights the next one does not read. What is
  /// needed again comes back from the file by itself.
  void release(std::string_view prefix) const;

 private:
  struct Place {
    std::size_t tensor, file;
  };

  static std::filesystem::path find_in_directory(const std::filesystem::path& directory);

  void add(const RawTensor& tensor, std::size_t file);

  void open_index(const std::filesystem::path& index);

  std::filesystem::path path_;
  std::vector<SafetensorsFile> files_;
  std::vector<RawTensor> tensors_;
  std::map<std::string, Place, std::less<>> places_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/io/impl/checkpoint.hpp"
#endif
