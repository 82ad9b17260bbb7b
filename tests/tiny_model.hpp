// golden_tiny as a whole model directory: its files, and a tokenizer whose prompts are the golden's ids.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "golden.hpp"
#include "io_testing.hpp"
#include "janusflow/core/parallel.hpp"
#include "janusflow/text/conversation.hpp"

namespace janusflow::test {

inline const std::string golden_tiny = JANUSFLOW_TEST_DATA "/golden_tiny";
/// The prompt whose ids are gen.prompt_ids, and the question whose ids, with pre.0's picture, are und.input_ids.
inline const std::string golden_prompt = "a\nred", golden_question = "What is it?";

/// A tokenizer.json of golden_tiny's 156 ids. Pieces of the golden's prompts are added tokens, every other printable character of
/// ASCII is a token of its own.
inline Json tiny_tokenizer() {
  const std::string system(understanding_system_prompt);
  const auto second = system.find(" You are able"), third = system.find(" and assist");
  const std::map<std::int32_t, std::string> pieces{
      {67, "User:"}, {73, " a"}, {58, "\n"}, {117, "red"}, {39, "\n\nAss"}, {41, "ist"}, {128, "ant:"},
      {33, system.substr(0, second)}, {95, system.substr(second, third - second)}, {5, system.substr(third)}, {111, "\n\nUser: "},
      {103, "What"}, {76, " is"}, {112, " it"}, {51, "?\n"}, {3, "\nAssis"}, {124, "tant:"}};
  Json vocab, added = Json::array();
  std::string letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  std::size_t next = 0;
  const auto add = [&](std::int32_t id, const std::string& content, bool special) {
    added.push_back({{"id", id}, {"content", content}, {"special", special}, {"normalized", false}});
  };
  for (std::int32_t id = 0; id < 150; ++id) {
    if (const auto piece = pieces.find(id); piece != pieces.end()) {
      vocab[piece->second] = id;
      add(id, piece->second, false);
    } else if (next < letters.size()) {
      vocab[std::string(1, letters[next++])] = id;
    } else if (next++ == letters.size()) {
      vocab["\u0120"] = id;  // the byte alphabet's space
    } else {
      vocab["<" + std::to_string(id) + ">"] = id;
    }
  }
  std::int32_t id = 150;
  for (const auto* tag : {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<image_placeholder>", "<image_beg>", "<image_end>",
                          "<｜begin▁of▁generation｜>"})
    add(id++, tag, true);
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}};
}

/// A directory with the model, its VAE in vae/, and the tokenizer; removed at the end.
class TinyModel {
 public:
  TinyModel() {
    for (const auto* name : {"config.json", "model.safetensors", "preprocessor_config.json"})
      std::filesystem::copy_file(golden_tiny + "/" + name, folder_ / name);
    std::filesystem::copy(golden_tiny + "/vae", folder_ / "vae");
    folder_.write("tokenizer.json", tiny_tokenizer().dump());
    folder_.write("tokenizer_config.json", R"({"unk_token": null})");
    folder_.write("processor_config.json", Json{{"image_start_tag", "<image_beg>"}, {"image_end_tag", "<image_end>"},
                                                {"num_image_tokens", 36}, {"sft_format", "deepseek_old"}}.dump());
  }
  const std::filesystem::path& path() const { return folder_.path(); }
  std::filesystem::path vae() const { return folder_ / "vae"; }
  const io_testing::Folder& folder() const { return folder_; }

 private:
  io_testing::Folder folder_;
};

/// Whether two tensors, or two lists of them, have the same shapes and bytes.
template <class T, int R>
bool same(const Tensor<T, R>& a, const Tensor<T, R>& b) {
  return a.shape() == b.shape() && std::equal(a.begin(), a.end(), b.begin());
}
template <class T, int R>
bool same(const std::vector<Tensor<T, R>>& a, const std::vector<Tensor<T, R>>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) { return same(x, y); });
}

/// Slices [begin, end) of the first dimension.
template <class T, int R>
Tensor<T, R> part(const Tensor<T, R>& x, Index begin, Index end) {
  return Tensor<T, R>(x.view().slice(begin, end));
}

/// Calls run() on 1, 2 and 3 threads.
template <class Run>
void with_threads(Run run) {
  const int before = num_threads();
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    run(threads);
  }
  set_num_threads(before);
}

}  // namespace janusflow::test
