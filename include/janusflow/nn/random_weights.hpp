// Random parameters in memory: models of any size to measure and to test with, without a file.
#pragma once

#include <random>

#include "janusflow/nn/parameters.hpp"
#include "janusflow/nn/visit.hpp"

namespace janusflow {

namespace detail {

/// Numbers, uniform in [-1, 1], that rows of weights are cut from: drawing billions one by one would take minutes.
class RandomPool {
 public:
  explicit RandomPool(std::uint32_t seed) : values_(Shape{Index{1} << 20}) {
    std::mt19937 twister(seed);
    for (float& value : values_) value = static_cast<float>(twister()) * 0x1p-31f - 1.0f;
  }
  /// `count` numbers times `scale`, different ones for every index.
  Tensor<float, 1> row(Index index, Index count, float scale) const {
    Tensor<float, 1> row(Shape{count});
    const Index mask = values_.size() - 1;
    const Index start = index * 40503 + count * 9973;
    for (Index i = 0; i < count; ++i) row.data()[i] = scale * values_.data()[(start + i) & mask];
    return row;
  }

 private:
  Tensor<float, 1> values_;
};

inline float unit_scale(Index fan_in) { return std::sqrt(3.0f / static_cast<float>(fan_in)); }

template <class Dot>
void randomize(PackedMatrix<Dot>& matrix, const RandomPool& pool, Index salt) {
  constexpr Index rows_at_once = 1024;
  Tensor<float, 2> rows(Shape{std::min(matrix.out_features(), rows_at_once), matrix.in_features()});
  parallel_for(rows.shape()[0], [&](Index n) {
    const auto row = pool.row(salt + n, matrix.in_features(), unit_scale(matrix.in_features()));
    std::copy(row.begin(), row.end(), rows.data() + n * matrix.in_features());
  });
  matrix.pack_rows([&](Index n) { return rows.data() + n % rows_at_once * matrix.in_features(); });
}
template <class Filter>
  requires requires(Filter& filter, TensorView<const float, 4> weight) { filter.pack(weight); }
void randomize(Filter& filter, const RandomPool& pool, Index salt) {
  Tensor<float, 4> weight(filter.shape());
  const Index fan_in = weight.size() / weight.shape()[0];
  for (Index o = 0; o < weight.shape()[0]; ++o) {
    const auto row = pool.row(salt + o, fan_in, unit_scale(fan_in));
    std::copy(row.begin(), row.end(), weight.data() + o * fan_in);
  }
  filter.pack(std::as_const(weight).view());
}
inline void randomize(DepthwiseFilter<float>& filter, const RandomPool& pool, Index salt) {
  for (Index t = 0; t < filter.taps.shape()[0]; ++t) {
    const auto row = pool.row(salt + t, filter.channels(), unit_scale(filter.taps.shape()[0]));
    std::copy(row.begin(), row.end(), filter.taps.data() + t * filter.channels());
  }
}
template <int R>
void randomize(Tensor<float, R>& tensor, const RandomPool& pool, Index salt) {  // norms' weights and biases: about 1
  const auto row = pool.row(salt, tensor.size(), 0.1f);
  for (Index i = 0; i < tensor.size(); ++i) tensor.data()[i] = 1.0f + row.data()[i];
}
inline void randomize(EmbeddingTable& table, const RandomPool& pool, Index salt) {
  auto rows = std::make_shared<Tensor<bfloat16, 2>>(table.shape);
  parallel_for(table.shape[0], [&](Index v) {
    const auto row = pool.row(salt + v, table.shape[1], 1.0f);
    for (Index c = 0; c < table.shape[1]; ++c) (*rows)(v, c) = bfloat16(row.data()[c]);
  });
  table.rows = TensorView<const bfloat16, 2>(std::as_const(*rows));
  table.owner = rows;
}

}  // namespace detail

/// Fills every parameter of `module` with numbers that keep activations of order one. Deterministic for a seed.
template <class M>
void randomize(M& module, std::uint32_t seed) {
  const detail::RandomPool pool(seed);
  Index salt = 0;
  for_each_parameter(module, [&](const std::string&, auto& parameter) { detail::randomize(parameter, pool, salt += 131071); });
}

}  // namespace janusflow
