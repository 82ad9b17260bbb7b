// What frozen encoders make of pictures, computed once: rows of numbers on disk, found by the content of picture and encoder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "janusflow/io/checkpoint.hpp"
#include "janusflow/train/content_hash.hpp"

namespace janusflow {

/// Of all tensors of a checkpoint whose key begins with `prefix`: their names, shapes and bytes.
std::uint64_t weights_hash(const Checkpoint& checkpoint, std::string_view prefix = {});

/// A directory of rows of `size` floats by a picture's hash. Rows come in parts: files of their own, written under another name and
/// renamed, so that work which was interrupted is kept up to the last part. A part is named by what is in it: processes that write into
/// one directory at the same time replace nothing of each other's. Other encoders' parts lie beside them untouched.
class FeatureCache {
 public:
  /// Opens what is there of this kind (a word, such as "latents"), this encoder and this size; makes the directory where there is
  /// none. Parts that it writes have the number of their writer, a rank, in their names. Throws Error for a part that is not what its
  /// name says, and where the directory cannot be read.
  FeatureCache(std::filesystem::path directory, std::string kind, std::uint64_t encoder, Index size, std::size_t part_bytes = std::size_t{64} << 20,
               int writer = 0);
  FeatureCache(FeatureCache&&) = default;

  bool contains(std::uint64_t picture) const { return places_.contains(picture) || pending_places_.contains(picture); }
  std::size_t count() const { return places_.size() + pending_places_.size(); }

  /// Keeps a row; on disk after flush(), which comes by itself when a part is full. What is kept already is left as it is.
  void add(std::uint64_t picture, std::span<const float> row);

  /// Brings all rows to the disk.
  void flush();

  /// Takes up the parts that others have written since.
  void refresh();

  /// Writes the row of a picture to `out`, verified. Throws Error when it is damaged, naming the file, or not there.
  void copy(std::uint64_t picture, float* out) const;

 private:
  struct Place {
    std::size_t part, row;
  };

  void open(const std::filesystem::path& path);

  std::filesystem::path directory_;
  std::string stem_;
  Index size_;
  std::size_t rows_a_part_;
  int writer_;
  std::vector<SafetensorsFile> parts_;
  std::unordered_map<std::uint64_t, Place> places_;
  std::vector<std::uint64_t> pending_keys_, pending_checks_;
  std::vector<float> pending_rows_;
  std::unordered_map<std::uint64_t, std::size_t> pending_places_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/feature_cache.hpp"
#endif
