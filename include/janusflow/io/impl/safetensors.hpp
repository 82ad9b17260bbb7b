// Reading and writing of safetensors files. Included by io/safetensors.hpp.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/io/safetensors.hpp"

namespace janusflow {

JANUSFLOW_INLINE SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path), map_(std::make_shared<MappedFile>(path)) {
  const std::span<const std::byte> file = map_->bytes();
  require(file.size() >= 8, where(), " is too short for a safetensors file: ", file.size(), " bytes");
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, file.data(), 8);
  require(header_size <= max_header, where(), " is not a safetensors file: its header would have ", header_size,
          " bytes, more than the limit of ", max_header);
  require(header_size <= file.size() - 8, where(), " is cut off: the header has ", header_size, " bytes, the file ",
          file.size());
  const std::string_view header(reinterpret_cast<const char*>(file.data()) + 8,
                                static_cast<std::size_t>(header_size));
  require(header.starts_with('{'), where(), " is not a safetensors file: its header does not begin with '{'");
  read_header(parse_json(header, "the header of " + where()), file.subspan(8 + header.size()));
}

JANUSFLOW_INLINE const RawTensor* SafetensorsFile::find(std::string_view key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &tensors_[found->second];
}

JANUSFLOW_INLINE const RawTensor& SafetensorsFile::at(std::string_view key) const {
  const RawTensor* tensor = find(key);
  require(tensor != nullptr, where(), " has no tensor ", key);
  return *tensor;
}

JANUSFLOW_INLINE void SafetensorsFile::prepare(const RawTensor& tensor) const {
  const auto first = static_cast<std::size_t>(tensor.bytes.data() - map_->bytes().data());
  parallel_chunks(std::ssize(tensor.bytes), Index{1} << 22, [&](Index begin, Index end) {
    map_->prepare(first + static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  });
}

JANUSFLOW_INLINE void SafetensorsFile::release(const RawTensor& tensor) const {
  if (!tensor.bytes.empty())
    map_->release(static_cast<std::size_t>(tensor.bytes.data() - map_->bytes().data()), tensor.bytes.size());
}

JANUSFLOW_INLINE void SafetensorsFile::read_header(const Json& header, std::span<const std::byte> data) {
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      const JsonObject object(value, where(), key);
      for (const auto& [name, text] : value.items()) metadata_.emplace(name, object.get<std::string>(name));
    } else {
      tensors_.push_back(read_tensor(key, JsonObject(value, where(), key), data));
    }
  }
  std::sort(tensors_.begin(), tensors_.end(), [](const RawTensor& a, const RawTensor& b) {
    return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
  });
  const std::byte* expected = data.data();  // the tensors must cover the data without a hole and without an overlap
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const RawTensor& tensor = tensors_[i];
    require(tensor.bytes.data() >= expected, tensor.name(), " overlaps the tensor before it");
    require(tensor.bytes.data() == expected, where(), " has ", tensor.bytes.data() - expected,
            " unused bytes before tensor ", tensor.key);
    expected += tensor.bytes.size();
    by_key_.emplace(tensor.key, i);
  }
  const auto rest = data.data() + data.size() - expected;
  require(rest == 0, where(), " has ", rest, " unused bytes after the last tensor");
}

JANUSFLOW_INLINE RawTensor SafetensorsFile::read_tensor(const std::string& key, const JsonObject& entry, std::span<const std::byte> data) const {
  const auto dtype_text = entry.get<std::string>("dtype");
  const auto dtype = dtype_from_name(dtype_text);
  require(dtype.has_value(), where(), ": ", key, " has the unknown dtype \"", dtype_text.substr(0, 40), '"');
  RawTensor tensor{key, *dtype, entry.get<std::vector<Index>>("shape"), {}, where(), map_};
  const auto offsets = entry.get<std::vector<std::uint64_t>>("data_offsets");
  require(offsets.size() == 2, tensor.name(), ": data_offsets must be two numbers, not ", offsets.size());
  const auto [begin, end] = std::pair(offsets[0], offsets[1]);
  require(begin <= end, tensor.name(), ": data_offsets end (", end, ") before they begin (", begin, ")");
  require(end <= data.size(), tensor.name(), " is cut off: it ends at byte ", end, " of the data, which has ",
          data.size());
  std::uint64_t size = 0;
  try {
    size = static_cast<std::uint64_t>(tensor.size());
  } catch (const Error& error) {
    fail(tensor.name(), ": ", error.what());
  }
  const std::uint64_t element = dtype_size(*dtype);
  require(size <= ~std::uint64_t{0} / element && size * element == end - begin, tensor.name(), " has ", end - begin,
          " bytes, but ", dtype_name(*dtype), ' ', Extents{tensor.shape}, " needs ", size, " x ", element);
  tensor.bytes = data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  return tensor;
}

JANUSFLOW_INLINE void write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsEntry> entries,
                                        const SafetensorsMetadata& metadata) {
  const auto bytes_of = [](const SafetensorsEntry& entry) {
    return static_cast<std::uint64_t>(checked_product(entry.shape)) * dtype_size(entry.dtype);
  };
  std::vector<const SafetensorsEntry*> order;
  for (const SafetensorsEntry& entry : entries) order.push_back(&entry);
  const auto alignment = [](const SafetensorsEntry* entry) { return std::max(entry->alignment, dtype_size(entry->dtype)); };
  std::stable_sort(order.begin(), order.end(), [&](const auto* a, const auto* b) { return alignment(a) > alignment(b); });

  std::string header = "{";
  std::uint64_t offset = 0;
  std::unordered_set<std::string> keys{"__metadata__"};
  try {
    if (!metadata.empty()) header += "\"__metadata__\":" + Json(metadata).dump();
    for (const SafetensorsEntry* entry : order) {
      require(keys.insert(entry->key).second, "cannot write ", path.string(), ": the key ", entry->key, " is not free");
      const std::uint64_t end = offset + bytes_of(*entry);
      if (header.size() > 1) header += ',';
      header.append(Json(entry->key).dump()).append(":{\"dtype\":\"").append(dtype_name(entry->dtype));
      header.append("\",\"shape\":").append(Json(entry->shape).dump()).append(",\"data_offsets\":[");
      header.append(std::to_string(offset)).append(",").append(std::to_string(end)).append("]}");
      offset = end;
    }
  } catch (const Json::exception&) {  // the only thing dump() refuses
    fail("cannot write ", path.string(), ": a key or the metadata is not valid UTF-8");
  }
  header += '}';
  const std::size_t strictest = order.empty() ? 8 : std::max<std::size_t>(8, alignment(order.front()));
  header.append((strictest - (8 + header.size()) % strictest) % strictest, ' ');  // the data begins aligned
  require(header.size() <= SafetensorsFile::max_header, "cannot write ", path.string(), ": the header is too long");

  write_atomically(path, [&](AtomicFile& file) {
    const std::uint64_t header_size = header.size();
    file.write(std::as_bytes(std::span(&header_size, 1)));
    file.write(header);
    for (const SafetensorsEntry* entry : order) {
      const std::uint64_t expected = bytes_of(*entry);
      std::uint64_t written = 0;
      entry->write([&](std::span<const std::byte> bytes) {
        written += bytes.size();
        file.write(bytes);
      });
      require(written == expected, "cannot write ", path.string(), ": ", entry->key, " needs ", expected,
              " bytes, not ", written);
    }
  });
}

}  // namespace janusflow
