// All operations on variables: include this where a model is to be read by a tape.
#pragma once

#include "janusflow/autodiff/elementwise.hpp"
#include "janusflow/autodiff/losses.hpp"
#include "janusflow/autodiff/norms.hpp"
#include "janusflow/autodiff/pretraining.hpp"
#include "janusflow/autodiff/products.hpp"
#include "janusflow/autodiff/sequence.hpp"
