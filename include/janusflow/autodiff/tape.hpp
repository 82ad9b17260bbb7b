// The tape: what was computed, in order, to be gone through backwards once.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "janusflow/autodiff/variable.hpp"
#include "janusflow/core/stopwatch.hpp"

namespace janusflow {

/// Seconds that one kind of operation took on the way there and back.
struct OperationTimes {
  double forward = 0, backward = 0;
  Index calls = 0;
};

/// Records the operations on variables that this thread computes while it lives, innermost tape first. Without a tape the
/// operations compute and nothing else. What no training parameter stands behind is never recorded.
class Tape {
 public:
  Tape() : outer_(current()) { current() = this; }
  ~Tape() { current() = outer_; }
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// Whether models are to be recorded a block at a time: of each block only what goes in is kept, and the block is computed again
  /// when its turn comes on the way back (Chen et al. 2016, arXiv 1604.06174). The same gradients, bit for bit.
  bool checkpoints_blocks = false;

  /// Where the times of all operations are added up, by name; null: nowhere. What lies between two operations counts for the second.
  std::map<std::string, OperationTimes>* times = nullptr;

  /// Called on the way back after each operation, with those parameters (Var::gradient_id) whose gradients have now all that this tape
  /// adds to them: an operation is the last to add to what it was the first to use. Each is named once. To be set before
  /// anything is recorded.
  std::function<void(std::span<const void* const>)> after_operation;

  /// The innermost tape of this thread, or null.
  static Tape*& current() {
    thread_local Tape* tape = nullptr;
    return tape;
  }

  Index steps() const { return std::ssize(steps_); }

  /// Goes back from a loss [1]: every training parameter behind it gains its gradient. What was recorded is gone afterwards.
  /// Throws Error when nothing that trains stands behind the loss.
  template <class T>
  void backward(const Var<T, 1>& loss) {
    require(loss.size() == 1, "backward: a loss is one number, not ", loss.shape());
    backward(loss, Tensor<T, 1>(Shape{Index{1}}, T(1)));
  }
  /// The same from y, of whose gradient dy is known.
  template <class T, int R>
  void backward(const Var<T, R>& y, Tensor<T, R> dy) {
    require(y.needs_gradient(), "backward: nothing that trains stands behind this variable");
    y.accumulate(std::move(dy));
    const Paused paused;
    while (!steps_.empty()) {
      const std::unique_ptr<Step> step = std::move(steps_.back());
      steps_.pop_back();
      const Stopwatch watch;
      step->run();  // and is gone, with what it kept
      if (times) (*times)[step->op].backward += watch.seconds();
      if (after_operation) after_operation(step->first_used);
    }
    used_.clear();
  }

  /// Notes that the operation that is to be recorded next uses a variable.
  template <class T, int R>
  void note_use(const Var<T, R>& x) {
    if (follows() && x.is_leaf()) note_use(x.gradient_id());
  }

  /// Keeps `backward`, called with the gradient of the numbers of `slot` when all of it is known, unless there is none. `op` names the
  /// operation that has just been computed.
  template <class T, int R, class Backward>
  void record(const char* op, std::shared_ptr<detail::GradientSlot<T>> slot, Shape<R> shape, Backward backward) {
    if (keeps_) keep(op, std::make_unique<Recorded<T, R, Backward>>(std::move(slot), shape, std::move(backward)));
  }

  /// The same of several results, whose gradients are known together.
  template <class T, int R, std::size_t N, class Backward>
  void record(const char* op, std::array<std::shared_ptr<detail::GradientSlot<T>>, N> places, std::array<Shape<R>, N> shapes, Backward backward) {
    if (keeps_) keep(op, std::make_unique<RecordedTogether<T, R, N, Backward>>(std::move(places), shapes, std::move(backward)));
  }

  /// While it lives nothing is recorded on this thread.
  class Paused {
   public:
    Paused() : tape_(std::exchange(current(), nullptr)) {}
    ~Paused() { current() = tape_; }
    Paused(const Paused&) = delete;
    Paused& operator=(const Paused&) = delete;

   private:
    Tape* tape_;
  };

 protected:
  /// One that keeps nothing, and notes what would be used where the outer tape does.
  struct Forgetful {};
  explicit Tape(Forgetful) : keeps_(false), follows_(current() && current()->follows()), outer_(current()) { current() = this; }

  /// What is recorded next, on the outer tape, uses all that was used here.
  void hand_over_uses() {
    if (outer_)
      for (const void* parameter : first_used_) outer_->note_use(parameter);
  }

 private:
  struct Step {
    const char* op = nullptr;
    std::vector<const void*> first_used;  // parameters that no operation before it uses

    virtual ~Step() = default;
    virtual void run() = 0;
  };
  template <class T, int R, class Backward>
  struct Recorded final : Step {
    std::shared_ptr<detail::GradientSlot<T>> slot;
    Shape<R> shape;
    Backward backward;

    Recorded(std::shared_ptr<detail::GradientSlot<T>> slot, Shape<R> shape, Backward backward)
        : slot(std::move(slot)), shape(shape), backward(std::move(backward)) {}
    void run() override {
      if (!slot->sum.empty()) backward(std::move(slot->sum).reshaped(shape));
    }
  };

  template <class T, int R, std::size_t N, class Backward>
  struct RecordedTogether final : Step {
    std::array<std::shared_ptr<detail::GradientSlot<T>>, N> places;
    std::array<Shape<R>, N> shapes;
    Backward backward;

    RecordedTogether(std::array<std::shared_ptr<detail::GradientSlot<T>>, N> places, std::array<Shape<R>, N> shapes, Backward backward)
        : places(std::move(places)), shapes(shapes), backward(std::move(backward)) {}
    void run() override {
      std::array<Tensor<T, R>, N> gradients;
      bool any = false;
      for (std::size_t i = 0; i < N; ++i)
        if (!places[i]->sum.empty()) {
          gradients[i] = std::move(places[i]->sum).reshaped(shapes[i]);
          any = true;
        }
      if (any) backward(std::move(gradients));
    }
  };

  /// Whether somebody wants to know when gradients are final.
  bool follows() const { return after_operation || follows_; }
  void note_use(const void* parameter) {
    if (used_.insert(parameter).second) first_used_.push_back(parameter);
  }

  void keep(const char* op, std::unique_ptr<Step> step) {
    step->op = op;
    step->first_used = std::exchange(first_used_, {});
    steps_.push_back(std::move(step));
    if (!times) return;
    OperationTimes& sum = (*times)[op];
    sum.forward += since_last_.seconds();
    ++sum.calls;
    since_last_ = Stopwatch();
  }

  bool keeps_ = true, follows_ = false;
  Tape* outer_;
  Stopwatch since_last_;
  std::vector<std::unique_ptr<Step>> steps_;
  std::unordered_set<const void*> used_;
  std::vector<const void*> first_used_;  // by the operation that comes next
};

namespace detail {

/// Whether an operation on `inputs` must be recorded.
template <class... In>
bool records(const In&... inputs) {
  return Tape::current() && (... || inputs.needs_gradient());
}

template <class... In>
void note_use(const In&... inputs) {
  if (Tape* tape = Tape::current()) (tape->note_use(inputs), ...);
}

/// The result of an operation on `inputs`: its value and, where a tape records it, `backward(Tensor dy)`, which adds to the gradients
/// of those inputs that need one.
template <class T, int R, class Backward, class... In>
Var<T, R> result_of(const char* op, Tensor<T, R> value, Backward backward, const In&... inputs) {
  if (!records(inputs...)) return Var<T, R>(std::move(value));
  auto slot = std::make_shared<GradientSlot<T>>(GradientSlot<T>{value.size()});
  note_use(inputs...);
  Tape::current()->record(op, slot, value.shape(), std::move(backward));
  return {std::move(value), std::move(slot)};
}

/// The same of an operation with several results: `backward` gets an empty gradient for those that nothing flowed back to.
template <class T, int R, std::size_t N, class Backward, class... In>
std::array<Var<T, R>, N> results_of(const char* op, std::array<Tensor<T, R>, N> values, Backward backward, const In&... inputs) {
  std::array<Var<T, R>, N> results;
  std::array<std::shared_ptr<GradientSlot<T>>, N> places;
  std::array<Shape<R>, N> shapes;
  const bool recorded = records(inputs...);
  for (std::size_t i = 0; i < N; ++i) {
    shapes[i] = values[i].shape();
    if (recorded) places[i] = std::make_shared<GradientSlot<T>>(GradientSlot<T>{values[i].size()});
    results[i] = Var<T, R>(std::move(values[i]), places[i]);
  }
  if (!recorded) return results;
  note_use(inputs...);
  Tape::current()->record(op, places, shapes, std::move(backward));
  return results;
}

/// A tape that finds out what would be recorded, and which parameters it would use, and keeps nothing of it.
struct ForgetfulTape : Tape {
  ForgetfulTape() : Tape(Forgetful{}) {}
  using Tape::hand_over_uses;
};

}  // namespace detail

/// block(x...), of which only the x are kept: the block is computed again on the way back. `block` is copied and must own, or
/// outlive the tape with, what it needs beside x.
template <class Block, class T, int... R>
auto checkpoint(Block block, const Var<T, R>&... x) {
  if (!Tape::current()) return block(x...);
  auto y = [&] {
    detail::ForgetfulTape forgetful;
    auto result = block(x...);
    forgetful.hand_over_uses();
    return result;
  }();
  if (!y.needs_gradient()) return y;
  return detail::result_of(
      "checkpoint", Tensor(y.value()),
      [block = std::move(block), x...](auto dy) {
        Tape tape;
        const auto again = block(x...);
        tape.backward(again, std::move(dy));
      },
      y);
}

/// A model's block on x, recorded as the tape is told to.
template <class Block, class T, int R, class... More>
auto run_block(const Block& block, const Var<T, R>& x, const More&... more) {
  if (!Tape::current() || !Tape::current()->checkpoints_blocks) return block(x, more...);
  return checkpoint([&block, more...](const Var<T, R>& input) { return block(input, more...); }, x);
}

}  // namespace janusflow
