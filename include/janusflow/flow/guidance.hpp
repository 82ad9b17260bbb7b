// Classifier-free guidance: two velocities joined into one, as a velocity field like any other.
#pragma once

#include <cmath>
#include <type_traits>
#include <utility>

#include "janusflow/core/error.hpp"
#include "janusflow/flow/state.hpp"

namespace janusflow {

/// Asks a pair of velocities for the conditional one alone: pair(z, t, conditional_only) -> Z.
struct ConditionalOnly {};
inline constexpr ConditionalOnly conditional_only{};

/// `weight` for t in [begin, end], 1 (no guidance, hence no unconditional velocity) elsewhere: guidance in a limited
/// interval (Kynkäänniemi et al. 2024, arXiv 2404.07724). Their noise level sigma is (1 - t) / t here.
struct GuidanceInterval {
  double weight;
  double begin = 0;
  double end = 1;

  double operator()(double t) const { return t >= begin && t <= end ? weight : 1.0; }
};

/// v = w v_conditional - (w - 1) v_unconditional, made by guided().
template <class Pair, class Weight>
class Guided {
 public:
  Guided(Pair pair, Weight weight) : pair_(std::move(pair)), weight_(std::move(weight)) {}

  template <class Z>
  Z operator()(const Z& z, double t) const {
    const double w = weight_at(t);
    require(std::isfinite(w), "guided: the guidance weight is ", w, " at t = ", t);
    if (w == 1) {
      if constexpr (std::is_invocable_v<Pair&, const Z&, double, ConditionalOnly>) {
        return Z(pair_(z, t, conditional_only));
      }
    }
    auto [conditional, unconditional] = pair_(z, t);
    const Z v_conditional(std::forward<decltype(conditional)>(conditional));
    if (w == 1) return detail::scaled(v_conditional, 1.0);
    const Z v_unconditional(std::forward<decltype(unconditional)>(unconditional));
    return detail::add_scaled(detail::scaled(v_conditional, w), -(w - 1), v_unconditional);
  }

 private:
  double weight_at(double t) const {
    if constexpr (std::is_convertible_v<Weight, double>) {
      return static_cast<double>(weight_);
    } else {
      return static_cast<double>(weight_(t));
    }
  }

  mutable Pair pair_;  // may have a memory, such as a cache; asking for a velocity is const all the same
  mutable Weight weight_;
};

/// Guides by a pair of velocities that are computed together, conditional and unconditional rows in one product.
///   pair    (z, t) -> {conditional, unconditional}, a std::pair or any aggregate of two; and, if it can do the one for
///           less than both, (z, t, conditional_only) -> Z, asked for wherever the weight is 1
///   weight  a number, or a callable t -> number such as GuidanceInterval; 1 is no guidance, more is stronger
/// The velocity is w v_c - (w - 1) v_u in the state's own numbers, as in the official JanusFlow loop, where w is
/// cfg_weight; in Ho & Salimans 2022 (arXiv 2207.12598, equation 6), for noise predictions, w is 1 + their w. Error,
/// when called, for a weight that is not finite.
template <class Pair, class Weight>
auto guided(Pair pair, Weight weight) {
  return Guided<Pair, Weight>(std::move(pair), std::move(weight));
}

/// Two separate velocities as a pair; made by guided(conditional, unconditional, weight).
template <class Conditional, class Unconditional>
struct SeparateBranches {
  mutable Conditional conditional;
  mutable Unconditional unconditional;

  template <class Z>
  std::pair<Z, Z> operator()(const Z& z, double t) const {
    return {Z(conditional(z, t)), Z(unconditional(z, t))};
  }
  template <class Z>
  Z operator()(const Z& z, double t, ConditionalOnly) const {
    return Z(conditional(z, t));
  }
};

/// The same for two velocities of their own; the unconditional one is not called where the weight is 1.
template <class Conditional, class Unconditional, class Weight>
auto guided(Conditional conditional, Unconditional unconditional, Weight weight) {
  using Pair = SeparateBranches<Conditional, Unconditional>;
  return Guided<Pair, Weight>(Pair{std::move(conditional), std::move(unconditional)}, std::move(weight));
}

}  // namespace janusflow
