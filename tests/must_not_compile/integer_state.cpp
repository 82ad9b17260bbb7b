// Must say: the state must be movable and have z \+ z and z \* number
// A flow carries real numbers; an integer would be cut off at every step.
#include "janusflow/flow/integrate.hpp"

double flow() {
  const auto decay = [](auto z, double) { return -z; };
#ifdef MISTAKE
  return janusflow::integrate<janusflow::Euler>(decay, 1, janusflow::uniform_grid(30)).z;
#else
  return janusflow::integrate<janusflow::Euler>(decay, 1.0, janusflow::uniform_grid(30)).z;
#endif
}
