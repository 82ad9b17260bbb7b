// The pipelines by the library's own policies, compiled once for all translation units that define JANUSFLOW_LINK_INSTANCES.
#include "janusflow/nn/parameters.hpp"
#include "janusflow/pipeline/impl/autoencode.hpp"
#include "janusflow/pipeline/impl/image_to_text.hpp"
#include "janusflow/pipeline/impl/model_files.hpp"
#include "janusflow/pipeline/impl/text_to_image.hpp"

namespace janusflow {

template std::vector<std::string> known_keys<Layout>(const JanusFlowConfig&);
template std::vector<std::string> known_keys<Layout>(const AutoencoderKLConfig&);

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
