// JanusFlow as a Trainer trains it: three tasks, three losses, an autoencoder that is frozen.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "janusflow/train/batch_maker.hpp"
#include "janusflow/train/objective.hpp"
#include "janusflow/train/publish.hpp"
#include "janusflow/train/training_config.hpp"

namespace janusflow {

template <class P = Taped<float>>
class JanusFlowObjective {
 public:
  using Config = TrainingConfig;
  static constexpr std::array<const char*, 3> loss_names{"ar", "rf", "repa"};

  JanusFlowObjective(const TrainingConfig& config, const Manifest& manifest, Communicator& communicator)
      : config_(config),
        manifest_(manifest),
        communicator_(communicator),
        model_(read_config<JanusFlowConfig>(config.model / "config.json"), config.losses.repa_width),
        processor_(Processor::from_directory(config.model, model_.config.vision_und_enc.num_patches())),
        pictures_(model_.config, ImageProcessorConfig::from_directory(config.model, model_.config.vision_und_enc.image_size), config.vae, config.cache,
                  {static_cast<std::size_t>(communicator.rank()), static_cast<std::size_t>(communicator.ranks())}),
        batches_(config, manifest, processor_, pictures_, model_, communicator) {
    require(config.losses.repa == 0 || config.losses.repa_layer <= model_.config.language.num_hidden_layers,
            "losses.repa_layer is ", config.losses.repa_layer, ", the language model has ", model_.config.language.num_hidden_layers, " layers");
    start_weights(
        model_, config.model, config.from_scratch, config.seed, [](const std::string& key) { return key.starts_with("repa_head."); },
        [&](const Checkpoint& checkpoint) {
          JanusFlow<Layout> layout(model_.config);
          require_no_unknown(checkpoint, layout);
        });
  }

  TrainingModel<P>& module() { return model_; }
  /// The pooling head of SigLIP is part of no loss: it stays as it is.
  static bool stays_frozen(const std::string& key) { return key.find(".attn_pool.") != std::string::npos; }
  const auto& model_config() const { return model_.config; }

  /// Tokenises every sample. Throws Error for the first that is too long, or names more or fewer pictures than it has.
  void check_samples(const Preparing& preparing) {
    Index all = 0, done = 0;
    for (std::size_t task = 0; task < num_tasks; ++task) all += manifest_.count(static_cast<Task>(task));
    for (std::size_t task = 0; task < num_tasks; ++task)
      for (Index i = 0; i < manifest_.count(static_cast<Task>(task)); ++i) {
        batches_.tokenizer()(manifest_.read(static_cast<Task>(task), i));
        if (++done % 256 == 0) preparing("checking samples", static_cast<double>(done) / static_cast<double>(all));
      }
  }

  /// Latents, and features where the tower is frozen, of every picture that the stage may need; each rank computes its share of them.
  bool prepare(const Stage& stage, const std::vector<TrainedTensor>& tensors, const Preparing& preparing) {
    frozen_tower_ = !tower_trains(tensors);
    if (frozen_tower_) pictures_.freeze_tower(tower_hash(tensors));
    const auto& understanding = model_.janusflow.understanding;
    std::vector<float> latents(static_cast<std::size_t>(pictures_.latent_shape().size()));
    std::vector<float> features(static_cast<std::size_t>(model_.config.vision_und_enc.num_patches() * model_.config.vision_und_enc.width));
    bool stopped = false;
    for (const Task task : {Task::generation, Task::understanding}) {
      if (!stage.asks_for(task)) continue;
      for (Index i = 0; i < manifest_.count(task) && !stopped; ++i) {
        stopped = !preparing("preparing pictures", static_cast<double>(i) / static_cast<double>(manifest_.count(task)));
        for (const auto& path : manifest_.read(task, i).pictures) {
          if (stopped || !is_own(path)) continue;
          if (task == Task::generation) pictures_.latents(path, latents.data());
          const bool looked_at = frozen_tower_ && (task == Task::understanding || config_.losses.repa > 0);
          if (looked_at) pictures_.features(understanding, path, task == Task::generation ? Framing::crop : Framing::whole, features.data());
        }
      }
    }
    pictures_.flush();
    stopped = on_any_rank(communicator_, stopped);
    pictures_.refresh();
    return !stopped;
  }

  StepLosses learn(const TaskCounts& before, const TaskCounts& after, const TapeWatch& watch) {
    StepLosses sums(loss_names.size());
    const auto batches = batches_(before, after, frozen_tower_);
    for (const MicroBatch& micro : batches) learn(micro, &micro == &batches.back() ? watch : TapeWatch(), sums);
    return sums;
  }

  void flush() { pictures_.flush(); }

  /// A model that every program reads, its autoencoder in vae/.
  void publish(const std::filesystem::path& directory, const std::vector<TrainedTensor>& tensors, const Optimizer& optimizer, Dtype dtype) const {
    publish_model(config_.model, config_.vae, directory, tensors, optimizer, dtype);
  }

 private:
  /// Whether this rank is the one that computes what frozen encoders make of a picture.
  bool is_own(const std::filesystem::path& picture) const {
    return content_hash(picture.string()) % static_cast<std::uint64_t>(communicator_.ranks()) == static_cast<std::uint64_t>(communicator_.rank());
  }

  void learn(const MicroBatch& micro, const TapeWatch& watch, StepLosses& sums) {
    const LossSettings& weights = config_.losses;
    Tape tape;
    if (watch) watch(tape);
    tape.checkpoints_blocks = config_.recompute;
    const auto parts = losses(model_.janusflow, weights.repa > 0 ? &model_.repa : nullptr, micro.batch, weights.repa_layer);
    const auto add = [&](std::size_t part, const std::optional<Var<float, 1>>& loss, double share, double weight) {
      if (!loss) return false;
      sums.add(part, share * static_cast<double>(loss->value().data[0]), weight);
      return weight > 0 && loss->needs_gradient();
    };
    bool learns = add(0, parts.ar, micro.ar_share, weights.ar);
    learns = add(1, parts.rf, micro.rf_share, weights.rf) || learns;
    learns = add(2, parts.repa, micro.rf_share, weights.repa) || learns;
    if (learns) tape.backward(parts.total(weights.ar * micro.ar_share, weights.rf * micro.rf_share, weights.repa * micro.rf_share));
  }

  const TrainingConfig& config_;
  const Manifest& manifest_;
  Communicator& communicator_;
  TrainingModel<P> model_;
  Processor processor_;
  TrainingPictures<P> pictures_;
  BatchMaker<P> batches_;
  bool frozen_tower_ = false;
};

}  // namespace janusflow
