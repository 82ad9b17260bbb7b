// The rows of a feature cache, written and read. Included by train/feature_cache.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/train/feature_cache.hpp"

namespace janusflow {

JANUSFLOW_INLINE std::uint64_t weights_hash(const Checkpoint& checkpoint, std::string_view prefix) {
  std::uint64_t hash = 0;
  for (const RawTensor& tensor : checkpoint.tensors()) {
    if (!tensor.key.starts_with(prefix)) continue;
    hash = content_hash(tensor.key, hash);
    hash = content_hash(std::as_bytes(std::span(tensor.shape)), hash + static_cast<std::uint64_t>(tensor.dtype));
    hash = content_hash(tensor.bytes, hash);
  }
  return hash;
}

JANUSFLOW_INLINE FeatureCache::FeatureCache(std::filesystem::path directory, std::string kind, std::uint64_t encoder, Index size,
                                            std::size_t part_bytes, int writer)
    : directory_(std::move(directory)),
      stem_(kind + '-' + hex(content_hash(std::to_string(size), encoder)) + '-'),
      size_(size),
      rows_a_part_(std::max<std::size_t>(1, part_bytes / (sizeof(float) * static_cast<std::size_t>(size)))),
      writer_(writer) {
  make_directories(directory_);
  refresh();
}

JANUSFLOW_INLINE void FeatureCache::refresh() {
  for (const auto& path : paths_in(directory_)) {
    const std::string name = path.filename().string();
    if (!name.starts_with(stem_) || !name.ends_with(".safetensors")) continue;
    if (std::none_of(parts_.begin(), parts_.end(), [&](const SafetensorsFile& part) { return part.path() == path; })) open(path);
  }
}

JANUSFLOW_INLINE void FeatureCache::add(std::uint64_t picture, std::span<const float> row) {
  require(std::ssize(row) == size_, "feature cache: a row of ", row.size(), " numbers, not ", size_);
  if (contains(picture)) return;
  pending_places_.emplace(picture, pending_keys_.size());
  pending_keys_.push_back(picture);
  pending_checks_.push_back(content_hash(std::as_bytes(row)));
  pending_rows_.insert(pending_rows_.end(), row.begin(), row.end());
  if (pending_keys_.size() >= rows_a_part_) flush();
}

JANUSFLOW_INLINE void FeatureCache::flush() {
  if (pending_keys_.empty()) return;
  const auto count = static_cast<Index>(pending_keys_.size());
  std::string digits = std::to_string(writer_);
  digits.insert(0, 6 - std::min<std::size_t>(6, digits.size()), '0');
  const auto content = content_hash(std::as_bytes(std::span(pending_checks_)), content_hash(std::as_bytes(std::span(pending_keys_))));
  const auto path = directory_ / (stem_ + hex(content) + '-' + digits + ".safetensors");
  using Words = TensorView<const std::uint64_t, 1>;
  const SafetensorsEntry entries[] = {
      safetensors_entry("pictures", Words(pending_keys_.data(), Shape{count})),
      safetensors_entry("checks", Words(pending_checks_.data(), Shape{count})),
      safetensors_entry("rows", TensorView<const float, 2>(pending_rows_.data(), Shape{count, size_}))};
  write_safetensors(path, entries);
  pending_keys_.clear();
  pending_checks_.clear();
  pending_rows_.clear();
  pending_places_.clear();
  open(path);
}

JANUSFLOW_INLINE void FeatureCache::copy(std::uint64_t picture, float* out) const {
  if (const auto pending = pending_places_.find(picture); pending != pending_places_.end()) {
    std::copy_n(pending_rows_.begin() + static_cast<std::ptrdiff_t>(pending->second) * size_, size_, out);
    return;
  }
  const auto found = places_.find(picture);
  require(found != places_.end(), directory_.string(), " has nothing for the picture ", hex(picture));
  const auto [part, row] = found->second;
  const SafetensorsFile& file = parts_[part];
  file.at("rows").copy_to(out, static_cast<Index>(row) * size_, size_);
  std::uint64_t check = 0;
  file.at("checks").copy_to(&check, static_cast<Index>(row), 1);
  require(content_hash(std::as_bytes(std::span(out, static_cast<std::size_t>(size_)))) == check, file.path().string(),
          " is damaged: the features of the picture ", hex(picture), " are not those that were written; delete it, and they are computed again");
}

JANUSFLOW_INLINE void FeatureCache::open(const std::filesystem::path& path) {
  const SafetensorsFile& file = parts_.emplace_back(path);
  const RawTensor& keys = file.at("pictures");
  const Index count = keys.size();
  const std::array<Index, 1> list{count};
  const std::array<Index, 2> table{count, size_};
  keys.require_shape(list);
  file.at("checks").require_shape(list);
  file.at("rows").require_shape(table);
  require(file.at("rows").dtype == Dtype::f32, file.at("rows").name(), " must be F32");
  std::vector<std::uint64_t> pictures(static_cast<std::size_t>(count));
  keys.copy_to(pictures.data());
  for (std::size_t row = 0; row < pictures.size(); ++row) places_.emplace(pictures[row], Place{parts_.size() - 1, row});
}

}  // namespace janusflow
