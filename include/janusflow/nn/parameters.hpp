// How a model keeps its parameters: the policies of inference.
#pragma once

#include <memory>
#include <variant>

#include "janusflow/nn/policies.hpp"
#include "janusflow/ops/attention.hpp"
#include "janusflow/ops/conv2d.hpp"
#include "janusflow/ops/depthwise_conv2d.hpp"
#include "janusflow/ops/embedding.hpp"
#include "janusflow/ops/linear.hpp"
#include "janusflow/simd/int4_dot.hpp"

namespace janusflow {

/// A table of rows [V, C] that stays where it lies, usually in the checkpoint's file map: only the rows looked up are read.
struct EmbeddingTable {
  Shape<2> shape;
  std::variant<TensorView<const float, 2>, TensorView<const bfloat16, 2>> rows;
  std::shared_ptr<const void> owner;  // keeps the rows alive

  EmbeddingTable() = default;
  EmbeddingTable(Index vocabulary, Index channels) : shape{{vocabulary, channels}} {}
};

/// Rows `ids` of the table as floats [T, C]; throws on an id outside.
inline Tensor<float, 2> embedding(std::span<const std::int32_t> ids, const EmbeddingTable& table) {
  return std::visit([&](const auto& rows) { return embedding(ids, rows); }, table.rows);
}

/// The parameters of a model that only runs: matrices and filters packed once in Dot's precision, vectors in float32.
template <class D>
struct Packed {
  using Dot = D;
  using Matrix = PackedMatrix<Dot>;
  using Filter = PackedFilter<Dot>;
  using Upsampling = UpsampleFilter<Dot>;
  using Depthwise = DepthwiseFilter<float>;
  using Table = EmbeddingTable;
  template <int R>
  using Array = Tensor<float, R>;
  /// The policy of parts that lose more by rounding than they would gain in time, and of those that bear 8 bits, but not 4.
  using Precise = Packed<D>;
  using AtLeast8Bits = Packed<D>;
};

/// 8-bit products (simd/int8_dot.hpp) in the linear layers of transformers and ConvNeXt blocks, where nearly all of the time and memory
/// goes; attention, convolutions and the parts that models mark with Precise stay in bfloat16.
struct Int8 : BFloat16 {
  using Matrix = PackedMatrix<simd::Int8Dot>;
  using Precise = BFloat16;
  using AtLeast8Bits = Int8;
};

/// The same with 4-bit weights (simd/int4_dot.hpp) in the transformers: for answers, which wait for the weights to be read.
struct Int4 : BFloat16 {
  using Matrix = PackedMatrix<simd::Int4Dot>;
  using Precise = BFloat16;
  using AtLeast8Bits = Int8;
};

}  // namespace janusflow
