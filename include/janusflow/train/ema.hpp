// The exponential moving average of the weights: what is published is the average, not the last step.
#pragma once

#include "janusflow/simd/rows.hpp"

namespace janusflow {

/// average += new_share (value - average), for n numbers; new_share is 1 - decay, which a decay rounded to float would be too far from.
/// In float32, as torch's lerp: an average stands still where what is missing is less than eps32 |average| / new_share.
inline void update_average(Index n, float* average, const float* value, float new_share) {
  const simd::Batch share(new_share);
  simd::map(
      n, average, [&](simd::Batch a, simd::Batch v) { return a + share * (v - a); }, average, value);
}

}  // namespace janusflow
