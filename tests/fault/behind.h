/* fault/behind.h -- the system's own function behind one that a preloaded library stands in for
 *
 * Inside such a library:
 *
 *     ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
 *     {
 *         REAL("pwrite", pwrite_fn);      // a static pointer `real`, found at the first call
 *         ...
 *         return real(fd, p, n, at);
 *     }
 *
 * At the first call and not in a constructor: constructors of other libraries may call before ours
 * has run. A name that is not there ends the process (97): half a record proves nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef FAULT_BEHIND_H
#define FAULT_BEHIND_H

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#define REAL(name, type)                                                                           \
    static type *real;                                                                             \
    if (!real)                                                                                     \
    *(void **)&real = behind(name)

static inline void *behind(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    if (!f) {
        (void)fprintf(stderr, "preloaded library: %s\n", dlerror());
        _exit(97);
    }
    return f;
}

#endif
