/* A program that knows nothing of the library but a plugin that uses it: loads, uses and unloads it
 * again and again, on its first thread and on others. usage: host PLUGIN TIMES
 * [LIBRARY-TO-OPEN-BEFORE] */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "use.h"

static const char *plugin;
static uint64_t expected;

static void *load_use_unload(void *arg)
{
    void *object = dlopen(plugin, RTLD_NOW | RTLD_LOCAL);
    int (*entry)(size_t, size_t *, uint64_t *) = NULL;
    size_t had;
    uint64_t hash;
    if (!object) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    *(void **)&entry = dlsym(object, "use");
    if (!entry || entry(4, &had, &hash)) exit(3);
    if (dlclose(object)) exit(4);
    if (!expected) expected = hash;
    if (hash != expected) exit(5);
    return arg;
}

int main(int argc, char **argv)
{
    if (argc < 3 || (argc > 3 && !dlopen(argv[3], RTLD_NOW | RTLD_GLOBAL))) return 1;
    plugin = argv[1];
    load_use_unload(NULL);
    for (int i = 0; i < atoi(argv[2]); i++) {
        pthread_t thread[3];
        for (int t = 0; t < 3; t++)
            if (pthread_create(&thread[t], NULL, load_use_unload, NULL)) return 6;
        for (int t = 0; t < 3; t++) pthread_join(thread[t], NULL);
        load_use_unload(NULL);
        usleep(1000); /* idle workers wake up, where their code was */
    }
    pid_t child = fork();
    if (child == 0) {
        alarm(30); /* a deadlock ends here */
        load_use_unload(NULL);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status) return 7;
    load_use_unload(NULL);
    printf("%016llx\n", (unsigned long long)expected);
    return 0;
}
