// The list of training samples: a JSON-lines file, checked once and then read a line at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/io/json.hpp"
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

/// A manifest on disk. Of each line only its place, hash, task and weight are kept in memory; the rest is read when its turn comes.
class Manifest {
 public:
  /// The longest line that is read.
  static constexpr std::size_t max_line = std::size_t{1} << 24;

  /// Reads and checks every line; paths of pictures are relative to the manifest's directory. Throws Error naming file, line and key
  /// for a line that is no sample, or two, or whose picture is missing, and where there is none. Empty lines are passed over.
  explicit Manifest(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  /// Of all lines: another manifest has another one.
  std::uint64_t fingerprint() const { return fingerprint_; }
  Index count(Task task) const { return std::ssize(lines_[task]); }
  const std::vector<float>& weights(Task task) const { return weights_[task]; }

  /// The index-th sample of a task, in the file's order. Throws Error when the line has changed since it was checked. Not to be called
  /// by two threads at once.
  Sample read(Task task, Index index) const;

 private:
  struct Line {
    std::uint64_t offset, hash;
    std::uint32_t number;
  };

  std::string where(std::uint32_t number) const { return path_.string() + ':' + std::to_string(number); }
  Sample parse(std::string_view line, std::uint32_t number) const;

  std::filesystem::path path_, directory_;
  mutable std::ifstream stream_;
  PerTask<std::vector<Line>> lines_;
  PerTask<std::vector<float>> weights_;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/manifest.hpp"
#endif
