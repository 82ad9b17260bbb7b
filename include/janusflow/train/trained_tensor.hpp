// A parameter as the optimiser sees it: numbers, their gradient, and whether they are to change.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "janusflow/core/parallel.hpp"
#include "janusflow/simd/rows.hpp"

namespace janusflow {

/// One parameter of a model in training. `value` and `gradient` are of one size (a frozen tensor may have no gradient) and belong to
/// the model.
struct TrainedTensor {
  std::string name;  // the checkpoint's key
  std::vector<Index> shape;
  std::span<float> value, gradient;
  bool trains = true;
  float rate_factor = 1;  // multiplies every learning rate for this tensor
};

namespace detail {

/// Numbers that one thread takes at a time; what is summed is summed within and then over such pieces.
inline constexpr Index optimizer_piece = Index{1} << 14;

/// A stretch of one tensor.
struct TensorPiece {
  std::size_t tensor;
  Index begin, end;
};

/// The pieces of all tensors that `wanted(i)` names, in order: a function of the sizes alone.
template <class Wanted>
std::vector<TensorPiece> pieces_of(std::span<const TrainedTensor> tensors, Wanted&& wanted) {
  std::vector<TensorPiece> pieces;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!wanted(i)) continue;
    const Index size = std::ssize(tensors[i].value);
    for (Index begin = 0; begin < size; begin += optimizer_piece)
      pieces.push_back({i, begin, std::min(size, begin + optimizer_piece)});
  }
  return pieces;
}

}  // namespace detail

/// The Euclidean norm of all gradients of the tensors that train, as one vector. The same bits for any number of threads. Squares and
/// sums of 16,384 of them are in float32, within 1e-4 of the norm; numbers below 1e-19, whose squares underflow, may be left out. Throws
/// Error naming the first tensor with a NaN or an infinity, or with a gradient of another size than its value.
inline double gradient_norm(std::span<const TrainedTensor> tensors) {
  for (const TrainedTensor& t : tensors)
    require(!t.trains || t.gradient.size() == t.value.size(), "optimizer: ", t.name, " has ", t.value.size(), " numbers but ",
            t.gradient.size(), " gradients");
  const auto pieces = detail::pieces_of(tensors, [&](std::size_t i) { return tensors[i].trains; });
  std::vector<double> sums(pieces.size());
  parallel_for(std::ssize(pieces), [&](Index p) {
    const auto& [tensor, begin, end] = pieces[static_cast<std::size_t>(p)];
    const float* g = tensors[tensor].gradient.data() + begin;
    sums[static_cast<std::size_t>(p)] =
        static_cast<double>(simd::sum(end - begin, 0.0f, [](simd::Batch x) { return x * x; }, g));
  });
  double total = 0;
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    if (!std::isfinite(sums[p])) {  // a NaN, an infinity, or numbers whose squares leave float
      const TrainedTensor& t = tensors[pieces[p].tensor];
      for (const float g : t.gradient) require(std::isfinite(g), "the gradient of ", t.name, " holds NaN or infinity");
      double sum = 0;
      for (Index i = pieces[p].begin; i < pieces[p].end; ++i)
        sum += static_cast<double>(t.gradient[static_cast<std::size_t>(i)]) * static_cast<double>(t.gradient[static_cast<std::size_t>(i)]);
      sums[p] = sum;
    }
    total += sums[p];
  }
  return std::sqrt(total);
}

/// Throws Error naming the first tensor that trains and holds NaN or infinity.
inline void require_finite(std::span<const TrainedTensor> tensors) {
  const auto pieces = detail::pieces_of(tensors, [&](std::size_t i) { return tensors[i].trains; });
  std::vector<char> finite(pieces.size());
  parallel_for(std::ssize(pieces), [&](Index p) {
    const auto& [tensor, begin, end] = pieces[static_cast<std::size_t>(p)];
    // x * 0 is 0 for every number, and NaN for NaN and infinity.
    finite[static_cast<std::size_t>(p)] =
        simd::sum(end - begin, 0.0f, [](simd::Batch x) { return x * simd::Batch(0.0f); }, tensors[tensor].value.data() + begin) == 0.0f;
  });
  for (std::size_t p = 0; p < pieces.size(); ++p)
    require(finite[p] != 0, tensors[pieces[p].tensor].name, " holds NaN or infinity");
}

}  // namespace janusflow
