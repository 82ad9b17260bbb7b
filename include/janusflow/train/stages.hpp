// The stages of training as data: what trains in each, how fast, for how long, and on which mix of tasks.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/io/json.hpp"
#include "janusflow/train/schedule.hpp"
#include "janusflow/train/tasks.hpp"
#include "janusflow/train/trained_tensor.hpp"

namespace janusflow {

/// Whether `name` is what `pattern` describes; a * in it stands for any characters.
inline bool matches(std::string_view pattern, std::string_view name) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (std::size_t i = star; i <= name.size(); ++i)
    if (matches(rest, name.substr(i))) return true;
  return false;
}

/// A factor on the learning rate of the parameters that a pattern describes.
struct RateRule {
  std::string pattern;
  double factor;
};

struct Stage {
  std::string name;
  std::string where;                // of the config: "config.json: stages[0]", for the errors
  std::vector<std::string> trains;  // patterns of keys; one that begins with ! takes away what those before it gave
  double learning_rate = 1e-4;
  Schedule schedule;
  Index batch_size = 512;     // samples a step
  TaskMix mix;                // of the stage
  TaskMix early_mix;          // of its first early_steps
  Index early_steps = 0;
  std::vector<RateRule> rates;  // of all that match the product counts

  bool asks_for(Task task) const { return mix[task] > 0 || (early_steps > 0 && early_mix[task] > 0); }

  /// Samples of each task that the stage's first `step` steps take.
  TaskCounts samples_before(Index step) const {
    const Index early = std::min(step, early_steps);
    TaskCounts counts = mix.first((step - early) * batch_size);
    if (early > 0) counts += early_mix.first(early * batch_size);
    return counts;
  }
};

/// The three stages of the paper (arXiv 2411.07975, section 3.3 and table of hyper-parameters), by number 1 to 3. The autoencoder's
/// parameters are no part of the model and never train. Stage 1: the linear adapters, generation encoder and decoder; stage 2: all but
/// SigLIP; stage 3: all.
Stage paper_stage(int number);

/// Reads one entry of a config's "stages": {"preset": 1 to 3, "name", "trains": [patterns], "learning_rate", "warmup_steps", "steps",
/// "batch_size", "mix": {"understanding", "generation", "text"}, "early_mix": {the same, "steps"}, "decay": {"shape", "steps",
/// "floor"}, "rates": {pattern: factor}}. A preset is a stage of the paper, whose settings stand unless given. Without tasks there are
/// neither presets nor mixes: all samples are pictures to paint. Throws Error naming file and key.
Stage read_stage(const JsonObject& json, const std::string& where, bool has_tasks = true);

/// What of a stage decides the numbers, every setting spelled out.
Json stage_json(const Stage& stage);

/// For each of `names` whether one of the patterns, taken in order, describes it. Throws Error, its sentence beginning with `where`,
/// for a pattern that describes none of them.
std::vector<bool> select_names(std::span<const std::string> patterns, std::span<const std::string> names, const std::string& where);

/// Sets `trains` and `rate_factor` of every tensor as the stage says. Throws Error for a pattern that matches no parameter, and where
/// nothing would train.
void apply_stage(const Stage& stage, std::span<TrainedTensor> tensors);

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/stages.hpp"
#endif
