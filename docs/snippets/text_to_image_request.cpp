// Every setting of a picture: several prompts and pictures, a negative prompt, guidance on an interval, another solver.
#include <cstdio>

#include "janusflow/io/image.hpp"
#include "janusflow/pipeline/text_to_image.hpp"

using namespace janusflow;

int main() {
  const std::string model = "examples/models/emoji";
  const auto paint = TextToImage<BFloat16>::from_directory(model, model + "/vae");

  TextToImageRequest request;
  request.prompts = {"red apple", "green apple"};
  request.images_per_prompt = 3;       // seeds 7, 8 and 9 for each prompt
  request.seed = 7;
  request.negative_prompt = "lemon";   // guidance leads away from it; without one, from no prompt at all
  request.guidance_scale = 2.0;
  request.guidance_begin = 0.1;        // guided for t in [0.1, 0.9] only
  request.guidance_end = 0.9;
  request.solver = AdamsBashforth2{};  // or solver_from_name("ab2")
  request.num_inference_steps = 20;
  const TextToImageResult result = paint(request);

  write_png("apples.png", contact_sheet(result.pictures, 3, 4));  // three a row: a row for each prompt
  std::printf("%zu pictures, %zu evaluations\n", result.pictures.size(), result.evaluations);
}

// Output:
// 6 pictures, 20 evaluations
