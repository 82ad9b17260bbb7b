// An AutoencoderKL as a Trainer trains it, from pictures alone.
#pragma once

#include <array>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "janusflow/io/config.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/train/autoencoder_losses.hpp"
#include "janusflow/train/objective.hpp"
#include "janusflow/train/painted_pictures.hpp"
#include "janusflow/train/publish.hpp"
#include "janusflow/train/trained_module.hpp"

namespace janusflow {

/// Weights of an autoencoder's losses.
struct AutoencoderLossSettings {
  double l1 = 1, l2 = 0, multi_scale = 0.5, edges = 0;
  Index scales = 2;   // of the multi-scale term: 1/2, 1/4, ... of the size
  double kl = 0.02;
  Index kl_warmup = 0;  // pictures over which the term rises from nothing to its weight
};

/// What an autoencoder's run is made of beside what all runs are; `model` is a directory in diffusers' layout.
struct AutoencoderTrainingConfig : RunConfig {
  AutoencoderLossSettings losses;
  AugmentationSettings augmentation;
  Index pictures_at_once = 16;  // of a step's batch; what is in memory

  static AutoencoderTrainingConfig from_json(const JsonObject& json, const std::filesystem::path& directory);

  Json to_json() const;
};

template <class P = Taped<float>>
class AutoencoderObjective {
 public:
  using Config = AutoencoderTrainingConfig;
  static constexpr std::array<const char*, 5> loss_names{"l1", "l2", "multi_scale", "edges", "kl"};

  AutoencoderObjective(const Config& config, const Manifest& manifest, Communicator& communicator)
      : config_(config),
        communicator_(communicator),
        sizes_(read_config<AutoencoderKLConfig>(config.model / "config.json")),
        model_(sizes_),
        pictures_(manifest, sizes_.sample_size, config.augmentation, config.seed) {
    const std::string file = (config.model / "config.json").string();
    require(sizes_.in_channels == 3 && sizes_.out_channels == 3, file, ": in_channels and out_channels must be 3, the colours of a picture, not ",
            sizes_.in_channels, " and ", sizes_.out_channels);
    const Index step = std::max(sizes_.downscale(), Index{1} << config.losses.scales);
    require(sizes_.sample_size % step == 0, file, ": sample_size is ", sizes_.sample_size, ", no multiple of ", step,
            ", which the blocks and losses.scales need");
    start_weights(
        model_, config.model, config.from_scratch, config.seed, [](const std::string&) { return false; },
        [&](const Checkpoint& checkpoint) {
          AutoencoderKL<Layout> layout(sizes_);
          require_no_unknown(checkpoint, compare(checkpoint, expected_tensors(layout)));
        });
  }

  AutoencoderKL<P>& module() { return model_; }
  static bool stays_frozen(const std::string&) { return false; }
  const auto& model_config() const { return sizes_; }
  FileHashes file_hashes() const { return {}; }
  bool check_samples(const Preparing&) { return true; }  // the manifest has looked for the pictures
  bool prepare(const Stage&, const std::vector<TrainedTensor>&, const Preparing&) { return true; }
  void flush() {}

  /// A batch is learned in parts, which together have its gradient; each rank learns a stretch of it.
  StepLosses learn(const TaskCounts& before, const TaskCounts& after, const TapeWatch& watch) {
    StepLosses sums(loss_names.size());
    const Index all = after[Task::generation] - before[Task::generation];
    const auto [begin, end] = own_part(communicator_, before[Task::generation], after[Task::generation]);
    for (Index first = begin; first < end; first += config_.pictures_at_once) {
      const Index last = std::min(end, first + config_.pictures_at_once);
      learn(first, last, all, kl_weight(before[Task::generation]), last == end ? watch : TapeWatch(), sums);
    }
    return sums;
  }

  /// An autoencoder that diffusers and every program read. Its scaling_factor brings the latents of the published weights, of a
  /// thousand pictures of the manifest, to a standard deviation of one (arXiv 2112.10752, appendix G).
  void publish(const std::filesystem::path& directory, const std::vector<TrainedTensor>& tensors, const Optimizer& optimizer, Dtype dtype) const {
    make_directories(directory);
    const auto weights = directory / "diffusion_pytorch_model.safetensors";
    write_safetensors(weights, published_entries(tensors, optimizer, dtype, [](const std::string& name) { return name; }), {{"format", "pt"}});
    AutoencoderKLConfig sizes = sizes_;
    sizes.shift_factor = 0;
    sizes.scaling_factor = 1 / latent_deviation(weights);
    write_config(directory / "config.json", sizes);
  }

 private:
  /// In a step behind so many pictures.
  double kl_weight(Index pictures) const {
    const double done = config_.losses.kl_warmup > 0 ? static_cast<double>(pictures) / static_cast<double>(config_.losses.kl_warmup) : 1;
    return config_.losses.kl * std::min(1.0, done);
  }

  void learn(Index first, Index last, Index all, double kl_weight, const TapeWatch& watch, StepLosses& sums) {
    const AutoencoderLossSettings& weights = config_.losses;
    const double share = static_cast<double>(last - first) / static_cast<double>(all);
    const Tensor<float, 4> pictures = pictures_(first, last).pictures;
    const Index side = sizes_.sample_size / sizes_.downscale();
    Tensor<float, 4> noise(Shape{last - first, side, side, sizes_.latent_channels});
    const Index size = noise.size() / (last - first);
    const CounterRandom random(config_.seed, "noise");
    for (Index i = 0; i < last - first; ++i)
      random.generator(static_cast<std::uint64_t>(first + i)).normal({noise.data() + i * size, static_cast<std::size_t>(size)});
    Tape tape;
    if (watch) watch(tape);
    tape.checkpoints_blocks = config_.recompute;
    const auto losses = autoencoder_losses(model_, pictures, noise, weights.scales);
    const std::array parts{&losses.l1, &losses.l2, &losses.multi_scale, &losses.edges, &losses.kl};
    const std::array factors{weights.l1, weights.l2, weights.multi_scale, weights.edges, kl_weight};
    Var<float, 1> total(scalar(0.0f));
    for (std::size_t i = 0; i < parts.size(); ++i) {
      sums.add(i, share * static_cast<double>(parts[i]->value().data[0]), factors[i]);
      total = total + static_cast<float>(share * factors[i]) * *parts[i];
    }
    tape.backward(total);
  }

  double latent_deviation(const std::filesystem::path& weights) const {
    AutoencoderEncoder<Float32> encoder(sizes_);
    load(encoder, std::make_shared<const Checkpoint>(weights));
    double count = 0, sum = 0, squares = 0;
    for (const auto& path : pictures_.spread(1000))
      for (const float x : encoder(pictures_.square(path)).mean) {
        count += 1;
        sum += static_cast<double>(x);
        squares += static_cast<double>(x) * static_cast<double>(x);
      }
    return std::max(1e-6, std::sqrt(std::max(0.0, squares - sum * sum / count) / std::max(1.0, count - 1)));
  }

  const Config& config_;
  const Communicator& communicator_;
  AutoencoderKLConfig sizes_;
  AutoencoderKL<P> model_;
  PaintedPictures pictures_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/autoencoder_objective.hpp"
#endif
