// How a sample becomes ids. Included by train/tokenized_sample.hpp.
#pragma once

#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/text/utf8.hpp"
#include "janusflow/train/tokenized_sample.hpp"

namespace janusflow {

JANUSFLOW_INLINE TokenizedSample SampleTokenizer::operator()(Sample sample) const {
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

JANUSFLOW_INLINE void SampleTokenizer::read_prompt(TokenizedSample& tokens) const {
  auto ids = processor_.generation_ids(tokens.sample.prompt);
  ids.pop_back();  // the tag that opens a picture: the time embedding stands in its place
  tokens.trunk.append(ids, false);
}

JANUSFLOW_INLINE void SampleTokenizer::append_answer(LearnedIds& to, const std::string& answer) const {
  to.append(processor_.tokenizer().encode(' ' + std::string(strip(answer))), true);
  to.append({processor_.ids().eos}, true);
}

JANUSFLOW_INLINE void SampleTokenizer::read_turns(TokenizedSample& tokens) const {
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

JANUSFLOW_INLINE void SampleTokenizer::read_questions(TokenizedSample& tokens) const {
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

JANUSFLOW_INLINE void SampleTokenizer::read_document(TokenizedSample& tokens) const {
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

}  // namespace janusflow
