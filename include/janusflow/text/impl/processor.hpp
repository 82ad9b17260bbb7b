// The processor's settings files, and its ids. Included by text/processor.hpp.
#pragma once

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/text/processor.hpp"

namespace janusflow {

namespace detail {

JANUSFLOW_INLINE std::optional<Json> read_optional_json(const std::filesystem::path& path) {
  if (!name_exists(path)) return std::nullopt;
  return read_json_file(path);
}

/// A token of a settings file: its content alone, or an object with flags.
JANUSFLOW_INLINE AddedToken read_settings_token(const Json& value, const std::string& name) {
  if (value.is_string()) return {.content = value.get<std::string>(), .normalized = false, .special = true};
  return AddedToken::from_json(JsonObject(value, name));
}

/// Adds to `tokenizer` what transformers adds on loading: the tokens of added_tokens_decoder by their ids, then the
/// special tokens that are not added ones yet. Among these is "<unk>" unless the settings say `"unk_token": null`: it
/// shifts what comes after.
JANUSFLOW_INLINE TokenizerSettings apply_tokenizer_settings(Tokenizer& tokenizer, const std::filesystem::path& directory) {
  const std::string name = (directory / "tokenizer_config.json").string();
  Json config = read_optional_json(name).value_or(Json::object());
  const JsonObject object(config, name);
  if (object.has("added_tokens_decoder")) {
    std::map<std::int32_t, AddedToken> tokens;
    const JsonObject added = object.object("added_tokens_decoder");
    for (const auto& [key, value] : added.json().items()) {
      std::int32_t id = -1;
      const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
      require(parsed.ec == std::errc() && parsed.ptr == key.data() + key.size() && id >= 0,
              object.name("added_tokens_decoder"), " has ", Json(key).dump(), " for an id");
      tokens.emplace(id, read_settings_token(value, object.name("added_tokens_decoder")));
    }
    for (auto& [id, token] : tokens) tokenizer.add_token(std::move(token));
  } else if (const auto map = read_optional_json(directory / "special_tokens_map.json")) {
    const JsonObject special(*map, (directory / "special_tokens_map.json").string());
    for (const auto& [key, value] : special.json().items()) {
      if (key == "additional_special_tokens" && value.is_array() && object.has(key)) {
        for (const Json& token : value) config[key].push_back(token);
      } else {
        config[key] = value;
      }
    }
  }

  // Without any word of them, the tokens of DeepSeek's vocabulary if it is one, else the official class's defaults.
  const auto fallback = [&](const char* key, const char* deepseek, const char* official) {
    if (!config.contains(key)) config[key] = tokenizer.token_to_id(deepseek) ? deepseek : official;
  };
  fallback("bos_token", "<｜begin▁of▁sentence｜>", "<s>");
  fallback("eos_token", "<｜end▁of▁sentence｜>", "</s>");
  if (!config.contains("unk_token")) config["unk_token"] = "<unk>";

  const auto add = [&](const Json& value, const std::string& key) {
    auto token = read_settings_token(value, object.name(key));
    token.special = true;
    const bool replaces =
        value.is_object() && key == "additional_special_tokens";  // the named ones take their flags from the file
    if (replaces || !tokenizer.is_added(token.content)) tokenizer.add_token(token);
    return token.content;
  };
  TokenizerSettings settings;
  for (const auto* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    if (!object.has(key)) continue;
    const auto content = add(object.json().at(key), key);
    if (key == std::string_view("bos_token")) settings.bos_token = content;
    if (key == std::string_view("eos_token")) settings.eos_token = content;
  }
  if (object.has("additional_special_tokens")) {
    const Json& tokens = object.json().at("additional_special_tokens");
    require(tokens.is_array(), object.name("additional_special_tokens"), " must be a list");
    for (const Json& token : tokens) add(token, "additional_special_tokens");
  }
  require(!settings.bos_token.empty() && !settings.eos_token.empty(), name,
          ": bos_token and eos_token must not be null");
  settings.add_bos_token = object.get<bool>("add_bos_token", true);
  settings.add_eos_token = object.get<bool>("add_eos_token", false);
  return settings;
}

JANUSFLOW_INLINE ProcessorSettings read_processor_settings(const std::filesystem::path& path, const Tokenizer& tokenizer, Index image_tokens) {
  const auto file = read_optional_json(path);
  const Json json = file.value_or(Json::object());
  const JsonObject object(json, path.string());
  ProcessorSettings settings;
  settings.num_image_tokens = image_tokens;
  if (!file && tokenizer.token_to_id("<image_beg>") && tokenizer.token_to_id("<image_end>")) {
    settings.image_start_tag = "<image_beg>";
    settings.image_end_tag = "<image_end>";
  }
  for (const auto& [key, tag] :
       {std::pair("image_tag", &settings.image_tag), std::pair("image_start_tag", &settings.image_start_tag),
        std::pair("image_end_tag", &settings.image_end_tag), std::pair("image_gen_tag", &settings.image_gen_tag)}) {
    *tag = object.get<std::string>(key, *tag);
    require(!tag->empty(), object.name(key), " must not be empty");
  }
  settings.num_image_tokens = object.integer("num_image_tokens", 1, 1 << 20, settings.num_image_tokens);
  settings.sft_format = object.get<std::string>("sft_format", settings.sft_format);
  // The official code would keep the placeholder in front of each picture too, and then find an embedding too few for
  // it.
  require(!object.get<bool>("add_special_token", false), object.name("add_special_token"), " must be false");
  return settings;
}

}  // namespace detail

JANUSFLOW_INLINE Processor Processor::from_directory(const std::filesystem::path& directory, Index image_tokens) {
  return Processor(Tokenizer::from_file(directory / "tokenizer.json"), directory, image_tokens);
}

JANUSFLOW_INLINE std::vector<std::int32_t> Processor::encode(std::string_view text) const {
  auto ids = tokenizer_.encode(text);
  if (tokenizer_settings_.add_bos_token) ids.insert(ids.begin(), ids_.bos);
  if (tokenizer_settings_.add_eos_token) ids.push_back(ids_.eos);
  return ids;
}

JANUSFLOW_INLINE std::vector<std::int32_t> Processor::generation_ids(std::string_view prompt) const {
  const Turn turns[] = {{Role::user, std::string(prompt)}, {Role::assistant, {}}};
  return encode(render(chat_, turns) + settings_.image_gen_tag);
}

JANUSFLOW_INLINE UnderstandingPrompt Processor::understanding_ids(std::span<const Turn> turns) const {
  return with_pictures(encode(render(chat_, turns, understanding_system_prompt)));
}

JANUSFLOW_INLINE UnderstandingPrompt Processor::understanding_ids(std::string_view question, std::size_t pictures) const {
  return understanding_ids(question_turns(question, pictures));
}

JANUSFLOW_INLINE UnderstandingPrompt Processor::following_ids(std::string_view question, std::size_t pictures) const {
  return with_pictures(tokenizer_.encode(chat_.after_assistant + render(chat_, question_turns(question, pictures))));
}

JANUSFLOW_INLINE Processor::Processor(Tokenizer tokenizer, const std::filesystem::path& directory, Index image_tokens)
    : tokenizer_(std::move(tokenizer)) {
  tokenizer_settings_ = detail::apply_tokenizer_settings(tokenizer_, directory);
  settings_ = detail::read_processor_settings(directory / "processor_config.json", tokenizer_, image_tokens);
  const auto id_of = [&](const std::string& token) {
    const auto id = tokenizer_.token_to_id(token);
    return id ? *id : tokenizer_.add_special_token(token);
  };
  ids_.bos = id_of(tokenizer_settings_.bos_token);
  ids_.eos = id_of(tokenizer_settings_.eos_token);
  ids_.pad = tokenizer_.token_to_id("<｜▁pad▁｜>").value_or(ids_.eos);
  ids_.image = id_of(settings_.image_tag);
  ids_.image_gen = id_of(settings_.image_gen_tag);
  ids_.image_start = id_of(settings_.image_start_tag);
  ids_.image_end = id_of(settings_.image_end_tag);
  chat_ = chat_template(settings_.sft_format);
  // JanusFlow's files said "deepseek" before Janus-Pro gave that name to roles that are tokens of their own; its
  // users always wrote "User" and "Assistant".
  if (settings_.sft_format == "deepseek" && !tokenizer_.token_to_id(chat_.user))
    chat_ = chat_template("deepseek_old");
  chat_.after_assistant = tokenizer_settings_.eos_token;  // DeepSeek's in the published files; what an answer's training ended it with in any
}

JANUSFLOW_INLINE std::vector<Turn> Processor::question_turns(std::string_view question, std::size_t pictures) const {
  std::string content;
  if (question.find(settings_.image_tag) == std::string_view::npos) {
    for (std::size_t i = 0; i < pictures; ++i) content += settings_.image_tag + '\n';
  }
  content += question;
  return {{Role::user, std::move(content)}, {Role::assistant, {}}};
}

JANUSFLOW_INLINE UnderstandingPrompt Processor::with_pictures(const std::vector<std::int32_t>& text) const {
  UnderstandingPrompt prompt;
  for (const std::int32_t id : text) {
    if (id != ids_.image) {
      prompt.ids.push_back(id);
      continue;
    }
    prompt.pictures.push_back(prompt.ids.size());
    prompt.ids.push_back(ids_.image_start);
    prompt.ids.insert(prompt.ids.end(), static_cast<std::size_t>(settings_.num_image_tokens), ids_.image);
    prompt.ids.push_back(ids_.image_end);
  }
  return prompt;
}

}  // namespace janusflow
