// The reader of tokenizer.json. Included by text/tokenizer_json.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/text/tokenizer_json.hpp"

namespace janusflow {

namespace detail {

class TokenizerJsonReader {
 public:
  TokenizerJsonReader(std::string_view text, const std::string& name) : name_(name), json_(parse_json(text, name)) {}

  TokenizerDefinition operator()() && {
    const JsonObject root(json_, name_);
    const auto version = root.get<std::string>("version", "1.0");
    require(version == "1.0", root.name("version"), " is ", version, "; only 1.0 is known");
    read_model(root.object("model"));
    read_added_tokens(root);
    if (root.has("normalizer")) read_normalizer(root.object("normalizer"));
    if (root.has("pre_tokenizer")) read_pre_tokenizer(root.object("pre_tokenizer"));
    if (root.has("post_processor")) read_post_processor(root.object("post_processor"));
    read_decoder(root.object("decoder"));
    return std::move(result_);  // truncation and padding are for batches: transformers sets them anew with every call
  }

 private:
  [[noreturn]] static void unsupported(const JsonObject& object, const std::string& what) {
    fail(object.name("type"), " is ", what, ", which is not supported");
  }

  /// The elements of the list under `key`, each an object.
  std::vector<JsonObject> objects(const JsonObject& parent, std::string_view key) const {
    std::vector<JsonObject> list;
    if (!parent.has(key)) return list;
    const Json& items = parent.json().at(std::string(key));
    require(items.is_array(), parent.name(key), " must be a list");
    const std::string path = parent.name(key).substr(name_.size() + 2);
    for (std::size_t i = 0; i < items.size(); ++i) list.emplace_back(items[i], name_, concat(path, '[', i, ']'));
    return list;
  }

  std::int32_t token_id(const Json& value, const std::string& token) const {
    const bool fits = value.is_number_unsigned() && value.get<std::uint64_t>() <= std::uint64_t{max_token_id};
    if (!fits)
      fail(name_, ": the token ", Json(token).dump(), " has the id ", value.dump(), "; ids are integers from 0 to ", max_token_id);
    return value.get<std::int32_t>();
  }

  void read_model(const JsonObject& model) {
    const auto type = model.get<std::string>("type", "BPE");
    if (type != "BPE") unsupported(model, type);
    require(!model.has("dropout"), model.name("dropout"), " must be null: encoding at random is not supported");
    require(!model.get<bool>("byte_fallback", false), model.name("byte_fallback"), " must be false");
    for (const auto* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      require(model.get<std::string>(key, "").empty(), model.name(key), " must be null or empty");
    }
    BytePairEncoding::Options options;
    if (model.has("unk_token")) options.unknown_token = model.get<std::string>("unk_token");
    options.fuse_unknown = model.get<bool>("fuse_unk", false);
    options.ignore_merges = model.get<bool>("ignore_merges", false);
    auto& bpe = result_.vocabulary.model = BytePairEncoding(std::move(options));

    const JsonObject vocab = model.object("vocab");
    require(model.has("merges"), model.name("merges"), " is missing");
    const Json& merges = model.json().at("merges");
    require(merges.is_array(), model.name("merges"), " must be a list");
    bpe.reserve(vocab.json().size(), merges.size());
    for (const auto& [token, value] : vocab.json().items()) {
      const std::int32_t id = token_id(value, token);
      if (!bpe.add_token(token, id)) {
        fail(name_, ": the tokens ", Json(*bpe.id_to_token(id)).dump(), " and ", Json(token).dump(), " have the same id ", id);
      }
    }
    for (const Json& merge : merges) read_merge(merge, bpe);
  }

  /// "a b" or ["a", "b"].
  void read_merge(const Json& merge, BytePairEncoding& bpe) const {
    bool known = false;
    if (merge.is_string()) {
      const std::string_view pair = merge.get_ref<const std::string&>();
      const auto space = pair.find(' ');
      known = space != std::string_view::npos && pair.find(' ', space + 1) == std::string_view::npos &&
              bpe.add_merge(pair.substr(0, space), pair.substr(space + 1));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      known = bpe.add_merge(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
    }
    if (!known) {
      fail(name_, ": the merge ", merge.dump().substr(0, 100),
           " does not name two tokens of the vocabulary whose union is one too");
    }
  }

  void read_added_tokens(const JsonObject& root) {
    for (const auto& object : objects(root, "added_tokens")) {
      AddedToken token = AddedToken::from_json(object);
      const std::string content = token.content;
      require(!content.empty(), object.name("content"), " must not be empty");
      require(object.has("id"), object.name("id"), " is missing");
      const std::int32_t id = token_id(object.json().at("id"), content);
      if (result_.vocabulary.added.find(content)) fail(name_, ": the added token ", Json(content).dump(), " is there twice");
      std::int32_t given = -1;
      try {
        given = result_.vocabulary.add(std::move(token));
      } catch (const Error& error) {
        fail(name_, ": ", error.what());
      }
      require(given == id, name_, ": the added token ", Json(content).dump(), " has the id ", id,
              ", but its place in the vocabulary is ", given);
    }
  }

  void read_normalizer(const JsonObject& normalizer) const {
    const auto type = normalizer.get<std::string>("type");
    if (type != "Sequence") unsupported(normalizer, type);
    for (const auto& step : objects(normalizer, "normalizers")) read_normalizer(step);
  }

  void read_pre_tokenizer(const JsonObject& step) {
    const auto type = step.get<std::string>("type");
    if (type == "Sequence") {
      for (const auto& inner : objects(step, "pretokenizers")) read_pre_tokenizer(inner);
    } else if (type == "Split") {
      result_.pre_tokenizer.push_back(read_split(step));
    } else if (type == "Digits") {
      const auto* pattern = step.get<bool>("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)";
      result_.pre_tokenizer.push_back(Split{Regex(pattern, Regex::Syntax::oniguruma, name_), SplitBehavior::isolated});
    } else if (type == "ByteLevel") {
      ByteLevel byte_level{.add_prefix_space = step.get<bool>("add_prefix_space", true), .split = {}};
      if (step.get<bool>("use_regex", true)) {
        constexpr std::string_view gpt2 = R"('(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
        byte_level.split = Split{Regex(gpt2, Regex::Syntax::oniguruma, name_), SplitBehavior::isolated};
      }
      result_.pre_tokenizer.push_back(std::move(byte_level));
    } else {
      unsupported(step, type);
    }
  }

  Split read_split(const JsonObject& step) const {
    constexpr std::pair<std::string_view, SplitBehavior> behaviors[] = {
        {"Removed", SplitBehavior::removed},
        {"Isolated", SplitBehavior::isolated},
        {"MergedWithPrevious", SplitBehavior::merged_with_previous},
        {"MergedWithNext", SplitBehavior::merged_with_next},
        {"Contiguous", SplitBehavior::contiguous}};
    const auto name = step.get<std::string>("behavior");
    const auto behavior = std::ranges::find(behaviors, name, [](const auto& entry) { return entry.first; });
    require(behavior != std::end(behaviors), step.name("behavior"), " is ", Json(name).dump(), ", which is not known");
    const auto pattern = step.object("pattern");
    require(pattern.json().size() == 1, step.name("pattern"), " must be one of {\"Regex\": ...} and {\"String\": ...}");
    const bool literal = pattern.has("String");
    return {Regex(pattern.get<std::string>(literal ? "String" : "Regex"),
                  literal ? Regex::Syntax::literal : Regex::Syntax::oniguruma, step.name("pattern")),
            behavior->second, step.get<bool>("invert", false)};
  }

  void read_post_processor(const JsonObject& step) {
    const auto type = step.get<std::string>("type");
    if (type == "Sequence") {
      for (const auto& inner : objects(step, "processors")) read_post_processor(inner);
    } else if (type == "TemplateProcessing") {
      read_template(step);
    } else if (type != "ByteLevel") {  // that one only moves offsets
      unsupported(step, type);
    }
  }

  void read_template(const JsonObject& step) {
    std::vector<std::int32_t> before, after;
    bool seen_text = false;
    for (const auto& part : objects(step, "single")) {
      if (part.has("Sequence")) {
        require(!std::exchange(seen_text, true), step.name("single"), " must have the text once");
        continue;
      }
      const auto token = part.object("SpecialToken").get<std::string>("id");
      const auto ids = step.object("special_tokens").object(token).integers("ids", 0, max_token_id);
      auto& side = seen_text ? after : before;
      side.insert(side.end(), ids.begin(), ids.end());
    }
    require(seen_text, step.name("single"), " must have the text once");
    // The library would take the second one's pair, for the first has made several pieces.
    if (std::exchange(seen_template_, true)) unsupported(step, "a second TemplateProcessing");
    result_.prefix = std::move(before);
    result_.suffix = std::move(after);
  }

  void read_decoder(const JsonObject& decoder) const {
    const auto type = decoder.get<std::string>("type");
    if (type == "Sequence") {
      const auto steps = objects(decoder, "decoders");
      require(steps.size() == 1, decoder.name("decoders"), " must be one ByteLevel");
      read_decoder(steps[0]);
    } else if (type != "ByteLevel") {
      unsupported(decoder, type);
    }
  }

  std::string name_;
  Json json_;
  TokenizerDefinition result_;
  bool seen_template_ = false;
};

}  // namespace detail

JANUSFLOW_INLINE TokenizerDefinition read_tokenizer_json(std::string_view text, const std::string& name) {
  return detail::TokenizerJsonReader(text, name)();
}

}  // namespace janusflow
