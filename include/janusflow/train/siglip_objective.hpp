// SigLIP's tower as a Trainer trains it, from pictures and what is said of them.
#pragma once

#include <array>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "janusflow/io/config.hpp"
#include "janusflow/text/processor.hpp"
#include "janusflow/train/contrastive_model.hpp"
#include "janusflow/train/objective.hpp"
#include "janusflow/train/painted_pictures.hpp"
#include "janusflow/train/publish.hpp"
#include "janusflow/train/trained_module.hpp"

namespace janusflow {

/// What a tower's run is made of beside what all runs are; `model` is a JanusFlow directory: sizes, tokenizer, image processor and,
/// unless it is drawn from the seed, the tower.
struct SiglipTrainingConfig : RunConfig {
  double scale = 10, bias = -10;  // of the logits, at the beginning (arXiv 2303.15343, section 3.2)
  Index text_layers = 2, text_length = 64;
  AugmentationSettings augmentation;

  static SiglipTrainingConfig from_json(const JsonObject& json, const std::filesystem::path& directory);

  Json to_json() const;
};

template <class P = Taped<float>>
class SiglipObjective {
 public:
  using Config = SiglipTrainingConfig;
  static constexpr std::array<const char*, 2> loss_names{"sigmoid", "accuracy"};

  SiglipObjective(const Config& config, const Manifest& manifest, Communicator& communicator)
      : config_(config),
        communicator_(communicator),
        sizes_(read_config<JanusFlowConfig>(config.model / "config.json")),
        image_processor_(ImageProcessorConfig::from_directory(config.model, sizes_.vision_und_enc.image_size)),
        processor_(Processor::from_directory(config.model, sizes_.vision_und_enc.num_patches())),
        model_(sizes_.vision_und_enc, {sizes_.language.vocab_size, config.text_length, config.text_layers}),
        pictures_(manifest, sizes_.vision_und_enc.image_size, config.augmentation, config.seed) {
    start_weights(model_, config.model, config.from_scratch, config.seed, is_new, [](const Checkpoint&) {}, "vision_und_enc_model.");
    model_.logit_scale.numbers()[0] = static_cast<float>(std::log(config.scale));
    model_.logit_bias.numbers()[0] = static_cast<float>(config.bias);
  }

  ContrastiveModel<P>& module() { return model_; }
  static bool stays_frozen(const std::string&) { return false; }
  const auto& model_config() const { return sizes_.vision_und_enc; }
  FileHashes file_hashes() const {
    return {{"image_processor", content_hash(config_text(image_processor_))}, {"tokenizer", tokenizer_hash(config_.model)}};
  }
  bool check_samples(const Preparing&) { return true; }  // the manifest has looked for the pictures
  bool prepare(const Stage&, const std::vector<TrainedTensor>&, const Preparing&) { return true; }
  void flush() {}

  /// All pairs of a step are learned at once: every picture is compared with every text. Each rank has a part of the pictures, and reads
  /// all texts, which cost little beside them.
  StepLosses learn(const TaskCounts& before, const TaskCounts& after, const TapeWatch& watch) {
    StepLosses sums(loss_names.size());
    const Index begin = before[Task::generation], end = after[Task::generation];
    const auto [first, last] = own_part(communicator_, begin, end);
    if (first == last) return sums;
    Tensor<float, 4> pixels = pictures_(first, last).pictures;
    normalise(pixels);
    TextBatch texts;
    std::vector<std::filesystem::path> pictures;
    std::vector<std::string> prompts;
    for (const Sample& sample : pictures_.samples(begin, end)) {
      texts.add(processor_.tokenizer().encode(' ' + std::string(strip(sample.prompt))), config_.text_length);
      pictures.push_back(sample.pictures.front());
      prompts.push_back(sample.prompt);
    }
    const Tensor<float, 2> labels(pair_labels<std::filesystem::path>(pictures, prompts).view().slice(first - begin, last - begin));
    const double share = static_cast<double>(last - first) / static_cast<double>(end - begin);
    Tape tape;
    if (watch) watch(tape);
    tape.checkpoints_blocks = config_.recompute;
    const auto result = contrastive_loss(model_, pixels, texts, labels);
    sums.add(0, share * static_cast<double>(result.loss.value().data[0]), 1);
    sums.add(1, share * result.accuracy(labels), 0);
    tape.backward(result.loss, scalar(static_cast<float>(share)));
    return sums;
  }

  /// The tower in a directory from which a JanusFlow run may start (its other weights are not there: they are drawn from a seed), and
  /// all of the contrastive model, sizes beside it, in siglip.safetensors.
  void publish(const std::filesystem::path& directory, const std::vector<TrainedTensor>& tensors, const Optimizer& optimizer, Dtype dtype) const {
    make_directories(directory);
    const auto official = [](const std::string& name) { return is_new(name) ? std::string() : "vision_und_enc_model." + name; };
    write_safetensors(directory / "model.safetensors", published_entries(tensors, optimizer, dtype, official), {{"format", "pt"}});
    write_safetensors(directory / "siglip.safetensors",
                      published_entries(tensors, optimizer, dtype, [](const std::string& name) { return name; }), {{"format", "pt"}});
    write_config(directory / "siglip.json", sizes_.vision_und_enc);
    detail::copy_file(config_.model / "config.json", directory / "config.json");
    copy_processor(config_.model, directory);
  }

 private:
  /// What a JanusFlow checkpoint does not have.
  static bool is_new(const std::string& key) { return !key.starts_with("vision_tower."); }

  /// From [-1, 1] to what the image processor gives the tower.
  void normalise(Tensor<float, 4>& pictures) const {
    const ImageProcessorConfig& c = image_processor_;
    std::array<float, 3> factor{}, offset{};
    for (std::size_t i = 0; i < 3; ++i) {
      const double byte = 127.5 * c.rescale_factor, mean = c.do_normalize ? c.image_mean[i] : 0, deviation = c.do_normalize ? c.image_std[i] : 1;
      factor[i] = static_cast<float>(byte / deviation);
      offset[i] = static_cast<float>((byte - mean) / deviation);
    }
    for (Index i = 0; i < pictures.size(); ++i) {
      const auto channel = static_cast<std::size_t>(i % 3);
      pictures.data()[i] = pictures.data()[i] * factor[channel] + offset[channel];
    }
  }

  const Config& config_;
  const Communicator& communicator_;
  JanusFlowConfig sizes_;
  ImageProcessorConfig image_processor_;
  Processor processor_;
  ContrastiveModel<P> model_;
  PaintedPictures pictures_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/siglip_objective.hpp"
#endif
