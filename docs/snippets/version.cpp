// The version of the library in use.
#include <iostream>

#include "janusflow/version.hpp"

int main() { std::cout << "janusflow " << janusflow::version << '\n'; }

// Output:
// janusflow 0.1.0
