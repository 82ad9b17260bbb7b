// What the tests of the tape share: gradients against central differences, of leaves and of whole modules, in double.
#pragma once

#include <tuple>

#include "janusflow/autodiff/parameters.hpp"
#include "janusflow/autodiff/tape.hpp"
#include "janusflow/nn/visit.hpp"
#include "ops_testing.hpp"

namespace testing {

using janusflow::Parameter;
using janusflow::Tape;
using janusflow::Taped;
using janusflow::Var;

/// A leaf with standard normal numbers times `scale` plus `shift`.
template <class T = double, int R>
Parameter<T, R> leaf(Shape<R> shape, unsigned seed, double scale = 1, double shift = 0) {
  Parameter<T, R> p(shape);
  const auto values = random_tensor<T>(shape, seed, scale, shift);
  std::copy(values.begin(), values.end(), p.numbers().begin());
  return p;
}

/// The sum of weights * y.
template <class T, int R>
double weighted(const Var<T, R>& y, const Tensor<T, R>& weights) {
  double sum = 0;
  for (Index r = 0; r < y.shape().rows(); ++r)
    for (Index c = 0; c < y.shape().last(); ++c)
      sum += static_cast<double>(y.value().row(r)[c]) * static_cast<double>(weights.data()[r * y.shape().last() + c]);
  return sum;
}

/// One parameter as a list of numbers, and their gradient.
struct LeafNumbers {
  std::string name;
  std::span<double> numbers;
  std::vector<double> gradient;
};

/// Checks the gradients of leaves whose function is `run`: along `directions` random directions each, or number by number where 0.
/// The step's cube costs about h^2 = 1e-10 of the third derivative, the differences' rounding 1e-16 / h = 1e-11 of the sum.
template <class Run>
void check_numbers(std::vector<LeafNumbers>& leaves, Run&& run, int directions) {
  constexpr double h = 1e-5;
  std::mt19937 generator(99);
  std::normal_distribution<double> normal;
  for (LeafNumbers& leaf : leaves) {
    const std::string name = leaf.name;
    CAPTURE(name);
    const std::vector<double> kept(leaf.numbers.begin(), leaf.numbers.end());
    double length = 0;
    for (const double g : leaf.gradient) length += g * g;
    length = std::sqrt(length);
    const int checks = directions ? directions : static_cast<int>(kept.size());
    for (int i = 0; i < checks; ++i) {
      std::vector<double> direction(kept.size(), 0.0);
      if (directions)
        for (double& d : direction) d = normal(generator);
      else
        direction[static_cast<std::size_t>(i)] = 1;
      const auto moved = [&](double step) {
        for (std::size_t j = 0; j < kept.size(); ++j) leaf.numbers[j] = kept[j] + step * direction[j];
        return run();
      };
      const double difference = (moved(h) - moved(-h)) / (2 * h);
      std::copy(kept.begin(), kept.end(), leaf.numbers.begin());
      double expected = 0;
      for (std::size_t j = 0; j < kept.size(); ++j) expected += leaf.gradient[j] * direction[j];
      CHECK(std::abs(difference - expected) <= 2e-7 * (length + 1));
    }
  }
}

template <class P>
LeafNumbers numbers_of(std::string name, P& parameter) {
  const auto gradient = parameter.gradient_numbers();
  return {std::move(name), parameter.numbers(), {gradient.begin(), gradient.end()}};
}

/// Checks what flows back through f(leaves...), a function of variables, number by number.
template <class F, class... P>
void check_gradients(F f, P&... leaves) {
  auto first = f(leaves...);
  const auto weights = random_tensor<double>(first.shape(), 77);
  {
    Tape tape;
    const auto y = f(leaves...);
    tape.backward(y, weights.clone());
    CHECK(tape.steps() == 0);
  }
  std::vector<LeafNumbers> list;
  (list.push_back(numbers_of("leaf " + std::to_string(list.size()), leaves)), ...);
  check_numbers(list, [&] { return weighted(f(leaves...), weights); }, 0);
  (leaves.clear_gradient(), ...);
}

/// Fills a module's parameters: biases and matrices about 0, norms' weights about 1.
template <class M>
void randomise(M& module, unsigned seed, double scale = 0.5) {
  janusflow::for_each_parameter(module, [&](const std::string& key, auto& parameter) {
    const bool norm = key.find("norm") != std::string::npos && key.ends_with("weight");
    std::mt19937 generator(seed++);
    std::normal_distribution<double> normal;
    for (auto& v : parameter.numbers()) v = static_cast<std::remove_reference_t<decltype(v)>>(scale * normal(generator) + (norm ? 1 : 0));
  });
}

/// Checks a module's parameters and the inputs along random directions.
template <class M, class F, class... P>
void check_module(M& module, F f, P&... inputs) {
  const auto weights = random_tensor<double>(f(inputs...).shape(), 78);
  janusflow::for_each_parameter(module, [](const std::string&, auto& parameter) { parameter.clear_gradient(); });
  {
    Tape tape;
    tape.backward(f(inputs...), weights.clone());
  }
  std::vector<LeafNumbers> list;
  janusflow::for_each_parameter(module, [&](const std::string& key, auto& parameter) { list.push_back(numbers_of(key, parameter)); });
  (list.push_back(numbers_of("input " + std::to_string(list.size()), inputs)), ...);
  for (const LeafNumbers& l : list) {
    const std::string name = l.name;
    CAPTURE(name);
    CHECK(std::any_of(l.gradient.begin(), l.gradient.end(), [](double g) { return g != 0; }));
  }
  check_numbers(list, [&] { return weighted(f(inputs...), weights); }, 3);
  (inputs.clear_gradient(), ...);
}

}  // namespace testing
