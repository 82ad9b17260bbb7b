// The reader of manifests. Included by train/manifest.hpp.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <system_error>
#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/text/utf8.hpp"
#include "janusflow/train/manifest.hpp"

namespace janusflow {

namespace detail {

JANUSFLOW_INLINE std::string read_text(const JsonObject& json, std::string_view key) {
  auto text = json.get<std::string>(key);
  require(!strip(text).empty(), json.name(key), " must not be empty");
  return text;
}

class SampleReader {
 public:
  SampleReader(const Json& json, const std::string& where, const std::filesystem::path& directory)
      : json_(json, where), directory_(directory) {
    sample_.where = where;
  }

  Sample read() {
    const auto task = json_.get<std::string>("task");
    const auto found = std::find(task_names.begin(), task_names.end(), task);
    require(found != task_names.end(), json_.name("task"), " must be understanding, generation or text, not \"", task, '"');
    sample_.task = static_cast<Task>(found - task_names.begin());
    sample_.weight = static_cast<float>(json_.number("weight", 1e-9, 1e9, 1.0));
    if (sample_.task == Task::generation) {
      json_.require_known({"task", "weight", "prompt", "picture"});
      sample_.prompt = read_text(json_, "prompt");
      add_picture(json_.get<std::string>("picture"), json_.name("picture"));
    } else if (sample_.task == Task::understanding) {
      json_.require_known({"task", "weight", "picture", "pictures", "question", "answer", "turns", "questions", "caption",
                          "content"});
      require_one_of({"content", "picture", "pictures"});
      for (const char* key : {"question", "answer"}) require_one_of({"content", "caption", "turns", "questions", key});
      read_understanding();
    } else {
      json_.require_known({"task", "weight", "text", "question", "answer", "turns"});
      for (const char* key : {"question", "answer"}) require_one_of({"text", "turns", key});
      if (json_.has("text")) sample_.document.push_back({read_text(json_, "text")});
      else read_turns();
    }
    return std::move(sample_);
  }

 private:
  /// Throws where two of these keys are there: each is a sample of its own form, and one would be dropped.
  void require_one_of(std::initializer_list<std::string_view> keys) const {
    std::string_view first;
    for (const std::string_view key : keys) {
      if (!json_.has(key)) continue;
      require(first.empty(), json_.name(first), " and ", key, " must not both be there");
      first = key;
    }
  }

  void read_understanding() {
    if (json_.has("content")) return read_content();
    if (json_.has("pictures")) {
      const auto names = json_.get<std::vector<std::string>>("pictures");
      for (const std::string& name : names) add_picture(name, json_.name("pictures"));
    } else {
      add_picture(json_.get<std::string>("picture"), json_.name("picture"));
    }
    require(!sample_.pictures.empty(), json_.name("pictures"), " must not be empty");
    if (json_.has("caption")) sample_.turns.push_back({std::string(caption_question), read_text(json_, "caption")});
    else read_turns();
  }

  void read_turns() {
    sample_.apart = json_.has("questions");
    if (!sample_.apart && !json_.has("turns")) {
      sample_.turns.push_back({read_text(json_, "question"), read_text(json_, "answer")});
      return;
    }
    const std::string key = sample_.apart ? "questions" : "turns";
    const Json& turns = json_.json().at(key);
    require(turns.is_array() && !turns.empty(), json_.name(key), " must be a list of questions and answers, at least one");
    for (const Json& turn : turns) {
      const JsonObject object(turn, json_.file(), key + '[' + std::to_string(sample_.turns.size()) + ']');
      object.require_known({"question", "answer"});
      sample_.turns.push_back({read_text(object, "question"), read_text(object, "answer")});
    }
  }

  void read_content() {
    const Json& content = json_.json().at("content");
    require(content.is_array() && !content.empty(), json_.name("content"), " must be a list of pictures and texts, at least one");
    bool text = false;
    for (const Json& piece : content) {
      const JsonObject object(piece, json_.file(), "content[" + std::to_string(sample_.document.size()) + "]");
      object.require_known({"text", "picture"});
      require(object.has("text") != object.has("picture"), object.name("text"), " or picture must be there, and not both");
      if (object.has("picture")) {
        add_picture(object.get<std::string>("picture"), object.name("picture"));
        sample_.document.push_back({{}, true});
      } else {
        sample_.document.push_back({read_text(object, "text")});
        text = true;
      }
    }
    require(text, json_.name("content"), " must have a text: nothing could be learned from pictures alone");
  }

  void add_picture(const std::string& name, const std::string& key) {
    const auto path = (directory_ / name).lexically_normal();
    std::error_code error;
    require(std::filesystem::is_regular_file(path, error), key, ": there is no picture ", path.string());
    sample_.pictures.push_back(path);
  }

  JsonObject json_;
  const std::filesystem::path& directory_;
  Sample sample_;
};

}  // namespace detail

JANUSFLOW_INLINE Manifest::Manifest(std::filesystem::path path) : path_(std::move(path)), directory_(path_.parent_path()) {
  detail::require_regular_file(path_);
  stream_.open(path_, std::ios::binary);
  require(stream_.good(), "cannot read ", path_.string());
  std::string line;
  std::uint64_t offset = 0;
  for (std::uint32_t number = 1; std::getline(stream_, line); ++number) {
    require(line.size() <= max_line, where(number), " is longer than ", max_line, " bytes");
    fingerprint_ = content_hash(line, fingerprint_);
    if (line.find_first_not_of(" \t\r") != std::string::npos) {
      const Sample sample = parse(line, number);
      lines_[sample.task].push_back({offset, content_hash(line), number});
      weights_[sample.task].push_back(sample.weight);
    }
    offset += line.size() + 1;
  }
  require(stream_.eof(), "cannot read ", path_.string(), ": it ended early");
  stream_.clear();
  require(!lines_.values[0].empty() || !lines_.values[1].empty() || !lines_.values[2].empty(), path_.string(), " holds no sample");
}

JANUSFLOW_INLINE Sample Manifest::read(Task task, Index index) const {
  const Line& line = lines_[task].at(static_cast<std::size_t>(index));
  stream_.clear();
  stream_.seekg(static_cast<std::streamoff>(line.offset));
  std::string text;
  require(static_cast<bool>(std::getline(stream_, text)), "cannot read ", where(line.number), ": the file has become shorter");
  require(content_hash(text) == line.hash, where(line.number), " has changed since the manifest was opened");
  return parse(text, line.number);
}

JANUSFLOW_INLINE Sample Manifest::parse(std::string_view line, std::uint32_t number) const {
  const Json json = parse_json(line, where(number));
  return detail::SampleReader(json, where(number), directory_).read();
}

}  // namespace janusflow
