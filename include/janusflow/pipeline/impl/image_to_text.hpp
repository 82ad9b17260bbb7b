// The parts of ImageToText and what it does with them. Included by pipeline/image_to_text.hpp.
#pragma once

#include <algorithm>
#include <span>
#include <utility>

#include "janusflow/core/stopwatch.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/io/preprocess.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/pipeline/image_to_text.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "janusflow/text/processor.hpp"

namespace janusflow {

template <class P>
struct ImageToText<P>::Parts {
  JanusFlowConfig config;
  Processor processor;
  ImageProcessorConfig preprocessing;
  LlamaForCausalLM<P> language;
  UnderstandingEncoder<P> understanding;
  std::shared_ptr<const Checkpoint> weights;  // of a converted model, still mapped

  explicit Parts(const ModelFiles& files)
      : config(files.config),
        processor(Processor::from_directory(files.directory, config.vision_und_enc.num_patches())),
        preprocessing(ImageProcessorConfig::from_directory(files.directory, config.vision_und_enc.image_size)),
        language(config.language),
        understanding(config),
        weights(files.checkpoint) {
    require(preprocessing.image_size == config.vision_und_enc.image_size, "the image processor makes pictures of ",
            preprocessing.image_size, " pixels, the model takes ", config.vision_und_enc.image_size);
    const Index places = processor.settings().num_image_tokens, patches = config.vision_und_enc.num_patches();
    require(places == patches, "the processor leaves ", places, " places for a picture, the model needs ", patches);
    load(language.model, files.checkpoint, "language_model.model.");
    load(language.lm_head, files.checkpoint, language.tied ? "language_model.model.embed_tokens." : "language_model.lm_head.");
    load(understanding, files.checkpoint);
  }

  Tensor<float, 3> see(TensorView<const std::uint8_t, 3> picture) const {
    auto pixels = preprocess(picture, preprocessing);  // [S, S, 3]
    const Index side = preprocessing.image_size;
    return understanding(std::move(pixels).reshaped(Shape{Index{1}, side, side, Index{3}}));
  }

  /// Embeddings [1, T, C] of `before`, then of the prompt with the pictures' features in their places: a picture's start tag
  /// becomes beg_of_und_embed, the image tags behind it its features.
  Tensor<float, 3> embed(const UnderstandingPrompt& prompt, std::span<const Tensor<float, 3>> features,
                         std::span<const std::int32_t> before) const {
    std::vector<std::int32_t> ids(before.begin(), before.end());
    ids.insert(ids.end(), prompt.ids.begin(), prompt.ids.end());
    auto table = language.model.embed(ids);
    const Index length = table.shape()[0], channels = table.shape()[1];
    for (std::size_t i = 0; i < features.size(); ++i) {
      float* to = table.data() + static_cast<Index>(before.size() + prompt.pictures[i]) * channels;
      std::copy_n(understanding.beg_of_und_embed.data(), channels, to);
      std::copy_n(features[i].data(), features[i].size(), to + channels);
    }
    return std::move(table).reshaped(Shape{Index{1}, length, channels});
  }
};

template <class P>
ImageToText<P> ImageToText<P>::from_directory(const std::filesystem::path& model) {
  return ImageToText(ModelFiles::open(model));
}

template <class P>
ImageToText<P>::ImageToText(const ModelFiles& files) : parts_(std::make_shared<const Parts>(files)) {}

template <class P>
const JanusFlowConfig& ImageToText<P>::config() const {
  return parts_->config;
}

template <class P>
const Processor& ImageToText<P>::processor() const {
  return parts_->processor;
}

template <class P>
Tensor<float, 3> ImageToText<P>::see(TensorView<const std::uint8_t, 3> picture) const {
  return parts_->see(picture);
}

template <class P>
ImageToText<P>::Conversation::Conversation(const ImageToText& model, std::vector<Tensor<std::uint8_t, 3>> pictures)
    : model_(model.parts_),
      pictures_(std::move(pictures)),
      cache_(std::make_shared<KeyValueCache>(model_->language.model.new_cache())) {}

template <class P>
Answer ImageToText<P>::Conversation::ask(const std::string& question, const AnswerSettings& settings, const TextObserver& observer) {
  const Index length = cache_->length();
  auto unread = unread_;
  try {
    return attempt(question, settings, observer);
  } catch (...) {
    cache_->truncate(length);
    unread_ = std::move(unread);
    throw;
  }
}

template <class P>
Answer ImageToText<P>::Conversation::attempt(const std::string& question, const AnswerSettings& settings, const TextObserver& observer) {
  require(settings.max_new_tokens >= 1, "image to text: max_new_tokens must be at least 1, not ", settings.max_new_tokens);
  Sampler sampler(settings.sampling);  // before anything is computed
  Answer answer;
  const Stopwatch text_watch;
  const bool first = cache_->length() == 0;
  const std::size_t pictures = first ? pictures_.size() : 0;
  UnderstandingPrompt prompt = first ? model_->processor.understanding_ids(question, pictures) : model_->processor.following_ids(question);
  require(prompt.pictures.size() == pictures, "image to text: the question has places for ", prompt.pictures.size(), " pictures, ", pictures,
          " are given");
  const Index length = cache_->length() + std::ssize(unread_) + std::ssize(prompt.ids), positions = model_->language.model.max_positions;
  require(length <= positions, "image to text: a conversation of ", length, " tokens is longer than the model's ", positions);
  answer.prefill_seconds = text_watch.seconds();

  const Stopwatch vision_watch;
  std::vector<Tensor<float, 3>> features;
  for (std::size_t i = 0; i < pictures; ++i) features.push_back(model_->see(pictures_[i]));
  model_->weights->release("vision_und_enc_model.");
  BufferPool::instance().release();  // SigLIP's sizes are not the language model's
  answer.vision_seconds = vision_watch.seconds();

  const Stopwatch prefill_watch;
  auto logits = read(model_->embed(prompt, features, unread_));
  unread_.clear();
  BufferPool::instance().release();  // nor are a prompt's those of one token
  answer.prompt_ids = std::move(prompt.ids);
  answer.prefill_seconds += prefill_watch.seconds();

  const Stopwatch decode_watch;
  // The last token of all need not be read, so it needs no position.
  const Index most = std::min(settings.max_new_tokens, positions - cache_->length() + 1);
  StreamDecoder decoder(model_->processor.tokenizer());
  bool wanted = true;
  for (;;) {
    const std::int32_t id = sampler(logits);
    answer.ids.push_back(id);
    if (id == model_->processor.ids().eos) {
      answer.finished = true;
      break;  // it comes again with the next question
    }
    unread_ = {id};
    const std::string piece = decoder.push(id);
    answer.text += piece;
    wanted = !observer || piece.empty() || observer(piece);
    if (!wanted || std::ssize(answer.ids) == most) break;
    logits = read(model_->embed({}, {}, unread_));
    unread_.clear();
  }
  const std::string rest = decoder.finish();
  answer.text += rest;
  if (observer && wanted && !rest.empty()) observer(rest);
  answer.decode_seconds = decode_watch.seconds();
  return answer;
}

/// Reads embeddings [1, T, C] and returns the logits after the last one.
template <class P>
std::vector<float> ImageToText<P>::Conversation::read(Tensor<float, 3> embeddings) {
  const Index length = embeddings.shape()[1], before = cache_->length();
  const SequenceContext here{cache_.get(), before, before};
  const auto states = model_->language.model(std::move(embeddings), {&here, 1}, Remember::yes);
  const auto logits = model_->language.lm_head(drop_tokens(states, length - 1));  // [1, 1, V]
  return {logits.begin(), logits.end()};
}

}  // namespace janusflow
