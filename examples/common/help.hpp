// --help within the 80 columns of a terminal.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <sstream>
#include <string>

namespace examples {

/// Lines of so many bytes at most where words allow, without a break at the end.
inline std::string wrapped(const std::string& text, std::size_t width) {
  std::istringstream words(text);
  std::string lines, word;
  std::size_t column = 0;
  while (words >> word) {
    if (column > 0) {
      const bool fits = column + 1 + word.size() <= width;
      lines += fits ? ' ' : '\n';
      column = fits ? column + 1 : 0;
    }
    lines += word;
    column += word.size();
  }
  return lines;
}

/// Breaks the texts, which CLI11 does not, or later, and says which options must be given.
inline void wrap_help(CLI::App& cli) {
  constexpr std::size_t columns = 79, texts = 29;  // CLI11 from 2.5 on leaves a space behind a line; where the options' texts begin
  cli.get_formatter()->column_width(texts);
  cli.description(wrapped(cli.get_description(), columns));
  for (CLI::Option* option : cli.get_options())
    option->description(wrapped(option->get_description() + (option->get_required() ? " (required)" : ""), columns - texts));
}

}  // namespace examples
