// What a sample teaches, and how many of each kind a step takes.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <string_view>

#include "janusflow/core/shape.hpp"

namespace janusflow {

enum class Task { understanding, generation, text };
inline constexpr std::size_t num_tasks = 3;
inline constexpr std::array<std::string_view, num_tasks> task_names{"understanding", "generation", "text"};

/// A number for each task.
template <class T>
struct PerTask {
  std::array<T, num_tasks> values{};

  T& operator[](Task task) { return values[static_cast<std::size_t>(task)]; }
  const T& operator[](Task task) const { return values[static_cast<std::size_t>(task)]; }
  bool operator==(const PerTask&) const = default;
  PerTask& operator+=(const PerTask& more) {
    for (std::size_t task = 0; task < num_tasks; ++task) values[task] += more.values[task];
    return *this;
  }
  T sum() const { return std::accumulate(values.begin(), values.end(), T()); }
};

/// Samples of each task.
using TaskCounts = PerTask<Index>;

/// The proportions of the tasks; only their ratios count.
struct TaskMix : PerTask<double> {
  /// How many of the first `samples` samples belong to each task: never two off the proportions, and never falling with `samples`. Each
  /// task takes its share of what those before it have left: both that share and the rest then grow by one at most, and never fall.
  TaskCounts first(Index samples) const {
    TaskCounts counts;
    Index left = samples;
    for (std::size_t task = 0; task < num_tasks && left > 0; ++task) {
      const double share = values[task] / std::accumulate(values.begin() + static_cast<std::ptrdiff_t>(task), values.end(), 0.0);
      counts.values[task] = static_cast<Index>(std::floor(static_cast<double>(left) * share + 1e-6));
      left -= counts.values[task];
    }
    return counts;
  }
};

}  // namespace janusflow
