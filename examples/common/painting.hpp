// How a picture is painted, as options of a command line: the program's own, or those on a line of a list of settings.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "common/program.hpp"
#include "janusflow/pipeline/text_to_image.hpp"

namespace examples {

/// The settings of the flow. Decibels are PSNR against 30 Euler steps, measured on the emoji model (docs/frontier.csv). Parsing refuses
/// what has no effect beside the solver that was chosen.
class PaintingOptions {
 public:
  explicit PaintingOptions(CLI::App& cli) : cli_(cli) {
    add_option(cli, "--steps", steps_, "N", "steps of the solver; 10 of euler in place of 30: 47 dB")->check(CLI::Range(1, 100000));
    add_option(cli, "-g,--guidance", guidance_, "X", "weight of the prompt; 1 is none, at half the cost")->check(CLI::Range(-1000.0, 1000.0));
    add_option(cli, "--guidance-interval", interval_, "A B", "the times between which guidance is applied, 0 to 1; the steps outside cost half, but 0 0.5 gives another picture: 32 dB")
        ->expected(2)->check(CLI::Range(0.0, 1.0));
    add_option(cli, "--guidance-period", guidance_period_, "K", "compute what guidance leads away from at every K-th evaluation only; the others cost half, and 4 gives 49 dB")
        ->check(CLI::Range(1, 100000));
    add_option(cli, "--solver", solver_, CLI::detail::join(solver_names(), "|"),
               "of the flow's equation; heun and midpoint cost two evaluations a step, rk4 four, dopri5 as many as it needs; ab2 with 8 steps: 48 dB")
        ->check(CLI::IsMember(solver_names()));
    add_option(cli, "--tolerance", tolerance_, "X", "error that dopri5 allows a step; below 1e-4 (bf16) or 1e-3 (int8) rounding makes its steps short")
        ->check(CLI::Range(1e-12, 1e3));
    add_option(cli, "--shift", shift_, "X", "above 1, more of the steps near the noise; below, near the picture")->check(CLI::Range(0.01, 100.0));
    add_option(cli, "--reuse", reuse_, "X", "extrapolate velocities that are expected to change by less than X, 0 none; 0.2 gives 47 dB, 0.4 38 dB")
        ->check(CLI::Range(0.0, 100.0));
    cli.add_flag("--fast", fast_, "as --solver ab2 --steps 8, where these are not given: a third of the time, 48 dB");
    cli.callback([this] { require_consistent(); });
  }
  PaintingOptions(const PaintingOptions&) = delete;
  PaintingOptions& operator=(const PaintingOptions&) = delete;

  /// Sets what was given, or is the default; and what --fast says about the rest.
  void apply(TextToImageRequest& request) const {
    request.num_inference_steps = steps_;
    request.guidance_scale = guidance_;
    request.guidance_begin = interval_[0];
    request.guidance_end = interval_[1];
    request.guidance_period = guidance_period_;
    request.solver = solver_from_name(solver_);
    if (auto* adaptive = std::get_if<DormandPrince>(&request.solver)) adaptive->atol = adaptive->rtol = tolerance_;
    request.shift = shift_;
    request.reuse_threshold = reuse_;
    if (!fast_) return;
    if (!given("--solver")) request.solver = AdamsBashforth2{};
    if (!given("--steps")) request.num_inference_steps = 8;
  }

 private:
  bool given(const char* option) const { return cli_.count(option) > 0; }

  void require_consistent() const {
    const bool adaptive = is_adaptive(solver_from_name(solver_));
    for (const char* option : {"--steps", "--shift", "--fast"})
      require_command(!adaptive || !given(option), option, " has no effect with --solver ", solver_, ", which chooses its own steps");
    require_command(adaptive || !given("--tolerance"), "--tolerance has an effect with --solver dopri5 alone");
  }

  const CLI::App& cli_;
  int steps_ = 30, guidance_period_ = 1;
  double guidance_ = 2, tolerance_ = 1e-3, shift_ = 1, reuse_ = 0;
  std::vector<double> interval_{0.0, 1.0};
  std::string solver_ = "euler";
  bool fast_ = false;
};

}  // namespace examples
