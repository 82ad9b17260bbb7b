// The exponential moving average of the weights: what is published is the average, not the last step.
#pragma once

#include "janusflow/simd/rows.hpp"

namespace janusflow {

/// average += (1 - decay) (value - average), for n numbers.
inline void update_average(Index n, float* average, const float* value, float decay) {
  const simd::Batch share(1 - decay);
  simd::map(
      n, average, [&](simd::Batch a, simd::Batch v) { return a + share * (v - a); }, average, value);
}

}  // namespace janusflow
