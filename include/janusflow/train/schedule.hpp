// The learning rate of a step, as a share of the stage's rate.
#pragma once

#include <cmath>
#include <numbers>

#include "janusflow/core/shape.hpp"

namespace janusflow {

/// How the rate ends. The paper: it stays constant.
enum class Decay { none, linear, cosine };

/// Linear warm-up, then constant; the last steps may fall towards `floor` (a share of the rate).
struct Schedule {
  Index steps = 1;         // of the stage
  Index warmup_steps = 0;  // the first of them: (step + 1) / warmup_steps
  Decay decay = Decay::none;
  Index decay_steps = 0;  // the last of them
  double floor = 0;

  /// For step in [0, steps): in (0, 1].
  double factor(Index step) const {
    double f = 1;
    if (step < warmup_steps) f = static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
    if (decay == Decay::none || step < steps - decay_steps) return f;
    // Never quite at the floor: the last step would be for nothing where it is zero.
    const double left = static_cast<double>(steps - step) / static_cast<double>(decay_steps + 1);
    const double share = decay == Decay::linear ? left : 0.5 * (1 - std::cos(std::numbers::pi * left));
    return f * (floor + (1 - floor) * share);
  }
};

}  // namespace janusflow
