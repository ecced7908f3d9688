/* server/indent.h -- compact JSON with line breaks and indentation, as Go's MarshalIndent writes it
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_INDENT_H
#define SERVER_INDENT_H

#include "base/buf.h"

/* Appends to out. json is one compact value of ours (no blanks outside of strings); two blanks a
 * level, empty objects and arrays stay in one piece. */
void json_indent(struct slice json, struct buf *out);

#endif
