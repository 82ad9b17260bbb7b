// What program.hpp declares, compiled once for all programs.
#include "common/program.hpp"

#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <new>

#include "common/help.hpp"
#include "janusflow/version.hpp"

namespace examples {

namespace {

/// OpenMP's threads spin while they wait, unless told otherwise; on a busy machine that holds up the very thread that they wait
/// for, and a second's work takes minutes. To sleep at once costs where loops are short, for to be woken takes as long as a loop of a
/// small model. GCC's runtime can spin for a few microseconds and sleep then. They are told by the environment before main() begins,
/// so the program starts anew.
void wait_passively([[maybe_unused]] char** argv) {
#if defined(_OPENMP) && defined(__linux__)
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error || std::getenv("OMP_WAIT_POLICY")) return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  setenv("GOMP_SPINCOUNT", "300", 0);
  execv(self.c_str(), argv);  // returns only where that is not possible: then it is slower, no more
#endif
}

/// A value as a number, or a list of them, where the option takes numbers.
Json typed(const CLI::Option& option, const std::string& value) {
  if (option.get_type_name().starts_with("TEXT")) return value;
  const Json number = Json::parse(value, nullptr, false);
  return number.is_discarded() ? Json(value) : number;
}

}  // namespace

std::string printable(std::string sentence) {
  for (std::size_t i = 0; i < sentence.size(); ++i) {
    const auto byte = static_cast<unsigned char>(sentence[i]);
    const auto next = static_cast<unsigned char>(i + 1 < sentence.size() ? sentence[i + 1] : '\0');
    if (byte < 0x20 || byte == 0x7F) sentence[i] = ' ';
    else if (byte == 0xC2 && next >= 0x80 && next < 0xA0) sentence.replace(i, 2, 1, ' ');  // those beyond ASCII, in UTF-8
  }
  return sentence;
}

Program::Program(std::string name, const std::string& description) : cli(description, name), name_(std::move(name)) {
  cli.option_defaults()->always_capture_default();
  cli.set_version_flag("--version", std::string("janusflow ") + version);
  option("-t,--threads", threads_, "N", "threads, the processor's physical cores unless given")->check(CLI::Range(1, 1024));
  option("--precision", precision_, "auto|f32|bf16|int8|q4", "of the products; auto is what the weights are stored in")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "int8", "q4"}));
  cli.add_flag("--json", json_, "print one JSON object: settings, results, seconds by stage, peak memory in bytes");
}

Program::~Program() = default;

int Program::say(std::string sentence, int status) const {
  if (!muted_) std::cerr << name_ + ": " + printable(std::move(sentence)) + '\n';
  return status;
}

int Program::run(int argc, char** argv, const std::function<void()>& body) {
  wait_passively(argv);
  wrap_help(cli);
  try {
    cli.parse(argc, argv);
  } catch (const CLI::Success& wish) {  // --help, --version
    return cli.exit(wish);
  } catch (const CLI::Error& error) {
    return say(error.what(), 2);
  }
  try {
    const InterruptGuard guard(name_ + ": interrupted");
    set_num_threads(threads_);
    if (json_) report["settings"] = settings();
    body();
    if (json_ && !muted_) print_report();
    std::cout.flush();
    require(std::cout.good(), "cannot write to standard output");
    return 0;
  } catch (const CLI::Error& error) {
    return say(error.what(), 2);
  } catch (const Interrupted&) {
    say("interrupted", InterruptGuard::status);
    std::cout.flush();
    return InterruptGuard::stopped();
  } catch (const std::bad_alloc&) {
    return say("out of memory", 1);
  } catch (const std::exception& error) {
    return say(error.what(), 1);
  }
}

/// Every option's value under its long name; those without a value are left out.
Json Program::settings() const {
  Json settings = Json::object();
  for (const CLI::Option* option : cli.get_options()) {
    const std::string key = option->get_lnames().empty() ? option->get_name() : option->get_lnames().front();
    if (key == "help" || key == "version" || key == "json") continue;
    const auto& given = option->results();
    if (option->get_expected_max() == 0) settings[key] = option->count() > 0;  // a flag
    else if (given.empty() && !option->get_default_str().empty()) settings[key] = typed(*option, option->get_default_str());
    else if (given.size() == 1 && option->get_items_expected_max() == 1) settings[key] = typed(*option, given[0]);
    else for (const std::string& item : given) settings[key].push_back(typed(*option, item));
  }
  return settings;
}

void Program::print_report() {
  report["timings"]["total"] = seconds();
  report["peak_memory"] = peak_memory();
  // Names of files and answers may hold bytes that are not UTF-8.
  std::cout << report.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
}

}  // namespace examples
