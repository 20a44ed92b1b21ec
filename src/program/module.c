/* Backends from shared objects, convoy-NAME.so: where they are looked for, and what is checked
 * before one is believed. They are never unloaded, a refused one neither: the threads of what they
 * brought along may outlive every program. */
#include "program/program.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef CVYI_MODULE_DIR
#define CVYI_MODULE_DIR ""
#endif

/* The file that this code was loaded from: libconvoy.so, or a program that it is linked into. A
 * program has no name in the loader's list, and argv[0], which dladdr gives for it, lacks the
 * directory if it was found in PATH. */
static void own_file(char path[PATH_MAX])
{
    Dl_info info;
    struct link_map *map;
    *path = 0;
    if (!dladdr1(__extension__(const void *) & cvyi_registry_find, &info, (void **)&map,
                 RTLD_DL_LINKMAP))
        return;
    if (*map->l_name) {
        snprintf(path, PATH_MAX, "%s", map->l_name);
    } else {
        ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
        path[n > 0 ? n : 0] = 0;
    }
}

/* Where modules are looked for. `own` is the directory of own_file, `list` the context's own
 * ones. */
struct search {
    char own[PATH_MAX];
    const char *list;
    int left;
};

static struct search search(const struct cvy_context *ctx)
{
    struct search s = { .list = ctx->options.backend_path, .left = 2 };
    own_file(s.own);
    char *slash = strrchr(s.own, '/');
    s.own[slash ? slash - s.own : 0] = 0;
    return s;
}

/* The next directory that is not the empty one; false past the end. */
static bool next(struct search *s, char dir[PATH_MAX])
{
    do {
        if (s->list && *s->list) {
            size_t length = strcspn(s->list, ":");
            snprintf(dir, PATH_MAX, "%.*s", length < PATH_MAX ? (int)length : 0, s->list);
            s->list += length + (s->list[length] == ':');
        } else if (s->left == 0) {
            return false;
        } else {
            snprintf(dir, PATH_MAX, "%s", s->left-- == 2 ? s->own : CVYI_MODULE_DIR);
        }
    } while (!*dir);
    return true;
}

/* What does not fit is three points. */
static void append(char *text, size_t room, const char *more)
{
    size_t length = strlen(text);
    if (length >= 3 && !strcmp(text + length - 3, "...")) return;
    bool fits = length + strlen(more) + sizeof "..." <= room;
    strcpy(text + length, fits ? more : "...");
}

/* The first DIR/convoy-NAME.so. The directories that were looked into are written down in
 * `tried`. */
static bool find(const struct cvy_context *ctx, const char *name, char path[PATH_MAX], char *tried,
                 size_t room)
{
    struct search s = search(ctx);
    for (char dir[PATH_MAX]; next(&s, dir);) {
        if ((size_t)snprintf(path, PATH_MAX, "%s/convoy-%s.so", dir, name) >= PATH_MAX) continue;
        if (*tried) append(tried, room, ", ");
        append(tried, room, dir);
        if (access(path, F_OK) == 0) return true;
        if (errno == ENOENT || errno == ENOTDIR) continue;
        int why = errno; /* there may be one, but it cannot be seen */
        append(tried, room, ": ");
        append(tried, room, strerror(why));
    }
    return false;
}

static enum cvy_status not_loaded(struct cvy_context *ctx, const char *name, const char *path)
{
    const char *why = dlerror();
    return cvyi_fail(ctx, CVY_E_BACKEND, "backend \"%s\" cannot be loaded: %s%s", name,
                     why ? why : path,
                     why && strstr(why, "undefined symbol: cvy_")
                         ? "; this library does not have it: build the two from one release"
                         : "");
}

/* Nothing behind the number can be relied upon where it differs. */
static enum cvy_status check_version(struct cvy_context *ctx, const char *path,
                                     const struct cvy_backend *backend)
{
    if (!backend)
        return cvyi_fail(ctx, CVY_E_BACKEND,
                         "%s is not a module for convoy: it exports no cvy_module", path);
    if (backend->abi == CVY_BACKEND_ABI) return CVY_OK;
    return cvyi_fail(
        ctx, CVY_E_BACKEND,
        "%s speaks version %d of the contract of backends, this library the %s version %d:"
        " build the two from one release",
        path, backend->abi, backend->abi < CVY_BACKEND_ABI ? "newer" : "older", CVY_BACKEND_ABI);
}

enum cvy_status cvyi_module_open(struct cvy_context *ctx, const char *name,
                                 const struct cvy_backend **out)
{
    char path[PATH_MAX], own[PATH_MAX], tried[256] = "";
    if (!find(ctx, name, path, tried, sizeof tried)) {
        const char *help = strcmp(name, "onednn")
                               ? "CVY_BACKEND_PATH names further directories"
                               : "install oneDNN (Debian: libdnnl-dev) and build with "
                                 "-Donednn=enabled, or set CVY_BACKEND_PATH";
        return cvyi_fail(ctx, CVY_E_ARG,
                         "unknown backend \"%s\": built in are native, reference, and there is no"
                         " convoy-%s.so in %s; %s",
                         name, name, *tried ? tried : "any directory", help);
    }
    /* The module calls cvy_plan_* of the library that opens it, which a host may have loaded for
     * itself only. */
    own_file(own);
    (void)dlopen(own, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
    /* of another version it may call what there is not */
    void *module = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (!module) return not_loaded(ctx, name, path);
    enum cvy_status status = check_version(ctx, path, dlsym(module, "cvy_module"));
    dlclose(module);
    if (status != CVY_OK) return status;
    if (!(module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)))
        return not_loaded(ctx, name, path);
    const struct cvy_backend *backend = dlsym(module, "cvy_module");
    if (!backend->name || strcmp(backend->name, name) != 0)
        return cvyi_fail(ctx, CVY_E_BACKEND, "%s holds backend \"%s\", not \"%s\"", path,
                         backend->name ? backend->name : "", name);
    CVYI_TRY(cvyi_claims_backend(ctx, backend));
    *out = backend;
    return CVY_OK;
}

static int is_module(const struct dirent *file)
{
    size_t n = strlen(file->d_name);
    return n > 10 && !strncmp(file->d_name, "convoy-", 7) && !strcmp(file->d_name + n - 3, ".so");
}

void cvyi_module_list(struct cvy_context *ctx, void (*found)(void *arg, const char *name),
                      void *arg)
{
    struct search s = search(ctx);
    for (char dir[PATH_MAX]; next(&s, dir);) {
        struct dirent **file;
        int n = scandir(dir, &file, is_module, alphasort);
        for (int i = 0; i < n; i++) {
            char *name = file[i]->d_name + strlen("convoy-");
            name[strlen(name) - strlen(".so")] = 0;
            const struct cvy_backend *backend;
            if (cvyi_module_open(ctx, name, &backend) == CVY_OK) found(arg, name);
            free(file[i]);
        }
        if (n >= 0) free(file);
    }
}
