// A sample as ids, and which of them are to be learned.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "janusflow/text/processor.hpp"
#include "janusflow/train/manifest.hpp"

namespace janusflow {

/// The tokens of a sample up to its end or, of a generation sample, up to the picture that the model is to paint.
struct TokenizedSample {
  Sample sample;
  std::vector<std::int32_t> ids;
  std::vector<char> learned;           // of each id, whether the loss of next tokens counts it: answers, and documents' texts
  std::vector<std::size_t> pictures;   // where each picture's start tag stands; behind it one place for each patch
};

/// Turns samples into ids by a model's own processor, the way the pipelines will ask.
class SampleTokenizer {
 public:
  /// A sample may have `max_length` tokens; generation samples are followed by `picture_tokens` more.
  SampleTokenizer(const Processor& processor, Index max_length, Index picture_tokens)
      : processor_(processor), max_length_(max_length), picture_tokens_(picture_tokens) {}

  /// Throws Error naming the manifest's line when a sample is too long, or names more or fewer pictures than it has.
  TokenizedSample operator()(Sample sample) const {
    TokenizedSample tokens;
    tokens.sample = std::move(sample);
    if (tokens.sample.task == Task::generation) read_prompt(tokens);
    else if (!tokens.sample.document.empty()) read_document(tokens);
    else read_turns(tokens);
    const Sample& of = tokens.sample;
    require(tokens.pictures.size() == (of.task == Task::generation ? 0 : of.pictures.size()), of.where, " has places for ",
            tokens.pictures.size(), " pictures, and names ", of.pictures.size());
    const Index length = std::ssize(tokens.ids) + (of.task == Task::generation ? picture_tokens_ : 0);
    require(length <= max_length_, of.where, " has ", length, " tokens, ", max_length_, " are allowed");
    return tokens;
  }

 private:
  void read_prompt(TokenizedSample& tokens) const {
    tokens.ids = processor_.generation_ids(tokens.sample.prompt);
    tokens.ids.pop_back();  // the tag that opens a picture: the time embedding stands in its place
    tokens.learned.assign(tokens.ids.size(), 0);
  }

  void read_turns(TokenizedSample& tokens) const {
    const auto& turns = tokens.sample.turns;
    for (std::size_t i = 0; i < turns.size(); ++i) {
      auto prompt = i == 0 ? processor_.understanding_ids(turns[i].question, tokens.sample.pictures.size())
                           : processor_.following_ids(turns[i].question);
      if (i > 0) {  // it begins with the end of the sentence before, which is there already
        prompt.ids.erase(prompt.ids.begin());
        for (std::size_t& place : prompt.pictures) --place;
      }
      append(tokens, prompt);
      // The pipeline reads a prompt up to "Assistant:" and lets the model go on: so the answer is cut into tokens on its own.
      append(tokens, processor_.tokenizer().encode(' ' + std::string(strip(turns[i].answer))), true);
      append(tokens, {processor_.ids().eos}, true);
    }
  }

  void read_document(TokenizedSample& tokens) const {
    append(tokens, {processor_.ids().bos}, false);
    for (const DocumentPiece& piece : tokens.sample.document) {
      if (!piece.picture) {
        append(tokens, processor_.tokenizer().encode(piece.text), true);
        continue;
      }
      tokens.pictures.push_back(tokens.ids.size());
      append(tokens, {processor_.ids().image_start}, false);
      append(tokens, std::vector(static_cast<std::size_t>(processor_.settings().num_image_tokens), processor_.ids().image), false);
      append(tokens, {processor_.ids().image_end}, false);
    }
    append(tokens, {processor_.ids().eos}, true);
  }

  static void append(TokenizedSample& tokens, const std::vector<std::int32_t>& ids, bool learned) {
    tokens.ids.insert(tokens.ids.end(), ids.begin(), ids.end());
    tokens.learned.insert(tokens.learned.end(), ids.size(), static_cast<char>(learned));
  }
  static void append(TokenizedSample& tokens, const UnderstandingPrompt& prompt) {
    for (const std::size_t place : prompt.pictures) tokens.pictures.push_back(tokens.ids.size() + place);
    append(tokens, prompt.ids, false);
  }

  const Processor& processor_;
  Index max_length_, picture_tokens_;
};

}  // namespace janusflow
