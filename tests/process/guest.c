/* A program that is linked to the library, and forks: parent, child and grandchild go on. Compiled
 * with an OpenMP of its own, it has regions of its own in between. usage: guest THREADS */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "use.h"

#ifdef HELPER
int helper_threads(void); /* of a library of the host's with another OpenMP */
#endif

static void own_region(void)
{
#ifdef HELPER
    if (helper_threads() < 1) exit(5);
#endif
#ifdef _OPENMP
    int sum = 0;
#pragma omp parallel num_threads(3) reduction(+ : sum)
    sum += 1 + 0 * omp_get_thread_num();
    if (sum < 1) exit(5);
#endif
}

static uint64_t once(size_t threads, size_t *had)
{
    uint64_t hash;
    own_region();
    if (use(threads, had, &hash)) exit(3);
    own_region();
    return hash;
}

int main(int argc, char **argv)
{
    size_t threads = argc > 1 ? (size_t)atoi(argv[1]) : 4, first, had;
    uint64_t hash = once(threads, &first);
    bool child_of_ours = false;
    for (int depth = 0; depth < 2; depth++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(30); /* a deadlock ends here */
            child_of_ours = true;
            if (once(threads, &had) != hash) return 6;
            continue; /* fork again */
        }
        int status;
        if (child < 0) break; /* no room for a process: the limit on threads counts it */
        if (waitpid(child, &status, 0) != child || status) return 7;
        if (once(threads, &had) != hash) return 6;
        break;
    }
    if (!child_of_ours) printf("%016llx %zu\n", (unsigned long long)hash, first);
    return 0;
}
