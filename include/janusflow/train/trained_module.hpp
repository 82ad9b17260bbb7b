// Modules in training: their first weights, and their parameters as the list of tensors that the optimiser takes.
#pragma once

#include <algorithm>
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

/// Every parameter under its key, and whether it trains; gradients, which cost as much memory, have their places by refresh_gradients.
template <class M>
std::vector<TrainedTensor> trained_tensors(M& module) {
  std::vector<TrainedTensor> list;
  for_each_parameter(module, [&](const std::string& key, auto& parameter) {
    const auto& extents = parameter.shape().extents;
    list.push_back({key, {extents.begin(), extents.end()}, parameter.numbers(), {}, parameter.trains()});
  });
  return list;
}

/// Freezes and unfreezes as a stage says, but for those that stay frozen, and returns the tensors, as trained_tensors does, with their
/// learning rates. Throws Error as apply_stage does, and where the stage names nothing but what stays frozen.
template <class M, class StaysFrozen>
std::vector<TrainedTensor> enter_stage(M& module, const Stage& stage, StaysFrozen&& stays_frozen) {
  auto list = trained_tensors(module);
  apply_stage(stage, list);
  for (TrainedTensor& tensor : list) tensor.trains = tensor.trains && !stays_frozen(tensor.name);
  require(std::any_of(list.begin(), list.end(), [](const TrainedTensor& tensor) { return tensor.trains; }), stage.where,
          ".trains leaves no parameter to train: what it names stays frozen");
  std::size_t i = 0;
  for_each_parameter(module, [&](const std::string&, auto& parameter) { parameter.set_trains(list[i++].trains); });
  return list;
}

/// Brings the gradients' places in `list` up to date; they hold until gradients are cleared.
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
