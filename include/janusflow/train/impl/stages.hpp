// The stages of the paper and of configs, and what they do to a model's tensors. Included by train/stages.hpp.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/train/stages.hpp"

namespace janusflow {

namespace detail {

JANUSFLOW_INLINE TaskMix read_mix(const JsonObject& json) {
  TaskMix mix;
  for (std::size_t task = 0; task < num_tasks; ++task) mix.values[task] = json.number(task_names[task], 0, 1e9, 0.0);
  require(mix.sum() > 0, json.name("understanding"), ", generation and text must not all be zero");
  return mix;
}

JANUSFLOW_INLINE Json mix_json(const TaskMix& mix) {
  Json json;
  for (std::size_t task = 0; task < num_tasks; ++task) json[std::string(task_names[task])] = mix.values[task];
  return json;
}

JANUSFLOW_INLINE Schedule read_schedule(const JsonObject& json, Schedule preset) {
  Schedule schedule = preset;
  schedule.steps = json.integer("steps", 1, 1'000'000'000, preset.steps);
  schedule.warmup_steps = json.integer("warmup_steps", 0, 1'000'000'000, std::min(preset.warmup_steps, schedule.steps));
  require(schedule.warmup_steps <= schedule.steps, json.name("warmup_steps"), " (", schedule.warmup_steps,
          ") must not be more than steps (", schedule.steps, ")");
  if (!json.has("decay")) return schedule;
  const JsonObject decay = json.object("decay");
  decay.require_known({"shape", "steps", "floor"});
  const auto shape = decay.get<std::string>("shape", "linear");
  require(shape == "linear" || shape == "cosine", decay.name("shape"), " must be \"linear\" or \"cosine\", not \"", shape, '"');
  schedule.decay = shape == "linear" ? Decay::linear : Decay::cosine;
  schedule.decay_steps = decay.integer("steps", 1, schedule.steps, schedule.steps - schedule.warmup_steps);
  schedule.floor = decay.number("floor", 0, 1, 0.0);
  return schedule;
}

}  // namespace detail

JANUSFLOW_INLINE Stage paper_stage(int number) {
  const auto mix = [](double understanding, double generation, double text) {
    TaskMix mix;
    mix.values = {understanding, generation, text};
    return mix;
  };
  switch (number) {
    case 1:
      return {.name = "adaptation", .where = {}, .trains = {"vision_gen_*", "vision_und_enc_aligner.*", "beg_of_und_embed", "repa_head.*"},
              .learning_rate = 1e-4, .schedule = {.steps = 10'000, .warmup_steps = 2'000}, .batch_size = 512, .mix = mix(50, 50, 0),
              .early_mix = {}, .early_steps = 0, .rates = {}};
    case 2:
      return {.name = "pretraining", .where = {}, .trains = {"*", "!vision_und_enc_model.*"}, .learning_rate = 1e-4,
              .schedule = {.steps = 390'000, .warmup_steps = 2'000}, .batch_size = 512, .mix = mix(14, 80, 6),
              .early_mix = mix(30, 50, 20), .early_steps = 10'000, .rates = {}};
    case 3:
      return {.name = "finetuning", .where = {}, .trains = {"*"}, .learning_rate = 2e-5,
              .schedule = {.steps = 26'000, .warmup_steps = 1'000}, .batch_size = 256, .mix = mix(21, 70, 9), .early_mix = {},
              .early_steps = 0, .rates = {}};
    default:
      fail("the paper has the stages 1, 2 and 3, not ", number);
  }
}

JANUSFLOW_INLINE Stage read_stage(const JsonObject& json, const std::string& where, bool has_tasks) {
  const std::initializer_list<std::string_view> of_all{"name", "trains", "learning_rate", "warmup_steps", "steps", "batch_size", "decay", "rates"};
  if (has_tasks) json.require_known({"preset", "mix", "early_mix"}, of_all);
  else json.require_known(of_all);
  const bool preset = json.has("preset");
  Stage stage = preset ? paper_stage(static_cast<int>(json.integer("preset", 1, 3))) : Stage{};
  stage.where = where;
  stage.name = json.get<std::string>("name", stage.name);
  require(!stage.name.empty(), json.name("name"), " is missing");
  require(stage.name.find_first_of(",\"\n") == std::string::npos, json.name("name"), " must have no comma, quote or new line in it");
  stage.trains = preset ? json.get<std::vector<std::string>>("trains", stage.trains) : json.get<std::vector<std::string>>("trains");
  require(!stage.trains.empty(), json.name("trains"), " must name a parameter");
  const auto optional = [preset](double value) { return preset ? std::optional(value) : std::nullopt; };
  stage.learning_rate = json.number("learning_rate", 0, 100, optional(stage.learning_rate));
  require(preset || json.has("steps"), json.name("steps"), " is missing");
  stage.schedule = detail::read_schedule(json, stage.schedule);
  stage.batch_size = json.integer("batch_size", 1, 1'000'000, preset ? std::optional(stage.batch_size) : std::nullopt);
  if (!has_tasks) {
    stage.mix[Task::generation] = 1;
  } else if (!preset || json.has("mix")) {
    const JsonObject mix = json.object("mix");
    mix.require_known({"understanding", "generation", "text"});
    stage.mix = detail::read_mix(mix);
    stage.early_steps = 0;  // the preset's belongs to the preset's mix
  }
  if (json.has("early_mix")) {
    const JsonObject early = json.object("early_mix");
    early.require_known({"understanding", "generation", "text", "steps"});
    stage.early_mix = detail::read_mix(early);
    stage.early_steps = early.integer("steps", 1, stage.schedule.steps);
  }
  stage.early_steps = std::min(stage.early_steps, stage.schedule.steps);
  if (json.has("rates")) {
    const JsonObject rates = json.object("rates");
    for (const auto& [pattern, factor] : rates.json().items()) stage.rates.push_back({pattern, rates.number(pattern, 0, 1000)});
  }
  return stage;
}

JANUSFLOW_INLINE Json stage_json(const Stage& stage) {
  Json json{{"name", stage.name}, {"trains", stage.trains}, {"learning_rate", stage.learning_rate},
            {"warmup_steps", stage.schedule.warmup_steps}, {"steps", stage.schedule.steps}, {"batch_size", stage.batch_size},
            {"mix", detail::mix_json(stage.mix)}};
  if (stage.early_steps > 0) {
    json["early_mix"] = detail::mix_json(stage.early_mix);
    json["early_mix"]["steps"] = stage.early_steps;
  }
  if (stage.schedule.decay != Decay::none)
    json["decay"] = {{"shape", stage.schedule.decay == Decay::linear ? "linear" : "cosine"}, {"steps", stage.schedule.decay_steps},
                     {"floor", stage.schedule.floor}};
  for (const RateRule& rule : stage.rates) json["rates"][rule.pattern] = rule.factor;
  return json;
}

JANUSFLOW_INLINE std::vector<bool> select_names(std::span<const std::string> patterns, std::span<const std::string> names,
                                                const std::string& where) {
  std::vector<bool> selected(names.size());
  for (const std::string& pattern : patterns) {
    const bool takes_away = pattern.starts_with('!');
    const std::string_view bare = std::string_view(pattern).substr(takes_away ? 1 : 0);
    bool found = false;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (!matches(bare, names[i])) continue;
      selected[i] = !takes_away;
      found = true;
    }
    require(found, where, ": \"", pattern, "\" matches no parameter of the model");
  }
  return selected;
}

JANUSFLOW_INLINE void apply_stage(const Stage& stage, std::span<TrainedTensor> tensors) {
  std::vector<std::string> names;
  for (const TrainedTensor& tensor : tensors) names.push_back(tensor.name);
  const auto trains = select_names(stage.trains, names, stage.where + ".trains");
  require(std::find(trains.begin(), trains.end(), true) != trains.end(), stage.where, ".trains leaves no parameter to train");
  std::vector<float> factors(tensors.size(), 1.0f);
  for (const RateRule& rule : stage.rates) {
    const auto selected = select_names(std::span(&rule.pattern, 1), names, stage.where + ".rates");
    for (std::size_t i = 0; i < tensors.size(); ++i)
      if (selected[i]) factors[i] *= static_cast<float>(rule.factor);
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].trains = trains[i];
    tensors[i].rate_factor = factors[i];
  }
}

}  // namespace janusflow
