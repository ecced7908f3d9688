/* server/indent.c -- see indent.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/indent.h"

static void new_line(struct buf *out, unsigned depth)
{
    buf_add_char(out, '\n');
    for (unsigned i = 0; i < depth; i++)
        buf_add(out, "  ", 2);
}

/* The string that begins at p[at]: how many bytes, quotes included? */
static size_t string_length(struct slice json, size_t at)
{
    size_t i = at + 1;
    while (i < json.n && json.p[i] != '"')
        i += json.p[i] == '\\' ? 2 : 1;
    return (i < json.n ? i + 1 : json.n) - at;
}

void json_indent(struct slice json, struct buf *out)
{
    unsigned depth = 0;
    for (size_t i = 0; i < json.n; i++) {
        char c = json.p[i];
        switch (c) {
        case '"': {
            size_t n = string_length(json, i);
            buf_add(out, json.p + i, n);
            i += n - 1;
            break;
        }
        case '{':
        case '[':
            buf_add_char(out, c);
            if (i + 1 < json.n && (json.p[i + 1] == '}' || json.p[i + 1] == ']'))
                buf_add_char(out, json.p[++i]);
            else
                new_line(out, ++depth);
            break;
        case '}':
        case ']':
            new_line(out, --depth);
            buf_add_char(out, c);
            break;
        case ',':
            buf_add_char(out, c);
            new_line(out, depth);
            break;
        case ':':
            buf_add(out, ": ", 2);
            break;
        default:
            buf_add_char(out, c);
        }
    }
}
