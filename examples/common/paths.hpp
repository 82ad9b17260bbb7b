// Where the programs look for the default model, and how they name what they write.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "common/program.hpp"
#include "janusflow/io/file.hpp"

namespace examples {

/// The directory of the model that comes with the examples, or an empty path: beside the sources that the program was built
/// from, beside the program itself, or below the current directory.
inline std::string default_model() {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> places{JANUSFLOW_EXAMPLES_DIR "/models"};
  if (const fs::path program = fs::read_symlink("/proc/self/exe", error); !error)
    for (const char* place : {"models", "../examples/models", "../../examples/models"})
      places.push_back((program.parent_path() / place).lexically_normal());
  for (const char* place : {"examples/models", "models"}) places.push_back(place);
  for (const fs::path& place : places)
    if (fs::exists(place / "emoji/config.json", error)) return (place / "emoji").string();
  return {};
}

/// Throws for the empty path that default_model() may have left.
inline void require_model(const std::string& directory) {
  janusflow::require(!directory.empty(),
                     "the examples' own model, examples/models/emoji, is not here: name a model's directory with -m");
}

/// "out.png" and "-3" -> "out-3.png"
inline std::string with_suffix(const std::filesystem::path& path, std::string_view suffix) {
  auto name = path.stem();
  name += suffix;
  name += path.extension();
  return (path.parent_path() / name).string();
}

/// `path` for one picture, with -1, -2, ... for several.
inline std::vector<std::string> numbered(const std::string& path, std::size_t count) {
  if (count == 1) return {path};
  std::vector<std::string> names;
  for (std::size_t i = 1; i <= count; ++i) names.push_back(with_suffix(path, "-" + std::to_string(i)));
  return names;
}

/// Throws where one of the files to be written would take another's place, or that of one which is read, and unless all can be written:
/// better before the work than after it. Leaves nothing behind.
inline void require_outputs(const std::vector<std::string>& outputs, const std::vector<std::string>& inputs = {}) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::set<fs::path> places;
  for (const std::string& output : outputs) {
    fs::path place = fs::weakly_canonical(fs::absolute(output, error), error);
    if (error) place = output;  // what is wrong with it is said below
    require_command(places.insert(place).second, output, " would be written twice: two outputs are this file");
    for (const std::string& input : inputs)
      require_command(!fs::equivalent(input, output, error), output, " is read, and would be replaced: name another file for the output");
  }
  for (const std::string& output : outputs) janusflow::AtomicFile probe(output);
}

/// Pictures are written as PNG: an option's check.
inline std::string png_name(const std::string& path) {
  return std::filesystem::path(path).extension() == ".png" ? std::string() : path + " must end in .png";
}

}  // namespace examples
