// safetensors files: read by memory map after strict validation, and written as a stream.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "janusflow/io/file.hpp"
#include "janusflow/io/json.hpp"
#include "janusflow/io/raw_tensor.hpp"

namespace janusflow {

using SafetensorsMetadata = std::map<std::string, std::string>;

/// One safetensors file, mapped. The whole header is validated on opening, as the format demands
/// (huggingface.co/docs/safetensors): nothing in it can lead outside the file afterwards.
class SafetensorsFile {
 public:
  /// The longest header that the official reader takes.
  static constexpr std::uint64_t max_header = 100'000'000;

  /// Throws Error, naming the file and the tensor's key, for anything but a valid file.
  explicit SafetensorsFile(const std::filesystem::path& path) : path_(path), map_(std::make_shared<MappedFile>(path)) {
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

  const std::filesystem::path& path() const { return path_; }
  /// The tensors in the order in which they lie in the file. They point into this file's map, which lives as long as
  /// one of them.
  const std::vector<RawTensor>& tensors() const { return tensors_; }
  /// The free text under __metadata__.
  const SafetensorsMetadata& metadata() const { return metadata_; }
  /// The tensor of that key, or null.
  const RawTensor* find(std::string_view key) const {
    const auto found = by_key_.find(key);
    return found == by_key_.end() ? nullptr : &tensors_[found->second];
  }
  /// The tensor of that key; throws Error naming the key and the file.
  const RawTensor& at(std::string_view key) const {
    const RawTensor* tensor = find(key);
    require(tensor != nullptr, where(), " has no tensor ", key);
    return *tensor;
  }
  /// Maps the tensor's pages on all threads (MappedFile::prepare).
  void prepare(const RawTensor& tensor) const {
    const auto first = static_cast<std::size_t>(tensor.bytes.data() - map_->bytes().data());
    parallel_chunks(std::ssize(tensor.bytes), Index{1} << 22, [&](Index begin, Index end) {
      map_->prepare(first + static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    });
  }
  /// Drops the tensor's mapped pages from resident memory (MappedFile::release).
  void release(const RawTensor& tensor) const {
    if (!tensor.bytes.empty())
      map_->release(static_cast<std::size_t>(tensor.bytes.data() - map_->bytes().data()), tensor.bytes.size());
  }

 private:
  std::string where() const { return path_.string(); }

  void read_header(const Json& header, std::span<const std::byte> data) {
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

  RawTensor read_tensor(const std::string& key, const JsonObject& entry, std::span<const std::byte> data) const {
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

  std::filesystem::path path_;
  std::shared_ptr<const MappedFile> map_;
  std::vector<RawTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> by_key_;
  SafetensorsMetadata metadata_;
};

/// A tensor to be written. `write` hands its bytes over in as many pieces as it likes, in order, when its turn has
/// come: a checkpoint never has to be in memory as a whole.
struct SafetensorsEntry {
  using Sink = std::function<void(std::span<const std::byte>)>;

  std::string key;
  Dtype dtype = Dtype::f32;
  std::vector<Index> shape;
  std::function<void(const Sink&)> write;
  std::size_t alignment = 1;  // of its place in the file; that of its elements is kept anyway
};

/// An entry that writes the numbers of `view` (which must live until they are written) as they are, or float rounded to
/// bfloat16 where `dtype` is Dtype::bf16.
template <class T, int R>
SafetensorsEntry safetensors_entry(std::string key, TensorView<T, R> view,
                                   Dtype dtype = dtype_of<std::remove_const_t<T>>()) {
  using Value = std::remove_const_t<T>;
  require(dtype == dtype_of<Value>() || (std::is_same_v<Value, float> && dtype == Dtype::bf16), key, ": ",
          dtype_name(dtype_of<Value>()), " cannot be written as ", dtype_name(dtype));
  return {
      std::move(key), dtype, {view.shape.extents.begin(), view.shape.extents.end()}, [view, dtype](const auto& put) {
        const Index n = view.shape.last();
        std::vector<bfloat16> rounded;
        for (Index i = 0; n && i < view.rows(); ++i) {
          const std::span row(view.row(i), static_cast<std::size_t>(n));
          if (dtype == dtype_of<Value>()) {
            put(std::as_bytes(row));
            continue;
          }
          rounded.clear();
          for (const Value x : row) rounded.emplace_back(static_cast<float>(x));
          put(std::as_bytes(std::span(rounded)));
        }
      }};
}

/// Writes a safetensors file, atomically. Tensors lie in the order given, those of a stricter alignment first (as the
/// official writer does it with wider elements, so that every tensor is aligned); `metadata` goes under __metadata__ ("format": "pt" is
/// what transformers looks for). Throws Error for a key given twice, a callback that hands over too many or too few
/// bytes, and whatever AtomicFile throws.
inline void write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsEntry> entries,
                              const SafetensorsMetadata& metadata = {}) {
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
