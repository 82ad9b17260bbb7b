// Progress, previews and stopping: one observer, called after every step.
#include <cstdio>

#include "janusflow/io/image.hpp"
#include "janusflow/pipeline/text_to_image.hpp"

using namespace janusflow;

int main() {
  const std::string model = "examples/models/emoji";
  const auto paint = TextToImage<BFloat16>::from_directory(model, model + "/vae");

  const auto result = paint({.prompts = {"sunflower"}}, [](const TextToImageProgress& now) {
    if (now.step % 10 == 0) {
      std::printf("step %zu of %zu, t = %.2f\n", now.step, now.total_steps, now.t);
      write_png("preview.png", now.preview().front());  // z + (1 - t) v, decoded
    }
    return now.step < 20;  // false: enough
  });
  std::printf("%s, %zu pictures, %zu evaluations\n", result.finished ? "finished" : "cancelled",
              result.pictures.size(), result.evaluations);
}

// Output:
// step 10 of 30, t = 0.33
// step 20 of 30, t = 0.67
// cancelled, 0 pictures, 20 evaluations
