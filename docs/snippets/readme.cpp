// The README's ten lines: paint a picture, then ask about it.
#include <iostream>

#include "janusflow/janusflow.hpp"

using namespace janusflow;

int main() {
  const std::string model = "examples/models/emoji";
  const auto paint = TextToImage<BFloat16>::from_directory(model, model + "/vae");
  auto result = paint({.prompts = {"green apple"}, .seed = 42});
  write_png("apple.png", result.pictures.front());

  const auto look = ImageToText<BFloat16>::from_directory(model);
  ImageToText<BFloat16>::Conversation conversation(look, std::move(result.pictures));
  std::cout << conversation.ask("What is the main color?").text << '\n';
}

// Output:
// green
