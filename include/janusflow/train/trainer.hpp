// The trainer: a config's stages, one after the other, from a directory of weights to a directory of weights.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "janusflow/core/stopwatch.hpp"
#include "janusflow/io/expected_tensors.hpp"
#include "janusflow/train/batch_maker.hpp"
#include "janusflow/train/publish.hpp"
#include "janusflow/train/run_lock.hpp"
#include "janusflow/train/training_log.hpp"
#include "janusflow/train/training_state.hpp"

namespace janusflow {

/// What a Trainer's observer is told after each step.
struct StepReport {
  const Stage& stage;
  Index step, total_steps, all_steps;  // done of the stage, done in all, and how many there are in all
  double loss, gradient_norm, learning_rate;
  std::optional<double> ar, rf, repa;
  Index samples;    // of this step
  double seconds;   // that it took
};

/// What a Trainer calls. All may be left out.
struct TrainerObserver {
  /// Before a stage: what is computed, and the share of it that is done. Returns false to stop.
  std::function<bool(const std::string&, double)> preparing;
  /// After each step. Returns false to stop: the run is saved and can go on later.
  std::function<bool(const StepReport&)> step;
  /// Every samples_every steps, for a sheet of samples of what has been learned.
  std::function<void(const StepReport&)> samples;
};

/// Trains. The numbers depend on config, weights and samples, not on the number of threads or on how often the run was stopped.
template <class P = Taped<float>>
class Trainer {
 public:
  /// Opens everything and checks every sample. Throws Error, in one sentence, for whatever does not fit together.
  explicit Trainer(TrainingConfig config, TrainerObserver observer = {})
      : config_(std::move(config)),
        observer_(std::move(observer)),
        manifest_(config_.manifest),
        model_(read_config<JanusFlowConfig>(config_.model / "config.json"), config_.losses.repa_width),
        processor_(Processor::from_directory(config_.model, model_.config().vision_und_enc.num_patches())),
        pictures_(model_.config(), ImageProcessorConfig::from_directory(config_.model, model_.config().vision_und_enc.image_size), config_.vae,
                  config_.cache),
        batches_(config_, manifest_, processor_, pictures_, model_),
        checkpoints_(config_.output / "checkpoints", config_.keep_checkpoints) {
    check_model();
    if (config_.from_scratch != std::vector<std::string>{"*"}) load_weights();
    model_.initialize(config_.from_scratch, config_.seed);
    for (const Stage& stage : config_.stages) model_.enter(stage);  // their patterns
    tensors_ = model_.tensors();
    optimizer_.emplace(tensors_, config_.optimizer, muon_tensors());
    echo_ = config_.to_json();
    echo_["model"] = model_.config().to_json();
    echo_["manifest"] = hex(manifest_.fingerprint());
  }
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  const TrainingConfig& config() const { return config_; }
  const TrainingProgress& progress() const { return progress_; }
  const std::vector<TrainedTensor>& tensors() const { return tensors_; }
  const TrainingLog& log() const { return *log_; }
  Index all_steps() const { return steps_before(std::ssize(config_.stages)); }
  bool finished() const { return progress_.stage == std::ssize(config_.stages); }
  /// The newest checkpoint in the output directory, if there is one.
  std::optional<std::filesystem::path> latest_checkpoint() const { return checkpoints_.latest(); }

  /// Goes on from the newest checkpoint; false where there is none. Throws Error when it belongs to another run.
  bool resume() {
    const auto path = checkpoints_.latest();
    if (!path) return false;
    progress_ = load_training_state(*path, tensors_, *optimizer_, echo_);
    require(progress_.stage <= std::ssize(config_.stages), path->string(), " stands in stage ", progress_.stage, ", which the config has not");
    return true;
  }

  /// Trains to the end, or to the end of the stage of that name. Returns false where the observer has stopped it. Throws Error for a
  /// stage that there is not or whose turn it is not, where another run is at work in the output directory, and, naming stage, step
  /// and tensor, where a number is not finite: the last checkpoint is then what there is to go on from.
  bool run(const std::string& only_stage = {}) {
    const Index last = last_stage(only_stage);
    const RunLock lock(config_.output);
    checkpoints_.remove_leftovers();
    check_samples();
    log_.emplace(config_.output / "log.csv", progress_.total_steps);
    for (; progress_.stage <= last; ++progress_.stage, progress_.step = 0)
      if (!run_stage(config_.stages[static_cast<std::size_t>(progress_.stage)])) return false;
    save();
    return true;
  }

  /// Tokenises every sample, as run() does first of all: better than to fail in the middle of the night. Throws Error for the first
  /// that is too long, or names more or fewer pictures than it has.
  void check_samples() {
    const Index all = manifest_.count(Task::understanding) + manifest_.count(Task::generation) + manifest_.count(Task::text);
    Index done = 0;
    for (std::size_t task = 0; task < num_tasks; ++task)
      for (Index i = 0; i < manifest_.count(static_cast<Task>(task)); ++i) {
        batches_.tokenizer()(manifest_.read(static_cast<Task>(task), i));
        if (++done % 256 == 0) preparing("checking samples", done, all);
      }
  }

  /// Writes the moving average of the weights as a model that every program reads, its autoencoder in vae/.
  void publish(const std::filesystem::path& directory, Dtype dtype = Dtype::bf16) const {
    publish_model(config_.model, config_.vae, directory, tensors_, *optimizer_, dtype);
  }

  /// Writes a checkpoint now.
  void save() {
    pictures_.flush();
    checkpoints_.save(tensors_, *optimizer_, progress_, echo_);
    if (log_) write_png(config_.output / "curves.png", log_->curves().view());
  }

 private:
  static bool asks_for(const Stage& stage, Task task) {
    return stage.mix[task] > 0 || (stage.early_steps > 0 && stage.early_mix[task] > 0);
  }

  void check_model() {
    for (const Stage& stage : config_.stages)
      for (std::size_t task = 0; task < num_tasks; ++task)
        require(!asks_for(stage, static_cast<Task>(task)) || manifest_.count(static_cast<Task>(task)) > 0, stage.where, ".mix asks for ",
                task_names[task], " samples, and ", manifest_.path().string(), " has none");
    require(config_.losses.repa == 0 || config_.losses.repa_layer <= model_.config().language.num_hidden_layers,
            "losses.repa_layer is ", config_.losses.repa_layer, ", the language model has ", model_.config().language.num_hidden_layers, " layers");
  }

  void load_weights() {
    const auto checkpoint = std::make_shared<const Checkpoint>(config_.model);
    JanusFlow<Layout> layout(model_.config());
    const auto difference = compare(*checkpoint, expected_tensors(layout));
    require(difference.unknown.empty(), checkpoint->path().string(), " has the tensor ", difference.unknown.empty() ? "" : difference.unknown[0],
            ", which the config has no place for");
    model_.load_from(checkpoint, config_.seed);
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
      require(i <= progress_.stage, "stage ", name, " comes behind ", config_.stages[static_cast<std::size_t>(progress_.stage)].name,
              ", which is not done yet");
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
      const TaskCounts more = stage.samples_before(stage.schedule.steps);
      for (std::size_t task = 0; task < num_tasks; ++task) sum.values[task] += more.values[task];
    }
    return sum;
  }

  bool preparing(const std::string& what, Index done, Index all) const {
    return !observer_.preparing || observer_.preparing(what, static_cast<double>(done) / static_cast<double>(std::max<Index>(1, all)));
  }

  /// Latents, and features where the tower is frozen, of every picture that the stage may need. False: the observer has stopped it.
  bool prepare_pictures(const Stage& stage) {
    if (frozen_tower_) pictures_.freeze_tower(tower_hash(tensors_));
    const auto& understanding = model_.janusflow().understanding;
    std::vector<float> latents(static_cast<std::size_t>(pictures_.latent_shape().size()));
    std::vector<float> features(static_cast<std::size_t>(model_.config().vision_und_enc.num_patches() * model_.config().vision_und_enc.width));
    for (const Task task : {Task::generation, Task::understanding}) {
      if (!asks_for(stage, task)) continue;
      for (Index i = 0; i < manifest_.count(task); ++i) {
        if (!preparing("preparing pictures", i, manifest_.count(task))) return false;
        for (const auto& path : manifest_.read(task, i).pictures) {
          if (task == Task::generation) pictures_.latents(path, latents.data());
          const bool looked_at = frozen_tower_ && (task == Task::understanding || config_.losses.repa > 0);
          if (looked_at) pictures_.features(understanding, path, task == Task::generation ? Framing::crop : Framing::whole, features.data());
        }
      }
    }
    pictures_.flush();
    return true;
  }

  bool run_stage(const Stage& stage) {
    if (progress_.step >= stage.schedule.steps) return true;
    tensors_ = model_.enter(stage);
    frozen_tower_ = !tower_trains(tensors_);
    if (!prepare_pictures(stage)) return save(), false;
    while (progress_.step < stage.schedule.steps) {
      const Stopwatch watch;
      StepReport report = step(stage);
      report.seconds = watch.seconds();
      write_log(report);
      const bool goes_on = !observer_.step || observer_.step(report);
      if (config_.samples_every > 0 && progress_.total_steps % config_.samples_every == 0 && observer_.samples) observer_.samples(report);
      if (!goes_on || progress_.total_steps % config_.checkpoint_every == 0 || progress_.step == stage.schedule.steps) save();
      if (!goes_on) return false;
    }
    return true;
  }

  StepReport step(const Stage& stage) {
    const std::string where = "stage " + stage.name + ", step " + std::to_string(progress_.step + 1) + ": ";
    const double factor = stage.schedule.factor(progress_.step);
    StepReport report{stage, progress_.step + 1, progress_.total_steps + 1, all_steps(), 0, 0, stage.learning_rate * factor, {}, {}, {},
                      stage.batch_size, 0};
    model_.clear_gradients();
    for (const MicroBatch& micro : batches_(samples_before(progress_.step), samples_before(progress_.step + 1), frozen_tower_))
      learn(micro, report);
    model_.refresh(tensors_);
    try {
      report.gradient_norm = optimizer_->step(tensors_, stage.learning_rate, factor);
    } catch (const Error& error) {
      fail(where, error.what());
    }
    require(std::isfinite(report.loss), where, "the loss is not finite");
    ++progress_.step;
    ++progress_.total_steps;
    return report;
  }

  /// Adds a batch's gradients, and its losses to the report.
  void learn(const MicroBatch& micro, StepReport& report) {
    const LossSettings& weights = config_.losses;
    Tape tape;
    tape.checkpoints_blocks = config_.recompute;
    const auto parts = losses(model_.janusflow(), weights.repa > 0 ? &model_.repa() : nullptr, micro.batch, weights.repa_layer);
    const auto add = [&](std::optional<double>& sum, const std::optional<Var<float, 1>>& loss, double share, double weight) {
      if (!loss) return false;
      const double value = share * static_cast<double>(loss->value().data[0]);
      sum = sum.value_or(0) + value;
      report.loss += weight * value;
      return weight > 0 && loss->needs_gradient();
    };
    bool learns = add(report.ar, parts.ar, micro.ar_share, weights.ar);
    learns = add(report.rf, parts.rf, micro.rf_share, weights.rf) || learns;
    learns = add(report.repa, parts.repa, micro.rf_share, weights.repa) || learns;
    if (learns) tape.backward(parts.total(weights.ar * micro.ar_share, weights.rf * micro.rf_share, weights.repa * micro.rf_share));
  }

  void write_log(const StepReport& report) {
    const auto add = [](double& sum, Index& count, std::optional<double> value) {
      if (value) sum += *value, ++count;
    };
    add(sums_.loss, sums_.losses, report.loss);
    add(sums_.ar, sums_.ars, report.ar);
    add(sums_.rf, sums_.rfs, report.rf);
    add(sums_.repa, sums_.repas, report.repa);
    sums_.norm += report.gradient_norm;
    sums_.seconds += report.seconds;
    if (report.total_steps % config_.log_every != 0 && report.total_steps != report.all_steps) return;
    const auto mean = [](double sum, Index count) { return count ? sum / static_cast<double>(count) : LogRow::none; };
    Index samples = 0;
    for (const Index count : samples_before(progress_.step).values) samples += count;
    log_->add({report.total_steps, report.stage.name, report.learning_rate, mean(sums_.loss, sums_.losses), mean(sums_.ar, sums_.ars),
               mean(sums_.rf, sums_.rfs), mean(sums_.repa, sums_.repas), mean(sums_.norm, sums_.losses), samples,
               static_cast<double>(sums_.losses * report.samples) / std::max(1e-9, sums_.seconds)});
    sums_ = {};
  }

  /// Since the last line of the log.
  struct Sums {
    double loss = 0, ar = 0, rf = 0, repa = 0, norm = 0, seconds = 0;
    Index losses = 0, ars = 0, rfs = 0, repas = 0;
  };

  TrainingConfig config_;
  TrainerObserver observer_;
  Manifest manifest_;
  TrainingModel<P> model_;
  Processor processor_;
  TrainingPictures<P> pictures_;
  BatchMaker<P> batches_;
  CheckpointDirectory checkpoints_;
  std::vector<TrainedTensor> tensors_;
  std::optional<Optimizer> optimizer_;
  std::optional<TrainingLog> log_;
  TrainingProgress progress_;
  Json echo_;
  Sums sums_;
  bool frozen_tower_ = false;
};

}  // namespace janusflow
