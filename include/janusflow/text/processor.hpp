// The processor: a checkpoint's tokenizer with its tags and settings, and the ids of prompts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/core/shape.hpp"
#include "janusflow/text/conversation.hpp"
#include "janusflow/text/tokenizer.hpp"

namespace janusflow {

/// processor_config.json, with the official class's defaults. Where the file is missing and the vocabulary has the published
/// model's tags, <image_beg> and <image_end>, these are meant.
struct ProcessorSettings {
  std::string image_tag =
      "<image_placeholder>";  ///< stands for a picture in a question, then for each of its embeddings
  std::string image_start_tag = "<begin_of_image>";
  std::string image_end_tag = "<end_of_image>";
  std::string image_gen_tag = "<｜begin▁of▁generation｜>";
  Index num_image_tokens = 576;
  std::string sft_format = "deepseek";
};

/// tokenizer_config.json and special_tokens_map.json, as far as ids depend on them (LlamaTokenizerFast of
/// transformers 4.47).
struct TokenizerSettings {
  std::string bos_token, eos_token;
  bool add_bos_token = true;
  bool add_eos_token = false;
};

/// Ids of the tokens with a meaning. `pad` is `eos` where the vocabulary has no padding token.
struct SpecialIds {
  std::int32_t bos, eos, pad, image, image_start, image_end, image_gen;
};

/// The ids of a conversation about pictures. Picture k takes 1 + num_image_tokens positions from pictures[k] on (the
/// start tag and the image tags), whose embeddings are beg_of_und_embed and the aligned features; the end tag behind
/// them is an ordinary token.
struct UnderstandingPrompt {
  std::vector<std::int32_t> ids;
  std::vector<std::size_t> pictures;
};

/// What the official VLChatProcessor does with text.
class Processor {
 public:
  /// Reads tokenizer.json, and processor_config.json, tokenizer_config.json and special_tokens_map.json where they are, from a
  /// checkpoint's directory; tags that the vocabulary lacks are added behind it in the official order. A picture takes
  /// `image_tokens` places where no file says how many. Throws Error, naming the file, when one is malformed or unsupported.
  static Processor from_directory(const std::filesystem::path& directory, Index image_tokens = 576);

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const ProcessorSettings& settings() const { return settings_; }
  const SpecialIds& ids() const { return ids_; }
  const ChatTemplate& chat() const { return chat_; }

  /// The ids of a finished prompt, the beginning-of-sentence token in front (and the end's behind, if the settings say
  /// so).
  std::vector<std::int32_t> encode(std::string_view text) const;

  /// The ids of a prompt for a picture: begin of sentence, "User: {prompt}\n\nAssistant:", generation tag. The time
  /// embedding takes the place of the last one: ids().pad in place of all but the first makes the unconditional row.
  std::vector<std::int32_t> generation_ids(std::string_view prompt) const;

  /// The ids of a conversation, its last turn the assistant's empty one; a picture stands where a content has the image
  /// tag. The space behind "User:" stays a token of its own in front of it, since the text is encoded before the
  /// pictures are put in.
  UnderstandingPrompt understanding_ids(std::span<const Turn> turns) const;

  /// The ids of the first question, about `pictures` pictures.
  UnderstandingPrompt understanding_ids(std::string_view question, std::size_t pictures) const;

  /// The ids of a further question, to come behind an answer on the same key-value cache: end of sentence, then the
  /// question. The cache must hold the prompts and all of the answers' ids up to here, without an end of sentence
  /// behind the last.
  UnderstandingPrompt following_ids(std::string_view question, std::size_t pictures = 0) const;

 private:
  Processor(Tokenizer tokenizer, const std::filesystem::path& directory, Index image_tokens);

  /// A question and the answer to come. Pictures stand in front, a line each, unless the question places them itself.
  std::vector<Turn> question_turns(std::string_view question, std::size_t pictures) const;

  /// VLChatProcessor.add_image_token: each image tag becomes a start tag, num_image_tokens image tags and an end tag.
  UnderstandingPrompt with_pictures(const std::vector<std::int32_t>& text) const;

  Tokenizer tokenizer_;
  TokenizerSettings tokenizer_settings_;
  ProcessorSettings settings_;
  ChatTemplate chat_;
  SpecialIds ids_{};
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/text/impl/processor.hpp"
#endif
