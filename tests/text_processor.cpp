// The processor: ids of tags as transformers gives them, prompts with pictures, several turns, and settings that are
// not right.
#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "janusflow/text/processor.hpp"
#include "text_data.hpp"

using namespace janusflow;
using Ids = std::vector<std::int32_t>;

namespace {

/// A checkpoint's directory with the small tokenizer and the settings files that are not null.
class Directory {
 public:
  explicit Directory(const Json& processor, const Json& tokenizer = {}, const Json& special = {}) {
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    path_ = std::filesystem::temp_directory_path() / concat("janusflow-text_processor-", now);
    std::filesystem::create_directories(path_);
    std::filesystem::copy_file(test::tokenizer_directory() / "tokenizer.json", path_ / "tokenizer.json",
                               std::filesystem::copy_options::overwrite_existing);
    for (const auto& [name, json] :
         {std::pair("processor_config.json", &processor), std::pair("tokenizer_config.json", &tokenizer),
          std::pair("special_tokens_map.json", &special)}) {
      if (!json->is_null()) std::ofstream(path_ / name) << *json;
    }
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

const Json published = {{"image_tag", "<image_placeholder>"}, {"image_start_tag", "<image_beg>"},
                        {"image_end_tag", "<image_end>"},     {"num_image_tokens", 3},
                        {"sft_format", "deepseek_old"},       {"add_special_token", false}};

Ids operator+(Ids left, const Ids& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

}  // namespace

TEST_CASE("processor: ids as in LlamaTokenizerFast, whatever the settings leave out") {
  for (const auto& item : test::tokenizer_cases().at("processor")) {
    const Json special = item.at("special_tokens_map").empty() ? Json() : item.at("special_tokens_map");
    INFO(item.at("tokenizer_config").dump(), special.dump());
    const Directory directory(published, item.at("tokenizer_config"), special);
    const auto processor = Processor::from_directory(directory.path());
    const auto& ids = processor.ids();
    CHECK(Ids{ids.bos, ids.eos, ids.pad, ids.image, ids.image_gen, ids.image_start, ids.image_end} ==
          item.at("ids").get<Ids>());
    CHECK(processor.tokenizer().vocab_size() == item.at("vocab_size").get<std::size_t>());
    for (const auto& prompt : item.at("prompts"))
      CHECK(processor.encode(prompt[0].get<std::string>()) == prompt[1].get<Ids>());
  }
}

TEST_CASE("processor: without settings, the official defaults") {
  const Directory directory{Json()};
  const auto processor = Processor::from_directory(directory.path());
  CHECK(processor.settings().num_image_tokens == 576);
  CHECK(processor.settings().image_start_tag == "<begin_of_image>");
  CHECK(processor.settings().image_end_tag == "<end_of_image>");
  CHECK(processor.ids().bos == processor.tokenizer().token_to_id("<｜begin▁of▁sentence｜>"));
  CHECK(processor.ids().pad == processor.ids().eos);
  CHECK(processor.chat().user == "User");  // "deepseek", yet this vocabulary has no <|User|>
}

TEST_CASE("processor: the published model's tags are meant where the vocabulary has them") {
  const Directory directory(Json(), {{"additional_special_tokens", {"<image_beg>", "<image_end>"}}});
  const auto processor = Processor::from_directory(directory.path());
  CHECK(processor.settings().image_start_tag == "<image_beg>");
  CHECK(processor.ids().image_start == processor.tokenizer().token_to_id("<image_beg>"));
  CHECK(processor.ids().image_end == processor.tokenizer().token_to_id("<image_end>"));
}

TEST_CASE("processor: further special tokens come from both settings files, and are special whatever they say") {
  const Json second = {{"content", "<second>"}, {"special", false}};
  const Directory directory(published, {{"additional_special_tokens", {"<first>"}}}, {{"additional_special_tokens", {second}}});
  const auto processor = Processor::from_directory(directory.path());
  const auto& tokenizer = processor.tokenizer();
  REQUIRE(tokenizer.is_added("<first>"));
  CHECK(tokenizer.token_to_id("<second>") == *tokenizer.token_to_id("<first>") + 1);
  CHECK(tokenizer.decode(tokenizer.encode("a<first><second>b")) == "ab");
}

TEST_CASE("processor: the template called deepseek, with a vocabulary made for it") {
  const Directory directory({{"sft_format", "deepseek"}},
                            {{"additional_special_tokens", {"<|User|>", "<|Assistant|>"}}});
  const auto processor = Processor::from_directory(directory.path());
  const auto ids = processor.generation_ids("A cat");
  CHECK(ids[1] == processor.tokenizer().token_to_id("<|User|>"));
  CHECK(ids == processor.encode("<|User|>: A cat\n\n<|Assistant|>:<｜begin▁of▁generation｜>"));
}

TEST_CASE("processor: the prompt for a picture") {
  const Directory directory(published);
  const auto processor = Processor::from_directory(directory.path());
  const auto ids = processor.generation_ids(" A cat\n");
  CHECK(ids == Ids{processor.ids().bos} + processor.tokenizer().encode("User: A cat\n\nAssistant:") +
                   Ids{processor.ids().image_gen});
}

TEST_CASE("processor: pictures in a question") {
  const Directory directory(published);
  const auto processor = Processor::from_directory(directory.path());
  const auto& tokenizer = processor.tokenizer();
  const auto& tags = processor.ids();
  const Ids picture{tags.image_start, tags.image, tags.image, tags.image, tags.image_end};
  const std::string before =
      std::string(understanding_system_prompt) + "\n\nUser: ";  // its last space is a token of its own
  const auto space = tokenizer.encode(" ");
  REQUIRE(space.size() == 1);

  const auto one = processor.understanding_ids("What is it?", 1);
  CHECK(one.ids ==
        Ids{tags.bos} + tokenizer.encode(before) + picture + tokenizer.encode("\nWhat is it?\n\nAssistant:"));
  REQUIRE(one.pictures.size() == 1);
  CHECK(one.ids[one.pictures[0]] == tags.image_start);
  CHECK(one.ids[one.pictures[0] - 1] == space[0]);

  const auto two = processor.understanding_ids("Which is brighter?", 2);
  CHECK(two.ids == Ids{tags.bos} + tokenizer.encode(before) + picture + tokenizer.encode("\n") + picture +
                       tokenizer.encode("\nWhich is brighter?\n\nAssistant:"));
  CHECK(two.pictures == std::vector<std::size_t>{one.pictures[0], one.pictures[0] + picture.size() + 1});

  const auto placed = processor.understanding_ids("<image_placeholder> is A, <image_placeholder> is B.", 2);
  CHECK(placed.ids == Ids{tags.bos} + tokenizer.encode(before) + picture + tokenizer.encode(" is A, ") + picture +
                          tokenizer.encode(" is B.\n\nAssistant:"));
  CHECK(processor.understanding_ids("Hello", 0).pictures.empty());
}

TEST_CASE("processor: a further question continues what the whole conversation would be") {
  const Directory directory(published);
  const auto processor = Processor::from_directory(directory.path());
  const std::vector<Turn> turns{{Role::user, "<image_placeholder>\nWhat is it?"},
                                {Role::assistant, "a red fox"},
                                {Role::user, "<image_placeholder>\nAnd this?"},
                                {Role::assistant, ""}};
  const auto whole = processor.understanding_ids(turns);
  const auto first = processor.understanding_ids("What is it?", 1);
  const auto answer = processor.tokenizer().encode(" a red fox");
  const auto next = processor.following_ids("And this? ", 1);
  CHECK(next.ids.front() == processor.ids().eos);
  CHECK(first.ids + answer + next.ids == whole.ids);
  REQUIRE(next.pictures.size() == 1);
  CHECK(first.ids.size() + answer.size() + next.pictures[0] == whole.pictures[1]);
}

TEST_CASE("processor: an answer ends with the model's own end of sentence") {
  const Directory directory({}, {{"eos_token", "</s>"}});
  const auto processor = Processor::from_directory(directory.path());
  CHECK(processor.tokenizer().id_to_token(processor.ids().eos) == "</s>");
  CHECK(processor.following_ids("And this?").ids.front() == processor.ids().eos);
}

TEST_CASE("processor: settings that are not right give one sentence") {
  const auto refused = [](const Json& processor, const Json& tokenizer, const char* sentence) {
    const Directory directory(processor, tokenizer);
    CHECK_THROWS_WITH_AS(Processor::from_directory(directory.path()), doctest::Contains(sentence), Error);
  };
  refused(Json::array(), {}, "processor_config.json");
  refused({{"num_image_tokens", 0}}, {}, "num_image_tokens");
  refused({{"num_image_tokens", 1e9}}, {}, "num_image_tokens");
  refused({{"image_tag", ""}}, {}, "image_tag");
  refused({{"image_gen_tag", 7}}, {}, "image_gen_tag");
  refused({{"sft_format", "llama-2"}}, {}, "llama-2");
  refused({{"add_special_token", true}}, {}, "add_special_token");
  refused({}, {{"bos_token", nullptr}}, "bos_token");
  refused({}, {{"bos_token", 7}}, "bos_token");
  refused({}, {{"bos_token", {{"lstrip", true}}}}, "content");
  refused({}, {{"additional_special_tokens", "<x>"}}, "additional_special_tokens");
  refused({}, {{"added_tokens_decoder", {{"x", {{"content", "<x>"}}}}}}, "added_tokens_decoder");
  refused({}, {{"added_tokens_decoder", {{"-1", {{"content", "<x>"}}}}}}, "added_tokens_decoder");
  refused({}, {{"add_bos_token", "yes"}}, "add_bos_token");
  CHECK_THROWS_WITH_AS(Processor::from_directory("/nowhere/at/all"), doctest::Contains("tokenizer.json"), Error);
}

TEST_CASE("processor: a settings file that is named is read, or refused") {
  for (const std::string name : {"tokenizer_config.json", "special_tokens_map.json", "processor_config.json"})
    for (const std::string& target : {std::string("nothing"), name}) {
      const Directory directory{Json()};
      std::filesystem::create_symlink(target, directory.path() / name);
      std::string sentence;
      try {
        Processor::from_directory(directory.path());
      } catch (const Error& error) {
        sentence = error.what();
      }
      CHECK(sentence == "cannot read " + (directory.path() / name).string() +
                            (target == name ? ": Too many levels of symbolic links" : ": it is a link that leads nowhere"));
    }
}
