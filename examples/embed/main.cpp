// embed MODEL PROMPT PICTURE.png: makes a picture of the prompt.
#include <iostream>

#include "janusflow/io/image.hpp"
#include "janusflow/pipeline/text_to_image.hpp"

int main(int argc, char** argv) try {
  janusflow::require(argc == 4, "usage: embed MODEL PROMPT PICTURE.png");
  const std::string model = argv[1];
  const auto paint = janusflow::TextToImage<janusflow::BFloat16>::from_directory(model, model + "/vae");
  const auto result = paint({.prompts = {argv[2]}, .seed = 42});
  janusflow::write_png(argv[3], result.pictures.front());
} catch (const janusflow::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
