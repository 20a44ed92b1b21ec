/* A library of the host's with an OpenMP runtime of its own. */
#include <omp.h>

int helper_threads(void);
int helper_threads(void)
{
    int n = 0;
#pragma omp parallel num_threads(2) reduction(+ : n)
    n += 1;
    return n + 0 * omp_get_max_threads();
}
