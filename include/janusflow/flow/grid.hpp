// Time grids: at which times, from noise (t = 0) to data (t = 1), the velocity is asked for.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "janusflow/core/error.hpp"

namespace janusflow {

/// Throws Error unless the grid holds two or more finite times that strictly increase, or strictly decrease (from data
/// back to noise). A model's own range, [0, 1] for rectified flow, is the velocity's to check.
inline void check_grid(const std::vector<double>& grid) {
  require(grid.size() >= 2, "time grid: it needs two or more times, not ", grid.size());
  for (std::size_t i = 0; i < grid.size(); ++i) {
    require(std::isfinite(grid[i]), "time grid: time ", i, " is ", grid[i], ", not a finite number");
  }
  const bool forward = grid[1] > grid[0];
  for (std::size_t i = 1; i < grid.size(); ++i) {
    require(forward ? grid[i] > grid[i - 1] : grid[i] < grid[i - 1], "time grid: times must strictly ",
            forward ? "increase" : "decrease", ", but time ", i, " is ", grid[i], " after ", grid[i - 1]);
  }
}

/// The n + 1 times i / n of n equal steps from noise to data: the grid of the official JanusFlow loop.
/// n from 1 to 100000, otherwise Error.
inline std::vector<double> uniform_grid(int n) {
  require(n >= 1 && n <= 100000, "uniform_grid: the number of steps must be from 1 to 100000, not ", n);
  std::vector<double> grid(static_cast<std::size_t>(n) + 1);
  for (int i = 0; i <= n; ++i) grid[static_cast<std::size_t>(i)] = static_cast<double>(i) / n;
  return grid;
}

/// n steps from noise to data, crowded towards the noise for shift > 1 and towards the data for shift < 1:
///   t' = t / (shift - (shift - 1) t),   t = i / n.
/// With the noise level s = 1 - t this is s' = shift s / (1 + (shift - 1) s), the timestep shifting of Stable Diffusion
/// 3 (Esser et al. 2024, arXiv 2403.03206, section 5.3.2, where shift = sqrt(m / n) for pictures of m instead of n
/// pixels), also FLUX's. shift = 1 is uniform_grid(n), bit for bit. shift finite and positive, n as above, otherwise
/// Error; also where the shift is so extreme that two times coincide.
inline std::vector<double> shifted_grid(int n, double shift) {
  require(std::isfinite(shift) && shift > 0, "shifted_grid: shift must be finite and positive, not ", shift);
  std::vector<double> grid = uniform_grid(n);
  for (std::size_t i = 1; i + 1 < grid.size(); ++i) grid[i] = grid[i] / (shift - (shift - 1) * grid[i]);
  check_grid(grid);
  return grid;
}

}  // namespace janusflow
