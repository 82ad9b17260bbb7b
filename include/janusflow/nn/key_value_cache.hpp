// What a language model remembers of a sequence: every layer's keys and values.
#pragma once

#include <vector>

#include "janusflow/ops/attention.hpp"

namespace janusflow {

/// Keys and values [S, kv_heads * head_dim] of one sequence for every layer. Grows by a
/// sixteenth: copying costs little beside the products of so many tokens, and memory is what is short.
class KeyValueCache {
 public:
  KeyValueCache(Index layers, Index features) : features_(features), layers_(static_cast<std::size_t>(layers)) {}

  /// Positions remembered by every layer.
  Index length() const { return layers_.empty() ? 0 : layers_.back().length; }

  /// The first `count` positions of a layer.
  Past past(Index layer, Index count) const {
    const Layer& l = layers_[static_cast<std::size_t>(layer)];
    require(count <= l.length, "key-value cache: ", count, " positions asked for, ", l.length, " remembered");
    const TensorView<const float, 2> keys = l.keys, values = l.values;
    if (count == 0) return {};
    return {keys.slice(0, count), values.slice(0, count)};
  }

  /// Appends keys and values [T, features] to a layer.
  void append(Index layer, TensorView<const float, 2> keys, TensorView<const float, 2> values) {
    Layer& l = layers_[static_cast<std::size_t>(layer)];
    require(keys.shape == values.shape && keys.shape[1] == features_, "key-value cache: keys ", keys.shape, " and values ",
            values.shape, " must be [T, ", features_, "]");
    reserve(l, l.length + keys.shape[0]);
    for (Index t = 0; t < keys.shape[0]; ++t, ++l.length) {
      std::copy_n(keys.row(t), features_, l.keys.data() + l.length * features_);
      std::copy_n(values.row(t), features_, l.values.data() + l.length * features_);
    }
  }

  /// Forgets all positions from `length` on.
  void truncate(Index length) {
    for (Layer& l : layers_) l.length = std::min(l.length, length);
  }

 private:
  struct Layer {
    Tensor<float, 2> keys, values;
    Index length = 0;
  };

  void reserve(Layer& layer, Index needed) {
    if (needed <= (layer.keys.empty() ? 0 : layer.keys.shape()[0])) return;
    // The first block fits exactly: a prompt's prefix is remembered once and never grows.
    const Index capacity = layer.length == 0 ? needed : std::max(needed, layer.length + std::max<Index>(32, layer.length / 16));
    for (Tensor<float, 2>* held : {&layer.keys, &layer.values}) {
      Tensor<float, 2> larger(Shape{capacity, features_});
      std::copy_n(held->data(), layer.length * features_, larger.data());
      *held = std::move(larger);
    }
    if (layer.length > 0) BufferPool::instance().release();  // nobody asks for blocks of the old size again
  }

  Index features_;
  std::vector<Layer> layers_;
};

}  // namespace janusflow
