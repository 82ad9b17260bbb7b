// Manifests, tokenised samples, order, packing, pictures and the cache of features.
#include <doctest/doctest.h>

#include <map>
#include <set>
#include <thread>

#include "golden.hpp"
#include "janusflow/train/feature_cache.hpp"
#include "janusflow/train/generation_picture.hpp"
#include "janusflow/train/packing.hpp"
#include "janusflow/train/sample_order.hpp"
#include "janusflow/train/tokenized_sample.hpp"
#include "tiny_model.hpp"

using namespace janusflow;
using io_testing::contains;
using io_testing::error_of;
using io_testing::Folder;

namespace {

/// A folder with a picture, and manifests in it.
struct Data {
  Folder folder;
  Data() { folder.write("a.png", "not looked into"), folder.write("b.png", "nor this"); }
  Manifest manifest(std::string_view lines) const { return Manifest(folder.write("train.jsonl", lines)); }
};

}  // namespace

TEST_CASE("XXH64 gives its published values") {
  CHECK(content_hash("") == 0xEF46DB3751D8E999u);
  CHECK(content_hash("abc") == 0x44BC2CF5AD770999u);
  CHECK(content_hash("a") == 0xD24EC4F1A98C6E5Bu);
  // The specification's own check: a buffer made by a multiplication.
  std::uint64_t generator = 2654435761u;
  std::string bytes;
  for (int i = 0; i < 222; ++i, generator *= 11400714785074694797u) bytes.push_back(static_cast<char>(generator >> 56));
  CHECK(content_hash(std::string_view(bytes).substr(0, 1)) == 0xE934A84ADB052768u);
  CHECK(content_hash(std::string_view(bytes).substr(0, 14)) == 0x8282DCC4994E35C8u);
  CHECK(content_hash(bytes) == 0xB641AE8CB691C174u);
  CHECK(hex(0x0123456789abcdefu) == "0123456789abcdef");
}

TEST_CASE("the order of samples is a shuffle of every epoch, or follows the weights") {
  for (const std::size_t count : {1u, 2u, 3u, 7u, 64u, 1000u}) {
    const SampleOrder order(5, "text", std::vector<float>(count, 2.0f));
    std::vector<std::vector<Index>> epochs;
    for (Index epoch = 0; epoch < 3; ++epoch) {
      std::set<Index> seen;
      auto& list = epochs.emplace_back();
      for (Index i = 0; i < static_cast<Index>(count); ++i) list.push_back(order(epoch * static_cast<Index>(count) + i));
      seen.insert(list.begin(), list.end());
      CHECK(seen.size() == count);
      CHECK(*seen.rbegin() == static_cast<Index>(count) - 1);
    }
    if (count >= 64) {
      CHECK(epochs[0] != epochs[1]);
      CHECK(epochs[1] != epochs[2]);
      const SampleOrder reseeded(6, "text", std::vector<float>(count, 2.0f));
      Index moved = 0;
      for (Index i = 0; i < static_cast<Index>(count); ++i) moved += reseeded(i) != order(i);
      CHECK(moved > static_cast<Index>(count) / 2);
    }
  }
  const std::vector<float> weights{1, 0.5f, 4, 2.5f};
  const SampleOrder order(9, "generation", weights);
  std::vector<double> drawn(4);
  constexpr int draws = 40'000;
  for (Index i = 0; i < draws; ++i) drawn[static_cast<std::size_t>(order(i))] += 1.0 / draws;
  for (std::size_t i = 0; i < 4; ++i) CHECK(std::abs(drawn[i] - static_cast<double>(weights[i]) / 8) < 4 * 0.5 / std::sqrt(draws));  // 4 sigma
  int different = 0;
  const SampleOrder other(10, "generation", weights), same_seed(9, "generation", weights);
  for (Index i = 0; i < 100; ++i) {
    different += order(i) != other(i);
    CHECK(order(i) == same_seed(i));
  }
  CHECK(different > 30);
}

TEST_CASE("a manifest is read line by line, in any order") {
  const Data data;
  const Manifest manifest = data.manifest(
      "{\"task\": \"generation\", \"prompt\": \"a red apple\", \"picture\": \"a.png\"}\n"
      "\n"
      "{\"task\": \"understanding\", \"pictures\": [\"a.png\", \"b.png\"], \"question\": \"Which?\", \"answer\": \"both\", \"weight\": 2.5}\r\n"
      "{\"task\": \"understanding\", \"picture\": \"b.png\", \"caption\": \"a b\"}\n"
      "{\"task\": \"understanding\", \"content\": [{\"text\": \"See\"}, {\"picture\": \"a.png\"}, {\"text\": \"that.\"}]}\n"
      "{\"task\": \"text\", \"turns\": [{\"question\": \"1?\", \"answer\": \"one\"}, {\"question\": \"2?\", \"answer\": \"two\"}]}\n"
      "{\"task\": \"text\", \"text\": \"plain\"}");
  CHECK(manifest.count(Task::generation) == 1);
  CHECK(manifest.count(Task::understanding) == 3);
  CHECK(manifest.count(Task::text) == 2);
  CHECK(manifest.weights(Task::understanding) == std::vector<float>{2.5f, 1, 1});
  CHECK(manifest.read(Task::text, 1).document.at(0).text == "plain");
  const Sample both = manifest.read(Task::understanding, 0);
  CHECK(both.where == (data.folder / "train.jsonl").string() + ":3");
  CHECK(both.pictures == std::vector{data.folder / "a.png", data.folder / "b.png"});
  CHECK(both.turns.at(0).answer == "both");
  CHECK(manifest.read(Task::generation, 0).prompt == "a red apple");
  CHECK(manifest.read(Task::text, 0).turns.at(1).question == "2?");
  CHECK(manifest.read(Task::understanding, 1).turns.at(0).question == caption_question);
  const Sample document = manifest.read(Task::understanding, 2);
  CHECK(document.document.size() == 3);
  CHECK(document.document[1].picture);
  CHECK(manifest.fingerprint() != data.manifest("{\"task\": \"text\", \"text\": \"plain\"}\n").fingerprint());
  CHECK(contains(error_of([&] { manifest.read(Task::generation, 0); }), "train.jsonl:1 has changed since"));  // just now
  const Manifest red = data.manifest("{\"task\": \"text\", \"text\": \"a red apple\"}\n");
  data.folder.write("train.jsonl", "{\"task\": \"text\", \"text\": \"a tan hippo\"}\n");
  CHECK(error_of([&] { red.read(Task::text, 0); }) == (data.folder / "train.jsonl").string() + ":1 has changed since the manifest was opened");
}

TEST_CASE("what is wrong with a line is said with file, line and key") {
  struct Case {
    const char *line, *sentence;
  };
  const Case cases[] = {
      {"nonsense", ":2 is not valid JSON"},
      {"\xff", ":2 is not valid JSON"},
      {"[]", ":2: the top level must be an object, not []"},
      {R"({"prompt": "x"})", ":2: task is missing"},
      {R"({"task": "paint"})", ":2: task must be understanding, generation or text, not \"paint\""},
      {R"({"task": "generation", "picture": "a.png"})", ":2: prompt is missing"},
      {R"({"task": "generation", "prompt": " ", "picture": "a.png"})", ":2: prompt must not be empty"},
      {R"({"task": "generation", "prompt": "x"})", ":2: picture is missing"},
      {R"({"task": "generation", "prompt": "x", "picture": "c.png"})", ":2: picture: there is no picture "},
      {R"({"task": "generation", "prompt": "x", "picture": "."})", ":2: picture: there is no picture "},
      {R"({"task": "generation", "prompt": "x", "picture": "a.png", "answer": "y"})", ":2: answer is unknown; there are task, weight, prompt"},
      {R"({"task": "generation", "prompt": "x", "picture": "a.png", "weight": 0})", ":2: weight must be between"},
      {R"({"task": "understanding", "picture": "a.png", "question": "x?", "answer": "\t"})", ":2: answer must not be empty"},
      {R"({"task": "understanding", "picture": "a.png", "question": "x?"})", ":2: answer is missing"},
      {R"({"task": "understanding", "pictures": [], "question": "x?", "answer": "y"})", ":2: pictures must not be empty"},
      {R"({"task": "understanding", "question": "x?", "answer": "y"})", ":2: picture is missing"},
      {R"({"task": "understanding", "picture": "a.png", "turns": [{"question": "x?"}]})", ":2: turns[0].answer is missing"},
      {R"({"task": "understanding", "picture": "a.png", "questions": [{"answer": "x"}]})", ":2: questions[0].question is missing"},
      {R"({"task": "understanding", "picture": "a.png", "turns": []})", ":2: turns must be a list of questions and answers"},
      {R"({"task": "understanding", "content": [{"picture": "a.png"}]})", ":2: content must have a text"},
      {R"({"task": "understanding", "content": [{"picture": "a.png", "text": "x"}]})", ":2: content[0].text or picture must be there"},
      {R"({"task": "text"})", ":2: question is missing"},
      {R"({"task": "text", "text": 5})", ":2: text must be a string, not 5"},
      {R"({"task": "text", "text": "x", "text": "y"})", ":2 has the key \"text\" twice"},
      {R"({"task": "text", "text": "x", "question": "x?", "answer": "y"})", ":2: text and question must not both be there"},
      {R"({"task": "text", "turns": [{"question": "x?", "answer": "y"}], "answer": "y"})", ":2: turns and answer must not both be there"},
      {R"({"task": "text", "text": "x", "turns": [{"question": "x?", "answer": "y"}]})", ":2: text and turns must not both be there"},
      {R"({"task": "understanding", "picture": "a.png", "caption": "c", "question": "x?"})", ":2: caption and question must not both be there"},
      {R"({"task": "understanding", "picture": "a.png", "pictures": ["b.png"], "caption": "c"})", ":2: picture and pictures must not both be there"},
      {R"({"task": "understanding", "picture": "a.png", "turns": [], "questions": []})", ":2: turns and questions must not both be there"},
      {R"({"task": "understanding", "picture": "a.png", "content": [{"text": "x"}]})", ":2: content and picture must not both be there"},
      {R"({"task": "understanding", "content": [{"text": "x"}], "answer": "y"})", ":2: content and answer must not both be there"},
  };
  const Data data;
  for (const Case& c : cases) {
    CAPTURE(c.line);
    const std::string sentence = error_of([&] { data.manifest("{\"task\": \"text\", \"text\": \"good\"}\n" + std::string(c.line) + "\n"); });
    CAPTURE(sentence);
    CHECK(contains(sentence, "train.jsonl" + std::string(c.sentence)));
  }
  CHECK(contains(error_of([&] { data.manifest("\n \t\r\n"); }), "train.jsonl holds no sample"));
  CHECK(contains(error_of([&] { Manifest(data.folder / "none.jsonl"); }), "none.jsonl: no such file"));
}

TEST_CASE("samples become the ids that the pipelines will ask with, and only answers are learned") {
  const test::TinyModel model;
  const Processor processor = Processor::from_directory(model.path(), 36);
  const SampleTokenizer tokenize(processor, 2000, 17);
  const auto learned_text = [&](const LearnedIds& tokens) {
    REQUIRE(tokens.learned.size() == tokens.ids.size());
    std::vector<std::int32_t> ids;
    for (std::size_t i = 0; i < tokens.ids.size(); ++i)
      if (tokens.learned[i]) ids.push_back(tokens.ids[i]);
    return ids;
  };
  const std::int32_t eos = processor.ids().eos;

  Sample question{.task = Task::understanding, .where = "m:1", .pictures = {"a.png"}, .prompt = {}, .turns = {{"What is it?", " red\n"}, {"And?", "b"}}, .document = {}};
  const auto asked = tokenize(question);
  const auto prompt = processor.understanding_ids("What is it?", 1);
  CHECK(std::equal(prompt.ids.begin(), prompt.ids.end(), asked.trunk.ids.begin()));
  CHECK(asked.pictures == prompt.pictures);
  auto answers = processor.tokenizer().encode(" red");
  answers.push_back(eos);
  const auto second = processor.tokenizer().encode(" b");
  answers.insert(answers.end(), second.begin(), second.end());
  answers.push_back(eos);
  CHECK(learned_text(asked.trunk) == answers);
  // Between the answers stands what following_ids reads, whose first id ends the first answer.
  const auto following = processor.following_ids("And?").ids;
  const auto begin = asked.trunk.ids.begin() + static_cast<std::ptrdiff_t>(prompt.ids.size() + processor.tokenizer().encode(" red").size());
  CHECK(std::equal(following.begin(), following.end(), begin));

  Sample painting{.task = Task::generation, .where = "m:2", .pictures = {"a.png"}, .prompt = test::golden_prompt, .turns = {}, .document = {}};
  const auto painted = tokenize(painting);
  auto expected = processor.generation_ids(test::golden_prompt);
  expected.pop_back();
  CHECK(painted.trunk.ids == expected);
  CHECK(learned_text(painted.trunk).empty());

  Sample document{.task = Task::understanding, .where = "m:3", .pictures = {"a.png"}, .prompt = {}, .turns = {}, .document = {{"ab"}, {{}, true}, {"c"}}};
  const auto read = tokenize(document);
  CHECK(read.pictures == std::vector<std::size_t>{3});
  CHECK(read.trunk.ids.size() == 1 + 2 + 38 + 1 + 1);
  CHECK(learned_text(read.trunk) == std::vector{read.trunk.ids[1], read.trunk.ids[2], read.trunk.ids[41], eos});

  // Questions apart: trunk and branch together are the prompt of each.
  Sample apart = question;
  apart.apart = true;
  const auto branched = tokenize(apart);
  REQUIRE(branched.branches.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    auto whole = branched.trunk.ids;
    whole.insert(whole.end(), branched.branches[i].ids.begin(), branched.branches[i].ids.end());
    auto said = processor.understanding_ids(question.turns[i].question, 1).ids;
    const auto answer = processor.tokenizer().encode(i == 0 ? " red" : " b");
    said.insert(said.end(), answer.begin(), answer.end());
    said.push_back(eos);
    CHECK(whole == said);
    CHECK(learned_text(branched.branches[i]).size() == answer.size() + 1);
  }
  CHECK(branched.pictures == prompt.pictures);
  CHECK(branched.trunk.ids.back() == processor.ids().image_end);
  apart.turns[1].question = "or <image_placeholder>?";
  CHECK(error_of([&] { tokenize(apart); }) == "m:1: questions apart must have their pictures in one and the same place");

  const SampleTokenizer strict(processor, 20, 17);
  CHECK(contains(error_of([&] { strict(painting); }), "m:2 has "));
  CHECK(contains(error_of([&] { strict(painting); }), " tokens, 20 are allowed"));
  question.pictures.push_back("b.png");
  question.turns[0].question = "<image_placeholder> or?";
  question.turns[1].question = "And <image_placeholder>?";
  const auto later = tokenize(question);
  REQUIRE(later.pictures.size() == 2);
  for (const std::size_t place : later.pictures) {
    CHECK(later.trunk.ids[place] == processor.ids().image_start);
    CHECK(later.trunk.ids[place + 37] == processor.ids().image_end);
  }
  question.pictures.pop_back();
  question.turns[0].question = "<image_placeholder> or <image_placeholder>?";
  CHECK(error_of([&] { tokenize(question); }) == "m:1 has places for 3 pictures, and names 1");
}

TEST_CASE("packing wastes little and keeps samples whole") {
  std::vector<Index> lengths;
  Index total = 0;
  for (Index i = 0; i < 200; ++i) total += lengths.emplace_back(10 + permuted(i % 90, 90, CounterRandom(1, "lengths")));
  const auto sequences = pack_sequences(lengths, 128);
  std::set<std::size_t> seen;
  for (const auto& sequence : sequences) {
    Index at = 0;
    for (const std::size_t sample : sequence.samples) {
      at += lengths[sample];
      seen.insert(sample);
    }
    CHECK(sequence.length == at);
    CHECK(at <= 128);
  }
  CHECK(seen.size() == 200);
  CHECK(static_cast<double>(total) / (128.0 * static_cast<double>(sequences.size())) > 9.0 / 11 - 0.02);
  CHECK(contains(error_of([&] { pack_sequences(lengths, 50); }), "does not fit into 50"));
  CHECK(pack_sequences(std::vector<Index>{60, 68}, 128).size() == 1);  // to the last token
}

TEST_CASE("generation takes the middle square of a picture whose short side is to size") {
  Tensor<std::uint8_t, 3> wide(Shape{Index{40}, Index{100}, Index{3}});
  for (Index y = 0; y < 40; ++y)
    for (Index x = 0; x < 100; ++x)
      for (Index c = 0; c < 3; ++c) wide(y, x, c) = static_cast<std::uint8_t>(x + c);
  const auto same_size = resize_and_crop(wide.view(), 40);
  CHECK(same_size.shape() == Shape{Index{40}, Index{40}, Index{3}});
  CHECK(same_size(7, 0, 0) == 30);
  CHECK(same_size(39, 39, 2) == 71);
  const auto small = resize_and_crop(wide.view(), 20);
  CHECK(small.shape() == Shape{Index{20}, Index{20}, Index{3}});
  CHECK(std::abs(small(5, 10, 0) - 50) <= 1);
  Tensor<std::uint8_t, 3> upright(Shape{Index{100}, Index{40}, Index{3}});
  for (Index y = 0; y < 100; ++y) std::fill_n(&upright(y, 0, 0), 120, static_cast<std::uint8_t>(y));
  CHECK(resize_and_crop(upright.view(), 40)(0, 7, 0) == 30);
  const Tensor<std::uint8_t, 3> thin(Shape{Index{1}, Index{65}, Index{3}}, 7);
  CHECK(error_of([&] { resize_and_crop(thin.view(), 8, "thin.png"); }) ==
        "thin.png is too thin: of 65 x 1 pixels, and one side may be 64 times the other at most");
  const Tensor<std::uint8_t, 3> high(Shape{Index{64}, Index{1}, Index{3}}, 7);
  CHECK(resize_and_crop(high.view(), 8)(7, 7, 2) == 7);
}

TEST_CASE("features are kept by content, in parts, and checked when read") {
  const Folder folder;
  const auto row = [](std::uint64_t picture) { return std::vector<float>{static_cast<float>(picture), 2, 3, -1}; };
  {
    FeatureCache cache(folder.path() / "cache", "latents", 11, 4, 3 * 4 * sizeof(float));  // three rows a part
    for (std::uint64_t picture = 100; picture < 108; ++picture) cache.add(picture, row(picture));
    cache.add(100, row(5));  // is there already
    CHECK(cache.count() == 8);
    std::vector<float> out(4);
    cache.copy(107, out.data());  // not yet on disk
    CHECK(out == row(107));
    cache.flush();
    cache.copy(107, out.data());
    CHECK(out == row(107));
    CHECK(contains(error_of([&] { cache.add(1, std::vector<float>(3)); }), "a row of 3 numbers, not 4"));
  }
  FeatureCache again(folder.path() / "cache", "latents", 11, 4);
  CHECK(again.count() == 8);
  std::vector<float> out(4);
  for (std::uint64_t picture = 100; picture < 108; ++picture) {
    again.copy(picture, out.data());
    CHECK(out == row(picture));
  }
  CHECK(!again.contains(108));
  CHECK(contains(error_of([&] { again.copy(108, out.data()); }), "has nothing for the picture 000000000000006c"));
  // Another encoder, kind or size has its own rows.
  CHECK(FeatureCache(folder.path() / "cache", "latents", 12, 4).count() == 0);
  CHECK(FeatureCache(folder.path() / "cache", "siglip", 11, 4).count() == 0);
  CHECK(FeatureCache(folder.path() / "cache", "latents", 11, 5).count() == 0);

  std::vector<std::filesystem::path> parts;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path() / "cache")) parts.push_back(entry.path());
  REQUIRE(parts.size() == 3);
  for (const auto& path : parts) {  // the last byte belongs to a row or a check
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-2, std::ios::end);
    file.put('\x7f');
  }
  const FeatureCache damaged(folder.path() / "cache", "latents", 11, 4);
  int found = 0;
  for (std::uint64_t picture = 100; picture < 108; ++picture) try {
      damaged.copy(picture, out.data());
    } catch (const Error& error) {
      CHECK(contains(error.what(), "is damaged: the features of the picture"));
      ++found;
    }
  CHECK(found == 3);
  std::filesystem::resize_file(parts[0], 50);
  CHECK_THROWS_AS(FeatureCache(folder.path() / "cache", "latents", 11, 4), Error);
}

TEST_CASE("two runs that write into one cache at the same time keep all of their rows") {
  const Folder folder;
  constexpr std::uint64_t rows = 800;
  std::vector<std::string> sentences(2);
  const auto write = [&](std::uint64_t run) {
    try {
      FeatureCache cache(folder.path() / "cache", "latents", 11, 4, 4 * 4 * sizeof(float));  // four rows a part
      std::vector<float> row(4), out(4);
      for (std::uint64_t i = 0; i < rows; ++i) {
        row[0] = static_cast<float>(2 * i + run);
        cache.add(2 * i + run, row);
        cache.copy(2 * i + run, out.data());
      }
    } catch (const std::exception& error) {
      sentences[run] = error.what();
    }
  };
  std::thread first(write, 0), second(write, 1);
  first.join();
  second.join();
  CHECK(sentences == std::vector<std::string>(2));
  FeatureCache cache(folder.path() / "cache", "latents", 11, 4);
  CHECK(cache.count() == 2 * rows);
  std::filesystem::remove_all(folder.path() / "cache");
  CHECK(error_of([&] { cache.refresh(); }) ==
        "cannot read the directory " + (folder.path() / "cache").string() + ": No such file or directory");
}

TEST_CASE("an encoder's hash depends on every weight") {
  const Checkpoint checkpoint(test::golden_tiny);
  const auto all = weights_hash(checkpoint), tower = weights_hash(checkpoint, "vision_und_enc_model.");
  CHECK(all != tower);
  CHECK(weights_hash(Checkpoint(test::golden_tiny)) == all);
  CHECK(weights_hash(checkpoint, "nothing") == 0);
}
