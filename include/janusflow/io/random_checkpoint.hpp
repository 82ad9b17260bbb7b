// Random weights as a checkpoint file: a model of any size to measure and to test with, written without being held in memory.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/io/expected_tensors.hpp"
#include "janusflow/nn/random_weights.hpp"

namespace janusflow {

namespace detail {

/// What a parameter's numbers are uniform around, and how far from it.
struct RandomRange {
  float centre, scale;
};
inline RandomRange random_range(std::string_view, const LaidOut& parameter) {  // matrices and filters: outputs as large as inputs
  return {0.0f, unit_scale(checked_product(parameter.shape) / parameter.shape.front())};
}
inline RandomRange random_range(std::string_view, const Layout::Table&) { return {0.0f, 1.0f}; }
template <int R>
RandomRange random_range(std::string_view key, const Layout::Sized<R>&) {
  const bool of_norm = R == 1 && key.ends_with(".weight");
  if (of_norm) return {1.0f, 0.1f};
  return {0.0f, key.ends_with(".weight") || key.ends_with(".bias") ? 0.1f : 0.5f};  // else an embedding
}

/// Hands the rows [rows, columns] of a parameter over, a block at a time.
inline void write_random_rows(const RandomPool& pool, Index salt, Index rows, Index columns, RandomRange range, Dtype dtype,
                              const SafetensorsEntry::Sink& put) {
  const Index at_once = std::max<Index>(1, (Index{1} << 20) / columns);
  Tensor<float, 2> block(Shape{std::min(rows, at_once), columns});
  std::vector<bfloat16> rounded(dtype == Dtype::bf16 ? static_cast<std::size_t>(block.size()) : 0);
  for (Index begin = 0; begin < rows; begin += at_once) {
    const Index count = std::min(at_once, rows - begin);
    parallel_chunks(count, std::max<Index>(1, 16384 / columns), [&](Index first, Index last) {
      for (Index r = first; r < last; ++r) {
        const auto row = pool.row(salt + begin + r, columns, range.scale);
        for (Index c = 0; c < columns; ++c) {
          const float value = range.centre + row.data()[c];
          if (rounded.empty()) block(r, c) = value;
          else rounded[static_cast<std::size_t>(r * columns + c)] = bfloat16(value);
        }
      }
    });
    const auto size = static_cast<std::size_t>(count * columns);
    if (rounded.empty()) put(std::as_bytes(std::span(block.data(), size)));
    else put(std::as_bytes(std::span(rounded.data(), size)));
  }
}

}  // namespace detail

/// What write_safetensors needs to write every parameter of `module`, Model<Layout>(config), as `dtype`, f32 or bf16: random
/// numbers that keep activations of order one. Norms have weights about 1, biases are small. The same seed gives the same bytes.
template <class M>
std::vector<SafetensorsEntry> random_entries(M& module, std::uint32_t seed, Dtype dtype) {
  require(dtype == Dtype::f32 || dtype == Dtype::bf16, "random weights are written as F32 or BF16, not ", dtype_name(dtype));
  const auto pool = std::make_shared<const detail::RandomPool>(seed);
  std::vector<SafetensorsEntry> entries;
  Index salt = 0;
  for_each_parameter(module, [&](const std::string& key, auto& parameter) {
    const std::vector<Index> shape = parameter.shape;
    const Index rows = shape.front(), columns = checked_product(shape) / rows;
    const auto range = detail::random_range(key, parameter);
    entries.push_back({key, dtype, shape, [=](const SafetensorsEntry::Sink& put) {
                         detail::write_random_rows(*pool, salt, rows, columns, range, dtype, put);
                       }});
    salt += 0x9E3779B1;  // far apart in the pool, whatever the number of rows
  });
  return entries;
}

}  // namespace janusflow
