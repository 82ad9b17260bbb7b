// Fewer evaluations: wrappers that use a velocity, or the difference that guidance makes, again while it changes little.
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "janusflow/core/error.hpp"
#include "janusflow/flow/guidance.hpp"
#include "janusflow/flow/state.hpp"

namespace janusflow {

/// A velocity field that computes a velocity only where it is expected to have changed; made by reused().
template <class Z, class Velocity>
class Reused {
 public:
  Reused(Velocity velocity, double threshold) : velocity_(std::move(velocity)), threshold_(threshold) {
    require(std::isfinite(threshold) && threshold >= 0, "reused: the threshold must be finite and 0 or more, not ", threshold);
  }

  Z operator()(const Z& z, double t) {
    if (threshold_ == 0) return Z(velocity_(z, t));
    if (before_ && last_) {
      const double ahead = (t - last_->t) / (last_->t - before_->t);  // in units of the last two times' distance
      if (ahead > 0 && ahead * last_change_ < threshold_) return detail::combine(1 + ahead, last_->v, -ahead, before_->v);
    }
    if (last_ && last_->t != t) before_ = std::move(last_);  // a second velocity at one time takes the first one's place
    last_.emplace(Computed{t, Z(velocity_(z, t))});
    if (before_) {
      const Z difference = detail::combine(1.0, last_->v, -1.0, before_->v);
      last_change_ = detail::euclidean_norm(difference) / detail::euclidean_norm(last_->v);  // NaN, of 0 / 0: never small
    }
    return detail::scaled(last_->v, 1.0);  // a copy, also of states that can only be moved
  }

 private:
  struct Computed {
    double t;
    Z v;
  };

  Velocity velocity_;
  double threshold_;
  std::optional<Computed> before_, last_;  // the last two velocities computed, at different times
  double last_change_ = 0;                 // between them, relative to the last
};

/// Leaves velocities out: where the velocity is expected to have changed by less than `threshold` of its size since it was last
/// computed, the line through the last two computed is followed instead. What is expected is that it goes on to change as fast as
/// between those two:
///   |v_1 - v_0| / |v_1| * (t - t_1) / (t_1 - t_0) < threshold,   v = v_1 + (t - t_1) / (t_1 - t_0) * (v_1 - v_0).
/// The idea of TeaCache (Liu et al. 2024, arXiv 2411.19108), which judges by the model's input and repeats its output; here the
/// output itself is watched, so that nothing of the model need be known or fitted, and extrapolated, which errs by the square.
///   Z          the state, whose numbers can be walked through (see flow/state.hpp); |.| is its Euclidean norm
///   velocity   (z, t) -> Z
///   threshold  0 computes every velocity and changes nothing; 0.1 is careful, beyond 0.5 pictures suffer
/// Meant for one integration by a solver of fixed steps; an adaptive one would measure the line's error, not the field's. Where a
/// time comes again or goes back, as within Heun's steps, the velocity is computed.
template <class Z, class Velocity>
Reused<Z, Velocity> reused(Velocity velocity, double threshold) {
  return {std::move(velocity), threshold};
}

/// A pair of velocities that computes the unconditional one at some calls only; made by with_reused_difference().
template <class Z, class Pair>
class ReusedDifference {
 public:
  ReusedDifference(Pair pair, std::size_t period) : pair_(std::move(pair)), period_(period) {
    require(period >= 1, "with_reused_difference: the period must be 1 or more");
  }

  std::pair<Z, Z> operator()(const Z& z, double t) {
    if (calls_++ % period_ == 0) {
      auto [conditional, unconditional] = pair_(z, t);
      std::pair<Z, Z> both{Z(std::move(conditional)), Z(std::move(unconditional))};
      if (period_ > 1) difference_ = detail::combine(1.0, both.first, -1.0, both.second);
      return both;
    }
    Z conditional(pair_(z, t, conditional_only));
    Z unconditional = detail::add_scaled(conditional, -1.0, *difference_);
    return {std::move(conditional), std::move(unconditional)};
  }
  Z operator()(const Z& z, double t, ConditionalOnly) { return Z(pair_(z, t, conditional_only)); }

 private:
  Pair pair_;
  std::size_t period_, calls_ = 0;
  std::optional<Z> difference_;  // conditional less unconditional, where both were computed last
};

/// Uses the difference between the conditional and the unconditional velocity, which changes more slowly than they do, again:
/// both are computed at every `period`-th call only, and the conditional one alone between (as FasterCache does between two steps,
/// Lv et al. 2024, arXiv 2410.19355, there with a correction by frequencies). The result is a pair for guided() as `pair` is, which
/// must be able to give the conditional velocity alone. A period of 1 changes nothing. Error for a period of 0.
template <class Z, class Pair>
ReusedDifference<Z, Pair> with_reused_difference(Pair pair, std::size_t period) {
  return {std::move(pair), period};
}

}  // namespace janusflow
