// What a run tells of itself: a CSV file, and its curves.
#pragma once

#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <locale>
#include <sstream>
#include <string>
#include <vector>

#include "janusflow/io/file.hpp"
#include "janusflow/train/plot.hpp"

namespace janusflow {

/// A line of the log: means over the steps since the line before. A loss that no step had is not a number.
struct LogRow {
  static constexpr double none = std::numeric_limits<double>::quiet_NaN();
  Index step = 0;  // of all stages
  std::string stage;
  double learning_rate = 0, loss = none;
  std::vector<double> losses = {};  // the parts of it, as the log names them
  double gradient_norm = none;
  Index samples = 0;           // since the run began
  double samples_a_second = 0;
};

/// The log of a run, in a file that can be read while the run goes on.
class TrainingLog {
 public:
  /// Goes on with the file at `path` where there is one, of which lines beyond `steps` are dropped: a run that was killed does these
  /// steps once more. `losses` names the parts of the loss. Throws Error naming file and line for what is no log.
  TrainingLog(std::filesystem::path path, std::vector<std::string> losses, Index steps) : path_(std::move(path)), losses_(std::move(losses)) {
    std::error_code error;
    if (steps > 0 && std::filesystem::exists(path_, error)) read(steps);
    std::string text = header() + '\n';
    for (const LogRow& row : rows_) text += line(row);
    write_file(path_, text);
    stream_.open(path_, std::ios::app | std::ios::binary);
    require(stream_.good(), "cannot write ", path_.string());
  }

  const std::vector<LogRow>& rows() const { return rows_; }
  std::string header() const {
    std::string names;
    for (const std::string& name : losses_) names += name + ',';
    return "step,stage,learning_rate,loss," + names + "gradient_norm,samples,samples_per_second";
  }

  void add(const LogRow& row) {
    require(row.stage.find_first_of(",\n\"") == std::string::npos, "log: the stage's name ", row.stage, " holds a comma, a quote or a new line");
    require(row.losses.size() == losses_.size(), "log: ", row.losses.size(), " losses, ", losses_.size(), " are named");
    rows_.push_back(row);
    stream_ << line(row);
    stream_.flush();
    require(stream_.good(), "cannot write ", path_.string(), ": the disk may be full");
  }

  /// The losses over the steps.
  Picture curves() const {
    std::vector<Curve> curves;
    for (std::size_t i = 0; i < losses_.size(); ++i) {
      Curve curve{losses_[i], {}, {}};
      bool any = false;
      for (const LogRow& row : rows_) {
        curve.x.push_back(static_cast<double>(row.step));
        curve.y.push_back(row.losses[i]);
        any = any || std::isfinite(row.losses[i]);
      }
      if (any) curves.push_back(std::move(curve));
    }
    return plot(curves);
  }

 private:
  /// The shortest digits that give the number again.
  static std::string number(double value) {
    if (!std::isfinite(value)) return {};
    char text[32];
    const auto end = std::to_chars(text, text + sizeof(text), static_cast<float>(value)).ptr;
    return {text, end};
  }
  static std::string line(const LogRow& r) {
    std::string text = std::to_string(r.step) + ',' + r.stage + ',' + number(r.learning_rate) + ',' + number(r.loss);
    for (const double loss : r.losses) text += ',' + number(loss);
    return text + ',' + number(r.gradient_norm) + ',' + std::to_string(r.samples) + ',' + number(r.samples_a_second) + '\n';
  }

  void read(Index steps) {
    std::ifstream file(path_, std::ios::binary);
    std::string text;
    std::getline(file, text);
    require(text == header(), path_.string(), " is no log of a training run");
    for (Index number = 2; std::getline(file, text); ++number) {
      if (file.eof()) break;  // a line without an end: the run was killed while it wrote
      const LogRow row = parse(text, number);
      if (row.step <= steps) rows_.push_back(row);
    }
  }

  LogRow parse(const std::string& text, Index number) const {
    std::vector<std::string> fields(1);
    for (const char c : text)
      if (c == ',') fields.emplace_back();
      else fields.back() += c;
    const auto value = [&](std::size_t i) {
      double parsed = LogRow::none;
      const auto& field = fields[i];
      if (field.empty()) return parsed;
      std::istringstream digits(field);  // std::from_chars reads no double in LLVM's library before release 20
      digits.imbue(std::locale::classic());
      require(digits >> std::noskipws >> parsed && digits.peek() == std::istringstream::traits_type::eof(), path_.string(), ':', number,
              " is no line of a log");
      return parsed;
    };
    const std::size_t last = 4 + losses_.size();  // the first field behind the losses
    require(fields.size() == last + 3, path_.string(), ':', number, " is no line of a log");
    const auto whole = [&](std::size_t i) {
      Index parsed = 0;
      const char* const stop = fields[i].data() + fields[i].size();
      const auto end = std::from_chars(fields[i].data(), stop, parsed);
      require(end.ec == std::errc() && end.ptr == stop, path_.string(), ':', number, " is no line of a log");
      return parsed;
    };
    LogRow row{whole(0), fields[1], value(2), value(3), {}, value(last), whole(last + 1), value(last + 2)};
    for (std::size_t i = 4; i < last; ++i) row.losses.push_back(value(i));
    return row;
  }

  std::filesystem::path path_;
  std::vector<std::string> losses_;
  std::ofstream stream_;
  std::vector<LogRow> rows_;
};

}  // namespace janusflow
