/* LD_PRELOAD: shows a process 64 CPUs until it asks to run on one. Then, as the kernel would, it shows what was asked
   for. The real affinity stays what it was. */
#define _GNU_SOURCE
#include <sched.h>
#include <unistd.h>

static __thread int narrowed_here = -1;
static int narrowed = 0;

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set) {
  int one = narrowed_here >= 0 ? narrowed_here : narrowed;
  CPU_ZERO_S(size, set);
  for (int cpu = 0; cpu < (one ? 1 : 64); cpu++) CPU_SET_S(cpu, size, set);
  return 0;
}

int sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set) {
  narrowed = narrowed_here = CPU_COUNT_S(size, set) == 1;
  return 0;
}
