// Writing a model in training as a checkpoint in the published layout.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "janusflow/autodiff/parameters.hpp"
#include "janusflow/io/safetensors.hpp"
#include "janusflow/nn/visit.hpp"

namespace janusflow {

/// What write_safetensors needs to write every parameter of `module`, Model<Taped<T>>, under its key, as T or, from float, rounded to
/// `dtype` bf16. The module must live, and stay as it is, until they are written.
template <class M>
std::vector<SafetensorsEntry> parameter_entries(M& module, Dtype dtype = Dtype::f32, std::string prefix = "") {
  std::vector<SafetensorsEntry> entries;
  for_each_parameter(
      module,
      [&](const std::string& key, auto& parameter) { entries.push_back(safetensors_entry(key, std::as_const(parameter).value(), dtype)); },
      std::move(prefix));
  return entries;
}

}  // namespace janusflow
