// The library compiled once, its pipelines by its own policies, for all translation units that define JANUSFLOW_LINK_INSTANCES.
#define JANUSFLOW_INLINE
#include "janusflow/janusflow.hpp"

namespace janusflow {

#define JANUSFLOW_INSTANTIATE_GET(T)                     \
  template T JsonObject::get<T>(std::string_view) const; \
  template T JsonObject::get<T>(std::string_view, T) const;
JANUSFLOW_INSTANTIATE_GET(bool)
JANUSFLOW_INSTANTIATE_GET(std::int32_t)
JANUSFLOW_INSTANTIATE_GET(std::uint32_t)
JANUSFLOW_INSTANTIATE_GET(std::int64_t)
JANUSFLOW_INSTANTIATE_GET(std::uint64_t)
JANUSFLOW_INSTANTIATE_GET(float)
JANUSFLOW_INSTANTIATE_GET(double)
JANUSFLOW_INSTANTIATE_GET(std::string)
JANUSFLOW_INSTANTIATE_GET(std::vector<std::int64_t>)
JANUSFLOW_INSTANTIATE_GET(std::vector<std::uint64_t>)
JANUSFLOW_INSTANTIATE_GET(std::vector<double>)
JANUSFLOW_INSTANTIATE_GET(std::vector<std::string>)

template LlamaConfig read_config(const std::filesystem::path&);
template SiglipConfig read_config(const std::filesystem::path&);
template JanusFlowConfig read_config(const std::filesystem::path&);
template AutoencoderKLConfig read_config(const std::filesystem::path&);
template std::string config_text(const ImageProcessorConfig&);
template std::string config_text(const AutoencoderKLConfig&);
template void write_config(const std::filesystem::path&, const SiglipConfig&);
template void write_config(const std::filesystem::path&, const AutoencoderKLConfig&);
template TrainingConfig read_run_config(const std::filesystem::path&);
template AutoencoderTrainingConfig read_run_config(const std::filesystem::path&);
template SiglipTrainingConfig read_run_config(const std::filesystem::path&);

template class Autoencoder<Float32>;
template class Autoencoder<BFloat16>;
template class Autoencoder<Int8>;
template class Autoencoder<Int4>;

template class ImageToText<Float32>;
template class ImageToText<BFloat16>;
template class ImageToText<Int8>;
template class ImageToText<Int4>;

template class TextToImage<Float32>;
template class TextToImage<BFloat16>;
template class TextToImage<Int8>;
template class TextToImage<Int4>;

}  // namespace janusflow
