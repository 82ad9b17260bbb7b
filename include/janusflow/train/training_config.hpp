// The config file of a training run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "janusflow/io/config.hpp"
#include "janusflow/train/optimizer.hpp"
#include "janusflow/train/stages.hpp"

namespace janusflow {

/// Weights of the three losses and how times are drawn (arXiv 2411.07975, equations 3 to 5).
struct LossSettings {
  double ar = 1, rf = 1, repa = 1;    // next token, rectified flow, representation alignment
  Index repa_layer = 6;               // the block of the language model whose states are aligned, counted from 1
  Index repa_width = 2048;            // of the hidden layers of the head that aligns them
  bool logit_normal = true;           // else times are uniform
  double time_mean = 0, time_deviation = 1;  // of the logit
};

/// What a run is made of. Paths are relative to the config file's directory.
struct TrainingConfig {
  std::filesystem::path model, vae, manifest, output, cache;
  std::vector<std::string> from_scratch;  // patterns of the weights that are drawn from the seed; ["*"]: no weights are read at all
  bool recompute = false;  // keep only what goes into each block, and compute the block again on the way back: less memory
  std::uint64_t seed = 0;
  LossSettings losses;
  OptimizerSettings optimizer;
  std::vector<std::string> muon;   // patterns of the matrices that Muon trains
  double prompt_dropout = 0.1;     // share of generation prompts that are left out, for guidance
  Index noise_levels = 1;          // of each generation sample in a step; they share its prompt
  Index pack_length = 4096;        // tokens of a packed sequence
  Index checkpoint_every = 1000, keep_checkpoints = 3;  // steps; files
  Index log_every = 10, samples_every = 0;              // steps; 0: no sheets
  std::vector<std::string> sample_prompts;
  std::vector<Stage> stages;

  /// Reads and checks a config. Throws Error naming file and key for whatever is missing, unknown or out of range.
  static TrainingConfig from_file(const std::filesystem::path& path) {
    const Json json = read_json_file(path, std::uintmax_t{1} << 24);
    return from_json(JsonObject(json, path.string()), path.parent_path());
  }

  static TrainingConfig from_json(const JsonObject& json, const std::filesystem::path& directory) {
    json.require_known({"model", "vae", "manifest", "output", "cache", "from_scratch", "recompute", "seed", "losses", "optimizer", "muon", "prompt_dropout",
                        "noise_levels", "pack_length", "checkpoints", "log", "stages"});
    TrainingConfig config;
    const auto path = [&](const char* key) {
      const auto name = json.get<std::string>(key);
      require(!name.empty(), json.name(key), " must not be empty");
      return (directory / name).lexically_normal();
    };
    config.model = path("model");
    config.vae = json.has("vae") ? path("vae") : config.model / "vae";
    config.manifest = path("manifest");
    config.output = path("output");
    config.cache = json.has("cache") ? path("cache") : config.output / "cache";
    config.from_scratch = json.get<std::vector<std::string>>("from_scratch", {});
    config.recompute = json.get("recompute", config.recompute);
    config.seed = static_cast<std::uint64_t>(json.integer("seed", 0, Index{1} << 62, 0));
    config.prompt_dropout = json.number("prompt_dropout", 0, 1, config.prompt_dropout);
    config.noise_levels = json.integer("noise_levels", 1, 1000, config.noise_levels);
    config.pack_length = json.integer("pack_length", 2, max_extent, config.pack_length);
    if (json.has("losses")) config.read_losses(json.object("losses"));
    if (json.has("optimizer")) config.read_optimizer(json.object("optimizer"));
    if (json.has("muon")) config.read_muon(json.object("muon"));
    if (json.has("checkpoints")) config.read_checkpoints(json.object("checkpoints"));
    if (json.has("log")) config.read_log(json.object("log"));
    config.read_stages(json);
    return config;
  }

  /// What decides the numbers of a run, every setting spelled out: a checkpoint of a run with another one cannot go on. Where files
  /// lie, and how often they are written, is no part of it.
  Json to_json() const {
    Json json{{"from_scratch", from_scratch}, {"seed", seed}, {"prompt_dropout", prompt_dropout}, {"noise_levels", noise_levels}, {"pack_length", pack_length}};
    json["losses"] = {{"ar", losses.ar}, {"rf", losses.rf}, {"repa", losses.repa}, {"repa_layer", losses.repa_layer},
                      {"repa_width", losses.repa_width},
                      {"times", losses.logit_normal ? "logit_normal" : "uniform"}, {"time_mean", losses.time_mean},
                      {"time_deviation", losses.time_deviation}};
    const AdamWSettings& adamw = optimizer.adamw;
    json["optimizer"] = {{"beta1", adamw.beta1}, {"beta2", adamw.beta2}, {"eps", adamw.eps}, {"weight_decay", adamw.weight_decay},
                         {"clip", optimizer.clip}, {"ema_decay", optimizer.ema_decay}};
    if (!muon.empty())
      json["muon"] = {{"matrices", muon}, {"learning_rate", optimizer.muon.learning_rate}, {"momentum", optimizer.muon.momentum}};
    for (const Stage& stage : stages) json["stages"].push_back(stage_json(stage));
    return json;
  }

 private:
  void read_losses(const JsonObject& json) {
    json.require_known({"ar", "rf", "repa", "repa_layer", "repa_width", "times", "time_mean", "time_deviation"});
    losses.ar = json.number("ar", 0, 1e6, losses.ar);
    losses.rf = json.number("rf", 0, 1e6, losses.rf);
    losses.repa = json.number("repa", 0, 1e6, losses.repa);
    losses.repa_layer = json.integer("repa_layer", 1, 1000, losses.repa_layer);
    losses.repa_width = json.integer("repa_width", 1, max_extent, losses.repa_width);
    const auto times = json.get<std::string>("times", "logit_normal");
    require(times == "logit_normal" || times == "uniform", json.name("times"), " must be \"logit_normal\" or \"uniform\", not \"", times, '"');
    losses.logit_normal = times == "logit_normal";
    losses.time_mean = json.number("time_mean", -20, 20, losses.time_mean);
    losses.time_deviation = json.number("time_deviation", 0, 20, losses.time_deviation);
  }

  void read_optimizer(const JsonObject& json) {
    json.require_known({"beta1", "beta2", "eps", "weight_decay", "clip", "ema_decay"});
    AdamWSettings& adamw = optimizer.adamw;
    adamw.beta1 = json.number("beta1", 0, 0.999999, adamw.beta1);
    adamw.beta2 = json.number("beta2", 0, 0.999999, adamw.beta2);
    adamw.eps = json.number("eps", 1e-30, 1, adamw.eps);
    adamw.weight_decay = json.number("weight_decay", 0, 100, adamw.weight_decay);
    optimizer.clip = json.number("clip", 0, 1e9, optimizer.clip);
    optimizer.ema_decay = json.number("ema_decay", 0, 1, optimizer.ema_decay);
  }

  void read_muon(const JsonObject& json) {
    json.require_known({"matrices", "learning_rate", "momentum"});
    muon = json.get<std::vector<std::string>>("matrices");
    optimizer.muon.learning_rate = json.number("learning_rate", 0, 100, optimizer.muon.learning_rate);
    optimizer.muon.momentum = json.number("momentum", 0, 0.999999, optimizer.muon.momentum);
  }

  void read_checkpoints(const JsonObject& json) {
    json.require_known({"every", "keep"});
    checkpoint_every = json.integer("every", 1, 1'000'000'000, checkpoint_every);
    keep_checkpoints = json.integer("keep", 1, 1'000'000, keep_checkpoints);
  }

  void read_log(const JsonObject& json) {
    json.require_known({"every", "samples_every", "sample_prompts"});
    log_every = json.integer("every", 1, 1'000'000'000, log_every);
    samples_every = json.integer("samples_every", 0, 1'000'000'000, samples_every);
    sample_prompts = json.get<std::vector<std::string>>("sample_prompts", {});
    require(samples_every == 0 || !sample_prompts.empty(), json.name("sample_prompts"), " is missing: samples_every asks for sheets");
  }

  void read_stages(const JsonObject& json) {
    require(json.has("stages"), json.name("stages"), " is missing");
    const Json& list = json.json().at("stages");
    require(list.is_array() && !list.empty(), json.name("stages"), " must be a list of stages, at least one");
    for (const Json& entry : list) {
      const std::string where = "stages[" + std::to_string(stages.size()) + "]";
      const JsonObject stage(entry, json.file(), where);
      stages.push_back(read_stage(stage, json.name(where)));
      for (std::size_t i = 0; i + 1 < stages.size(); ++i)
        require(stages[i].name != stages.back().name, stage.name("name"), " \"", stages.back().name, "\" is the name of another stage too");
    }
  }
};

/// The first setting, by its path, in which two configs differ, with both values as "a.b is 1, not 2"; empty where they agree.
inline std::string first_difference(const Json& now, const Json& then, const std::string& path = {}) {
  if (now == then) return {};
  if (now.is_object() && then.is_object()) {
    Json keys = now;
    keys.update(then);
    for (const auto& [key, value] : keys.items()) {
      const std::string name = path.empty() ? key : path + '.' + key;
      const auto found = first_difference(now.value(key, Json()), then.value(key, Json()), name);
      if (!found.empty()) return found;
    }
    return {};
  }
  if (now.is_array() && then.is_array() && now.size() == then.size())
    for (std::size_t i = 0; i < now.size(); ++i)
      if (now[i] != then[i]) return first_difference(now[i], then[i], path + '[' + std::to_string(i) + ']');
  const auto shown = [](const Json& value) {
    const std::string text = value.is_null() ? "absent" : value.dump();
    return text.size() <= 80 ? text : text.substr(0, 80) + "...";
  };
  return path + " is " + shown(now) + ", not " + shown(then);
}

}  // namespace janusflow
