/* fuzz_conf.c -- any bytes as a configuration
 *
 * The input is also every file it includes and the text of every environment variable it names, so
 * both roads are walked with the same bytes. What parses is walked, looked up and digested.
 * Positions are never before the text. What is printed as JSON is JSON, and where no text needs an
 * escape and no list ends in a number ("[8]" is an error, as in nats-server) it is also a
 * configuration, which prints the same again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
// room: conf
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    struct slice all;
    struct buf text; /* a copy that ends in NUL */
};

static const char *lookup(void *arg, const char *name)
{
    struct input *in = arg;
    return name[0] == 'e' ? buf_cstr(&in->text) : NULL;
}

static int load(void *arg, const char *path, char **text, size_t *n)
{
    struct input *in = arg;
    if (strchr(path, '.'))
        return E_NOTFOUND;
    *n = in->all.n;
    *text = xmalloc(in->all.n + 1);
    if (in->all.n)
        memcpy(*text, in->all.p, in->all.n);
    return 0;
}

static void walk(const struct conf_node *n)
{
    size_t kids = 0;
    ASSERT(n->line >= 0);
    if (n->type == CONF_STRING)
        ASSERT(n->u.str.p && n->u.str.p[n->u.str.n] == 0);
    CONF_EACH(kid, n)
    {
        ASSERT((kid->key != NULL) == (n->type == CONF_MAP));
        if (kid->key)
            ASSERT(conf_get(n, kid->key) != NULL);
        walk(kid);
        kids++;
    }
    if (n->type == CONF_MAP || n->type == CONF_ARRAY)
        ASSERT(kids == n->u.kids.count);
}

static bool has_float(const struct conf_node *n)
{
    bool has = n->type == CONF_FLOAT;
    CONF_EACH(kid, n)
    has |= has_float(kid);
    return has;
}

static bool list_ends_in_number(struct slice json)
{
    for (size_t i = 1; i < json.n; i++)
        if (json.p[i] == ']' && json.p[i - 1] >= '0' && json.p[i - 1] <= '9')
            return true;
    return false;
}

static void again(const struct conf_doc *doc, const struct conf_env *env)
{
    struct buf once = BUF_INIT, twice = BUF_INIT;
    struct conf_doc *other;
    struct conf_error err;
    json_t *json = NULL;
    conf_json(conf_root(doc), &once);
    /* a whole float may have more digits than our reader takes for an integer */
    bool floats = has_float(conf_root(doc)),
         plain = !floats && slice_find(buf_slice(&once), '\\') == once.len &&
                 !list_ends_in_number(buf_slice(&once));
    if (!floats && json_read(buf_slice(&once), &json, NULL) == E_SYNTAX) {
        fprintf(stderr, "no JSON: %s\n", buf_cstr(&once));
        abort();
    }
    json_free(json);
    if (plain && conf_parse_text(buf_slice(&once), "again", env, &other, &err) == 0) {
        conf_json(conf_root(other), &twice);
        if (!slice_eq(buf_slice(&once), buf_slice(&twice))) {
            fprintf(stderr, "%s\n%s\n", buf_cstr(&once), buf_cstr(&twice));
            abort();
        }
        conf_free(other);
    } else if (plain) {
        fprintf(stderr, "%s\n%s\n", buf_cstr(&once), err.text);
        abort();
    }
    buf_release(&once);
    buf_release(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.all = slice_of(data, size)};
    struct conf_env env = {.lookup = lookup,
                           .load = load,
                           .arg = &in,
                           .total_max = 4u << 20,
                           .depth_max = 40,
                           .include_max = 3,
                           .weight_max = 10000};
    struct conf_doc *doc;
    struct conf_error err;
    char digest[72];
    buf_add_slice(&in.text, in.all);
    if (conf_parse_text(in.all, "fuzz", &env, &doc, &err) == 0) {
        walk(conf_root(doc));
        conf_digest(doc, digest);
        again(doc, &env);
        conf_free(doc);
    } else {
        ASSERT(err.text[0]);
    }
    buf_release(&in.text);
    return 0;
}
