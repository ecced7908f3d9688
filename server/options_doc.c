/* server/options_doc.c -- the tables, as documentation
 *
 * docs/options.md is printed by this; a test compares them, so a row that changes without the page
 * is noticed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/options_read.h"

static const char *type_word(enum opt_type type)
{
    switch (type) {
    case OPT_BOOL:
        return "bool";
    case OPT_INT:
    case OPT_PORT:
        return "number";
    case OPT_STRING:
        return "text";
    case OPT_DURATION:
        return "duration";
    case OPT_SIZE:
        return "size";
    case OPT_TEXTS:
        return "text or list";
    case OPT_PAIRS:
        return "map";
    case OPT_CALL:
        return "";
    case OPT_LATER:
        return "later";
    case OPT_REFUSED:
        return "refused";
    case OPT_QUIET:
        return "ignored";
    }
    return "";
}

static void put_default(struct buf *out, const struct opt_row *row)
{
    char text[40];
    if (row->text) {
        buf_add_str(out, row->text);
    } else if (row->type == OPT_BOOL) {
        buf_add_str(out, row->dflt ? "true" : "false");
    } else if (row->type == OPT_DURATION && row->dflt) {
        duration_print(row->dflt, text);
        buf_add_str(out, text);
    } else if (row->type == OPT_INT || row->type == OPT_PORT || row->type == OPT_SIZE) {
        buf_printf(out, "%" PRId64, row->dflt);
    }
}

/* "`host`, `net`" */
static void put_keys(struct buf *out, const char *keys)
{
    struct slice rest = slice_cstr(keys), key;
    bool first = true;
    while (slice_token(&rest, &key)) {
        buf_printf(out, "%s`%.*s`", first ? "" : ", ", SLICE_FMT(key));
        first = false;
    }
}

static void put_table(struct buf *out, const struct opt_table *t)
{
    bool top = t == &opt_top;
    buf_printf(out, "\n## %s\n\n", t->title);
    buf_printf(out, "| key | type | default | %smeaning |\n", top ? "reload | " : "");
    buf_printf(out, "| --- | --- | --- | %s--- |\n", top ? "--- | " : "");
    for (size_t i = 0; i < t->n; i++) {
        const struct opt_row *row = &t->rows[i];
        bool live =
            row->reload == RELOAD_LOG || row->reload == RELOAD_AUTH || row->reload == RELOAD_READ;
        buf_add_str(out, "| ");
        put_keys(out, row->keys);
        buf_printf(out, " | %s | ", type_word(row->type));
        put_default(out, row);
        buf_printf(out, " | %s%s |\n", top ? live ? "yes | " : "| " : "", row->help);
    }
}

void options_document(struct buf *out)
{
    static const struct opt_table *const tables[] = {
        &opt_top,       &opt_authorization, &opt_user,           &opt_permissions,
        &opt_responses, &opt_account,       &opt_account_limits, &opt_account_js,
        &opt_tls_table, &opt_leafnodes,     &opt_remote,         &opt_js,
        &opt_js_limits};
    buf_add_str(out, "# Options\n\n"
                     "Printed from the tables in `server/options_*.c`. Keys may be written in any "
                     "case; several names of one "
                     "option stand side by side. *later*: known to nats-server, not here yet, "
                     "ignored with one warning. "
                     "*refused*: ignoring it would not be safe, so it is an error. *ignored*: "
                     "makes no difference here. "
                     "*reload*: may change at SIGHUP.\n");
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        put_table(out, tables[i]);
}
