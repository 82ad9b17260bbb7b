// JanusFlow as a Trainer trains it: three tasks, three losses, an autoencoder that is frozen.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "janusflow/train/answers.hpp"
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
  static constexpr std::array<const char*, 4> validation_names{"ar", "rf", "repa", "answers"};

  JanusFlowObjective(const TrainingConfig& config, const Manifest& manifest, Communicator& communicator)
      : config_(config),
        manifest_(manifest),
        communicator_(communicator),
        model_(read_config<JanusFlowConfig>(config.model / "config.json"), config.losses.repa_width),
        processor_(Processor::from_directory(config.model, model_.config.vision_und_enc.num_patches())),
        pictures_(model_.config, ImageProcessorConfig::from_directory(config.model, model_.config.vision_und_enc.image_size), config.vae,
                  config.cache, communicator.rank()),
        batches_(config, manifest, processor_, pictures_, model_, communicator) {
    require(config.losses.repa == 0 || config.losses.repa_layer <= model_.config.language.num_hidden_layers,
            "losses.repa_layer is ", config.losses.repa_layer, ", the language model has ", model_.config.language.num_hidden_layers, " layers");
    start_weights(
        model_, config.model, config.from_scratch, config.seed, [](const std::string& key) { return key.starts_with("repa_head."); },
        [&](const Checkpoint& checkpoint) {
          JanusFlow<Layout> layout(model_.config);
          require_no_unknown(checkpoint, compare(checkpoint, expected_tensors(layout)));
        });
    if (!config.validation.manifest.empty()) validation_.emplace(config, processor_, pictures_, model_, communicator);
  }

  TrainingModel<P>& module() { return model_; }
  /// The pooling head of SigLIP is part of no loss: it stays as it is.
  static bool stays_frozen(const std::string& key) { return key.find(".attn_pool.") != std::string::npos; }
  const auto& model_config() const { return model_.config; }
  FileHashes file_hashes() const {
    return {{"image_processor", pictures_.processor_hash()}, {"tokenizer", tokenizer_hash(config_.model)}, {"vae", pictures_.vae_hash()}};
  }

  /// Tokenises every sample and the prompts of sheets, and reads the validation's pictures, which no stage prepares. Throws Error for
  /// the first sample that is too long, or names more or fewer pictures than it has, for a prompt that leaves no room for its picture,
  /// and for a picture that cannot be read. Returns false where `preparing` has stopped it.
  bool check_samples(const Preparing& preparing) {
    const Index positions = model_.config.language.max_position_embeddings;
    for (const std::string& prompt : config_.sample_prompts) {
      const Index length = std::ssize(processor_.generation_ids(prompt)) + pictures_.painted_patches();
      require(length <= positions, "log.sample_prompts: \"", prompt, "\" has ", length, " tokens with its picture, the model has ", positions,
              " positions");
    }
    std::vector<float> pixels(static_cast<std::size_t>(pictures_.image_size() * pictures_.image_size() * 3));
    const auto read_pictures = [&](const Sample& sample) {
      const bool painted = sample.task == Task::generation || config_.shared_encoder;
      for (const auto& path : sample.pictures) pictures_.pixels(path, painted ? Framing::crop : Framing::whole, pixels.data());
    };
    const double all = static_cast<double>(samples_of(manifest_) + validation_samples());
    Index done = 0;
    const auto check = [&](const Manifest& manifest, const SampleTokenizer& tokenize, bool reads) {
      for (std::size_t task = 0; task < num_tasks; ++task)
        for (Index i = 0; i < manifest.count(static_cast<Task>(task)); ++i) {
          const auto tokens = tokenize(manifest.read(static_cast<Task>(task), i));
          if (reads) read_pictures(tokens.sample);
          if (++done % 256 == 0 && !preparing("checking samples", static_cast<double>(done) / all)) return false;
        }
      return true;
    };
    return check(manifest_, batches_.tokenizer(), false) && (!validation_ || check(validation_->manifest, validation_->batches.tokenizer(), true));
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
          const bool asked_about = task == Task::understanding && !config_.shared_encoder;
          if (!asked_about) pictures_.latents(path, latents.data());
          const bool looked_at = frozen_tower_ && (asked_about || (task == Task::generation && config_.losses.repa > 0));
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

  /// The losses of the validation's samples as the weights are, which are the averages now, each a mean over all that it counts, and the
  /// share of answers that greedy decoding would give to the last token; NaN for what none of the samples has. Nothing is recorded. Empty
  /// where the config has no validation, or where `preparing` has stopped it.
  std::vector<double> validate(const std::vector<TrainedTensor>& tensors, const Optimizer& optimizer, const Preparing& preparing) {
    if (!validation_) return {};
    // The cache is of the weights, not of their average.
    const bool cached_features = frozen_tower_ && !tower_has_trained(tensors, optimizer);
    const Tape::Paused paused;
    constexpr Index at_once = 64;
    const Manifest& manifest = validation_->manifest;
    const double all = static_cast<double>(validation_samples());
    std::vector<double> sums(2 * validation_names.size());  // of each: the sum, and of how many
    const auto add = [&](std::size_t what, double sum, double count) { sums[2 * what] += sum, sums[2 * what + 1] += count; };
    TaskCounts done;
    bool stopped = false;
    for (std::size_t task = 0; task < num_tasks; ++task)
      while (done.values[task] < manifest.count(static_cast<Task>(task)) && !stopped) {
        TaskCounts next = done;
        next.values[task] = std::min(done.values[task] + at_once, manifest.count(static_cast<Task>(task)));
        for (const MicroBatch& micro : validation_->batches(done, next, cached_features)) {
          const auto parts = losses(model_.janusflow, config_.losses.repa > 0 ? &model_.repa : nullptr, micro.batch, config_.losses.repa_layer);
          const auto mean = [](const auto& loss) { return static_cast<double>(loss->value().data[0]); };
          const double learned = static_cast<double>(counted_targets(micro.batch.targets())), painted = static_cast<double>(micro.batch.painted());
          if (parts.ar) add(0, learned * mean(parts.ar), learned);
          if (parts.rf) add(1, painted * mean(parts.rf), painted);
          if (parts.repa) add(2, painted * mean(parts.repa), painted);
          if (!parts.logits) continue;
          const auto answers = count_right_answers(parts.logits->value(), micro.batch.targets());
          add(3, static_cast<double>(answers.right), static_cast<double>(answers.all));
        }
        done = next;
        stopped = on_any_rank(communicator_, !preparing("validating", static_cast<double>(done.sum()) / all));
      }
    if (stopped) return {};
    communicator_.sum(sums);
    std::vector<double> means;
    for (std::size_t i = 0; i < validation_names.size(); ++i)
      means.push_back(sums[2 * i + 1] > 0 ? sums[2 * i] / sums[2 * i + 1] : std::numeric_limits<double>::quiet_NaN());
    return means;
  }

  Index validation_samples() const { return validation_ ? samples_of(validation_->manifest) : 0; }

  void flush() { pictures_.flush(); }

  /// A model that every program reads, its autoencoder in vae/. Where the encoder is shared, what looks at pictures is left out: the
  /// published layout has no word for it, and a program that asks about pictures must not take the weights that were not trained.
  void publish(const std::filesystem::path& directory, const std::vector<TrainedTensor>& tensors, const Optimizer& optimizer, Dtype dtype) const {
    publish_model(config_.model, config_.vae, directory, tensors, optimizer, dtype,
                  [this](const std::string& key) { return !config_.shared_encoder || !key.starts_with("vision_und_enc_"); });
  }

 private:
  /// Samples that are looked at one by one, no prompt left out.
  struct Validation {
    TrainingConfig config;
    Manifest manifest;
    BatchMaker<P> batches;

    Validation(const TrainingConfig& run, const Processor& processor, TrainingPictures<P>& pictures, const TrainingModel<P>& model,
               const Communicator& communicator)
        : config(with_all_prompts(run)),
          manifest(run.validation.manifest),
          batches(config, manifest, processor, pictures, model, communicator, true) {}
    Validation(const Validation&) = delete;
    Validation& operator=(const Validation&) = delete;

    static TrainingConfig with_all_prompts(TrainingConfig config) {
      config.prompt_dropout = 0;
      return config;
    }
  };

  static Index samples_of(const Manifest& manifest) {
    Index samples = 0;
    for (std::size_t task = 0; task < num_tasks; ++task) samples += manifest.count(static_cast<Task>(task));
    return samples;
  }

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
  std::optional<Validation> validation_;
  bool frozen_tower_ = false;
};

}  // namespace janusflow
