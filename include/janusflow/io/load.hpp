// Filling a model's parameters from a checkpoint, each checked against the shape that the config promises.
#pragma once

#include <memory>

#include "janusflow/autodiff/parameters.hpp"
#include "janusflow/io/packed_tensors.hpp"
#include "janusflow/nn/parameters.hpp"
#include "janusflow/nn/visit.hpp"

namespace janusflow {

namespace detail {

/// What a parameter's numbers are rounded to where it keeps them. A quantised matrix rounds floats.
template <class P>
struct Rounded {
  using type = float;
};
template <class P>
  requires requires(P& parameter) { matrices_of(parameter); }
struct Rounded<P> {
  using Dot = typename std::remove_pointer_t<typename decltype(matrices_of(std::declval<P&>()))::value_type>::Policy;
  using type = std::conditional_t<Dot::quantised, float, typename Dot::Value>;
};
template <class T, int R>
struct Rounded<Parameter<T, R>> {
  using type = T;
};

/// Throws where a tensor holds what is not finite, or is not where it is rounded to T.
template <class T>
void require_finite(const RawTensor& raw) {
  if (janusflow::all_finite<T>(raw)) return;
  require(janusflow::all_finite(raw), raw.name(), " holds NaN or infinity");
  fail(raw.name(), " holds a number too large for ", dtype_name(dtype_of<T>()));
}

/// The rows of a matrix as they are to be packed: bfloat16 for the bfloat16 policy (from whatever the file holds), else
/// float.
template <class Dot>
void fill(PackedMatrix<Dot>& matrix, const RawTensor& raw, const std::shared_ptr<const Checkpoint>&) {
  if (is_packed(raw)) return adopt(matrices_of(matrix), raw);
  const Shape shape{matrix.out_features(), matrix.in_features()};
  if (const auto rows = raw.view_in_place<bfloat16>(shape, Ones::ignored)) return matrix.pack(*rows);
  if (const auto rows = raw.view_in_place<float>(shape, Ones::ignored)) return matrix.pack(*rows);
  const auto values = raw.to_tensor<typename Rounded<PackedMatrix<Dot>>::type>(shape, Ones::ignored);
  matrix.pack(values.view());
}

template <class Filter>
  requires requires(Filter& filter, TensorView<const float, 4> weight) { filter.pack(weight); }
void fill(Filter& filter, const RawTensor& raw, const std::shared_ptr<const Checkpoint>&) {
  if (is_packed(raw)) return adopt(matrices_of(filter), raw);
  const auto weight = raw.to_tensor<float>(filter.shape(), Ones::ignored);
  filter.pack(TensorView<const float, 4>(weight));
  using Value = typename Rounded<Filter>::type;
  if constexpr (!Rounded<Filter>::Dot::quantised) {
    for (const auto* matrix : matrices_of(filter)) {  // behind an upsampling they hold sums of up to four weights
      const auto words = std::as_bytes(matrix->storage());
      const RawTensor packed{raw.key, dtype_of<Value>(), {std::ssize(words) / Index{sizeof(Value)}}, words, raw.file, nullptr};
      require(janusflow::all_finite(packed), raw.name(), " holds numbers whose sums are too large for ", dtype_name(packed.dtype));
    }
  }
}

inline void fill(DepthwiseFilter<float>& filter, const RawTensor& raw, const std::shared_ptr<const Checkpoint>&) {
  const auto weight = raw.to_tensor<float>(filter.shape());
  filter = DepthwiseFilter<float>(TensorView<const float, 4>(weight));
}

template <int R>
void fill(Tensor<float, R>& tensor, const RawTensor& raw, const std::shared_ptr<const Checkpoint>&) {
  raw.require_shape(tensor.shape().extents);
  raw.copy_to(tensor.data());
}

/// Master weights lie as they are published.
template <class T, int R>
void fill(Parameter<T, R>& parameter, const RawTensor& raw, const std::shared_ptr<const Checkpoint>&) {
  raw.require_shape(parameter.shape().extents, R == 2 || R == 4 ? Ones::ignored : Ones::count);
  raw.copy_to(parameter.numbers().data());
}

/// The table stays in the file's map where its rows can be read as they lie.
inline void fill(EmbeddingTable& table, const RawTensor& raw, const std::shared_ptr<const Checkpoint>& checkpoint) {
  table.owner = checkpoint;
  if (const auto rows = raw.view_in_place<bfloat16>(table.shape)) {
    table.rows = *rows;
  } else if (const auto rows = raw.view_in_place<float>(table.shape)) {
    table.rows = *rows;
  } else {
    auto owned = std::make_shared<Tensor<float, 2>>(raw.to_tensor<float>(table.shape));
    table.rows = TensorView<const float, 2>(std::as_const(*owned));
    table.owner = owned;
  }
}

/// The shape that fill() asks for where it packs nothing.
template <class Kept>
std::vector<Index> extents_of(const Kept& parameter) {
  const auto shape = parameter.shape();
  return {shape.extents.begin(), shape.extents.end()};
}
inline std::vector<Index> extents_of(const EmbeddingTable& table) { return {table.shape.extents.begin(), table.shape.extents.end()}; }

}  // namespace detail

/// The name that diffusers before 0.17 had for an attention's key: query, key, value, proj_attn.
inline std::string old_attention_key(std::string key) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> names{
      {{".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}}};
  for (const auto& [now, then] : names)
    if (const auto at = key.find(now); at != std::string::npos) return key.replace(at, now.size(), then);
  return key;
}

namespace detail {
/// The tensor of `key`, or of that key's old name; throws Error naming the key where there is neither.
inline const RawTensor& tensor_of(const Checkpoint& checkpoint, const std::string& key) {
  const RawTensor* old = checkpoint.contains(key) ? nullptr : checkpoint.find(old_attention_key(key));
  return old ? *old : checkpoint.at(key);
}
}  // namespace detail

/// Fills one parameter from the tensor of `key` (or that key's old name). Throws Error naming the key when the tensor is missing, has
/// another shape or type than the parameter, or holds NaN, infinity or what becomes infinite where the parameter keeps it. Matrices
/// that lie packed (io/packed_tensors.hpp) stay where they are.
template <class Parameter>
void load_parameter(Parameter& parameter, const std::shared_ptr<const Checkpoint>& checkpoint, const std::string& key) {
  const RawTensor& raw = detail::tensor_of(*checkpoint, key);
  checkpoint->prepare(raw);
  detail::require_finite<typename detail::Rounded<Parameter>::type>(raw);
  detail::fill(parameter, raw, checkpoint);
  if (!is_packed(raw)) checkpoint->release(raw);
}

/// load_parameter for every parameter of `module`, the key of each being prefix + name.
template <class M>
void load(M& module, const std::shared_ptr<const Checkpoint>& checkpoint, const std::string& prefix = "") {
  for_each_parameter(
      module, [&](const std::string& key, auto& parameter) { load_parameter(parameter, checkpoint, key); }, prefix);
}

/// The keys that `module` would read.
template <class M>
std::vector<std::string> parameter_keys(M& module, const std::string& prefix = "") {
  std::vector<std::string> keys;
  for_each_parameter(
      module, [&](const std::string& key, auto&) { keys.push_back(key); }, prefix);
  return keys;
}

/// Entries for write_safetensors: the parameters of `module`, laid out by a policy and not filled, from a checkpoint as it is
/// published; matrices and filters packed, each when it is written, so that one is in memory at a time, all else as it lies.
/// `module` must live until then. Throws Error as load does, then or now, and where the checkpoint is packed already.
template <class M>
std::vector<SafetensorsEntry> packed_entries(M& module, const std::shared_ptr<const Checkpoint>& checkpoint) {
  std::vector<SafetensorsEntry> entries;
  for_each_parameter(module, [&]<class Parameter>(const std::string& key, Parameter& parameter) {
    using Value = typename detail::Rounded<Parameter>::type;
    const RawTensor& raw = detail::tensor_of(*checkpoint, key);
    require(!is_packed(raw), raw.name(), " is packed already: convert the published checkpoint");
    SafetensorsEntry entry{key, raw.dtype, raw.shape, [&raw, checkpoint](const SafetensorsEntry::Sink& put) {
                             detail::require_finite<Value>(raw);
                             put(raw.bytes);
                             checkpoint->release(raw);
                           }};
    if constexpr (requires { detail::matrices_of(parameter); }) {
      const auto matrices = detail::matrices_of(parameter);
      using Dot = typename std::remove_pointer_t<typename decltype(matrices)::value_type>::Policy;
      entry.dtype = PackedForm<Dot>::dtype;
      entry.shape = packed_shape<Dot>(matrices[0]->out_features(), matrices[0]->in_features(), std::ssize(matrices));
      entry.alignment = 64;
      entry.write = [&raw, &parameter, checkpoint](const SafetensorsEntry::Sink& put) {
        detail::require_finite<Value>(raw);
        detail::fill(parameter, raw, checkpoint);
        for (auto* matrix : detail::matrices_of(parameter)) {
          put(std::as_bytes(matrix->storage()));
          *matrix = {matrix->out_features(), matrix->in_features()};
        }
        checkpoint->release(raw);
      };
    } else {
      raw.require_shape(detail::extents_of(parameter));
      raw.require_floating_point();
    }
    entries.push_back(std::move(entry));
  });
  return entries;
}

}  // namespace janusflow
