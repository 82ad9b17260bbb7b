// JSON read strictly: bounded in size and depth, no key twice, and every error names the file and the key.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "janusflow/core/shape.hpp"
#include "janusflow/io/file.hpp"

namespace janusflow {

using Json = nlohmann::json;

/// No published model has an extent above this; a larger one is a damaged file.
inline constexpr Index max_extent = 1'000'000;

namespace detail {

/// Builds the value that nlohmann's parser reads (its SAX interface). A key that comes twice in one object is found as it is put in,
/// which costs nothing; a callback behind the parser that keeps the keys takes as long as the parsing itself.
class JsonBuilder {
 public:
  static constexpr std::size_t max_depth = 200;

  explicit JsonBuilder(const std::string& where) : where_(where) {}
  Json take() { return std::move(root_); }

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(Json::number_integer_t value) { return put(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return put(value); }
  bool number_float(Json::number_float_t value, const std::string&) { return put(value); }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(Json::binary_t& value) { return put(std::move(value)); }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& key) {
    const auto [entry, is_new] = open_.back()->get_ref<Json::object_t&>().emplace(std::move(key), nullptr);
    require(is_new, where_, " has the key \"", entry->first, "\" twice in one object");
    value_ = &entry->second;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception& error) {
    std::string reason = error.what();  // "[json.exception.parse_error.101] parse error at line ..."
    if (const auto end = reason.find("] "); end != std::string::npos) reason.erase(0, end + 2);
    if (reason.size() > 200) reason = reason.substr(0, 200) + "...";
    fail(where_, " is not valid JSON: ", reason);
  }

 private:
  bool put(Json value) {
    if (open_.empty()) {
      value_ = &root_;
    } else if (open_.back()->is_array()) {
      value_ = &open_.back()->get_ref<Json::array_t&>().emplace_back();
    }
    *value_ = std::move(value);
    return true;
  }
  bool open(Json empty) {
    require(open_.size() < max_depth, where_, " is nested more than ", max_depth, " levels deep");
    put(std::move(empty));
    open_.push_back(value_);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& where_;
  Json root_;
  std::vector<Json*> open_;  // objects and lists, each the last element of the one before: none moves while it is open
  Json* value_ = nullptr;    // where the next value goes
};

}  // namespace detail

/// Parses `text`. Throws Error, its sentence beginning with `where`, when the text is not JSON (RFC 8259), is nested
/// more than 200 deep, or has an object with a key twice (of which nlohmann would silently keep the last).
inline Json parse_json(std::string_view text, const std::string& where) {
  detail::JsonBuilder builder(where);
  Json::sax_parse(text, &builder);
  return builder.take();
}

/// Parses the file at `path`, of at most `limit` bytes, as parse_json does.
inline Json read_json_file(const std::filesystem::path& path, std::uintmax_t limit = std::uintmax_t{64} << 20) {
  return parse_json(read_file(path, limit), path.string());
}

/// A look at one object of a JSON file that remembers where it stands, so that errors name the file and the key:
/// `config.json: language_config.hidden_size must be an integer from 1 to 1000000, not "abc"`. The Json must outlive
/// it. Every getter takes null for absent, as the Python classes do.
class JsonObject {
 public:
  /// `file` is what the errors begin with, `path` the keys that led here. Throws unless `value` is an object.
  JsonObject(const Json& value, std::string file, std::string path = {})
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {
    require(value.is_object(), file_, ": ", path_.empty() ? "the top level" : path_, " must be an object, not ",
            shown(value));
  }

  const Json& json() const { return *value_; }
  /// What the errors begin with.
  const std::string& file() const { return file_; }
  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// "file: outer.key", as the errors say it.
  std::string name(std::string_view key) const {
    return file_ + ": " + (path_.empty() ? std::string(key) : path_ + '.' + std::string(key));
  }

  /// Throws naming the first key that is none of `known`: a mistyped setting must not be passed over.
  void require_known(std::initializer_list<std::string_view> known) const {
    for (const auto& [key, value] : value_->items()) {
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      std::string list;
      for (const std::string_view other : known) list += (list.empty() ? "" : ", ") + std::string(other);
      fail(name(key), " is unknown; there are ", list);
    }
  }

  /// The value of `key`, which must be there and be a T: bool, Index, double, float, std::string, or a std::vector of
  /// one of these. An integer is accepted for a floating-point number, nothing else is converted.
  template <class T>
  T get(std::string_view key) const {
    const Json* value = find(key);
    require(value != nullptr, name(key), " is missing");
    return read<T>(*value, name(key));
  }
  /// The same, or `fallback` where the key is absent.
  template <class T>
  T get(std::string_view key, T fallback) const {
    const Json* value = find(key);
    return value ? read<T>(*value, name(key)) : std::move(fallback);
  }

  /// An integer between `minimum` and `maximum`; a missing key throws unless there is a fallback.
  Index integer(std::string_view key, Index minimum, Index maximum, std::optional<Index> fallback = {}) const {
    return in_range(key, fallback ? get<Index>(key, *fallback) : get<Index>(key), minimum, maximum);
  }
  /// A number between `minimum` and `maximum`.
  double number(std::string_view key, double minimum, double maximum, std::optional<double> fallback = {}) const {
    return in_range(key, fallback ? get<double>(key, *fallback) : get<double>(key), minimum, maximum);
  }
  /// A list of integers, each between `minimum` and `maximum`.
  std::vector<Index> integers(std::string_view key, Index minimum, Index maximum,
                              std::optional<std::vector<Index>> fallback = {}) const {
    auto values = fallback ? get<std::vector<Index>>(key, *fallback) : get<std::vector<Index>>(key);
    for (const Index value : values) in_range(key, value, minimum, maximum);
    return values;
  }
  /// The object under `key`.
  JsonObject object(std::string_view key) const {
    const Json* value = find(key);
    require(value != nullptr, name(key), " is missing");
    return JsonObject(*value, file_, path_.empty() ? std::string(key) : path_ + '.' + std::string(key));
  }

 private:
  const Json* find(std::string_view key) const {
    const auto found = value_->find(key);
    return found == value_->end() || found->is_null() ? nullptr : &*found;
  }

  template <class T>
  T in_range(std::string_view key, T value, T minimum, T maximum) const {
    require(value >= minimum && value <= maximum, name(key), " must be between ", minimum, " and ", maximum, ", not ",
            value);
    return value;
  }

  static std::string shown(const Json& value) {
    if (value.is_object() && !value.empty()) return "an object";
    if (value.is_array() && !value.empty()) return "a list";
    const std::string text = value.dump();
    return text.size() <= 60 ? text : text.substr(0, 60) + "...";
  }

  template <class T>
  static T read(const Json& value, const std::string& name) {
    if constexpr (std::is_same_v<T, bool>) {
      require(value.is_boolean(), name, " must be true or false, not ", shown(value));
      return value.get<bool>();
    } else if constexpr (std::is_same_v<T, std::string>) {
      require(value.is_string(), name, " must be a string, not ", shown(value));
      return value.get<std::string>();
    } else if constexpr (std::is_integral_v<T>) {
      require(value.is_number_integer(), name, " must be an integer, not ", shown(value));
      const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<std::uint64_t>())
                                                   : std::in_range<T>(value.get<std::int64_t>());
      require(fits, name, " is out of range: ", shown(value));
      return value.get<T>();
    } else if constexpr (std::is_floating_point_v<T>) {
      require(value.is_number(), name, " must be a number, not ", shown(value));
      const double number = value.get<double>();
      require(std::abs(number) <= static_cast<double>(std::numeric_limits<T>::max()), name,
              " is out of range: ", shown(value));
      return static_cast<T>(number);
    } else {
      require(value.is_array(), name, " must be a list, not ", shown(value));
      T list;
      for (const Json& item : value)
        list.push_back(read<typename T::value_type>(item, name + '[' + std::to_string(list.size()) + ']'));
      return list;
    }
  }

  const Json* value_;
  std::string file_, path_;
};

}  // namespace janusflow
