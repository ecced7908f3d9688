/* tests/unit/jsapi/dice.h -- histories made by dice, and what a hand does with them
 *
 * Each step of a history has dice of its own (dice_for() with seed and number), so that one can be
 * left out and the others stay what they were. The program brings begin(), take_step() and end(),
 * and main() hands its arguments to histories(): without any, the first seeds are a test; or
 *
 *     … run SEED [STEPS]     one history, telling each step
 *     … many FROM TO         each of them in a process of its own: which fail
 *     … shrink SEED [STEPS]  which steps it takes to fail
 *
 * Include after cmocka.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_DICE_H
#define TEST_DICE_H

#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

static uint64_t die;

static void dice_for(uint64_t seed, uint64_t step)
{
    die = seed * 0x9E3779B97F4A7C15u + step * 0xBF58476D1CE4E5B9u + 1; /* splitmix64's constants */
}

static uint32_t roll(uint32_t n)
{
    uint64_t z = die += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) % n);
}

static bool chance(uint32_t percent)
{
    return roll(100) < percent;
}

#define PICK(...)                                                                                  \
    ((const char *[]){                                                                             \
        __VA_ARGS__}[roll(sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *))])

/* --- one history ----------------------------------------------------------------------------- */

static struct {
    uint64_t seed;
    unsigned step; /* from 1 */
    bool tells;
} tale;

#define TELL(...)                                                                                  \
    do {                                                                                           \
        if (tale.tells) {                                                                          \
            printf("%3u ", tale.step);                                                             \
            printf(__VA_ARGS__);                                                                   \
            putchar('\n');                                                                         \
        }                                                                                          \
    } while (0)
#define WRONG(...)                                                                                 \
    do {                                                                                           \
        print_error("seed %lu, step %u: ", (unsigned long)tale.seed, tale.step);                   \
        fail_msg(__VA_ARGS__);                                                                     \
    } while (0)

static void begin(void);     /* with the dice of step 0 */
static void take_step(void); /* with its own */
static void end(void);

/* Steps with skip[step] are left out (NULL: none). */
static void play(uint64_t seed, unsigned steps, const bool *skip, bool tells)
{
    tale.seed = seed;
    tale.step = 0;
    tale.tells = tells;
    dice_for(seed, 0);
    begin();
    while (++tale.step <= steps) {
        dice_for(seed, tale.step);
        if (!skip || !skip[tale.step])
            take_step();
    }
    end();
}

/* --- by hand --------------------------------------------------------------------------------- */

static bool fails(uint64_t seed, unsigned steps, const bool *skip)
{
    int status = 0;
    pid_t pid = fork();
    if (!pid) {
        assert_non_null(freopen("/dev/null", "w", stdout));
        assert_non_null(freopen("/dev/null", "w", stderr));
        alarm(60);
        play(seed, steps, skip, false);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status != 0;
}

static void shrink(uint64_t seed, unsigned steps)
{
    bool *skip = xcalloc(steps + 1, sizeof *skip);
    while (steps > 1 && fails(seed, steps - 1, skip))
        steps--;
    for (unsigned size = steps / 2; size; size /= 2)
        for (unsigned from = 1; from <= steps; from += size) {
            bool *less = xmalloc(steps + 1);
            memcpy(less, skip, steps + 1);
            for (unsigned i = from; i < from + size && i <= steps; i++)
                less[i] = true;
            if (fails(seed, steps, less))
                memcpy(skip, less, steps + 1);
            free(less);
        }
    fflush(stdout);
    play(seed, steps, skip, true);
    free(skip);
}

static int by_hand(int argc, char **argv, unsigned steps)
{
    uint64_t from = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t to = argc > 3 ? strtoull(argv[3], NULL, 10) : steps;
    if (strcmp(argv[1], "run") == 0)
        play(from, (unsigned)to, NULL, true);
    else if (strcmp(argv[1], "shrink") == 0)
        shrink(from, (unsigned)to);
    else
        for (uint64_t seed = from; seed <= to; seed++)
            if (fails(seed, steps, NULL))
                printf("seed %lu fails\n", (unsigned long)seed), fflush(stdout);
    return 0;
}

/* --- what main() does ------------------------------------------------------------------------ */

struct plan {
    const char *name;      /* what all of them show */
    unsigned seeds, steps; /* how many the test plays, and how long they are */
};

static void each_seed(void **state)
{
    const struct plan *plan = *state;
    for (uint64_t seed = 1; seed <= plan->seeds; seed++)
        play(seed, plan->steps, NULL, false);
}

static int histories(int argc, char **argv, const struct plan *plan)
{
    const struct CMUnitTest tests[] = {
        {.name = plan->name, .test_func = each_seed, .initial_state = (void *)plan},
    };
    return argc < 2 ? cmocka_run_group_tests(tests, NULL, NULL) : by_hand(argc, argv, plan->steps);
}

#endif
