// What a language model remembers of a sequence: every layer's keys and values.
#pragma once

#include <type_traits>
#include <vector>

#include "janusflow/ops/past.hpp"

namespace janusflow {

/// Keys and values [S, kv_heads * head_dim] of one sequence for every layer, kept as T: float, or bfloat16 where attention's products
/// round to it anyway.
class KeyValueCache {
 public:
  template <class T>
  KeyValueCache(Index layers, Index kv_heads, Index head_dim, std::type_identity<T>) : features_(kv_heads * head_dim) {
    for (Index i = 0; i < layers; ++i) layers_.emplace_back(std::in_place_type<KeysAndValues<T>>, kv_heads, head_dim);
  }

  /// Positions remembered by every layer.
  Index length() const { return layers_.empty() ? 0 : length_of(layers_.back()); }

  /// The first `count` positions of a layer; throws unless it remembers as many.
  Past past(Index layer, Index count) const {
    const RememberedLayer& l = layers_[static_cast<std::size_t>(layer)];
    require(count >= 0 && count <= length_of(l), "key-value cache: ", count, " positions asked for, ", length_of(l), " remembered");
    return {&l, count};
  }

  /// Appends keys and values [T, features], float or bfloat16, to a layer.
  template <class N>
  void append(Index layer, TensorView<const N, 2> keys, TensorView<const N, 2> values) {
    require(keys.shape == values.shape && keys.shape[1] == features_, "key-value cache: keys ", keys.shape, " and values ",
            values.shape, " must be [T, ", features_, "]");
    std::visit([&](auto& l) { l.keys.append(keys), l.values.append(values); }, layers_[static_cast<std::size_t>(layer)]);
  }

  /// Forgets all positions from `length` on.
  void truncate(Index length) {
    for (RememberedLayer& layer : layers_) std::visit([&](auto& l) { l.keys.truncate(length), l.values.truncate(length); }, layer);
  }

 private:
  static Index length_of(const RememberedLayer& layer) {
    return std::visit([](const auto& l) { return l.values.length(); }, layer);
  }

  Index features_;
  std::vector<RememberedLayer> layers_;
};

}  // namespace janusflow
