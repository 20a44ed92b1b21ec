/* The number of threads of oneDNN's parallel regions: the context's, whatever the host's own OpenMP
 * default is. */
#include "backends/onednn/onednn.h"

#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
#include <omp.h>

int onednn_threads_enter(size_t threads)
{
    int before = omp_get_max_threads();
    if (before != (int)threads) omp_set_num_threads((int)threads);
    return before;
}

void onednn_threads_leave(int before)
{
    if (omp_get_max_threads() != before) omp_set_num_threads(before);
}
#elif DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_SEQ
int onednn_threads_enter(size_t threads) { return (int)threads; }
void onednn_threads_leave(int before) { (void)before; }
#else
#error \
    "this oneDNN uses a thread pool of its own (TBB or a host's); convoy needs one that uses OpenMP"
#endif
