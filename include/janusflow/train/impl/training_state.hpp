// Checkpoints of training, written and read. Included by train/training_state.hpp.
#pragma once

#include <algorithm>
#include <string_view>
#include <system_error>
#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/train/training_state.hpp"

namespace janusflow {

namespace detail {

/// Numbers of a tensor lie under "<kind>/<key>": its weight, its average, first and second moment; all else under this.
inline constexpr std::string_view state_metadata = "janusflow_training";

JANUSFLOW_INLINE SafetensorsEntry state_entry(std::string_view kind, const TrainedTensor& tensor, std::span<const float> numbers) {
  return {std::string(kind) + '/' + tensor.name, Dtype::f32, tensor.shape, [numbers](const auto& put) { put(std::as_bytes(numbers)); }};
}

JANUSFLOW_INLINE void read_numbers(const SafetensorsFile& file, const std::string& kind, const TrainedTensor& tensor, float* out) {
  const RawTensor& raw = file.at(kind + '/' + tensor.name);
  raw.require_shape(tensor.shape);
  raw.copy_to(out);
}

/// Where a checkpoint of a run with this config stands. Throws Error where the config has no such place.
JANUSFLOW_INLINE TrainingProgress read_progress(const JsonObject& json, const Json& config) {
  const Json& stages = config.at("stages");
  TrainingProgress progress;
  progress.stage = json.integer("stage", 0, std::ssize(stages));
  Index before = 0;
  for (Index i = 0; i < progress.stage; ++i) before += stages[static_cast<std::size_t>(i)].at("steps").get<Index>();
  const bool done = progress.stage == std::ssize(stages);
  progress.step = json.integer("step", 0, done ? 0 : stages[static_cast<std::size_t>(progress.stage)].at("steps").get<Index>());
  progress.total_steps = json.integer("total_steps", 0, Index{1} << 62);
  require(progress.total_steps == before + progress.step, json.name("total_steps"), " is ", progress.total_steps, ", but step ", progress.step,
          " of stage ", progress.stage, " is step ", before + progress.step, " of the run");
  return progress;
}

/// Of two checkpoints: digits are nine, or more where there are more steps.
JANUSFLOW_INLINE bool has_fewer_steps(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto x = a.filename().string(), y = b.filename().string();
  return std::pair(x.size(), x) < std::pair(y.size(), y);
}

}  // namespace detail

JANUSFLOW_INLINE void save_training_state(
    const std::filesystem::path& path, std::span<const TrainedTensor> tensors, const Optimizer& optimizer,
    const TrainingProgress& progress, const Json& config) {
  std::vector<SafetensorsEntry> entries;
  Json steps = Json::object();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TrainedTensor& tensor = tensors[i];
    const TensorState& state = optimizer.states()[i];
    entries.push_back(detail::state_entry("weight", tensor, tensor.value));
    if (state.steps == 0) continue;
    steps[tensor.name] = state.steps;
    entries.push_back(detail::state_entry("average", tensor, state.average));
    entries.push_back(detail::state_entry("first", tensor, state.first));
    if (!state.muon) entries.push_back(detail::state_entry("second", tensor, state.second));
  }
  const Json about{{"version", 1}, {"stage", progress.stage}, {"step", progress.step}, {"total_steps", progress.total_steps},
                   {"config", config}, {"tensor_steps", steps}};
  write_safetensors(path, entries, {{std::string(detail::state_metadata), about.dump()}});
}

JANUSFLOW_INLINE TrainingProgress load_training_state(
    const std::filesystem::path& path, std::span<const TrainedTensor> tensors, Optimizer& optimizer,
    const Json& config) {
  const SafetensorsFile file(path);
  const auto text = file.metadata().find(std::string(detail::state_metadata));
  require(text != file.metadata().end(), path.string(), " is no checkpoint of a training run");
  const Json about = parse_json(text->second, path.string());
  const JsonObject json(about, path.string());
  json.integer("version", 1, 1);
  const JsonObject written = json.object("config");
  const Json& then = written.json();
  require(!config.contains("hashes") || then.contains("hashes"), path.string(), " was written by an earlier version, which kept no hashes of ",
          "autoencoder, image processor and tokenizer, so that it cannot be told whether they are the same; go on with that version, or begin ",
          "anew in another output directory");
  const auto difference = first_difference(config, then);
  require(difference.empty(), path.string(), " belongs to a run with another config: ", difference,
          "; go on with that config, or begin anew in another output directory");
  const TrainingProgress progress = detail::read_progress(json, config);
  const JsonObject steps = json.object("tensor_steps");
  std::size_t expected = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const bool trained = steps.has(tensors[i].name), muon = optimizer.states()[i].muon;
    if (trained) steps.integer(tensors[i].name, 1, progress.total_steps);
    expected += trained ? (muon ? 3 : 4) : 1;
    for (const char* kind : {"weight", "average", "first", "second"}) {
      if (kind != std::string_view("weight") && (!trained || (muon && kind == std::string_view("second")))) continue;
      const RawTensor& raw = file.at(std::string(kind) + '/' + tensors[i].name);
      raw.require_shape(tensors[i].shape);
      require(raw.dtype == Dtype::f32, raw.name(), " must be F32");
      require(all_finite(raw), raw.name(), " holds NaN or infinity");
    }
  }
  require(expected == file.tensors().size(), path.string(), " holds ", file.tensors().size(), " tensors, the model needs ", expected);

  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TrainedTensor& tensor = tensors[i];
    TensorState& state = optimizer.states()[i];
    detail::read_numbers(file, "weight", tensor, tensor.value.data());
    state.steps = steps.integer(tensor.name, 0, progress.total_steps, 0);
    state.average.assign(state.steps > 0 ? tensor.value.size() : 0, 0.0f);
    state.first = state.average;
    state.second.assign(state.steps > 0 && !state.muon ? tensor.value.size() : 0, 0.0f);
    if (state.steps == 0) continue;
    detail::read_numbers(file, "average", tensor, state.average.data());
    detail::read_numbers(file, "first", tensor, state.first.data());
    if (!state.muon) detail::read_numbers(file, "second", tensor, state.second.data());
  }
  return progress;
}

JANUSFLOW_INLINE CheckpointDirectory::CheckpointDirectory(std::filesystem::path path, Index keep) : path_(std::move(path)), keep_(keep) {
  make_directories(path_);
}

JANUSFLOW_INLINE void CheckpointDirectory::remove_leftovers() const {
  std::error_code ignored;
  for (const auto& path : paths_in(path_))
    if (path.filename().string().find(".safetensors.tmp-") != std::string::npos) std::filesystem::remove(path, ignored);
}

JANUSFLOW_INLINE std::filesystem::path CheckpointDirectory::file(Index total_steps) const {
  std::string digits = std::to_string(total_steps);
  digits.insert(0, digits.size() < 9 ? 9 - digits.size() : 0, '0');
  return path_ / ("step-" + digits + ".safetensors");
}

JANUSFLOW_INLINE std::optional<std::filesystem::path> CheckpointDirectory::latest() const {
  const auto all = files();
  return all.empty() ? std::nullopt : std::optional(all.back());
}

JANUSFLOW_INLINE void CheckpointDirectory::require_none_beyond(Index total_steps) const {
  if (const auto found = latest(); found && detail::has_fewer_steps(file(total_steps), *found))
    fail(found->string(), " is of a run that is further than this one: go on with it, or name another output");
}

JANUSFLOW_INLINE void CheckpointDirectory::save(std::span<const TrainedTensor> tensors, const Optimizer& optimizer,
                                                const TrainingProgress& progress, const Json& config) const {
  save_training_state(file(progress.total_steps), tensors, optimizer, progress, config);
  const auto all = files();
  std::error_code ignored;  // one too many does no harm
  for (std::size_t i = 0; i + static_cast<std::size_t>(keep_) < all.size(); ++i) std::filesystem::remove(all[i], ignored);
}

JANUSFLOW_INLINE std::vector<std::filesystem::path> CheckpointDirectory::files() const {
  std::vector<std::filesystem::path> all;
  for (const auto& path : paths_in(path_)) {
    const std::string name = path.filename().string();
    if (name.starts_with("step-") && name.ends_with(".safetensors")) all.push_back(path);
  }
  std::sort(all.begin(), all.end(), detail::has_fewer_steps);
  return all;
}

}  // namespace janusflow
