// Answers questions about pictures.
#include <sys/stat.h>

#include "common/paths.hpp"
#include "common/precision.hpp"
#include "common/program.hpp"
#include "common/progress.hpp"
#include "janusflow/io/image.hpp"
#include "janusflow/pipeline/image_to_text.hpp"
#include "janusflow/pipeline/model_files.hpp"

using namespace examples;

namespace {

struct Options {
  std::string model = default_model(), question;
  std::vector<std::string> pictures;
  bool show_ids = false, chat = false;
};

/// "[1, 2, 3]"
std::string list(const std::vector<std::int32_t>& ids) {
  std::string text;
  for (const auto id : ids) text += (text.empty() ? "" : ", ") + std::to_string(id);
  return '[' + text + ']';
}

/// Whether a person may see standard output as it is written: on this terminal, or on it too, behind a pipe to tee or less.
bool output_is_seen() {
  struct stat status {};
  return isatty(STDOUT_FILENO) || (fstat(STDOUT_FILENO, &status) == 0 && S_ISFIFO(status.st_mode));
}

/// Asks, and prints the answer as it comes. In a chat, Ctrl-C stops an answer that has begun, and the chat goes on.
template <class Conversation>
Answer ask(Conversation& conversation, const std::string& question, const AnswerSettings& settings, const Options& options, bool quiet) {
  const InterruptGuard::AtOnce reading;
  std::optional<InterruptGuard::Noted> answering;
  Progress progress;
  progress.stage("reading");
  progress.start();
  const bool stream = !quiet && output_is_seen();  // then a line of progress would erase it; else that line is what a person sees
  Index pieces = 0;
  bool begun = false;  // an answer's first token usually begins with the space behind "Assistant:"
  const Answer answer = conversation.ask(question, settings, [&](std::string_view piece) {
    if (options.chat && !answering) answering.emplace();
    ++pieces;
    if (!begun) piece.remove_prefix(std::min(piece.find_first_not_of(" \n"), piece.size()));
    begun |= !piece.empty();
    if (stream) progress.clear();
    else progress.show(std::min(1.0, static_cast<double>(pieces) / static_cast<double>(settings.max_new_tokens)), "answering, at most");
    if (!quiet) std::cout << piece << std::flush;
    return !InterruptGuard::requested();
  });
  InterruptGuard::forget();
  progress.clear();
  if (quiet) return answer;
  std::cout << '\n';
  if (options.show_ids)
    std::cout << "prompt ids: " << list(answer.prompt_ids) << "\nanswer ids: " << list(answer.ids) << '\n';
  std::cout.flush();
  return answer;
}

template <class P>
void answer(Program& program, const Options& options, const ModelFiles& files, const AnswerSettings& settings,
            std::vector<Picture> pictures) {
  const InterruptGuard::AtOnce here;
  Progress progress;
  progress.stage("loading");
  const ImageToText<P> pipeline(files);
  program.report["timings"]["load"] = program.seconds();
  progress.clear();

  typename ImageToText<P>::Conversation conversation(pipeline, std::move(pictures));
  const Answer first = ask(conversation, options.question, settings, options, program.json());
  program.report.update({{"answer", first.text}, {"finished", first.finished}, {"prompt_ids", first.prompt_ids}, {"answer_ids", first.ids}});
  program.report["timings"].update(
      {{"vision", first.vision_seconds}, {"prefill", first.prefill_seconds}, {"decode", first.decode_seconds}});
  if (!options.chat) return;

  const auto next_question = [](std::string& question) {
    if (isatty(STDIN_FILENO)) std::cerr << "> " << std::flush;
    return static_cast<bool>(std::getline(std::cin, question));
  };
  for (std::string question; next_question(question);) {
    if (question.find_first_not_of(" \t\r") == std::string::npos) continue;
    try {
      ask(conversation, question, settings, options, false);
    } catch (const Error& error) {  // a refused question leaves the conversation as it was
      program.say(error.what(), 1);
    }
  }
  if (isatty(STDIN_FILENO)) std::cerr << '\n';  // what comes next does not begin behind the last "> "
}

}  // namespace

int main(int argc, char** argv) {
  Program program("image_to_text", "Answers questions about pictures with JanusFlow.");
  Options options;
  AnswerSettings settings;
  auto& cli = program.cli;
  program.option("-m,--model", options.model, "DIR", "the model's directory");
  program.option("-i,--image", options.pictures, "FILE", "a PNG or JPEG file; may be given several times")
      ->required()->allow_extra_args(false);
  program.option("-q,--question", options.question, "TEXT", "what to ask")->required();
  program.option("--max-new-tokens", settings.max_new_tokens, "N", "length of the answer at most")
      ->check(CLI::Range(1, 1000000));
  program.option("--temperature", settings.sampling.temperature, "X", "0: the likeliest token each time")
      ->check(CLI::Range(0.0, 1000.0));
  program.option("--top-p", settings.sampling.top_p, "X", "only the likeliest tokens that sum to this probability")
      ->check(CLI::Range(0.0, 1.0));
  program.option("--top-k", settings.sampling.top_k, "K", "only the K likeliest tokens; 0: all")
      ->check(CLI::Range(0, 1000000));
  program.option("-s,--seed", settings.sampling.seed, "N", "of the choice among tokens")->transform(CLI::Validator(seed_below_zero, ""));
  cli.add_flag("--show-ids", options.show_ids, "print the token ids of the prompt and of the answer");
  cli.add_flag("--chat", options.chat, "go on with questions from standard input, a line each; Ctrl-C stops an answer, Ctrl-D ends")
      ->excludes(cli.get_option("--json"));

  return program.run(argc, argv, [&] {
    require_model(options.model);
    Sampler checked(settings.sampling);  // throws for options out of range, before anything is loaded
    std::vector<Picture> pictures;
    {
      const InterruptGuard::AtOnce reading;
      for (const std::string& path : options.pictures) pictures.push_back(read_picture(path));
    }

    const ModelFiles files = ModelFiles::open(options.model);
    const std::string precision = choose_precision(program.precision(), *files.checkpoint);
    program.report["settings"]["precision"] = precision;
    with_precision(precision, [&]<class P>() { answer<P>(program, options, files, settings, std::move(pictures)); });
  });
}
