// Two translation units with the whole library in both: they link, and agree on what it is.
// This one with Qt's keywords defined, as they are where Qt was included before.
#define slots
#define signals public
#define emit
#define foreach(variable, container) for (variable : container)
#define forever for (;;)

#include "other_unit.hpp"

int main() {
  const janusflow::Tensor<float, 2> x(janusflow::Shape{2, 3}, 0.5f);
  return sum_elsewhere(x) == 3.0f && &janusflow::BufferPool::instance() == pool_elsewhere() && reads_pictures_elsewhere() ? 0 : 1;
}
