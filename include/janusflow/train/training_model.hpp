// JanusFlow in training: master weights, the alignment head beside them, and both as a list of tensors.
#pragma once

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/io/load.hpp"
#include "janusflow/train/counter_random.hpp"
#include "janusflow/train/losses.hpp"
#include "janusflow/train/stages.hpp"
#include "janusflow/train/training_config.hpp"

namespace janusflow {

namespace detail {

/// A parameter's numbers before anything was learned, as torch initialises its layers: weights uniform in +- 1 / sqrt(fan in), norms 1,
/// biases and global response norms 0; embeddings N(0, 0.02^2), as transformers does.
inline void initialize(const std::string& key, std::span<const Index> shape, std::span<float> numbers, std::uint64_t seed) {
  const auto ends = [&](std::string_view end) { return std::string_view(key).ends_with(end); };
  TorchGenerator generator = CounterRandom(seed, "initial weights").generator(content_hash(key));
  const bool embedding = ends("embed_tokens.weight") || ends("pos_embed") || ends("latent") || ends("beg_of_und_embed");
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

}  // namespace detail

/// What is trained, under the policy P.
template <class P = Taped<float>>
class TrainingModel {
 public:
  /// The prefix of the alignment head's keys.
  static constexpr const char* repa_prefix = "repa_head.";

  TrainingModel(const JanusFlowConfig& config, Index repa_width)
      : config_(config), model_(config), repa_(config.language.hidden_size, repa_width, config.vision_und_enc.width) {}

  const JanusFlowConfig& config() const { return config_; }
  const JanusFlow<P>& janusflow() const { return model_; }
  const RepaHead<P>& repa() const { return repa_; }

  /// Weights of a checkpoint; the alignment head, which none has, is drawn from the seed. Throws Error as load() does.
  void load_from(const std::shared_ptr<const Checkpoint>& checkpoint, std::uint64_t seed) {
    load(model_, checkpoint);
    for_each_parameter(
        repa_, [&](const std::string& key, auto& parameter) { initialize(key, parameter, seed); }, repa_prefix);
  }
  /// Draws the weights that the patterns describe from the seed.
  void initialize(std::span<const std::string> patterns, std::uint64_t seed) {
    std::vector<std::string> names;
    walk([&](const std::string& key, auto&) { names.push_back(key); });
    const auto selected = select_names(patterns, names, "from_scratch");
    std::size_t i = 0;
    walk([&](const std::string& key, auto& parameter) {
      if (selected[i++]) initialize(key, parameter, seed);
    });
  }

  /// Every parameter under its key, with its gradient as far as it trains. The spans hold until gradients are cleared.
  std::vector<TrainedTensor> tensors() {
    std::vector<TrainedTensor> list;
    walk([&](const std::string& key, auto& parameter) {
      const auto& extents = parameter.shape().extents;
      list.push_back({key, {extents.begin(), extents.end()}, parameter.numbers(), parameter.gradient_numbers(), parameter.trains()});
    });
    return list;
  }

  /// Freezes and unfreezes as a stage says, and returns the tensors with their learning rates. The pooling head of SigLIP is part of
  /// no loss: it stays as it is.
  std::vector<TrainedTensor> enter(const Stage& stage) {
    auto list = tensors();
    apply_stage(stage, list);
    for (TrainedTensor& tensor : list) tensor.trains = tensor.trains && tensor.name.find(".attn_pool.") == std::string::npos;
    std::size_t i = 0;
    walk([&](const std::string&, auto& parameter) { parameter.set_trains(list[i++].trains); });
    auto entered = tensors();
    for (i = 0; i < list.size(); ++i) entered[i].rate_factor = list[i].rate_factor;
    return entered;
  }
  /// Brings the gradients' places in `list`, as enter() returned it, up to date.
  void refresh(std::vector<TrainedTensor>& list) {
    std::size_t i = 0;
    walk([&](const std::string&, auto& parameter) { list[i++].gradient = parameter.gradient_numbers(); });
  }
  void clear_gradients() {
    walk([](const std::string&, auto& parameter) { parameter.clear_gradient(); });
  }

 private:
  template <class F>
  void walk(F&& function) {
    for_each_parameter(model_, function);
    for_each_parameter(repa_, function, repa_prefix);
  }

  template <class Parameter>
  static void initialize(const std::string& key, Parameter& parameter, std::uint64_t seed) {
    detail::initialize(key, parameter.shape().extents, parameter.numbers(), seed);
  }

  JanusFlowConfig config_;
  JanusFlow<P> model_;
  RepaHead<P> repa_;
};

/// Whether SigLIP's tower trains.
inline bool tower_trains(const std::vector<TrainedTensor>& tensors) {
  for (const TrainedTensor& tensor : tensors)
    if (tensor.trains && tensor.name.starts_with("vision_und_enc_model.vision_tower.")) return true;
  return false;
}

/// Of all numbers of SigLIP's tower.
inline std::uint64_t tower_hash(const std::vector<TrainedTensor>& tensors) {
  std::uint64_t hash = 0;
  for (const TrainedTensor& tensor : tensors)
    if (tensor.name.starts_with("vision_und_enc_model.vision_tower.") && tensor.name.find(".attn_pool.") == std::string::npos)
      hash = content_hash(std::as_bytes(std::span<const float>(tensor.value)), content_hash(tensor.name, hash));
  return hash;
}

}  // namespace janusflow
