// Shared by the io tests: a folder for their files, and the sentence of an Error.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>

#include "janusflow/core/error.hpp"
#include "janusflow/io/file.hpp"

namespace io_testing {

/// A new empty folder, removed at the end with all it holds.
class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() / ("janusflow_io_" + std::to_string(std::random_device{}()))) {
    std::filesystem::create_directory(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }

  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

  /// Writes a file and returns its path.
  std::filesystem::path write(std::string_view name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// The sentence of the Error that `action` throws; anything else fails the test.
template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const janusflow::Error& error) {
    return error.what();
  }
  FAIL("no Error was thrown");
  return {};
}

inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

inline std::filesystem::path data() { return JANUSFLOW_TEST_DATA; }

}  // namespace io_testing
