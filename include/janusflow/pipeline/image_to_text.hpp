// An answer from pictures and a question: SigLIP's features among the prompt's tokens, then one token after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/core/tensor.hpp"
#include "janusflow/nn/policies.hpp"
#include "janusflow/text/sampling.hpp"

namespace janusflow {

class KeyValueCache;
class Processor;
struct JanusFlowConfig;
struct ModelFiles;

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
/// Copies share what was loaded.
template <class P>
class ImageToText {
  struct Parts;

 public:
  /// Throws Error for files that are missing, malformed or do not fit together.
  static ImageToText from_directory(const std::filesystem::path& model);
  explicit ImageToText(const ModelFiles& files);

  const JanusFlowConfig& config() const;
  const Processor& processor() const;

  /// Features of a picture [H, W, 3] as the language model sees them: [1, N, C].
  Tensor<float, 3> see(TensorView<const std::uint8_t, 3> picture) const;

  /// A conversation about pictures: the first question comes with them, further ones see all that was said before.
  class Conversation {
   public:
    Conversation(const ImageToText& model, std::vector<Tensor<std::uint8_t, 3>> pictures);

    /// Answers `question`. `observer` sees the text while it is made. An answer ends unfinished at max_new_tokens, or where the
    /// model's positions do; a further question continues from there. Throws Error, before anything is computed, when the question, with
    /// its pictures, no longer fits into them, or has places for another number of pictures, and what the settings' own checks throw.
    /// Where anything throws, the observer too, the conversation is as it was before the question.
    Answer ask(const std::string& question, const AnswerSettings& settings = {}, const TextObserver& observer = {});

   private:
    Answer attempt(const std::string& question, const AnswerSettings& settings, const TextObserver& observer);
    std::vector<float> read(Tensor<float, 3> embeddings);

    std::shared_ptr<const Parts> model_;
    std::vector<Tensor<std::uint8_t, 3>> pictures_;
    std::shared_ptr<KeyValueCache> cache_;
    std::vector<std::int32_t> unread_;  // said in the last answer, but not in the cache yet
  };

 private:
  std::shared_ptr<const Parts> parts_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/pipeline/impl/image_to_text.hpp"
#endif
