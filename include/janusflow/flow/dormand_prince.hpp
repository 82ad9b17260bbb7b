// Dormand-Prince 5(4): the adaptive solver, which chooses its steps from an estimate of its own error.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "janusflow/core/error.hpp"
#include "janusflow/flow/state.hpp"

namespace janusflow {

/// Dormand and Prince's pair of orders 5 and 4 (J. Comp. Appl. Math. 6, 1980), carried on in order 5, six evaluations a
/// step: the seventh, at the step's end, is the next step's first (FSAL). Tableau, PI step-size control and first step
/// as in Hairer, Norsett, Wanner: Solving ODEs I, sections II.4 and II.5, code DOPRI5 (safety 0.9, beta 0.04, a step at
/// most 10 times longer and 5 times shorter than the one before, never longer right after a rejection). The times of
/// the grid are all met exactly; between them the steps are free, so {0, 1} is the usual grid.
struct DormandPrince {
  static constexpr std::string_view name = "dopri5";

  double atol = 1e-5;       // a step is accepted where error_norm <= 1, see flow/state.hpp
  double rtol = 1e-5;       // not below the state's own rounding, about 1e-6 for float
  double initial_step = 0;  // 0: estimated, at the cost of one evaluation
  double max_step = std::numeric_limits<double>::infinity();
  std::size_t max_evaluations = 10000;  // Error when more would be needed

  /// Throws Error for settings out of range, as march does.
  void check_settings() const {
    require(std::isfinite(atol) && std::isfinite(rtol) && atol >= 0 && rtol >= 0 && atol + rtol > 0,
            "dopri5: atol and rtol must be finite, not negative, and not both zero, not ", atol, " and ", rtol);
    require(std::isfinite(initial_step) && initial_step >= 0, "dopri5: initial_step must be finite and 0 or more, not ",
            initial_step);
    require(max_step > 0, "dopri5: max_step must be positive, not ", max_step);
  }

  /// Drives the run (see integrate) over the grid until its end or until the observer cancels.
  template <class Run>
  void march(Run& run, const std::vector<double>& grid) const {
    using Z = typename Run::State;
    check_settings();
    const double direction = grid.back() > grid.front() ? 1.0 : -1.0;
    Z k1 = evaluate(run, run.z(), run.t(), 1);
    double step = std::min(initial_step > 0 ? initial_step : first_step(run, k1, grid), max_step);
    double last_error = kSmallestError;
    bool rejected = false;

    for (std::size_t i = 1; i < grid.size(); ++i) {
      while (run.t() != grid[i]) {
        const double remaining = std::abs(grid[i] - run.t());
        const bool reaches_grid = 1.01 * step >= remaining;  // rather a slightly longer step than a sliver after it
        const double t1 = reaches_grid ? grid[i] : run.t() + direction * step;
        const double h = t1 - run.t();
        require(std::abs(h) > 4 * std::numeric_limits<double>::epsilon() * std::abs(run.t()) && h != 0,
                "dopri5: the step fell to ", h, " at t = ", run.t(), "; atol ", atol, " and rtol ", rtol,
                " ask for more than this velocity and state can give");
        Trial<Z> trial = attempt(run, k1, h, t1);
        const double error = detail::norm_of_error(trial.error, run.z(), trial.z, atol, rtol);

        // A not-a-number error counts as a large one: the comparison is false, and the step shrinks by the most.
        if (error <= 1) {
          const double shrink = std::pow(error, kExponent) / std::pow(last_error, kBeta) / kSafety;
          double next = std::abs(h) / std::clamp(shrink, 1 / kMostGrowth, kMostShrinking);
          if (rejected) next = std::min(next, std::abs(h));
          if (reaches_grid) next = std::max(next, step);  // cut by the grid, not by its error
          step = std::min(next, max_step);
          last_error = std::max(error, kSmallestError);
          rejected = false;
          k1 = std::move(trial.k7);
          if (!run.accept(std::move(trial.z), trial.slope, t1)) return;
        } else {
          const double shrink = std::pow(error, kExponent) / kSafety;
          step = std::abs(h) / (shrink < kMostShrinking ? shrink : kMostShrinking);
          rejected = true;
        }
      }
    }
  }

 private:
  static constexpr double kSafety = 0.9;
  static constexpr double kBeta = 0.04;
  static constexpr double kExponent = 0.2 - 0.75 * kBeta;
  static constexpr double kMostGrowth = 10;
  static constexpr double kMostShrinking = 5;
  static constexpr double kSmallestError = 1e-4;

  template <class Z>
  struct Trial {
    Z slope;  // of order 5
    Z z;      // at the step's end
    Z k7;     // velocity there
    Z error;  // order 5 less order 4
  };

  template <class Run, class Z>
  Z evaluate(Run& run, const Z& z, double t, std::size_t count) const {
    require(run.evaluations() + count <= max_evaluations, "dopri5: more than max_evaluations = ", max_evaluations,
            " evaluations needed, at t = ", run.t(), " after ", run.steps(), " steps");
    return run(z, t);
  }

  /// The first step's length (Hairer et al., section II.4, "Starting Step Size"), from the sizes of z, of the velocity,
  /// and of the velocity's change over a small Euler step.
  template <class Run, class Z>
  double first_step(Run& run, const Z& k1, const std::vector<double>& grid) const {
    const Z& z = run.z();
    const double span = grid[1] - grid[0];
    const auto size = [&](const Z& x) { return detail::norm_of_error(x, z, z, atol, rtol); };
    const double d0 = size(z);
    const double d1 = size(k1);
    double h0 = 0.01 * d0 / d1;
    if (!(d0 > 1e-5 && d1 > 1e-5 && std::isfinite(h0) && h0 > 0)) h0 = 1e-6;
    h0 = std::min(h0, std::abs(span));
    const double h = std::copysign(h0, span);
    const Z k2 = evaluate(run, detail::add_scaled(z, h, k1), run.t() + h, 1);
    const double d2 = size(detail::combine(1.0, k2, -1.0, k1)) / h0;
    const double curvature = std::max(d1, d2);
    const double h1 = curvature <= 1e-15 ? std::max(1e-6, h0 * 1e-3) : std::pow(0.01 / curvature, 0.2);
    return std::isfinite(h1) && h1 > 0 ? std::min(100 * h0, h1) : h0;
  }

  template <class Run, class Z>
  Trial<Z> attempt(Run& run, const Z& k1, double h, double t1) const {
    using detail::add_scaled, detail::combine;
    const Z& z = run.z();
    const double t = run.t();
    const Z k2 = evaluate(run, add_scaled(z, h / 5, k1), t + h / 5, 6);  // all six of the step, or none
    const Z k3 = run(add_scaled(z, h, combine(3. / 40, k1, 9. / 40, k2)), t + h * 3 / 10);
    const Z k4 = run(add_scaled(z, h, combine(44. / 45, k1, -56. / 15, k2, 32. / 9, k3)), t + h * 4 / 5);
    const Z k5 =
        run(add_scaled(z, h, combine(19372. / 6561, k1, -25360. / 2187, k2, 64448. / 6561, k3, -212. / 729, k4)),
            t + h * 8 / 9);
    const Z k6 =
        run(add_scaled(z, h,
                       combine(9017. / 3168, k1, -355. / 33, k2, 46732. / 5247, k3, 49. / 176, k4, -5103. / 18656, k5)),
            t1);
    Z slope = combine(35. / 384, k1, 500. / 1113, k3, 125. / 192, k4, -2187. / 6784, k5, 11. / 84, k6);
    Z next = add_scaled(z, h, slope);
    Z k7 = run(next, t1);
    const Z difference =
        combine(71. / 57600, k1, -71. / 16695, k3, 71. / 1920, k4, -17253. / 339200, k5, 22. / 525, k6, -1. / 40, k7);
    return {std::move(slope), std::move(next), std::move(k7), detail::scaled(difference, h)};
  }
};

}  // namespace janusflow
