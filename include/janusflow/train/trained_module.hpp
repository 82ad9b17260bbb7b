// Modules in training: their first weights, and their parameters as the list of tensors that the optimiser takes.
#pragma once

#include <cmath>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/io/expected_tensors.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/train/counter_random.hpp"
#include "janusflow/train/stages.hpp"

namespace janusflow {

/// A parameter's numbers before anything was learned, as torch initialises its layers: weights uniform in +- 1 / sqrt(fan in), norms 1,
/// biases and global response norms 0; embeddings N(0, 0.02^2), as transformers does. A function of the seed and the key.
inline void draw_weights(const std::string& key, std::span<const Index> shape, std::span<float> numbers, std::uint64_t seed) {
  const auto ends = [&](std::string_view end) { return std::string_view(key).ends_with(end); };
  TorchGenerator generator = CounterRandom(seed, "initial weights").generator(content_hash(key));
  const bool embedding = ends("embed_tokens.weight") || ends("embed_positions.weight") || ends("pos_embed") || ends("latent") ||
                         ends("beg_of_und_embed");
  const bool response_norm = key.find("channelwise_norm.") != std::string::npos;
  if (embedding) {
    generator.normal(numbers);
    for (float& x : numbers) x *= 0.02f;
  } else if (ends(".bias") || response_norm) {
    std::fill(numbers.begin(), numbers.end(), 0.0f);
  } else if (shape.size() == 1) {
    std::fill(numbers.begin(), numbers.end(), 1.0f);
  } else {
    const auto bound = 1 / std::sqrt(static_cast<float>(std::ssize(numbers) / shape.front()));
    for (float& x : numbers) x = bound * (2 * generator.uniform() - 1);
  }
}

/// Gives every parameter of `module` its first weights: those that one of `from_scratch` describes, and those for which
/// is_new(key) holds, since no checkpoint has them, are drawn from the seed; all others are read, under prefix + key, from the
/// checkpoint in `directory`, which is looked at by check(checkpoint) first, and not opened where there are none. Throws Error as
/// load_parameter and check do, and for a pattern that matches nothing.
template <class M, class IsNew, class Check>
void start_weights(M& module, const std::filesystem::path& directory, const std::vector<std::string>& from_scratch, std::uint64_t seed,
                   IsNew&& is_new, Check&& check, const std::string& prefix = "") {
  std::vector<std::string> names;
  for_each_parameter(module, [&](const std::string& key, auto&) { names.push_back(key); });
  const auto selected = select_names(from_scratch, names, "from_scratch");
  std::shared_ptr<const Checkpoint> checkpoint;
  std::size_t i = 0;
  for_each_parameter(module, [&](const std::string& key, auto& parameter) {
    if (selected[i++] || is_new(key)) return draw_weights(key, parameter.shape().extents, parameter.numbers(), seed);
    if (!checkpoint) {
      checkpoint = std::make_shared<const Checkpoint>(directory);
      check(*checkpoint);
    }
    load_parameter(parameter, checkpoint, prefix + key);
  });
}

/// Throws Error where `checkpoint` has a tensor that the model, laid out, has no place for.
template <class M>
void require_no_unknown(const Checkpoint& checkpoint, M& laid_out) {
  const auto difference = compare(checkpoint, expected_tensors(laid_out));
  require(difference.unknown.empty(), checkpoint.path().string(), " has the tensor ", difference.unknown.empty() ? "" : difference.unknown[0],
          ", which the config has no place for");
}

/// Every parameter under its key, with its gradient as far as it trains. The spans hold until gradients are cleared.
template <class M>
std::vector<TrainedTensor> trained_tensors(M& module) {
  std::vector<TrainedTensor> list;
  for_each_parameter(module, [&](const std::string& key, auto& parameter) {
    const auto& extents = parameter.shape().extents;
    list.push_back({key, {extents.begin(), extents.end()}, parameter.numbers(), parameter.gradient_numbers(), parameter.trains()});
  });
  return list;
}

/// Freezes and unfreezes as a stage says, but for those that stay frozen, and returns the tensors with their learning rates.
template <class M, class StaysFrozen>
std::vector<TrainedTensor> enter_stage(M& module, const Stage& stage, StaysFrozen&& stays_frozen) {
  auto list = trained_tensors(module);
  apply_stage(stage, list);
  std::size_t i = 0;
  for_each_parameter(module, [&](const std::string& key, auto& parameter) { parameter.set_trains(list[i++].trains && !stays_frozen(key)); });
  auto entered = trained_tensors(module);
  for (i = 0; i < list.size(); ++i) entered[i].rate_factor = list[i].rate_factor;
  return entered;
}

/// Brings the gradients' places in `list`, as enter_stage returned it, up to date.
template <class M>
void refresh_gradients(M& module, std::vector<TrainedTensor>& list) {
  std::size_t i = 0;
  for_each_parameter(module, [&](const std::string&, auto& parameter) { list[i++].gradient = parameter.gradient_numbers(); });
}

template <class M>
void clear_gradients(M& module) {
  for_each_parameter(module, [](const std::string&, auto& parameter) { parameter.clear_gradient(); });
}

}  // namespace janusflow
