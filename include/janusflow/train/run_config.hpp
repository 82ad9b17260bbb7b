// What the config files of all training runs have in common, whatever they train.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/io/config.hpp"
#include "janusflow/train/optimizer.hpp"
#include "janusflow/train/stages.hpp"

namespace janusflow {

/// What a run trains, as its config says under "train".
std::string training_kind(const JsonObject& json);

/// What a run of any kind is made of. Paths are relative to the config file's directory.
struct RunConfig {
  std::filesystem::path model, manifest, output;
  std::vector<std::string> from_scratch;  // patterns of the weights that are drawn from the seed, and not read
  bool recompute = false;  // keep only what goes into each block, and compute the block again on the way back: less memory
  std::uint64_t seed = 0;
  OptimizerSettings optimizer;
  std::vector<std::string> muon;   // patterns of the matrices that Muon trains
  Index checkpoint_every = 1000, keep_checkpoints = 3;  // steps; files
  Index log_every = 10, samples_every = 0;              // steps; 0: no sheets
  std::vector<Stage> stages;

  /// What the kinds of runs differ in, as far as reading them goes.
  struct Kind {
    std::string_view name;
    std::initializer_list<std::string_view> keys, log_keys;  // of their own
    bool has_tasks;  // whether a stage has a mix of tasks, and may be one of the paper's; else it takes pictures that are painted
  };

  /// What decides the numbers of a run, every setting spelled out: a checkpoint of a run with another one cannot go on. Where files
  /// lie, and how often they are written, is no part of it.
  Json to_json() const;

 protected:
  static std::filesystem::path read_path(const JsonObject& json, const char* key, const std::filesystem::path& directory);

  /// Reads what is common. Throws Error naming file and key for whatever is missing, unknown or out of range.
  void read(const JsonObject& json, const std::filesystem::path& directory, const Kind& kind);

 private:
  void read_optimizer(const JsonObject& json);

  void read_muon(const JsonObject& json);

  void read_checkpoints(const JsonObject& json);

  void read_stages(const JsonObject& json, bool has_tasks);
};

/// Reads the config file of a run, a RunConfig of some kind. Throws Error naming file and key.
template <class Config>
Config read_run_config(const std::filesystem::path& path);

/// The first setting, by its path, in which two configs differ, with both values as "a.b is 1, not 2"; empty where they agree.
std::string first_difference(const Json& now, const Json& then, const std::string& path = {});

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/run_config.hpp"
#endif
