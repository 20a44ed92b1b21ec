/* Backends from shared objects, convoy-NAME.so: where they are looked for, and what is checked before one is believed.
 * They are never closed: a backend's threads may outlive every program. */
#include "program/program.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef CVYI_MODULE_DIR
#define CVYI_MODULE_DIR ""
#endif

/* The file that this code was loaded from: libconvoy.so, or a program that it is linked into. */
static const char *own_file(void)
{
    Dl_info info;
    return dladdr((const void *)&cvyi_registry_find, &info) && info.dli_fname ? info.dli_fname : "";
}

/* DIR/convoy-NAME.so if it is there. The directories that were looked into are written down in `tried`. */
static bool exists(const char *dir, size_t length, const char *name, char path[PATH_MAX], char *tried, size_t room)
{
    if (!length || (size_t)snprintf(path, PATH_MAX, "%.*s/convoy-%s.so", (int)length, dir, name) >= PATH_MAX) return false;
    size_t used = strlen(tried);
    snprintf(tried + used, room - used, "%s%.*s", used ? ", " : "", (int)length, dir);
    return access(path, F_OK) == 0;
}

static bool find(const struct cvy_context *ctx, const char *name, char path[PATH_MAX], char *tried, size_t room)
{
    for (const char *dir = ctx->options.backend_path; dir && *dir;) {
        size_t length = strcspn(dir, ":");
        if (exists(dir, length, name, path, tried, room)) return true;
        dir += length + (dir[length] == ':');
    }
    const char *own = own_file(), *slash = strrchr(own, '/');
    if (slash && exists(own, (size_t)(slash - own), name, path, tried, room)) return true;
    return exists(CVYI_MODULE_DIR, strlen(CVYI_MODULE_DIR), name, path, tried, room);
}

enum cvy_status cvyi_module_open(struct cvy_context *ctx, const char *name, const struct cvy_backend **out)
{
    char path[PATH_MAX], tried[384] = "";
    if (!find(ctx, name, path, tried, sizeof tried)) {
        const char *help = strcmp(name, "onednn") ? "CVY_BACKEND_PATH names further directories"
                           : "install oneDNN (Debian: libdnnl-dev) and build with -Donednn=enabled, or set CVY_BACKEND_PATH";
        return cvyi_fail(ctx, CVY_E_ARG, "unknown backend \"%s\": built in are native, reference, and there is no"
                         " convoy-%s.so in %s; %s", name, name, *tried ? tried : "any directory", help);
    }
    /* The module calls cvy_plan_* of the library that opens it, which a host may have loaded for itself only. */
    (void)dlopen(own_file(), RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) {
        const char *why = dlerror();
        return cvyi_fail(ctx, CVY_E_BACKEND, "backend \"%s\" cannot be loaded: %s", name, why ? why : path);
    }
    const struct cvy_backend *backend = dlsym(module, "cvy_module");
    enum cvy_status status = CVY_OK;
    if (!backend)
        status = cvyi_fail(ctx, CVY_E_BACKEND, "%s is not a module for convoy: it exports no cvy_module", path);
    else if (backend->abi != CVY_BACKEND_ABI) /* nothing behind the number can be relied upon */
        status = cvyi_fail(ctx, CVY_E_BACKEND, "%s speaks version %d of the contract of backends, this library %d: build the"
                           " two from one release", path, backend->abi, CVY_BACKEND_ABI);
    else if (strcmp(backend->name, name) != 0)
        status = cvyi_fail(ctx, CVY_E_BACKEND, "%s holds backend \"%s\", not \"%s\"", path, backend->name, name);
    if (status != CVY_OK) dlclose(module);
    else *out = backend;
    return status;
}
