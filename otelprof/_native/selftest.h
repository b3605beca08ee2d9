/* selftest.h -- is this interpreter laid out as the core was compiled for? Read our own thread and compare. */
#ifndef OP_SELFTEST_H
#define OP_SELFTEST_H

#include <stdbool.h>

#include "sampler.h"

/* False, with a RuntimeError that names the part, if what the sampler reads is not what the interpreter says.
 * Needs an attached thread state, the GIL throughout, and an open sampler that does not run. */
bool op_selftest(op_sampler *sampler);

#endif
