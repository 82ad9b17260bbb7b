// --precision: which policy the models run by.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "janusflow/io/packed_tensors.hpp"

namespace examples {

/// "f32", "bf16", "int8" or "q4". `auto` is what a converted checkpoint was converted to, and of a published one what most of the
/// weights are stored in: float32 for float32, bfloat16 for bfloat16, on every processor (one without bfloat16 instructions still
/// reads half the memory). What else weights are stored in becomes float32.
inline std::string choose_precision(const std::string& asked, const janusflow::Checkpoint& checkpoint) {
  if (asked != "auto") return asked;
  if (const std::string packed = janusflow::packed_precision(checkpoint); !packed.empty()) return packed;
  std::size_t bf16 = 0, all = 0;
  for (const auto& tensor : checkpoint.tensors()) {
    all += tensor.bytes.size();
    if (tensor.dtype == janusflow::Dtype::bf16) bf16 += tensor.bytes.size();
  }
  return bf16 * 2 > all ? "bf16" : "f32";
}

/// Calls f.operator()<Policy>() for a precision that choose_precision returned.
template <class F>
decltype(auto) with_precision(const std::string& precision, F&& f) {
  if (precision == "q4") return f.template operator()<janusflow::Int4>();
  if (precision == "int8") return f.template operator()<janusflow::Int8>();
  if (precision == "bf16") return f.template operator()<janusflow::BFloat16>();
  return f.template operator()<janusflow::Float32>();
}

}  // namespace examples
