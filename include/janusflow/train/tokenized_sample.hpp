// A sample as ids, and which of them are to be learned.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "janusflow/text/processor.hpp"
#include "janusflow/train/manifest.hpp"

namespace janusflow {

/// Ids, and of each whether the loss of next tokens counts it: answers, and documents' texts.
struct LearnedIds {
  std::vector<std::int32_t> ids;
  std::vector<char> learned;

  void append(const std::vector<std::int32_t>& more, bool counts) {
    ids.insert(ids.end(), more.begin(), more.end());
    learned.insert(learned.end(), more.size(), static_cast<char>(counts));
  }
};

/// The tokens of a sample up to its end or, of a generation sample, up to the picture that the model is to paint.
struct TokenizedSample {
  Sample sample;
  LearnedIds trunk;
  std::vector<std::size_t> pictures;  // where each picture's start tag stands; behind it one place for each patch
  std::vector<LearnedIds> branches;   // questions apart: each goes on where the trunk ends and sees nothing of the others

  Index length() const {
    Index sum = std::ssize(trunk.ids);
    for (const LearnedIds& branch : branches) sum += std::ssize(branch.ids);
    return sum;
  }
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
    else if (tokens.sample.apart) read_questions(tokens);
    else read_turns(tokens);
    const Sample& of = tokens.sample;
    require(tokens.pictures.size() == (of.task == Task::generation ? 0 : of.pictures.size()), of.where, " has places for ",
            tokens.pictures.size(), " pictures, and names ", of.pictures.size());
    const Index length = tokens.length() + (of.task == Task::generation ? picture_tokens_ : 0);
    require(length <= max_length_, of.where, " has ", length, " tokens, ", max_length_, " are allowed");
    return tokens;
  }

 private:
  void read_prompt(TokenizedSample& tokens) const {
    auto ids = processor_.generation_ids(tokens.sample.prompt);
    ids.pop_back();  // the tag that opens a picture: the time embedding stands in its place
    tokens.trunk.append(ids, false);
  }

  /// The pipeline reads a prompt up to "Assistant:" and lets the model go on: so the answer is cut into tokens on its own.
  void append_answer(LearnedIds& to, const std::string& answer) const {
    to.append(processor_.tokenizer().encode(' ' + std::string(strip(answer))), true);
    to.append({processor_.ids().eos}, true);
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
      for (const std::size_t place : prompt.pictures) tokens.pictures.push_back(tokens.trunk.ids.size() + place);
      tokens.trunk.append(prompt.ids, false);
      append_answer(tokens.trunk, turns[i].answer);
    }
  }

  /// What all questions begin with, up to the last picture's end, is the trunk.
  void read_questions(TokenizedSample& tokens) const {
    for (const Exchange& turn : tokens.sample.turns) {
      const auto prompt = processor_.understanding_ids(turn.question, tokens.sample.pictures.size());
      const std::size_t end = prompt.pictures.empty() ? 0 : prompt.pictures.back() + 2 + static_cast<std::size_t>(processor_.settings().num_image_tokens);
      const std::vector<std::int32_t> trunk(prompt.ids.begin(), prompt.ids.begin() + static_cast<std::ptrdiff_t>(end));
      if (tokens.branches.empty()) {
        tokens.trunk.append(trunk, false);
        tokens.pictures = prompt.pictures;
      }
      require(trunk == tokens.trunk.ids, tokens.sample.where, ": questions apart must have their pictures in one and the same place");
      LearnedIds& branch = tokens.branches.emplace_back();
      branch.append({prompt.ids.begin() + static_cast<std::ptrdiff_t>(end), prompt.ids.end()}, false);
      append_answer(branch, turn.answer);
    }
  }

  void read_document(TokenizedSample& tokens) const {
    LearnedIds& to = tokens.trunk;
    to.append({processor_.ids().bos}, false);
    for (const DocumentPiece& piece : tokens.sample.document) {
      if (!piece.picture) {
        to.append(processor_.tokenizer().encode(piece.text), true);
        continue;
      }
      tokens.pictures.push_back(to.ids.size());
      to.append({processor_.ids().image_start}, false);
      to.append(std::vector(static_cast<std::size_t>(processor_.settings().num_image_tokens), processor_.ids().image), false);
      to.append({processor_.ids().image_end}, false);
    }
    to.append({processor_.ids().eos}, true);
  }

  const Processor& processor_;
  Index max_length_, picture_tokens_;
};

}  // namespace janusflow
