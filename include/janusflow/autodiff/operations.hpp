// All operations on variables: include this where a model is to be read by a tape.
#pragma once

#include "janusflow/autodiff/losses.hpp"
#include "janusflow/autodiff/norms.hpp"
#include "janusflow/autodiff/pairs.hpp"
#include "janusflow/autodiff/products.hpp"
#include "janusflow/autodiff/sequence.hpp"
