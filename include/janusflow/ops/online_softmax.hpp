// The softmax of attention, block by block of its keys.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "janusflow/simd/gemm_kernel.hpp"
#include "janusflow/simd/math.hpp"

namespace janusflow::detail {

/// What scores are multiplied by, so that their softmax is one of powers of two: log2(e) / sqrt(dim).
inline float score_scale(Index dim) { return 1.44269504f / std::sqrt(static_cast<float>(dim)); }

/// Running softmax of up to Rows queries, of powers of two of their scores times a scale: maximum and sum of powers so far. The
/// powers will be rounded to T.
template <class T, Index Rows>
class OnlineSoftmax {
 public:
  explicit OnlineSoftmax(float scale) : scale_(scale) {
    std::fill_n(maximum_, lanes, -std::numeric_limits<float>::infinity());
    std::fill_n(sum_, lanes, 0.0f);
  }

  /// Takes the scores of a block, tiles of the product [pieces][rows][tile_columns], and gives their powers to
  /// put(row, piece, first vector, second vector). What was accumulated before must shrink by shrink(row) then; returns whether it
  /// must at all. The rows go side by side through each part, so that none waits for its own sums.
  template <class Put>
  bool absorb(Index rows, const float* scores, Index pieces, Put&& put) {
    alignas(64) float greatest[lanes], level[lanes];
    std::copy_n(maximum_, lanes, greatest);
    const Index stride = rows * simd::tile_columns;
    for (Index r = 0; r < rows; ++r) {
      const float* score = scores + r * simd::tile_columns;
      simd::Batch first(maximum_[r]), second = first;
      for (Index i = 0; i < pieces; ++i, score += stride) {
        first = simd::max(first, simd::Batch::load_aligned(score));
        second = simd::max(second, simd::Batch::load_aligned(score + simd::width));
      }
      greatest[r] = simd::max_of_lanes(simd::max(first, second));
    }
    bool shrinks = false;
    for (Index r = 0; r < lanes; r += simd::width) {
      const simd::Batch before = simd::Batch::load_aligned(maximum_ + r), now = simd::Batch::load_aligned(greatest + r);
      // Who has nothing to see yet must not subtract infinity from itself.
      const simd::Batch from = xsimd::select(now == simd::Batch(-std::numeric_limits<float>::infinity()), simd::Batch(0.0f), now);
      const simd::Batch factor = simd::exp2_of_negative(before - from, scale_);
      from.store_aligned(level + r);
      now.store_aligned(maximum_ + r);
      factor.store_aligned(shrink_ + r);
      (simd::Batch::load_aligned(sum_ + r) * factor).store_aligned(sum_ + r);
      shrinks = shrinks || xsimd::any(before != now);
    }
    const simd::Batch scale = scale_;  // not to be read again after every store
    for (Index r = 0; r < rows; ++r) {
      const float* score = scores + r * simd::tile_columns;
      simd::Batch first(0.0f), second = first;
      const simd::Batch from(level[r]);
      for (Index i = 0; i < pieces; ++i, score += stride) {
        const simd::Batch a = simd::exp2_of_negative<T>(simd::Batch::load_aligned(score) - from, scale);
        const simd::Batch b = simd::exp2_of_negative<T>(simd::Batch::load_aligned(score + simd::width) - from, scale);
        first += a, second += b;
        put(r, i, a, b);
      }
      sum_[r] += simd::sum_of_lanes(first + second);
    }
    return shrinks;
  }

  float shrink(Index row) const { return shrink_[row]; }
  /// What the row's accumulated values must be multiplied by at the end: 0 where nothing was seen.
  float norm(Index row) const { return sum_[row] > 0 ? 1.0f / sum_[row] : 0.0f; }

 private:
  static constexpr Index lanes = (Rows + simd::width - 1) / simd::width * simd::width;  // whole vectors of rows
  simd::Batch scale_;
  alignas(64) float maximum_[lanes], sum_[lanes], shrink_[lanes];
};

}  // namespace janusflow::detail
