#ifndef USE_H
#define USE_H
#include <stddef.h>
#include <stdint.h>
/* Non-zero: failed, and said why. */
__attribute__((visibility("default"))) int use(size_t threads, size_t *had, uint64_t *hash);
#endif
