// Gradients of a module against PyTorch's.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "janusflow/io/checkpoint.hpp"
#include "janusflow/nn/visit.hpp"

namespace janusflow::test {

/// Whether a parameter's gradient is the sum of the file's "<part>grad.<key>", within 1e-4 of its norm, and nothing where no part has
/// one. Returns whether there was one.
template <class Parameter>
bool check_gradient(const std::string& key, Parameter& parameter, const Checkpoint& file, const std::vector<std::string>& parts) {
  CAPTURE(key);
  std::vector<double> expected(static_cast<std::size_t>(parameter.size()), 0.0);
  bool any = false;
  for (const auto& part : parts)
    if (const RawTensor* raw = file.find(part + "grad." + key)) {
      std::vector<float> values(expected.size());
      raw->copy_to(values.data());
      for (std::size_t i = 0; i < values.size(); ++i) expected[i] += static_cast<double>(values[i]);
      any = true;
    }
  if (!any) {
    CHECK(std::as_const(parameter).gradient().data == nullptr);  // nothing flowed back, and nothing was allocated
    return false;
  }
  double error = 0, norm = 0;
  const auto gradient = parameter.gradient_numbers();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += (static_cast<double>(gradient[i]) - expected[i]) * (static_cast<double>(gradient[i]) - expected[i]);
    norm += expected[i] * expected[i];
  }
  CHECK(std::sqrt(error) <= 1e-4 * std::sqrt(norm) + 1e-7);  // attention does not see its keys' bias: that gradient is rounding alone
  return true;
}

}  // namespace janusflow::test
