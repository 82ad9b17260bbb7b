// What a sample teaches, and how many of each kind a step takes.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
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
};

/// Samples of each task.
using TaskCounts = PerTask<Index>;

/// The proportions of the tasks; only their ratios count.
struct TaskMix : PerTask<double> {
  double sum() const { return values[0] + values[1] + values[2]; }

  /// How many of the first `samples` samples belong to each task: never one off the proportions, and never falling with `samples`.
  TaskCounts first(Index samples) const {
    TaskCounts counts;
    double share = 0;
    Index before = 0;
    for (std::size_t task = 0; task < num_tasks; ++task) {
      share += values[task] / sum();
      const Index up_to = task + 1 == num_tasks ? samples : static_cast<Index>(std::floor(static_cast<double>(samples) * share + 1e-6));
      counts.values[task] = up_to - before;
      before = up_to;
    }
    return counts;
  }
};

}  // namespace janusflow
