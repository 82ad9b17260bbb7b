// What json.hpp declares: nlohmann's parser, and the checks of what it has read. Included by io/json.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>
#include <vector>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/json.hpp"

namespace janusflow {

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

/// A value as an error shows it.
JANUSFLOW_INLINE std::string shown(const Json& value) {
  if (value.is_object() && !value.empty()) return "an object";
  if (value.is_array() && !value.empty()) return "a list";
  const std::string text = value.dump();
  return text.size() <= 60 ? text : text.substr(0, 60) + "...";
}

/// `value` as a T; `name` is what errors begin with.
template <class T>
T read_value(const Json& value, const std::string& name) {
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
      list.push_back(read_value<typename T::value_type>(item, name + '[' + std::to_string(list.size()) + ']'));
    return list;
  }
}

template <class T>
T in_range(const JsonObject& json, std::string_view key, T value, T minimum, T maximum) {
  require(value >= minimum && value <= maximum, json.name(key), " must be between ", minimum, " and ", maximum, ", not ",
          value);
  return value;
}

}  // namespace detail

JANUSFLOW_INLINE Json parse_json(std::string_view text, const std::string& where) {
  detail::JsonBuilder builder(where);
  Json::sax_parse(text, &builder);
  return builder.take();
}

JANUSFLOW_INLINE Json read_json_file(const std::filesystem::path& path, std::uintmax_t limit) {
  return parse_json(read_file(path, limit), path.string());
}

JANUSFLOW_INLINE JsonObject::JsonObject(const Json& value, std::string file, std::string path)
    : value_(&value), file_(std::move(file)), path_(std::move(path)) {
  require(value.is_object(), file_, ": ", path_.empty() ? "the top level" : path_, " must be an object, not ",
          detail::shown(value));
}

JANUSFLOW_INLINE std::string JsonObject::name(std::string_view key) const {
  return file_ + ": " + (path_.empty() ? std::string(key) : path_ + '.' + std::string(key));
}

JANUSFLOW_INLINE void JsonObject::require_known(std::initializer_list<std::string_view> known, std::initializer_list<std::string_view> more) const {
  std::vector<std::string_view> all(known);
  all.insert(all.end(), more);
  for (const auto& [key, value] : value_->items()) {
    if (std::find(all.begin(), all.end(), key) != all.end()) continue;
    std::string list;
    for (const std::string_view other : all) list += (list.empty() ? "" : ", ") + std::string(other);
    fail(name(key), " is unknown; there are ", list);
  }
}

template <class T>
T JsonObject::get(std::string_view key) const {
  const Json* value = find(key);
  require(value != nullptr, name(key), " is missing");
  return detail::read_value<T>(*value, name(key));
}

template <class T>
T JsonObject::get(std::string_view key, T fallback) const {
  const Json* value = find(key);
  return value ? detail::read_value<T>(*value, name(key)) : std::move(fallback);
}

JANUSFLOW_INLINE Index JsonObject::integer(std::string_view key, Index minimum, Index maximum, std::optional<Index> fallback) const {
  return detail::in_range(*this, key, fallback ? get<Index>(key, *fallback) : get<Index>(key), minimum, maximum);
}

JANUSFLOW_INLINE double JsonObject::number(std::string_view key, double minimum, double maximum, std::optional<double> fallback) const {
  return detail::in_range(*this, key, fallback ? get<double>(key, *fallback) : get<double>(key), minimum, maximum);
}

JANUSFLOW_INLINE std::vector<Index> JsonObject::integers(std::string_view key, Index minimum, Index maximum,
                                                         std::optional<std::vector<Index>> fallback) const {
  auto values = fallback ? get<std::vector<Index>>(key, *fallback) : get<std::vector<Index>>(key);
  for (const Index value : values) detail::in_range(*this, key, value, minimum, maximum);
  return values;
}

JANUSFLOW_INLINE JsonObject JsonObject::object(std::string_view key) const {
  const Json* value = find(key);
  require(value != nullptr, name(key), " is missing");
  return JsonObject(*value, file_, path_.empty() ? std::string(key) : path_ + '.' + std::string(key));
}

JANUSFLOW_INLINE const Json* JsonObject::find(std::string_view key) const {
  const auto found = value_->find(key);
  return found == value_->end() || found->is_null() ? nullptr : &*found;
}

}  // namespace janusflow
