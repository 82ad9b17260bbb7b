// The batches of a step: which samples, which noise, and how they are packed; a function of the step alone.
#pragma once

#include <cmath>
#include <vector>

#include "janusflow/train/communicator.hpp"
#include "janusflow/train/packing.hpp"
#include "janusflow/train/sample_order.hpp"
#include "janusflow/train/tokenized_sample.hpp"
#include "janusflow/train/training_config.hpp"
#include "janusflow/train/training_model.hpp"
#include "janusflow/train/training_pictures.hpp"

namespace janusflow {

/// The x below which a share u in (0, 1) of the standard normal distribution lies, by bisection.
inline double normal_quantile(double u) {
  double low = -12, high = 12;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < u ? low : high) = middle;
  }
  return (low + high) / 2;
}

/// A time in (0, 1) for u uniform in [0, 1): logit-normal (Esser et al. 2024, arXiv 2403.03206, section 3.1), or u itself.
inline double time_of(double u, const LossSettings& settings) {
  if (!settings.logit_normal) return u;
  return 1 / (1 + std::exp(-(settings.time_mean + settings.time_deviation * normal_quantile(u))));
}

/// A part of a step that is computed at once, and what its losses, each a mean, count for in the step's.
struct MicroBatch {
  TrainingBatch batch;
  double ar_share = 0, rf_share = 0;  // of the step's learned tokens; of its painted pictures
};

/// Makes batches of a manifest's samples.
template <class P = Taped<float>>
class BatchMaker {
 public:
  /// `in_order`: samples come as the manifest lists them. Throws Error where the model's two kinds of pictures cannot be aligned.
  BatchMaker(const TrainingConfig& config, const Manifest& manifest, const Processor& processor, TrainingPictures<P>& pictures,
             const TrainingModel<P>& model, const Communicator& communicator, bool in_order = false)
      : config_(config),
        manifest_(manifest),
        pictures_(pictures),
        model_(model),
        communicator_(communicator),
        seen_patches_(model.config.vision_und_enc.num_patches()),
        painted_patches_(pictures.painted_patches()),
        tokenize_(processor, std::min(config.pack_length, model.config.language.max_position_embeddings),
                  config.noise_levels * (painted_patches_ + 1)) {
    require(config.losses.repa == 0 || seen_patches_ == painted_patches_, "SigLIP sees ", seen_patches_, " patches of a picture, ",
            painted_patches_, " are painted: losses.repa must be 0, for they cannot be aligned one by one");
    require(!config.shared_encoder || seen_patches_ == painted_patches_, "shared_encoder: a picture that is asked about has ", seen_patches_,
            " patches, one that is painted ", painted_patches_);
    for (std::size_t task = 0; task < num_tasks; ++task)
      orders_.push_back(in_order ? SampleOrder::as_listed(manifest.count(static_cast<Task>(task)))
                                 : SampleOrder(config.seed, std::string(task_names[task]), manifest.weights(static_cast<Task>(task))));
  }

  const SampleTokenizer& tokenizer() const { return tokenize_; }

  /// The batches of the samples after the first `before` of each task, up to the first `after`, or what of them falls to this rank;
  /// `frozen_tower`: features of pictures come from the cache. Throws Error for a task of which the manifest has no sample, and for files that have changed.
  std::vector<MicroBatch> operator()(const TaskCounts& before, const TaskCounts& after, bool frozen_tower) {
    std::vector<Drawn> drawn;
    std::vector<Index> lengths;
    double learned = 0, painted = 0;  // of all ranks
    for (std::size_t task = 0; task < num_tasks; ++task)
      for (Index position = before.values[task]; position < after.values[task]; ++position) {
        drawn.push_back({tokenize_(manifest_.read(static_cast<Task>(task), orders_[task](position))), position});
        const Index levels = drawn.back().painted() ? config_.noise_levels : 0;
        lengths.push_back(drawn.back().tokens.length() + levels * (painted_patches_ + 1));
        learned += static_cast<double>(drawn.back().tokens.targets());
        painted += static_cast<double>(levels);
      }
    const auto own = deal_out(lengths, communicator_.rank(), communicator_.ranks());
    std::vector<Index> own_lengths;
    for (const std::size_t i : own) own_lengths.push_back(lengths[i]);
    std::vector<MicroBatch> batches;
    for (const PackedSequence& sequence : pack_sequences(own_lengths, config_.pack_length)) {
      MicroBatch& micro = batches.emplace_back(MicroBatch{TrainingBatch(seen_patches_, painted_patches_)});
      std::vector<const Drawn*> samples;
      for (const std::size_t i : sequence.samples) samples.push_back(&drawn[own[i]]);
      fill(micro.batch, samples, frozen_tower);
      micro.ar_share = static_cast<double>(counted_targets(micro.batch.targets())) / std::max(1.0, learned);
      micro.rf_share = static_cast<double>(micro.batch.painted()) / std::max(1.0, painted);
    }
    return batches;
  }

 private:
  /// A sample and its position in its task's order.
  struct Drawn {
    TokenizedSample tokens;
    Index position;

    bool painted() const { return tokens.sample.task == Task::generation; }
  };

  void fill(TrainingBatch& batch, const std::vector<const Drawn*>& samples, bool frozen_tower) {
    std::vector<std::filesystem::path> seen;
    std::vector<const Drawn*> painted;
    const CounterRandom dropout(config_.seed, "prompt dropout");
    for (const Drawn* sample : samples) {
      const TokenizedSample& tokens = sample->tokens;
      const auto prompt = batch.add_tokens(tokens.trunk.ids, tokens.trunk.learned, tokens.pictures);
      for (const LearnedIds& branch : tokens.branches)
        batch.add_tokens(branch.ids, branch.learned, {}, prompt, prompt.end - prompt.begin);
      if (!sample->painted()) {
        seen.insert(seen.end(), tokens.sample.pictures.begin(), tokens.sample.pictures.end());
        continue;
      }
      painted.push_back(sample);
      for (Index level = 0; level < config_.noise_levels; ++level) {
        // Without its prompt a picture sees the beginning of sentence alone, from where it stands: the pipeline's unconditional row.
        const bool dropped = dropout.uniform(draw(*sample, level)) < config_.prompt_dropout;
        batch.add_painted({prompt.begin, dropped ? prompt.begin + 1 : prompt.end}, prompt.end - prompt.begin);
      }
    }
    add_seen(batch, seen, frozen_tower);
    add_painted(batch, painted, frozen_tower);
  }

  void add_seen(TrainingBatch& batch, const std::vector<std::filesystem::path>& seen, bool frozen_tower) {
    if (seen.empty()) return;
    if (config_.shared_encoder) return add_seen_latents(batch, seen);
    const Index count = std::ssize(seen), side = pictures_.image_size(), width = model_.config.vision_und_enc.width;
    if (frozen_tower) batch.features = Tensor<float, 3>(Shape{count, seen_patches_, width});
    else batch.pixels = Tensor<float, 4>(Shape{count, side, side, Index{3}});
    for (Index i = 0; i < count; ++i) {
      const auto& path = seen[static_cast<std::size_t>(i)];
      if (frozen_tower) pictures_.features(model_.janusflow.understanding, path, Framing::whole, batch.features.data() + i * seen_patches_ * width);
      else pictures_.pixels(path, Framing::whole, batch.pixels.data() + i * side * side * 3);
    }
  }

  void add_seen_latents(TrainingBatch& batch, const std::vector<std::filesystem::path>& seen) {
    const auto [height, width, channels] = pictures_.latent_shape().extents;
    batch.seen_latents = Tensor<float, 4>(Shape{std::ssize(seen), height, width, channels});
    for (std::size_t i = 0; i < seen.size(); ++i)
      pictures_.latents(seen[i], batch.seen_latents.data() + static_cast<Index>(i) * height * width * channels);
  }

  void add_painted(TrainingBatch& batch, const std::vector<const Drawn*>& samples, bool frozen_tower) {
    if (samples.empty()) return;
    const Index levels = config_.noise_levels, count = std::ssize(samples) * levels;
    const auto [height, width, channels] = pictures_.latent_shape().extents;
    const Index size = height * width * channels;
    batch.latents = Tensor<float, 4>(Shape{count, height, width, channels});
    batch.noise = Tensor<float, 4>(Shape{count, height, width, channels});
    if (config_.losses.repa > 0) batch.teacher = Tensor<float, 3>(Shape{count, seen_patches_, model_.config.vision_und_enc.width});
    const CounterRandom noise(config_.seed, "noise"), times(config_.seed, "times");
    for (std::size_t s = 0; s < samples.size(); ++s) {
      const auto& path = samples[s]->tokens.sample.pictures.front();
      const Index first = static_cast<Index>(s) * levels;
      pictures_.latents(path, batch.latents.data() + first * size);
      if (!batch.teacher.empty()) look_at(path, frozen_tower, batch.teacher.data() + first * batch.teacher.size() / count);
      for (Index level = 0; level < levels; ++level) {
        // The levels of one sample are spread: each has its own stretch of the distribution.
        const double u = (static_cast<double>(level) + times.uniform(draw(*samples[s], level))) / static_cast<double>(levels);
        batch.times.push_back(static_cast<float>(time_of(u, config_.losses)));
        noise.generator(draw(*samples[s], level)).normal({batch.noise.data() + (first + level) * size, static_cast<std::size_t>(size)});
        repeat(batch.latents, first, first + level, count);
        if (!batch.teacher.empty()) repeat(batch.teacher, first, first + level, count);
      }
    }
  }

  /// The teacher's features of a clean picture; where the teacher itself trains, those of this step.
  void look_at(const std::filesystem::path& path, bool frozen_tower, float* out) {
    const auto& understanding = model_.janusflow.understanding;
    if (frozen_tower) return pictures_.features(understanding, path, Framing::crop, out);
    const Index side = pictures_.image_size();
    Tensor<float, 4> pixels(Shape{Index{1}, side, side, Index{3}});
    pictures_.pixels(path, Framing::crop, pixels.data());
    const auto features = teacher_features(understanding, pixels);
    std::copy(features.begin(), features.end(), out);
  }

  template <int R>
  static void repeat(Tensor<float, R>& rows, Index from, Index to, Index count) {
    const Index size = rows.size() / count;
    if (from != to) std::copy_n(rows.data() + from * size, size, rows.data() + to * size);
  }

  /// What random numbers of a sample's noise level are counted by.
  std::uint64_t draw(const Drawn& sample, Index level) const {
    return static_cast<std::uint64_t>(sample.position) * static_cast<std::uint64_t>(config_.noise_levels) + static_cast<std::uint64_t>(level);
  }

  const TrainingConfig& config_;
  const Manifest& manifest_;
  TrainingPictures<P>& pictures_;
  const TrainingModel<P>& model_;
  const Communicator& communicator_;
  Index seen_patches_, painted_patches_;
  SampleTokenizer tokenize_;
  std::vector<SampleOrder> orders_;
};

}  // namespace janusflow
