/* The built-in models' JSON texts, compiled into the program by embed.py. */
#ifndef MODELS_BUILTIN_H
#define MODELS_BUILTIN_H

#include <stddef.h>

struct model_builtin {
    const char *name, *text; /* the text ends with a NUL that size does not count */
    size_t size;
};
extern const struct model_builtin model_builtins[]; /* ended by a NULL name */

#endif
