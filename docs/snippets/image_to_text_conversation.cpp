// A conversation about a picture: streamed, sampled, stopped, continued.
#include <cstdio>
#include <iostream>

#include "janusflow/io/image.hpp"
#include "janusflow/pipeline/image_to_text.hpp"

using namespace janusflow;

int main() {
  const auto look = ImageToText<BFloat16>::from_directory("examples/models/emoji");
  std::vector<Picture> pictures;
  pictures.emplace_back(Shape{48, 64, 3}, std::uint8_t{200});  // or read_picture("photo.jpg"), of any size

  ImageToText<BFloat16>::Conversation conversation(look, std::move(pictures));
  const auto print = [](std::string_view piece) {
    std::cerr << piece;  // whole characters, as soon as they are there
    return true;         // false stops the answer
  };
  const Answer first = conversation.ask("What is this?", {.max_new_tokens = 16}, print);

  // Further questions see all that was said before; only what is new is read.
  AnswerSettings settings{.max_new_tokens = 16};
  settings.sampling = {.temperature = 0.7, .top_k = 50, .top_p = 0.9, .seed = 1};
  const Answer second = conversation.ask("What is the main color?", settings, print);

  std::printf("%zu tokens were read for the first answer, %zu for the second\n", first.prompt_ids.size(),
              second.prompt_ids.size());
}

// Output:
// 68 tokens were read for the first answer, 14 for the second
