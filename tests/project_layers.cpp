// The headers' own rules: who includes whom, how long a file may be, and that the umbrella header has them all.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const fs::path source_dir = JANUSFLOW_SOURCE_DIR;
const fs::path include_dir = source_dir / "include";

std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return std::move(text).str();
}

/// All headers as they are included, such as "janusflow/core/error.hpp", in order.
std::vector<std::string> headers() {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(include_dir)) {
    if (entry.path().extension() == ".hpp") names.push_back(fs::relative(entry.path(), include_dir).generic_string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// The floor of a header by its folder's name; the umbrella and the version stand outside the house.
std::string floor_name(const std::string& header) {
  const auto begin = header.find('/') + 1, end = header.find('/', begin);
  return end == std::string::npos ? "" : header.substr(begin, end - begin);
}

/// The rest of a header, which the header itself includes at its end: pipeline/impl/autoencode.hpp of pipeline/autoencode.hpp.
bool is_rest(const std::string& header) { return header.find("/impl/") != std::string::npos; }
std::string owner_of(const std::string& rest) { return std::string(rest).replace(rest.find("impl/"), 5, ""); }

std::vector<std::string> included_by(const std::string& header) {
  static const std::regex include("#include\\s+[<\"](janusflow/[^>\"]+)[>\"]");
  const std::string text = contents(include_dir / header);
  std::vector<std::string> names;
  for (std::sregex_iterator match(text.begin(), text.end(), include), end; match != end; ++match) names.push_back((*match)[1]);
  return names;
}

}  // namespace

TEST_CASE("includes never run up a floor, nor across one") {
  const std::map<std::string, int> floors = {{"core", 0},   {"simd", 1}, {"flow", 1},     {"ops", 2},   {"nn", 3},   {"autodiff", 3},
                                             {"io", 4},     {"text", 5}, {"models", 5},   {"train", 6}, {"pipeline", 6}};
  CHECK(headers().size() > 10);
  for (const std::string& header : headers()) {
    const std::string here = floor_name(header);
    if (here.empty()) continue;
    CAPTURE(header);
    REQUIRE(floors.contains(here));
    for (const std::string& other : included_by(header)) {
      CAPTURE(other);
      REQUIRE(fs::exists(include_dir / other));
      const std::string there = floor_name(other);
      REQUIRE(floors.contains(there));
      CHECK((here == there || floors.at(there) < floors.at(here)));
    }
  }
}

TEST_CASE("no circle of includes") {
  // Depth-first search; a header is open while what it includes is being followed. Only its rest includes it again.
  std::map<std::string, bool> open;
  const auto follow = [&](const auto& self, const std::string& header) -> void {
    if (const auto seen = open.find(header); seen != open.end()) {
      CHECK_MESSAGE(!seen->second, header << " includes itself, through others");
      return;
    }
    open[header] = true;
    for (const std::string& other : included_by(header))
      if (!is_rest(header) || other != owner_of(header)) self(self, other);
    open[header] = false;
  };
  for (const std::string& header : headers()) follow(follow, header);
  CHECK(open.size() == headers().size());
}

TEST_CASE("every header says what it is, guards itself and stays short") {
  for (const std::string& header : headers()) {
    CAPTURE(header);
    const std::string text = contents(include_dir / header);
    CHECK(text.starts_with("// "));
    CHECK(text.find("\n#pragma once\n") != std::string::npos);
    CHECK(std::count(text.begin(), text.end(), '\n') <= 500);
  }
}

TEST_CASE("what impl/ defines is included by its header, unless instances are linked, and is compiled into these") {
  int rests = 0;
  for (const std::string& header : headers()) {
    if (!is_rest(header)) continue;
    CAPTURE(header);
    ++rests;
    const std::string owner = owner_of(header);
    REQUIRE(fs::exists(include_dir / owner));
    CHECK(contents(include_dir / owner)
              .ends_with("\n\n#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked\n"
                         "#include \"" + header + "\"\n#endif\n"));
    // An inline function that nobody calls there is not compiled.
    static const std::regex hidden("\n(inline|static) (?!constexpr)");
    CHECK_FALSE(std::regex_search(contents(include_dir / header), hidden));
  }
  CHECK(rests > 10);
}

TEST_CASE("the umbrella header includes every public header") {
  std::string wanted;
  for (const std::string& header : headers()) {
    if (header == "janusflow/janusflow.hpp" || header == "janusflow/core/cpu_guard.hpp") continue;
    if (is_rest(header)) continue;
    if (header == "janusflow/core/eigen.hpp") continue;  // a second of everybody's compile time for what few use
    if (header == "janusflow/train/mpi_communicator.hpp") continue;  // needs MPI
    wanted += "#include \"" + header + "\"\n";
  }
  const std::string text = contents(include_dir / "janusflow/janusflow.hpp");
  CHECK_MESSAGE(text.ends_with("\n\n" + wanted), "janusflow.hpp should end with\n" << wanted);
}

TEST_CASE("the top level holds what it should and nothing else") {
  const std::vector<std::string> allowed = {"CMakeLists.txt", "include", "examples", "tests", "bench", "docs", "README.md", "LICENSE"};
  for (const auto& entry : fs::directory_iterator(source_dir)) {
    const std::string name = entry.path().filename().string();
    CAPTURE(name);
    // Not kept by git (.gitignore): builds, and the pictures that the README's commands make.
    const bool ignored = name.starts_with(".") || name.starts_with("build") || name == "compile_commands.json" || name.ends_with(".png");
    CHECK((ignored || std::find(allowed.begin(), allowed.end(), name) != allowed.end()));
  }
}

TEST_CASE("C++ in the documentation is part of a compiled and checked snippet") {
  std::string snippets;
  for (const auto& entry : fs::directory_iterator(source_dir / "docs/snippets")) snippets += contents(entry.path());
  std::vector<fs::path> pages = {source_dir / "README.md"};
  for (const auto& entry : fs::recursive_directory_iterator(source_dir / "docs")) {
    if (entry.path().extension() == ".md") pages.push_back(entry.path());
  }
  for (const fs::path& page : pages) {
    const std::string text = contents(page), fence = "```cpp\n";
    for (auto begin = text.find(fence); begin != std::string::npos; begin = text.find(fence, begin)) {
      begin += fence.size();
      const std::string block = text.substr(begin, text.find("```", begin) - begin);
      CHECK_MESSAGE(snippets.find(block) != std::string::npos, page << " shows C++ that no file of docs/snippets has:\n" << block);
    }
  }
}
