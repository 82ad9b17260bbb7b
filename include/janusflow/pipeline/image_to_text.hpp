// An answer from pictures and a question: SigLIP's features among the prompt's tokens, then one token after the other.
#pragma once

#include <functional>

#include "janusflow/io/preprocess.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "janusflow/core/stopwatch.hpp"
#include "janusflow/text/processor.hpp"
#include "janusflow/text/sampling.hpp"

namespace janusflow {

/// How an answer is made.
struct AnswerSettings {
  Index max_new_tokens = 512;
  SamplingOptions sampling = {};  // greedy unless told otherwise
};

struct Answer {
  std::string text;
  std::vector<std::int32_t> prompt_ids;  // what was read for this answer, pictures' places included
  std::vector<std::int32_t> ids;         // the answer's tokens, the closing one included if it came
  bool finished = false;                 // the model closed its answer itself
  double vision_seconds = 0, prefill_seconds = 0, decode_seconds = 0;
};

/// Is given each piece of text as soon as it is complete; returns false to stop the answer.
using TextObserver = std::function<bool(std::string_view)>;

/// JanusFlow as an observer of pictures. Loads the language model with its head and SigLIP; the generation parts are not read.
template <class P>
class ImageToText {
 public:
  /// Throws Error for files that are missing, malformed or do not fit together.
  static ImageToText from_directory(const std::filesystem::path& model) { return ImageToText(ModelFiles::open(model)); }

  explicit ImageToText(const ModelFiles& files)
      : config_(files.config),
        processor_(Processor::from_directory(files.directory, config_.vision_und_enc.num_patches())),
        preprocessing_(ImageProcessorConfig::from_directory(files.directory, config_.vision_und_enc.image_size)),
        language_(config_.language),
        understanding_(config_) {
    require(preprocessing_.image_size == config_.vision_und_enc.image_size, "the image processor makes pictures of ",
            preprocessing_.image_size, " pixels, the model takes ", config_.vision_und_enc.image_size);
    const Index places = processor_.settings().num_image_tokens, patches = config_.vision_und_enc.num_patches();
    require(places == patches, "the processor leaves ", places, " places for a picture, the model needs ", patches);
    load(language_.model, files.checkpoint, "language_model.model.");
    load(language_.lm_head, files.checkpoint, language_.tied ? "language_model.model.embed_tokens." : "language_model.lm_head.");
    load(understanding_, files.checkpoint);
  }

  const JanusFlowConfig& config() const { return config_; }
  const Processor& processor() const { return processor_; }

  /// Features of a picture [H, W, 3] as the language model sees them: [1, N, C].
  Tensor<float, 3> see(TensorView<const std::uint8_t, 3> picture) const {
    auto pixels = preprocess(picture, preprocessing_);  // [S, S, 3]
    const Index side = preprocessing_.image_size;
    return understanding_(std::move(pixels).reshaped(Shape{Index{1}, side, side, Index{3}}));
  }

  /// A conversation about pictures: the first question comes with them, further ones see all that was said before.
  class Conversation {
   public:
    Conversation(const ImageToText& model, std::vector<Tensor<std::uint8_t, 3>> pictures)
        : model_(model), pictures_(std::move(pictures)), cache_(model.language_.model.new_cache()) {}

    /// Answers `question`. `observer` sees the text while it is made. An answer ends unfinished at max_new_tokens, or where the
    /// model's positions do; a further question continues from there. Throws Error when the question no longer fits into them,
    /// and what the settings' own checks throw.
    Answer ask(const std::string& question, const AnswerSettings& settings = {}, const TextObserver& observer = {}) {
      require(settings.max_new_tokens >= 1, "image to text: max_new_tokens must be at least 1, not ", settings.max_new_tokens);
      Sampler sampler(settings.sampling);  // before anything is read: a refused question leaves the conversation as it was
      Answer answer;
      const Stopwatch vision_watch;
      std::vector<Tensor<float, 3>> features;
      const bool first = cache_.length() == 0;
      if (first)
        for (const auto& picture : pictures_) features.push_back(model_.see(picture));
      answer.vision_seconds = vision_watch.seconds();

      const Stopwatch prefill_watch;
      UnderstandingPrompt prompt = first ? model_.processor_.understanding_ids(question, pictures_.size())
                                         : model_.processor_.following_ids(question);
      auto logits = read(model_.embed(prompt, features, unread_));
      unread_.clear();
      answer.prompt_ids = std::move(prompt.ids);
      answer.prefill_seconds = prefill_watch.seconds();

      const Stopwatch decode_watch;
      // The last token of all need not be read, so it needs no position.
      const Index most = std::min(settings.max_new_tokens, model_.language_.model.max_positions - cache_.length() + 1);
      StreamDecoder decoder(model_.processor_.tokenizer());
      for (;;) {
        const std::int32_t id = sampler(logits);
        answer.ids.push_back(id);
        if (id == model_.processor_.ids().eos) {
          answer.finished = true;
          break;  // it comes again with the next question
        }
        unread_ = {id};
        const std::string piece = decoder.push(id);
        answer.text += piece;
        const bool wanted = !observer || piece.empty() || observer(piece);
        if (!wanted || std::ssize(answer.ids) == most) break;
        logits = read(model_.embed({}, {}, unread_));
        unread_.clear();
      }
      const std::string rest = decoder.finish();
      answer.text += rest;
      if (observer && !rest.empty()) observer(rest);
      answer.decode_seconds = decode_watch.seconds();
      return answer;
    }

   private:
    /// Reads embeddings [1, T, C] and returns the logits after the last one.
    std::vector<float> read(Tensor<float, 3> embeddings) {
      const Index length = embeddings.shape()[1], before = cache_.length();
      const SequenceContext here{&cache_, before, before};
      const auto states = model_.language_.model(std::move(embeddings), {&here, 1}, Remember::yes);
      const auto logits = model_.language_.lm_head(drop_tokens(states, length - 1));  // [1, 1, V]
      return {logits.begin(), logits.end()};
    }

    const ImageToText& model_;
    std::vector<Tensor<std::uint8_t, 3>> pictures_;
    KeyValueCache cache_;
    std::vector<std::int32_t> unread_;  // said in the last answer, but not in the cache yet
  };

 private:
  /// Embeddings [1, T, C] of `before`, then of the prompt with the pictures' features in their places: a picture's start tag
  /// becomes beg_of_und_embed, the image tags behind it its features.
  Tensor<float, 3> embed(const UnderstandingPrompt& prompt, std::span<const Tensor<float, 3>> features,
                         std::span<const std::int32_t> before) const {
    require(prompt.pictures.size() == features.size(), "image to text: the question has places for ", prompt.pictures.size(),
            " pictures, ", features.size(), " are given");
    std::vector<std::int32_t> ids(before.begin(), before.end());
    ids.insert(ids.end(), prompt.ids.begin(), prompt.ids.end());
    auto table = language_.model.embed(ids);
    const Index length = table.shape()[0], channels = table.shape()[1];
    for (std::size_t i = 0; i < features.size(); ++i) {
      float* to = table.data() + static_cast<Index>(before.size() + prompt.pictures[i]) * channels;
      std::copy_n(understanding_.beg_of_und_embed.data(), channels, to);
      std::copy_n(features[i].data(), features[i].size(), to + channels);
    }
    return std::move(table).reshaped(Shape{Index{1}, length, channels});
  }

  JanusFlowConfig config_;
  Processor processor_;
  ImageProcessorConfig preprocessing_;
  LlamaForCausalLM<P> language_;
  UnderstandingEncoder<P> understanding_;
};

}  // namespace janusflow
