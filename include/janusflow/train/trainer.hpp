// The trainer: a config's stages, one after the other, from a directory of weights to a directory of weights.
#pragma once

#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "janusflow/core/stopwatch.hpp"
#include "janusflow/train/gradient_sum.hpp"
#include "janusflow/train/janusflow_objective.hpp"
#include "janusflow/train/objective.hpp"
#include "janusflow/train/run_lock.hpp"
#include "janusflow/train/training_log.hpp"
#include "janusflow/train/training_state.hpp"

namespace janusflow {

/// What a Trainer's observer is told after each step.
struct StepReport {
  const Stage& stage;
  Index step, total_steps, all_steps;  // done of the stage, done in all, and how many there are in all
  double learning_rate;
  std::vector<std::string> names;  // of the losses' parts
  StepLosses losses;
  double gradient_norm = 0;
  Index samples = 0;    // of this step
  double seconds = 0;   // that it took
};

/// What a Trainer calls. All may be left out. With several ranks each calls its own, but for the samples, which are rank 0's.
struct TrainerObserver {
  Preparing preparing;
  /// After each step. Returns false, on any rank, to stop: the run is saved and can go on later.
  std::function<bool(const StepReport&)> step;
  /// Every samples_every steps, for a sheet of samples of what has been learned.
  std::function<void(const StepReport&)> samples;
};

/// Trains. The numbers depend on config, weights, samples and the number of ranks, not on the number of threads or on how often the run
/// was stopped.
///
/// With several ranks each learns a part of every step's samples; losses and gradients are summed over the ranks, and everything behind
/// them is done by each alike, so that the weights are the same bits everywhere: that is checked. Rank 0 alone writes files. What all
/// ranks find out together is thrown as SharedError, what one alone does as Error: the program has to end the others then.
template <Objective O = JanusFlowObjective<>>
class Trainer {
 public:
  using Config = typename O::Config;

  /// Opens everything and checks what can be checked at once. Throws Error, in one sentence, for whatever does not fit together.
  explicit Trainer(Config config, TrainerObserver observer = {}, Communicator& communicator = alone())
      : config_(std::move(config)),
        observer_(std::move(observer)),
        communicator_(communicator),
        manifest_(config_.manifest),
        names_(O::loss_names.begin(), O::loss_names.end()),
        objective_(config_, manifest_, communicator_),
        checkpoints_(config_.output / "checkpoints", config_.keep_checkpoints) {
    for (const Stage& stage : config_.stages) {
      for (std::size_t task = 0; task < num_tasks; ++task)
        require(!stage.asks_for(static_cast<Task>(task)) || manifest_.count(static_cast<Task>(task)) > 0, stage.where, " asks for ",
                task_names[task], " samples, and ", manifest_.path().string(), " has none");
      tensors_ = enter_stage(objective_.module(), stage, O::stays_frozen);  // its patterns
    }
    optimizer_.emplace(tensors_, config_.optimizer, muon_tensors());
    auto settings = config_.to_json();
    settings["model"] = objective_.model_config().to_json();
    settings["manifest"] = hex(manifest_.fingerprint());
    for (const auto& [name, hash] : objective_.file_hashes()) settings["hashes"][name] = hex(hash);
    settings_hash_ = content_hash(settings.dump());
    settings_ = std::make_shared<const Json>(std::move(settings));
  }
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  const Config& config() const { return config_; }
  const TrainingProgress& progress() const { return progress_; }
  const std::vector<TrainedTensor>& tensors() const { return tensors_; }
  const TrainingLog& log() const { return *log_; }  // of run(), on rank 0
  Index all_steps() const { return steps_before(std::ssize(config_.stages)); }
  bool finished() const { return progress_.stage == std::ssize(config_.stages); }
  /// The newest checkpoint in the output directory, if there is one.
  std::optional<std::filesystem::path> latest_checkpoint() const { return checkpoints_.latest(); }

  /// Goes on from the newest checkpoint; false where there is none. Throws Error as load_training_state does, among others when it
  /// belongs to a run with another autoencoder, image processor or tokenizer.
  bool resume() {
    const auto path = checkpoints_.latest();
    if (!path) return false;
    progress_ = load_training_state(*path, tensors_, *optimizer_, *settings_);
    return true;
  }

  /// Trains to the end, or to the end of the stage of that name. Returns false where the observer has stopped it. Throws Error for a
  /// stage that there is not or whose turn it is not, where another run is at work in the output directory or has come further there, and,
  /// naming stage, step and tensor, where a number is not finite: the last checkpoint is then what there is to go on from.
  bool run(const std::string& only_stage = {}) {
    const Index last = last_stage(only_stage);
    std::optional<RunLock> lock;
    bool goes_on = true;
    together(communicator_, [&] {
      if (!writes()) return;
      lock.emplace(config_.output);
      checkpoints_.require_none_beyond(progress_.total_steps);  // since this run looked, another may have come and gone
      checkpoints_.remove_leftovers();
      goes_on = check_samples();
      if (!goes_on) return;
      log_.emplace(config_.output / "log.csv", names_, progress_.total_steps);
      if constexpr (validates)
        if (!config_.validation.manifest.empty())
          validation_log_.emplace(config_.output / "validation.csv",
                                  std::vector<std::string>(O::validation_names.begin(), O::validation_names.end()), progress_.total_steps);
    });
    require_alike("");
    if (on_any_rank(communicator_, !goes_on)) return save(), false;
    for (; progress_.stage <= last; ++progress_.stage, progress_.step = 0)
      if (!run_stage(config_.stages[static_cast<std::size_t>(progress_.stage)])) return false;
    save();
    return true;
  }

  /// Looks at every sample, as run() does first of all: better than to fail in the middle of the night. Returns false where the observer
  /// has stopped it. Throws Error for the first that cannot be learned from, or painted.
  bool check_samples() {
    return objective_.check_samples([this](const std::string& what, double done) { return preparing(what, done); });
  }

  /// Writes the moving average of the weights as a directory that the programs read; on rank 0, which nobody waits for.
  void publish(const std::filesystem::path& directory, Dtype dtype = Dtype::bf16) const {
    if (writes()) objective_.publish(directory, tensors_, *optimizer_, dtype);
  }

  /// Writes a checkpoint now.
  void save() {
    require_alike(after_step());
    together(communicator_, [&] {
      objective_.flush();
      if (!writes()) return;
      checkpoints_.save(tensors_, *optimizer_, progress_, *settings_);
      if (log_) write_png(config_.output / "curves.png", log_->curves().view());
    });
  }

 private:
  static constexpr bool validates = requires { O::validation_names; };
  static constexpr Index steps_between_checks = 100;  // whether the ranks have the same weights; before every checkpoint too

  bool writes() const { return communicator_.rank() == 0; }

  std::string after_step() const { return "after step " + std::to_string(progress_.total_steps) + ": "; }

  /// Throws SharedError where a rank trains something else than rank 0 does.
  void require_alike(const std::string& where) {
    if (communicator_.ranks() == 1) return;
    std::uint64_t hash = content_hash(std::to_string(progress_.stage) + ' ' + std::to_string(progress_.step), settings_hash_);
    for (const TrainedTensor& tensor : tensors_) hash = content_hash(std::as_bytes(tensor.value), hash);
    require_same(communicator_, hash, where, "other weights or another config");
  }

  std::vector<bool> muon_tensors() const {
    if (config_.muon.empty()) return {};
    std::vector<std::string> names;
    for (const TrainedTensor& tensor : tensors_) names.push_back(tensor.name);
    auto selected = select_names(config_.muon, names, "muon.matrices");
    for (std::size_t i = 0; i < selected.size(); ++i) selected[i] = selected[i] && tensors_[i].shape.size() >= 2;
    return selected;
  }

  Index last_stage(const std::string& name) const {
    const Index count = std::ssize(config_.stages);
    if (name.empty()) return count - 1;
    for (Index i = 0; i < count; ++i) {
      if (config_.stages[static_cast<std::size_t>(i)].name != name) continue;
      if (i > progress_.stage)  // so there is such a stage, which a finished run's number is behind
        fail("stage ", name, " comes behind ", config_.stages[static_cast<std::size_t>(progress_.stage)].name, ", which is not done yet");
      require(i == progress_.stage, "stage ", name, " is done already");
      return i;
    }
    fail("the config has no stage ", name);
  }

  Index steps_before(Index stage) const {
    Index steps = 0;
    for (Index i = 0; i < stage; ++i) steps += config_.stages[static_cast<std::size_t>(i)].schedule.steps;
    return steps;
  }

  /// Samples of each task that the run has used before a step of the present stage.
  TaskCounts samples_before(Index step) const {
    TaskCounts sum = config_.stages[static_cast<std::size_t>(progress_.stage)].samples_before(step);
    for (Index i = 0; i < progress_.stage; ++i) {
      const Stage& stage = config_.stages[static_cast<std::size_t>(i)];
      sum += stage.samples_before(stage.schedule.steps);
    }
    return sum;
  }

  bool preparing(const std::string& what, double done) const { return !observer_.preparing || observer_.preparing(what, done); }

  bool run_stage(const Stage& stage) {
    if constexpr (validates)
      if (progress_.step > 0 && validation_is_due() && misses_validation() && !validate(stage)) return false;
    if (progress_.step >= stage.schedule.steps) return true;
    tensors_ = enter_stage(objective_.module(), stage, O::stays_frozen);
    GradientSum gradients(communicator_, training_parameters(objective_.module()));
    const auto told = [this](const std::string& what, double done) { return preparing(what, done); };
    if (!objective_.prepare(stage, tensors_, told)) return save(), false;
    while (progress_.step < stage.schedule.steps) {
      const Stopwatch watch;
      StepReport report = step(stage, gradients);
      report.seconds = watch.seconds();
      if (writes()) write_log(report);
      const bool goes_on = !on_any_rank(communicator_, observer_.step && !observer_.step(report));
      const auto every = [this](Index steps) { return steps > 0 && progress_.total_steps % steps == 0; };
      // First of all: what comes behind takes long, and may fail.
      const bool saves = !goes_on || every(config_.checkpoint_every) || progress_.step == stage.schedule.steps;
      if (saves) save();
      else if (every(steps_between_checks)) require_alike(after_step());
      if constexpr (validates)
        if (validation_is_due() && !validate(stage)) {
          if (!saves) save();
          return false;
        }
      if (writes() && every(config_.samples_every) && observer_.samples) observer_.samples(report);
      if (!goes_on) return false;
    }
    return true;
  }

  StepReport step(const Stage& stage, GradientSum& gradients) {
    const std::string where = "stage " + stage.name + ", step " + std::to_string(progress_.step + 1) + ": ";
    const double factor = stage.schedule.factor(progress_.step);
    clear_gradients(objective_.module());
    StepReport report{stage, progress_.step + 1, progress_.total_steps + 1, all_steps(), stage.learning_rate * factor, names_,
                      objective_.learn(samples_before(progress_.step), samples_before(progress_.step + 1),
                                       [&](Tape& tape) { gradients.watch(tape); })};
    report.samples = stage.batch_size;
    gradients.finish();
    report.losses.sum_over(communicator_);
    refresh_gradients(objective_.module(), tensors_);
    together(communicator_, [&] {
      try {
        report.gradient_norm = optimizer_->step(tensors_, stage.learning_rate, factor);
      } catch (const Error& error) {
        fail(where, error.what());
      }
      require(std::isfinite(report.losses.total), where, "the loss is not finite");
    });
    ++progress_.step;
    ++progress_.total_steps;
    return report;
  }

  bool validation_is_due() const {
    const Index steps = progress_.total_steps;
    return !config_.validation.manifest.empty() && (steps % config_.validation.every == 0 || steps == all_steps());
  }

  /// Whether there is no line of it: checkpoints come before it, and a run may go on from one that ended in between.
  bool misses_validation() const {
    return on_any_rank(communicator_,
                       validation_log_ && (validation_log_->rows().empty() || validation_log_->rows().back().step < progress_.total_steps));
  }

  /// How the averages of the weights, which are what is published, do on samples that are not learned from. Returns false where the
  /// observer has stopped it.
  bool validate(const Stage& stage) {
    const Stopwatch watch;
    std::vector<double> measures;
    {
      const AveragesInPlace averages(tensors_, *optimizer_);
      measures = objective_.validate(tensors_, *optimizer_, [this](const std::string& what, double done) { return preparing(what, done); });
    }
    if (measures.empty()) return false;
    if (!validation_log_) return true;
    LogRow row{progress_.total_steps, stage.name, stage.learning_rate * stage.schedule.factor(progress_.step - 1)};
    row.losses = measures;
    row.samples = samples_before(progress_.step).sum();
    row.samples_a_second = static_cast<double>(objective_.validation_samples()) / std::max(1e-9, watch.seconds());
    validation_log_->add(row);
    return true;
  }

  void write_log(const StepReport& report) {
    since_.parts.resize(names_.size());
    const auto add = [](Mean& mean, double value) { mean.sum += value, ++mean.count; };
    add(since_.loss, report.losses.total);
    add(since_.norm, report.gradient_norm);
    for (std::size_t i = 0; i < names_.size(); ++i)
      if (report.losses.parts[i]) add(since_.parts[i], *report.losses.parts[i]);
    since_.samples += report.samples;
    since_.seconds += report.seconds;
    if (report.total_steps % config_.log_every != 0 && report.total_steps != report.all_steps) return;
    LogRow row{report.total_steps, report.stage.name, report.learning_rate, since_.loss.value(), {}, since_.norm.value(),
               samples_before(progress_.step).sum(), static_cast<double>(since_.samples) / std::max(1e-9, since_.seconds)};
    for (const Mean& part : since_.parts) row.losses.push_back(part.value());
    log_->add(row);
    since_ = {};
  }

  struct Mean {
    double sum = 0;
    Index count = 0;

    double value() const { return count ? sum / static_cast<double>(count) : LogRow::none; }
  };
  /// Since the last line of the log.
  struct Sums {
    Mean loss, norm;
    std::vector<Mean> parts;
    Index samples = 0;
    double seconds = 0;
  };

  Config config_;
  TrainerObserver observer_;
  Communicator& communicator_;
  Manifest manifest_;
  std::vector<std::string> names_;
  O objective_;
  CheckpointDirectory checkpoints_;
  std::vector<TrainedTensor> tensors_;
  std::optional<Optimizer> optimizer_;
  std::optional<TrainingLog> log_, validation_log_;
  TrainingProgress progress_;
  std::shared_ptr<const Json> settings_;  // what decides the numbers
  std::uint64_t settings_hash_ = 0;
  Sums since_;
};

}  // namespace janusflow
