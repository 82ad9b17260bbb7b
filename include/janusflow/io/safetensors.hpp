// safetensors files: read by memory map after strict validation, and written as a stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
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
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  /// The tensors in the order in which they lie in the file. They point into this file's map, which lives as long as
  /// one of them.
  const std::vector<RawTensor>& tensors() const { return tensors_; }
  /// The free text under __metadata__.
  const SafetensorsMetadata& metadata() const { return metadata_; }
  /// The tensor of that key, or null.
  const RawTensor* find(std::string_view key) const;
  /// The tensor of that key; throws Error naming the key and the file.
  const RawTensor& at(std::string_view key) const;
  /// Maps the tensor's pages on all threads (MappedFile::prepare).
  void prepare(const RawTensor& tensor) const;
  /// Drops the tensor's mapped pages from resident memory (MappedFile::release).
  void release(const RawTensor& tensor) const;

 private:
  std::string where() const { return path_.string(); }

  void read_header(const Json& header, std::span<const std::byte> data);

  RawTensor read_tensor(const std::string& key, const JsonObject& entry, std::span<const std::byte> data) const;

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
void write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsEntry> entries,
                       const SafetensorsMetadata& metadata = {});

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/io/impl/safetensors.hpp"
#endif
