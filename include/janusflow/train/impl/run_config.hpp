// The reader of what configs have in common. Included by train/run_config.hpp.
#pragma once


#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/train/run_config.hpp"

namespace janusflow {

JANUSFLOW_INLINE std::string training_kind(const JsonObject& json) {
  const auto kind = json.get<std::string>("train", "janusflow");
  require(kind == "janusflow" || kind == "autoencoder" || kind == "siglip", json.name("train"),
          " must be \"janusflow\", \"autoencoder\" or \"siglip\", not \"", kind, '"');
  return kind;
}

JANUSFLOW_INLINE Json RunConfig::to_json() const {
  Json json{{"from_scratch", from_scratch}, {"seed", seed}};
  const AdamWSettings& adamw = optimizer.adamw;
  json["optimizer"] = {{"beta1", adamw.beta1}, {"beta2", adamw.beta2}, {"eps", adamw.eps}, {"weight_decay", adamw.weight_decay},
                       {"clip", optimizer.clip}, {"ema_decay", optimizer.ema_decay}};
  if (!muon.empty())
    json["muon"] = {{"matrices", muon}, {"learning_rate", optimizer.muon.learning_rate}, {"momentum", optimizer.muon.momentum}};
  for (const Stage& stage : stages) json["stages"].push_back(stage_json(stage));
  return json;
}

JANUSFLOW_INLINE std::filesystem::path RunConfig::read_path(const JsonObject& json, const char* key, const std::filesystem::path& directory) {
  const auto name = json.get<std::string>(key);
  require(!name.empty(), json.name(key), " must not be empty");
  return (directory / name).lexically_normal();
}

JANUSFLOW_INLINE void RunConfig::read(const JsonObject& json, const std::filesystem::path& directory, const Kind& kind) {
  require(training_kind(json) == kind.name, json.name("train"), " is \"", training_kind(json), "\", not \"", kind.name, '"');
  json.require_known({"train", "model", "manifest", "output", "from_scratch", "recompute", "seed", "optimizer", "muon", "checkpoints",
                      "log", "stages"},
                     kind.keys);
  model = read_path(json, "model", directory);
  manifest = read_path(json, "manifest", directory);
  output = read_path(json, "output", directory);
  from_scratch = json.get<std::vector<std::string>>("from_scratch", {});
  recompute = json.get("recompute", recompute);
  seed = static_cast<std::uint64_t>(json.integer("seed", 0, Index{1} << 62, 0));
  if (json.has("optimizer")) read_optimizer(json.object("optimizer"));
  if (json.has("muon")) read_muon(json.object("muon"));
  if (json.has("checkpoints")) read_checkpoints(json.object("checkpoints"));
  if (json.has("log")) {
    const JsonObject log = json.object("log");
    log.require_known({"every"}, kind.log_keys);
    log_every = log.integer("every", 1, 1'000'000'000, log_every);
    samples_every = log.integer("samples_every", 0, 1'000'000'000, samples_every);
  }
  read_stages(json, kind.has_tasks);
}

JANUSFLOW_INLINE void RunConfig::read_optimizer(const JsonObject& json) {
  json.require_known({"beta1", "beta2", "eps", "weight_decay", "clip", "ema_decay"});
  AdamWSettings& adamw = optimizer.adamw;
  adamw.beta1 = json.number("beta1", 0, 0.999999, adamw.beta1);
  adamw.beta2 = json.number("beta2", 0, 0.999999, adamw.beta2);
  adamw.eps = json.number("eps", 1e-30, 1, adamw.eps);
  adamw.weight_decay = json.number("weight_decay", 0, 100, adamw.weight_decay);
  optimizer.clip = json.number("clip", 0, 1e9, optimizer.clip);
  optimizer.ema_decay = json.number("ema_decay", 0, 1, optimizer.ema_decay);
}

JANUSFLOW_INLINE void RunConfig::read_muon(const JsonObject& json) {
  json.require_known({"matrices", "learning_rate", "momentum"});
  muon = json.get<std::vector<std::string>>("matrices");
  optimizer.muon.learning_rate = json.number("learning_rate", 0, 100, optimizer.muon.learning_rate);
  optimizer.muon.momentum = json.number("momentum", 0, 0.999999, optimizer.muon.momentum);
}

JANUSFLOW_INLINE void RunConfig::read_checkpoints(const JsonObject& json) {
  json.require_known({"every", "keep"});
  checkpoint_every = json.integer("every", 1, 1'000'000'000, checkpoint_every);
  keep_checkpoints = json.integer("keep", 1, 1'000'000, keep_checkpoints);
}

JANUSFLOW_INLINE void RunConfig::read_stages(const JsonObject& json, bool has_tasks) {
  require(json.has("stages"), json.name("stages"), " is missing");
  const Json& list = json.json().at("stages");
  require(list.is_array() && !list.empty(), json.name("stages"), " must be a list of stages, at least one");
  for (const Json& entry : list) {
    const std::string where = "stages[" + std::to_string(stages.size()) + "]";
    const JsonObject stage(entry, json.file(), where);
    stages.push_back(read_stage(stage, json.name(where), has_tasks));
    for (std::size_t i = 0; i + 1 < stages.size(); ++i)
      require(stages[i].name != stages.back().name, stage.name("name"), " \"", stages.back().name, "\" is the name of another stage too");
  }
}

template <class Config>
Config read_run_config(const std::filesystem::path& path) {
  const Json json = read_json_file(path, std::uintmax_t{1} << 24);
  return Config::from_json(JsonObject(json, path.string()), path.parent_path());
}

JANUSFLOW_INLINE std::string first_difference(const Json& now, const Json& then, const std::string& path) {
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
