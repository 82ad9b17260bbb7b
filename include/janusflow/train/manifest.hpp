// The list of training samples: a JSON-lines file, checked once and then read a line at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "janusflow/io/json.hpp"
#include "janusflow/text/utf8.hpp"
#include "janusflow/train/content_hash.hpp"
#include "janusflow/train/tasks.hpp"

namespace janusflow {

/// A question and its answer.
struct Exchange {
  std::string question, answer;
};

/// A piece of a document: a text, or one of the sample's pictures.
struct DocumentPiece {
  std::string text;
  bool picture = false;
};

/// What one line of a manifest says.
struct Sample {
  Task task = Task::text;
  std::string where;                            // "train.jsonl:17", for the errors
  std::vector<std::filesystem::path> pictures;  // the one to be generated, or those asked about, in their order
  std::string prompt;                           // of generation
  std::vector<Exchange> turns;                  // of understanding and text: one conversation, or
  bool apart = false;                           // questions that know nothing of each other; or
  std::vector<DocumentPiece> document;          // text, with pictures in it or without
  float weight = 1;                             // how often it comes, against others of its task
};

/// The question that a caption answers (arXiv 2411.07975, section 3.3, has this template).
inline constexpr std::string_view caption_question = "Generate the caption of this picture.";

namespace detail {

inline std::string read_text(const JsonObject& json, std::string_view key) {
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
      read_understanding();
    } else {
      json_.require_known({"task", "weight", "text", "question", "answer", "turns"});
      if (json_.has("text")) sample_.document.push_back({read_text(json_, "text")});
      else read_turns();
    }
    return std::move(sample_);
  }

 private:
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

/// A manifest on disk. Of each line only its place, task and weight are kept in memory; the rest is read when its turn comes.
class Manifest {
 public:
  /// The longest line that is read.
  static constexpr std::size_t max_line = std::size_t{1} << 24;

  /// Reads and checks every line; paths of pictures are relative to the manifest's directory. Throws Error naming file, line and key
  /// for a line that is no sample or whose picture is missing, and where there is none. Empty lines are passed over.
  explicit Manifest(std::filesystem::path path) : path_(std::move(path)), directory_(path_.parent_path()) {
    detail::regular_file_size(path_);
    stream_.open(path_, std::ios::binary);
    require(stream_.good(), "cannot read ", path_.string());
    std::string line;
    std::uint64_t offset = 0;
    for (std::uint32_t number = 1; std::getline(stream_, line); ++number) {
      require(line.size() <= max_line, where(number), " is longer than ", max_line, " bytes");
      fingerprint_ = content_hash(line, fingerprint_);
      if (line.find_first_not_of(" \t\r") != std::string::npos) {
        const Sample sample = parse(line, number);
        lines_[sample.task].push_back({offset, number});
        weights_[sample.task].push_back(sample.weight);
      }
      offset += line.size() + 1;
    }
    require(stream_.eof(), "cannot read ", path_.string(), ": it ended early");
    stream_.clear();
    require(!lines_.values[0].empty() || !lines_.values[1].empty() || !lines_.values[2].empty(), path_.string(), " holds no sample");
  }

  const std::filesystem::path& path() const { return path_; }
  /// Of all lines: another manifest has another one.
  std::uint64_t fingerprint() const { return fingerprint_; }
  Index count(Task task) const { return std::ssize(lines_[task]); }
  const std::vector<float>& weights(Task task) const { return weights_[task]; }

  /// The index-th sample of a task, in the file's order. Throws Error when the line has changed since it was checked. Not to be called
  /// by two threads at once.
  Sample read(Task task, Index index) const {
    const Line& line = lines_[task].at(static_cast<std::size_t>(index));
    stream_.clear();
    stream_.seekg(static_cast<std::streamoff>(line.offset));
    std::string text;
    require(static_cast<bool>(std::getline(stream_, text)), "cannot read ", where(line.number), ": the file has become shorter");
    Sample sample = parse(text, line.number);
    require(sample.task == task, where(line.number), " has changed since the manifest was opened");
    return sample;
  }

 private:
  struct Line {
    std::uint64_t offset;
    std::uint32_t number;
  };

  std::string where(std::uint32_t number) const { return path_.string() + ':' + std::to_string(number); }
  Sample parse(std::string_view line, std::uint32_t number) const {
    const Json json = parse_json(line, where(number));
    return detail::SampleReader(json, where(number), directory_).read();
  }

  std::filesystem::path path_, directory_;
  mutable std::ifstream stream_;
  PerTask<std::vector<Line>> lines_;
  PerTask<std::vector<float>> weights_;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace janusflow
