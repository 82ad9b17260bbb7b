// JSON read strictly: bounded in size and depth, no key twice, and every error names the file and the key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/core/shape.hpp"
#include "janusflow/io/file.hpp"

namespace janusflow {

/// Where instances are linked, a program that looks into one includes <nlohmann/json.hpp> itself.
using Json = nlohmann::json;

/// No published model has an extent above this; a larger one is a damaged file.
inline constexpr Index max_extent = 1'000'000;

/// Parses `text`. Throws Error, its sentence beginning with `where`, when the text is not JSON (RFC 8259), is nested
/// more than 200 deep, or has an object with a key twice (of which nlohmann would silently keep the last).
Json parse_json(std::string_view text, const std::string& where);

/// Parses the file at `path`, of at most `limit` bytes, as parse_json does.
Json read_json_file(const std::filesystem::path& path, std::uintmax_t limit = std::uintmax_t{64} << 20);

/// A look at one object of a JSON file that remembers where it stands, so that errors name the file and the key:
/// `config.json: language_config.hidden_size must be an integer from 1 to 1000000, not "abc"`. The Json must outlive
/// it. Every getter takes null for absent, as the Python classes do.
class JsonObject {
 public:
  /// `file` is what the errors begin with, `path` the keys that led here. Throws unless `value` is an object.
  JsonObject(const Json& value, std::string file, std::string path = {});

  const Json& json() const { return *value_; }
  /// What the errors begin with.
  const std::string& file() const { return file_; }
  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// "file: outer.key", as the errors say it.
  std::string name(std::string_view key) const;

  /// Throws naming the first key that is none of `known`, nor of `more`: a mistyped setting must not be passed over.
  void require_known(std::initializer_list<std::string_view> known, std::initializer_list<std::string_view> more = {}) const;

  /// The value of `key`, which must be there and be a T: bool, an integer, double, float, std::string, or a std::vector
  /// of one of these. An integer is accepted for a floating-point number, nothing else is converted.
  template <class T>
  T get(std::string_view key) const;
  /// The same, or `fallback` where the key is absent.
  template <class T>
  T get(std::string_view key, T fallback) const;

  /// An integer between `minimum` and `maximum`; a missing key throws unless there is a fallback.
  Index integer(std::string_view key, Index minimum, Index maximum, std::optional<Index> fallback = {}) const;
  /// A number between `minimum` and `maximum`.
  double number(std::string_view key, double minimum, double maximum, std::optional<double> fallback = {}) const;
  /// A list of integers, each between `minimum` and `maximum`.
  std::vector<Index> integers(std::string_view key, Index minimum, Index maximum,
                              std::optional<std::vector<Index>> fallback = {}) const;
  /// The object under `key`.
  JsonObject object(std::string_view key) const;

 private:
  const Json* find(std::string_view key) const;

  const Json* value_;
  std::string file_, path_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/io/impl/json.hpp"
#endif
