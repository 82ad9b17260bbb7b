// What tensors a model needs from a checkpoint, and how a checkpoint differs from that.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "janusflow/io/load.hpp"
#include "janusflow/nn/layout.hpp"

namespace janusflow {

/// Key and shape of every parameter of a model laid out: Model<Layout>(config).
template <class M>
std::map<std::string, std::vector<Index>> expected_tensors(M& laid_out) {
  std::map<std::string, std::vector<Index>> expected;
  for_each_parameter(laid_out, [&](const std::string& key, LaidOut& parameter) { expected.emplace(key, parameter.shape); });
  return expected;
}

/// The head that some writers keep beside the table that it is tied to: a tied model does not read it, nor does transformers'.
inline constexpr const char* tied_head_key = "language_model.lm_head.weight";

/// How a checkpoint differs from what a model needs; all empty where it fits.
struct CheckpointDifference {
  std::vector<std::string> missing, unknown;  // keys
  std::vector<std::string> misshapen;         // sentences that name key and both shapes
};

/// Compares by key and shape, as load() would; a key's old name counts as the key. What nothing reads and other writers add is not
/// unknown: the rotary frequencies that older transformers saved, which follow from the config, and a tied model's head.
inline CheckpointDifference compare(const Checkpoint& checkpoint, const std::map<std::string, std::vector<Index>>& expected) {
  CheckpointDifference difference;
  const bool tied = expected.contains("language_model.model.embed_tokens.weight") && !expected.contains(tied_head_key);
  std::map<std::string, const std::vector<Index>*, std::less<>> known;
  for (const auto& [key, shape] : expected) {
    known.emplace(key, &shape);
    known.emplace(old_attention_key(key), &shape);
    if (!checkpoint.contains(key) && !checkpoint.contains(old_attention_key(key))) difference.missing.push_back(key);
  }
  for (const RawTensor& tensor : checkpoint.tensors()) {
    const auto found = known.find(tensor.key);
    if (found == known.end()) {
      const bool added = tensor.key.ends_with(".rotary_emb.inv_freq") || (tied && tensor.key == tied_head_key);
      if (!added) difference.unknown.push_back(tensor.key);
      continue;
    }
    if (is_packed(tensor)) {
      if (!packed_fits(tensor, *found->second))
        difference.misshapen.push_back(concat(tensor.name(), " has shape ", Extents{tensor.shape}, ", not that of ", Extents{*found->second},
                                              " packed for ", detail::packed_form(tensor), ": convert the published checkpoint again"));
      continue;
    }
    try {
      tensor.require_shape(*found->second, Ones::ignored);
    } catch (const Error& error) {
      difference.misshapen.push_back(error.what());
    }
  }
  return difference;
}

/// Throws Error naming the first tensor that the config has no place for: weights of another model, or of a newer one, must not be half
/// used in silence.
inline void require_no_unknown(const Checkpoint& checkpoint, const CheckpointDifference& difference) {
  if (!difference.unknown.empty()) fail(checkpoint.at(difference.unknown.front()).name(), " is unknown: the config has no place for it");
}

}  // namespace janusflow
