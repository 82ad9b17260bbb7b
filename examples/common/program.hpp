// What every example program has: its options, one sentence for an error, Ctrl-C, and --json.
#pragma once

#include "janusflow/core/cpu_guard.hpp"

#include <CLI/CLI.hpp>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <filesystem>  // and what else most programs use
#include <functional>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "common/interrupt.hpp"
#include "janusflow/core/error.hpp"
#include "janusflow/core/parallel.hpp"
#include "janusflow/core/stopwatch.hpp"
#include "janusflow/io/json.hpp"

namespace examples {

using namespace janusflow;

/// Throws, for the exit status 2, unless the command line makes sense as a whole.
template <class... Parts>
void require_command(bool sensible, const Parts&... parts) {
  if (!sensible) throw CLI::ValidationError(concat(parts...));
}

/// The number that the whole of `text` is in base 10, if it is one that T holds.
template <std::integral T>
std::optional<T> decimal(const std::string& text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

/// An integer's first check: CLI11 itself takes 010 for eight, -1 for the largest number and what is too large for something else.
template <std::integral T>
std::string whole_number(std::string& text) {
  const std::optional<T> number = decimal<T>(text);
  using Limits = std::numeric_limits<T>;
  if (!number) return concat(text, " is not a whole number from ", Limits::min(), " to ", Limits::max());
  text = std::to_string(*number);  // without zeros in front
  return {};
}

/// A transform of a seed's option: one below zero is meant as torch takes it, modulo 2^64.
inline std::string seed_below_zero(std::string& text) {
  if (const auto seed = decimal<std::int64_t>(text); seed && *seed < 0) text = std::to_string(static_cast<std::uint64_t>(*seed));
  return {};
}

/// The sentence without control characters: names in it may be foreign, and are no commands for the terminal.
std::string printable(std::string sentence);

/// An option whose line in --help shows `value` for what it takes and, behind the text, the default.
template <class T>
CLI::Option* add_option(CLI::App& cli, const std::string& names, T& target, const std::string& value, const std::string& text) {
  CLI::Option* added = cli.add_option(names, target)->option_text(value);
  if constexpr (std::integral<T>) added->transform(CLI::Validator(whole_number<T>, ""));
  if (added->get_items_expected_max() == 1) added->take_last();  // given twice, as people do who append to a command
  const std::string preset = added->get_default_str();
  const bool shown = !preset.empty() && preset != "\"\"" && preset != "[]" && preset != "{}";
  return added->description(!shown ? text : text + ' ' + (preset[0] == '[' ? preset : '[' + preset + ']'));  // a list has its own
}

/// The frame of a program: options are added to `cli`, then run() does the work.
class Program {
 public:
  CLI::App cli;
  Json report = Json::object();  // what --json prints: the program adds its results and report["timings"]

  Program(std::string name, const std::string& description);
  ~Program();

  template <class T>
  CLI::Option* option(const std::string& names, T& target, const std::string& value, const std::string& text) {
    return add_option(cli, names, target, value, text);
  }

  bool json() const { return json_; }
  /// From now on this process says nothing: another speaks for it.
  void mute() { muted_ = true; }
  /// One sentence on standard error, after the program's name, without control characters; returns the status.
  int say(std::string sentence, int status) const;
  const std::string& precision() const { return precision_; }
  /// Seconds since the program began.
  double seconds() const { return watch_.seconds(); }

  /// Reads the command line and calls body(). Returns the program's exit status: 0, 1 for an error, 2 for a command line that is
  /// not understood or contradicts itself (require_command), 130 where Ctrl-C ended it. An error is one sentence on standard error.
  int run(int argc, char** argv, const std::function<void()>& body);

 private:
  Json settings() const;
  void print_report();

  std::string name_;
  Stopwatch watch_;
  int threads_ = physical_cores();
  std::string precision_ = "auto";
  bool json_ = false, muted_ = false;
};

}  // namespace examples
