// A sample as ids, and which of them are to be learned.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "janusflow/text/processor.hpp"
#include "janusflow/train/manifest.hpp"

namespace janusflow {

/// Ids, and of each whether the loss of next tokens counts it: answers, and documents' texts.
struct LearnedIds {
  std::vector<std::int32_t> ids;
  std::vector<char> learned;

  /// How many tokens predict one that is learned: nothing predicts the first.
  Index targets() const { return learned.empty() ? 0 : std::count_if(learned.begin() + 1, learned.end(), [](char counts) { return counts != 0; }); }

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
  Index targets() const {
    Index sum = trunk.targets();
    for (const LearnedIds& branch : branches) sum += branch.targets();
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
  TokenizedSample operator()(Sample sample) const;

 private:
  void read_prompt(TokenizedSample& tokens) const;

  /// The pipeline reads a prompt up to "Assistant:" and lets the model go on: so the answer is cut into tokens on its own.
  void append_answer(LearnedIds& to, const std::string& answer) const;

  void read_turns(TokenizedSample& tokens) const;

  /// What all questions begin with, up to the last picture's end, is the trunk.
  void read_questions(TokenizedSample& tokens) const;

  void read_document(TokenizedSample& tokens) const;

  const Processor& processor_;
  Index max_length_, picture_tokens_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/tokenized_sample.hpp"
#endif
