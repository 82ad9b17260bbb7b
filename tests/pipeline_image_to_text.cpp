// Image to text in float32: the official answer, further questions on one cache, stopping, several pictures.
#include "janusflow/pipeline/image_to_text.hpp"

#include <doctest/doctest.h>

#include <stdexcept>

#include "janusflow/io/expected_tensors.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "janusflow/text/processor.hpp"
#include "tiny_model.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

using Ids = std::vector<std::int32_t>;
using Model = ImageToText<Float32>;

const TinyModel& tiny_model() {
  static const TinyModel instance;
  return instance;
}
const Model& model() {
  static const auto instance = Model::from_directory(tiny_model().path());
  return instance;
}

/// The golden's pictures 0 and 1, `count` of them in turns.
std::vector<Tensor<std::uint8_t, 3>> pictures(Index count) {
  const Checkpoint golden(golden_tiny + "/golden.safetensors");
  std::vector<Tensor<std::uint8_t, 3>> list;
  for (Index i = 0; i < count; ++i)
    list.push_back(golden.at(i % 2 ? "pre.1.image_u8" : "pre.0.image_u8").to_tensor<std::uint8_t, 3>());
  return list;
}

/// The continuation of `ids` by `count` tokens, greedy unless told otherwise, the whole read afresh for each: no cache, one picture's
/// features.
Ids continuation(const Ids& ids, const std::vector<Tensor<std::uint8_t, 3>>& shown, Index count, const SamplingOptions& sampling = {}) {
  Sampler sampler(sampling);
  const auto files = ModelFiles::open(tiny_model().path());
  JanusFlow<Float32> whole(files.config);
  load(whole, files.checkpoint);
  const auto& tags = model().processor().ids();
  Ids all = ids;
  for (Index i = 0; i < count; ++i) {
    auto embeddings = whole.language_model.model.embed(all);
    std::size_t picture = 0;
    for (std::size_t at = 0; at < all.size(); ++at)
      if (all[at] == tags.image_start && at + 1 < all.size() && all[at + 1] == tags.image) {
        const auto features = model().see(shown[picture++]);
        std::copy_n(whole.understanding.beg_of_und_embed.data(), 64, &embeddings(static_cast<Index>(at), 0));
        std::copy_n(features.data(), features.size(), &embeddings(static_cast<Index>(at) + 1, 0));
      }
    CHECK(picture == shown.size());
    const auto length = std::ssize(all);
    const auto logits = whole.language_model.lm_head(
        drop_tokens(whole.language_model.model(std::move(embeddings).reshaped(Shape{Index{1}, length, Index{64}})), length - 1));
    all.push_back(sampler({logits.data(), static_cast<std::size_t>(logits.size())}));
  }
  return {all.end() - count, all.end()};
}

Ids joined(std::initializer_list<Ids> lists) {
  Ids all;
  for (const Ids& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

}  // namespace

TEST_CASE("image to text: the official answer") {
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto to_ids = [&](const char* key) {
    const auto stored = golden.integers(key);
    return Ids(stored.begin(), stored.end());
  };
  CHECK(relative_error(model().see(pictures(1)[0]), golden.tensor<3>("und.aligned")) < 2e-5);
  Model::Conversation conversation(model(), pictures(1));
  std::string streamed;
  const auto answer = conversation.ask(golden_question, {.max_new_tokens = 8}, [&](std::string_view text) {
    CHECK(!text.empty());
    streamed += text;
    return true;
  });
  CHECK(answer.prompt_ids == to_ids("und.input_ids"));
  CHECK(answer.ids == to_ids("und.greedy_ids"));
  CHECK(!answer.finished);
  CHECK(answer.text == streamed);
  CHECK(answer.text == model().processor().tokenizer().decode(answer.ids));
  CHECK(!answer.text.empty());
}

TEST_CASE("image to text: the same ids on 1, 2 and 3 threads") {
  Ids ids;
  with_threads([&](int threads) {
    Model::Conversation conversation(model(), pictures(2));
    const auto answer = conversation.ask("Which is brighter?", {.max_new_tokens = 6});
    if (threads == 1) ids = answer.ids;
    CHECK(answer.ids == ids);
  });
}

TEST_CASE("image to text: a further question continues as the whole conversation would, read afresh") {
  Model::Conversation conversation(model(), pictures(1));
  const auto first = conversation.ask(golden_question, {.max_new_tokens = 5});
  const auto second = conversation.ask("and more", {.max_new_tokens = 4});
  const auto third = conversation.ask("so", {.max_new_tokens = 3});
  // An answer cut short is closed in front of the next question; the closing token is part of that question's ids.
  REQUIRE(!first.finished);
  REQUIRE(!second.finished);
  CHECK(second.prompt_ids.front() == model().processor().ids().eos);
  const Ids two = joined({first.prompt_ids, first.ids, second.prompt_ids});
  CHECK(continuation(two, pictures(1), 4) == second.ids);
  CHECK(continuation(joined({two, second.ids, third.prompt_ids}), pictures(1), 3) == third.ids);
}

TEST_CASE("image to text: the observer stops, and the conversation goes on from what was said") {
  Model::Conversation conversation(model(), pictures(1));
  int pieces = 0;
  const auto stopped = conversation.ask(golden_question, {}, [&](std::string_view) { return ++pieces < 3; });
  CHECK(pieces == 3);
  CHECK(!stopped.finished);
  CHECK(stopped.ids.size() >= 3);
  const auto next = conversation.ask("and more", {.max_new_tokens = 4});
  CHECK(continuation(joined({stopped.prompt_ids, stopped.ids, next.prompt_ids}), pictures(1), 4) == next.ids);
}

TEST_CASE("image to text: where an observer throws, the question was not asked") {
  Model::Conversation conversation(model(), pictures(1)), undisturbed(model(), pictures(1));
  const auto fails = [&] {
    int pieces = 0;
    CHECK_THROWS_AS(conversation.ask("lost", {}, [&](std::string_view) { return ++pieces < 3 || (throw std::runtime_error("full"), false); }),
                    std::runtime_error);
  };
  for (const std::string& question : {golden_question, std::string("and more"), std::string("so")}) {
    fails();
    CHECK(conversation.ask(question, {.max_new_tokens = 5}).ids == undisturbed.ask(question, {.max_new_tokens = 5}).ids);
  }
}

TEST_CASE("image to text: an observer that stopped the answer is not called again, not for half a character either") {
  const TinyModel other;
  const Golden golden(golden_tiny + "/golden.safetensors");
  Json tokenizer = tiny_tokenizer();
  Json& vocab = tokenizer["model"]["vocab"];
  for (auto token = vocab.begin(); token != vocab.end(); ++token)
    if (token.value() == golden.integers("und.greedy_ids")[0]) {
      vocab.erase(token);
      break;
    }
  vocab["x\u00C3"] = golden.integers("und.greedy_ids")[0];  // "x" and the first of a character's two bytes, in the byte alphabet
  other.folder().write("tokenizer.json", tokenizer.dump());
  const auto renamed = Model::from_directory(other.path());
  Model::Conversation conversation(renamed, pictures(1));
  std::vector<std::string> pieces;
  const auto stopped = conversation.ask(golden_question, {}, [&](std::string_view piece) { return pieces.emplace_back(piece), false; });
  CHECK(pieces == std::vector<std::string>{"x"});
  CHECK(stopped.text == "x\uFFFD");  // as after max_new_tokens
  Model::Conversation brief(renamed, pictures(1));
  pieces.clear();
  brief.ask(golden_question, {.max_new_tokens = 1}, [&](std::string_view piece) { return pieces.emplace_back(piece), true; });
  CHECK(pieces == std::vector<std::string>{"x", "\uFFFD"});
}

TEST_CASE("image to text: an answer that closes itself") {
  // The tokenizer's settings name the golden's third token the end: the same model, another closing token.
  const TinyModel other;
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto third = static_cast<std::int32_t>(golden.integers("und.greedy_ids")[2]);
  const auto token_of = [](std::int64_t id) { return std::string(*model().processor().tokenizer().id_to_token(static_cast<std::int32_t>(id))); };
  const auto token = token_of(third), second = token_of(golden.integers("und.greedy_ids")[1]);
  other.folder().write("tokenizer_config.json",
                       Json{{"unk_token", nullptr}, {"eos_token", token}, {"additional_special_tokens", {second}}}.dump());
  const auto closing = Model::from_directory(other.path());
  REQUIRE(closing.processor().ids().eos == third);
  Model::Conversation conversation(closing, pictures(1));
  const auto answer = conversation.ask(golden_question, {.max_new_tokens = 8}, [](std::string_view piece) {
    CHECK(!piece.empty());
    return true;
  });
  CHECK(answer.finished);
  CHECK(answer.ids.size() == 3);
  CHECK(answer.ids.back() == third);
  CHECK(answer.text == closing.processor().tokenizer().decode(Ids{answer.ids[0]}));  // special tokens are no text
}

TEST_CASE("image to text: several pictures, in front or placed by the question") {
  for (const std::string question : {"Which is brighter?", "<image_placeholder> is A, <image_placeholder> is B."}) {
    Model::Conversation conversation(model(), pictures(2));
    const auto answer = conversation.ask(question, {.max_new_tokens = 5});
    CHECK(std::count(answer.prompt_ids.begin(), answer.prompt_ids.end(), model().processor().ids().image) == 72);
    CHECK(continuation(answer.prompt_ids, pictures(2), 5) == answer.ids);
  }
  Model::Conversation without(model(), {});
  const auto answer = without.ask("Hello", {.max_new_tokens = 3});
  CHECK(continuation(answer.prompt_ids, {}, 3) == answer.ids);
}

TEST_CASE("image to text: sampling with a seed") {
  const auto ask = [&](std::uint64_t seed) {
    Model::Conversation conversation(model(), pictures(1));
    return conversation.ask(golden_question, {.max_new_tokens = 12, .sampling = {.temperature = 5, .seed = seed}});
  };
  const auto answer = ask(1);
  CHECK(answer.ids == ask(1).ids);
  CHECK(answer.ids != ask(2).ids);
  CHECK(answer.ids == continuation(answer.prompt_ids, pictures(1), 12, {.temperature = 5, .seed = 1}));  // one draw after another
}

TEST_CASE("image to text: an answer ends where the model's positions do") {
  const TinyModel other;
  Json config = read_json_file(other.path() / "config.json");
  config["language_config"]["max_position_embeddings"] = 53;  // the prompt's 50, and three more
  other.folder().write("config.json", config.dump());
  const auto brief = Model::from_directory(other.path());
  Model::Conversation conversation(brief, pictures(1));
  const auto answer = conversation.ask(golden_question);
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto expected = golden.integers("und.greedy_ids");
  CHECK(answer.ids == Ids(expected.begin(), expected.begin() + 4));  // the last one need not be read
  CHECK(!answer.finished);
  CHECK(io_testing::error_of([&] { conversation.ask("and more"); }).find("is longer than the model's 53") != std::string::npos);
  config["language_config"]["max_position_embeddings"] = 50;
  other.folder().write("config.json", config.dump());
  const auto briefest = Model::from_directory(other.path());
  CHECK(Model::Conversation(briefest, pictures(1)).ask(golden_question).ids == Ids{answer.ids.front()});
}

TEST_CASE("image to text: what was said but not read yet counts among a further question's tokens") {
  const auto question = std::ssize(model().processor().following_ids("x").ids);
  for (const Index room : {0, 1}) {
    const TinyModel other;
    Json config = read_json_file(other.path() / "config.json");
    const Index positions = 51 + question + room;  // the prompt's 50, a token that was read, one that was not
    config["language_config"]["max_position_embeddings"] = positions;
    other.folder().write("config.json", config.dump());
    const auto brief = Model::from_directory(other.path());
    Model::Conversation conversation(brief, pictures(1));
    conversation.ask(golden_question, {.max_new_tokens = 2});
    if (room) CHECK(conversation.ask("x").ids.size() == 1);
    else CHECK(io_testing::error_of([&] { conversation.ask("x"); }) ==
               concat("image to text: a conversation of ", positions + 1, " tokens is longer than the model's ", positions));
  }
}

TEST_CASE("image to text: what cannot be is refused in one sentence, and the conversation stays as it was") {
  Model::Conversation conversation(model(), pictures(1));
  const auto refusal = [&](const std::string& question, const AnswerSettings& settings) {
    return io_testing::error_of([&] { conversation.ask(question, settings); });
  };
  CHECK(refusal("x", {.max_new_tokens = 0}) == "image to text: max_new_tokens must be at least 1, not 0");
  CHECK(refusal("x", {.sampling = {.temperature = -1}}) == "sample: the temperature must be 0 or more, not -1");
  CHECK(refusal("<image_placeholder> and <image_placeholder>", {}) ==
        "image to text: the question has places for 2 pictures, 1 are given");
  CHECK(refusal(std::string(1100, 'x'), {}).find("is longer than the model's 1024") != std::string::npos);
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto expected = golden.integers("und.greedy_ids");
  CHECK(conversation.ask(golden_question, {.max_new_tokens = 8}).ids == Ids(expected.begin(), expected.end()));
  CHECK(refusal("And <image_placeholder>?", {}) == "image to text: the question has places for 1 pictures, 0 are given");
  // Nothing is made of what does not fit: neither features of the pictures nor embeddings of the text.
  Model::Conversation crowded(model(), pictures(30)), wordy(model(), {});
  CHECK(io_testing::error_of([&] { crowded.ask("x"); }) == "image to text: a conversation of 1179 tokens is longer than the model's 1024");
  CHECK(io_testing::error_of([&] { wordy.ask(std::string(10'000'000, 'x')); }).ends_with(" tokens is longer than the model's 1024"));
}

TEST_CASE("image to text: a directory without a processor_config.json, as older copies of the published one") {
  const TinyModel other;
  std::filesystem::remove(other.path() / "processor_config.json");
  const auto older = Model::from_directory(other.path());
  Model::Conversation conversation(older, pictures(1));
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto expected = golden.integers("und.greedy_ids");
  CHECK(conversation.ask(golden_question, {.max_new_tokens = 8}).ids == Ids(expected.begin(), expected.end()));
}

TEST_CASE("image to text: a tied head that the checkpoint holds too is not read") {
  const TinyModel tied, untied;  // golden_tiny has a head; in `untied` it becomes a copy of the table
  Json config = read_json_file(tied.path() / "config.json");
  config["language_config"]["tie_word_embeddings"] = true;
  tied.folder().write("config.json", config.dump());
  const Checkpoint checkpoint(tied.path());
  std::vector<SafetensorsEntry> entries;
  for (const RawTensor& tensor : checkpoint.tensors()) {
    const RawTensor& from = tensor.key == tied_head_key ? checkpoint.at("language_model.model.embed_tokens.weight") : tensor;
    entries.push_back({tensor.key, from.dtype, from.shape, [bytes = from.bytes](const auto& put) { put(bytes); }});
  }
  write_safetensors(untied.path() / "model.safetensors", entries);
  const auto ids = [](const TinyModel& directory) {
    const auto it = Model::from_directory(directory.path());
    return Model::Conversation(it, pictures(1)).ask(golden_question, {.max_new_tokens = 8}).ids;
  };
  CHECK(ids(tied) == ids(untied));
  CHECK(ids(tied) != ids(tiny_model()));
}

TEST_CASE("image to text: a directory whose parts do not fit together") {
  const auto refusal = [](const char* file, const Json& change) {
    const TinyModel other;
    Json json = read_json_file(other.path() / file);
    json.update(change, true);
    other.folder().write(file, json.dump());
    return io_testing::error_of([&] { Model::from_directory(other.path()); });
  };
  CHECK(refusal("processor_config.json", {{"num_image_tokens", 35}}) ==
        "the processor leaves 35 places for a picture, the model needs 36");
  CHECK(refusal("preprocessor_config.json", {{"image_size", 64}}) ==
        "the image processor makes pictures of 64 pixels, the model takes 96");
}
