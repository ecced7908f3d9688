/* tests/unit/conf/test_parse.c -- the language, by example
 *
 * Each row is a text and what it becomes: the tree as canonical text, or the message. The rows of
 * the reference's table of worked examples are all here; messages are those of nats-server 2.15.2.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "conf/conf.h"

/* The tree as text: {key: value, …}, strings in <>, so that types show. */
static void print(struct buf *out, const struct conf_node *n)
{
    switch (n->type) {
    case CONF_MAP:
    case CONF_ARRAY:
        buf_add_char(out, n->type == CONF_MAP ? '{' : '[');
        CONF_EACH(kid, n)
        {
            if (kid != conf_first(n))
                buf_add_char(out, ' ');
            if (kid->key)
                buf_printf(out, "%s=", kid->key);
            print(out, kid);
        }
        buf_add_char(out, n->type == CONF_MAP ? '}' : ']');
        break;
    case CONF_STRING:
        buf_printf(out, "<%.*s>", SLICE_FMT(n->u.str));
        break;
    case CONF_INT:
        buf_printf(out, "%lld", (long long)n->u.i);
        break;
    case CONF_FLOAT:
        buf_printf(out, "%gf", n->u.f);
        break;
    case CONF_BOOL:
        buf_add_str(out, n->u.b ? "yes" : "no");
        break;
    case CONF_TIME:
        buf_printf(out, "@%lld", (long long)(n->u.time_ns / 1000000000));
        break;
    }
}

static char *result(const char *text, size_t n)
{
    struct conf_doc *doc;
    struct conf_error err;
    struct buf out = BUF_INIT;
    int rc = conf_parse_text(slice_of(text, n), "c.conf", NULL, &doc, &err);
    if (rc < 0) {
        assert_null(doc);
        buf_printf(&out, "! %s", err.text);
        return buf_steal(&out);
    }
    CONF_EACH(kid, conf_root(doc))
    {
        if (out.len)
            buf_add_char(&out, ' ');
        buf_printf(&out, "%s=", kid->key);
        print(&out, kid);
    }
    conf_free(doc);
    buf_add(&out, "", 0);
    return buf_steal(&out);
}

struct row {
    const char *text, *want;
};

static void check_rows(const struct row *rows, size_t count)
{
    size_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        char *got = result(rows[i].text, strlen(rows[i].text));
        if (strcmp(got ? got : "", rows[i].want) != 0) {
            print_error("text  %s\n want %s\n  got %s\n", rows[i].text, rows[i].want, got);
            bad++;
        }
        free(got);
    }
    assert_int_equal(bad, 0);
}

#define TOP_END   "Expected a top-level value to end with a new line, comment or EOF, but got "
#define ARRAY_END "Expected an array value terminator \",\" or an array terminator \"]\", but got "
#define MAP_END   "Expected a map value terminator \",\" or a map terminator \"}\", but got "
#define LINE(n)   "! Parse error on line " #n ": '"

static void worked_examples_read_as_in_the_reference(void **state)
{
    static const struct row rows[] = {
        {"SN='a\"b'", "SN=<a\"b>"},
        {"SN=\"a'b\"", "SN=<a'b>"},
        {"SN=ab'", "SN=<ab>"},
        {"SN=a'b", LINE(1) TOP_END "'b' instead.'"},
        {"SN=\"\\x41bc\\t\"", "SN=<Abc\t>"},
        {"SN=a\\tb", "SN=<a\tb>"},
        {"SN: tr\\x75e", "SN=<true>"},
        {"SN: '$X'", "SN=<$X>"},
        {"SN: \"#x\" # c", "SN=<#x>"},
        {"SN:#x", "SN=<#x>"},
        {"SN: (\nx\n)\n", "SN=<\nx\n>"},
        {"SN: (\n)x\n)\n", "SN=<\n)x\n>"},
        {"SN: (x)\n", LINE(2) "Unexpected EOF processing block.'"},
        {"SN: 3xyz", "SN=<3xyz>"},
        {"SN: 3kz", "SN=<3kz>"},
        {"SN: 1.2.3", "SN=<1.2.3>"},
        {"SN: 22M", "SN=22000000"},
        {"SN: -5", "SN=-5"},
        {"SN: 2016-05-04T18:53:41Z", "SN=@1462388021"},
        {"SN: 2016-05-04\n", LINE(2) "Expected 'T' in ISO8601 datetime, but found '\\n' instead.'"},
        {"SN: 1234-x", LINE(1) "Expected digit in ISO8601 datetime, but found 'x' instead.'"},
        {"SN: 12-3", LINE(1) "All ISO8601 dates must be in full Zulu form.'"},
        {"SN: 1.a", LINE(1) "Floats must have a digit after the '.', but got 'a' instead.'"},
        {"SN: .5", LINE(1) "Floats must start with a digit'"},
        {"SN: -x", LINE(1) "Expected a digit but got 'x'.'"},
        {"SN: 1.5x", LINE(1) TOP_END "'x' instead.'"},
        {"SN: 10.0.0.1x", LINE(1) TOP_END "'x' instead.'"},
        {"t: [\"a\", # c\n\"b\"]", "t=[<a> <b>]"},
        {"t: [\"a\" # c\n\"b\"]", "t=[<a> <b>]"},
        {"t: [a,b,]", "t=[<a> <b>]"},
        {"t: [\n\na\n\nb\n]", "t=[<a> <b>]"},
        {"t [a b]", LINE(1) ARRAY_END "'b' instead.'"},
        {"t: [\n", LINE(2) ARRAY_END "' ' instead.'"},
        {"SN x,debug true;trace off}", "SN=<x> debug=yes trace=no"},
        {"= x", LINE(1) "Unexpected key separator '=''"},
        {"\"SN: x\n", LINE(2) "Unexpected EOF.'"},
        {"a { user = a; password = \"b\" }", "a={user=<a> password=<b>}"},
        {"a { user = a, password = b, }", "a={user=<a> password=<b>}"},
        {"a { user a password b }", LINE(1) MAP_END "'p' instead.'"},
        {"a { user a\n password b\n}", "a={user=<a> password=<b>}"},
        {"a {\n user: \n a\n password: b\n}", "a={user=<a> password=<b>}"},
        {"a { user: a\n", LINE(2) "Unexpected EOF processing map.'"},
        {"a { user: a ]", LINE(1) MAP_END "']' instead.'"},
        {"a { ] }", LINE(1) "Unexpected array end ']' processing map.'"},
        {"a { , }", ",={}"}, /* the comma is a key, finds no value and names the map */
        {"a { user: , password: b }", LINE(1) "Unexpected map value terminator \",\".'"},
        {"include etc/inc.conf port: 5", "! error parsing include file 'etc/inc.conf', open "
                                         "etc/inc.conf: no such file or directory"},
        {"port: 4222\nport: 4223", "port=4223"},
        {"port: 4222 / c", LINE(1) TOP_END "'c' instead.'"},
        {"X: $Y\nY: 5\nport: $X", "! variable reference for 'Y' on line 1 can not be found"},
        {"SN: caf\xe9", "SN=<caf\xe9>"},
    };
    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static void sizes_and_numbers_keep_their_edges(void **state)
{
    static const struct row rows[] = {
        {"a: 1k\nb: 1KB\nc: 1ki\nd: 1KiB", "a=1000 b=1024 c=1024 d=1024"},
        {"a: 2m, b: 2MB, c: 3g, d: 3GiB", "a=2000000 b=2097152 c=3000000000 d=3221225472"},
        {"a: 1t, b: 1TB, c: 1p, d: 1PB, e: 1e, f: 1EiB",
         "a=1000000000000 b=1099511627776 c=1000000000000000 d=1125899906842624 "
         "e=1000000000000000000 "
         "f=1152921504606846976"},
        {"a: -1k", "a=-1000"},
        {"a: 1e5", "a=<1e5>"},
        {"a: 2s\nb: 1h30m\nc: 250ms", "a=<2s> b=<1h30m> c=<250ms>"},
        {"a: 9223372036854775807", "a=9223372036854775807"},
        {"a: 9223372036854775808", "! integer '9223372036854775808' is out of the range"},
        {"a: 10kbb", "! expected integer, but got '10kbb'"},
        {"a: 1.25\nb: -0.5", "a=1.25f b=-0.5f"},
        {"a: -.5", LINE(1) "Floats must start with a digit, not '.'.'"},
        {"a: 127.0.0.1:4222\nb: 0.0.0.0:-1", "a=<127.0.0.1:4222> b=<0.0.0.0:-1>"},
        {"a: [1,2,3]", LINE(1) ARRAY_END "' ' instead.'"},
        {"a: [1,2,3]\n", LINE(2) ARRAY_END "' ' instead.'"},
        {"a: [ 1, 2 ]\nb: [-1,-2]\nc: [1.5,2.5]", "a=[1 2] b=[-1 -2] c=[1.5f 2.5f]"},
        {"a: 3]", "a=<3]>"},
        {"a: 4222#c", "a=<4222#c>"},
        {"a: 2016-13-04T18:53:41Z",
         "! expected Zulu formatted DateTime, but got '2016-13-04T18:53:41Z'"},
        {"a: True\nb: OFF\nc: 'on'\nd: YES", "a=yes b=no c=<on> d=yes"},
    };
    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static void shapes_comments_and_braces(void **state)
{
    static const struct row rows[] = {
        {"", ""},
        {"# only\n// comments", ""},
        {"{ a: 1, b: { c: d } }", "a=1 b={c=<d>}"},
        {"{ a: 1 }\nb: 2", "a=1 b=2"},
        {"{ { a: 1 }, b: 2 }", "a=1 b=2"},
        {"{ a: 1", LINE(1) "Expected a block-level value to end with a new line, comment or EOF, "
                           "but got ' ' instead.'"},
        {"a: 1\r\nb: 2\r\n", "a=1 b=2"},
        {"a{ b: x }", LINE(1) TOP_END "'x' instead.'"},
        {"a:{b:{c:[{d:1 },[x]]}}", "a={b={c=[{d=1} [<x>]]}}"},
        {"a\n{ b: 1 }\nport\n4222", "a={b=1} port=4222"},
        {"a:\n1", LINE(2) "Expected value but found new line'"},
        {"a: foo#bar\nb: 127.0.0.1//c\nc: 1 # d", "a=<foo#bar> b=<127.0.0.1> c=1"},
        {"'a b': 1\n\"c.*\" = 2\n'': 3", "a b=1 c.*=2 =3"},
        {"a: [x;y]", LINE(1) ARRAY_END "';' instead.'"},
        {"a: [\"a\",,\"b\"]", LINE(1) "Unexpected array value terminator ','.'"},
        {"a: \"\\y\"",
         LINE(1) "Invalid escape character 'y'. Only the following escape characters are allowed: "
                 "\\xXX, \\t, \\n, \\r, \\\", \\\\.'"},
        {"a: \"\\xzz\"", LINE(1) "Expected two hexadecimal digits after '\\x', but got 'zz''"},
        {"a: \"x\ny\"", "a=<x\ny>"},
        {"a: 'x", LINE(1) "Unexpected EOF.'"},
        {"a: C:\\\\x", "a=<C:\\x>"},
        {"a: nats://u:p@h:1\nb: URL(http://h:1/jwt/)",
         "a=<nats://u:p@h:1> b=<URL(http://h:1/jwt/)>"},
        {"foo", "! config is invalid (c.conf:1:3)"},
        {"a: 1\n}", "a=1"},
        {"a: 1\nA: 2", "a=1 A=2"},
        {"a: 1\nb: 2\na: 3", "a=3 b=2"},
        {"/ a", LINE(1) "Unexpected EOF.'"},
        {"authorization { user: }\n", "user={}"},
    };
    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
    char *got = result("a: 1\n\0b: 2\n", 12);
    assert_string_equal(got, "! Parse error on line 2: 'Unexpected EOF.'");
    free(got);
}

static void variables_see_what_was_read_before_and_then_the_environment(void **state)
{
    static const struct row rows[] = {
        {"P: 22\nport: $P", "P=22 port=22"},
        {"P: '22'\nport: $P", "P=<22> port=<22>"},
        {"A: {user: a}\nb: $A", "A={user=<a>} b={user=<a>}"},
        {"U: {user: a}\na { users: [ $U, $U ] }", "U={user=<a>} a={users=[{user=<a>} {user=<a>}]}"},
        {"D: off\ndebug: $D", "D=no debug=no"},
        {"a { D: off }\ndebug: $FROND_T_D", "a={D=no} debug=yes"},
        {"a: 1\nb { a: 2, c: $a }", "a=1 b={a=2 c=2}"},
        {"b { c { d: $e } }\n", "! variable reference for 'e' on line 1 can not be found"},
        {"a: $2a$11$abc", "a=<$2a$11$abc>"},
        {"a: $2b$11$abc", "! variable reference for '2b$11$abc' on line 1 can not be found"},
        {"a: $FROND_T_N", "a=5"},
        {"a: $FROND_T_LIST", "a=[<x> <y>]"},
        {"a: $FROND_T_MAP", "a={a=<b>}"},
        {"a: $FROND_T_VIA", "a=5"},
        {"a: $FROND_T_EMPTY", "a=<>"},
        {"a: $FROND_T_LOOP",
         "! variable reference for 'FROND_T_LOOP' on line 1 could not be parsed: variable "
         "reference for 'FROND_T_LOOP' on line 1 could not be parsed: variable reference cycle for "
         "'FROND_T_LOOP'"},
        {"a: $FROND_T_TWO",
         "! variable reference for 'FROND_T_TWO' on line 1 could not be parsed: Parse error on "
         "line 1: '" TOP_END "'b' instead.'"},
        {"a: \"$FROND_T_N\"\nb: x$FROND_T_N", "a=<$FROND_T_N> b=<x$FROND_T_N>"},
    };
    (void)state;
    setenv("FROND_T_D", "TRUE", 1);
    setenv("FROND_T_N", "5", 1);
    setenv("FROND_T_LIST", "[\"x\",\"y\"]", 1);
    setenv("FROND_T_MAP", "{a: b}", 1);
    setenv("FROND_T_VIA", "$FROND_T_N", 1);
    setenv("FROND_T_EMPTY", "", 1);
    setenv("FROND_T_LOOP", "$FROND_T_LOOP", 1);
    setenv("FROND_T_TWO", "a b", 1);
    check_rows(rows, ARRAY_LEN(rows));
}

/* --- files --------------------------------------------------------------------------- */

static char dir[64];

static void write_file(const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    free(path);
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/frond-conf-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const names[] = {"c.conf",   "sub/auth.inc", "sub/more.inc",
                                        "loop.inc", "bad.inc",      "sub"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = xasprintf("%s/%s", dir, names[i]);
        remove(path);
        free(path);
    }
    return rmdir(dir);
}

static struct conf_doc *parse_main(const char *text, struct conf_error *err)
{
    struct conf_doc *doc;
    char *path = xasprintf("%s/c.conf", dir);
    write_file("c.conf", text);
    int rc = conf_parse_file(path, NULL, &doc, err);
    assert_int_equal(rc == 0, doc != NULL);
    free(path);
    return doc;
}

static void includes_are_looked_up_beside_the_including_file(void **state)
{
    struct conf_error err;
    char *sub = xasprintf("%s/sub", dir), *want;
    (void)state;
    mkdir(sub, 0700);
    write_file("sub/auth.inc", "user: a\ninclude '/more.inc'\n"); /* absolute is joined too */
    write_file("sub/more.inc", "\n  pass: b\n");
    struct conf_doc *doc = parse_main("authorization { INCLUDE sub/auth.inc }\nv: $PASS_T\n", &err);
    assert_null(doc);
    assert_string_equal(err.text, "variable reference for 'PASS_T' on line 2 can not be found");
    doc = parse_main("user: x\nauthorization { include ./sub//../sub/auth.inc }\ninclude "
                     "\"sub/more.inc\"\nv: $pass\n",
                     &err);
    assert_non_null(doc);
    const struct conf_node *auth = conf_get(conf_root(doc), "AUTHORIZATION");
    const struct conf_node *pass = conf_get(auth, "pass");
    assert_true(slice_is(conf_get(auth, "user")->u.str, "a"));
    assert_true(slice_is(conf_get(conf_root(doc), "v")->u.str, "b"));
    want = xasprintf("%s/sub/more.inc", dir);
    assert_string_equal(pass->file, want);
    assert_int_equal(pass->line, 2);
    assert_int_equal(pass->col, 3);
    assert_false(pass->used);
    assert_true(conf_get(conf_root(doc), "pass")->used);
    free(want);
    free(sub);
    conf_free(doc);
}

static void an_include_that_fails_says_which_file(void **state)
{
    struct conf_error err;
    (void)state;
    write_file("bad.inc", "a: [\n");
    assert_null(parse_main("include bad.inc\n", &err));
    assert_string_equal(err.text,
                        "error parsing include file 'bad.inc', Parse error on line 2: '" ARRAY_END
                        "' ' instead.'");
    assert_int_equal(err.line, 1);
    write_file("loop.inc", "include loop.inc\n");
    assert_null(parse_main("include loop.inc\n", &err));
    assert_non_null(strstr(err.text, "loop.inc', error parsing"));
    assert_null(parse_main("include 1.inc\n", &err));
    assert_string_equal(
        err.text, "Parse error on line 1: 'Expected include value but found start of a number'");
    assert_null(parse_main("include 'x\n", &err));
    assert_string_equal(err.text, "Parse error on line 2: 'Unexpected EOF in quoted include'");
}

static void missing_files_and_directories_are_told_as_go_does(void **state)
{
    struct conf_error err;
    struct conf_doc *doc;
    (void)state;
    assert_int_equal(conf_parse_file("/nonexistent.conf", NULL, &doc, &err), E_IO);
    assert_string_equal(err.text, "open /nonexistent.conf: no such file or directory");
    assert_int_equal(conf_parse_file("/tmp", NULL, &doc, &err), E_IO);
    assert_string_equal(err.text, "read /tmp: is a directory");
}

/* --- positions, limits, digest ------------------------------------------------------- */

static void positions_are_counted_as_the_reference_does(void **state)
{
    static const struct {
        const char *path;
        int line, col;
    } rows[] = {{"a", 1, 0},   {"b", 2, 1},    {"c", 3, 3},
                {"d e", 4, 2}, {"list", 5, 1}, {"map", 9, 1}};
    static const char text[] =
        "a: 1\nb: 2\n  c: 3\n\"d e\": 4\nlist: [\n  one\n\t\"two\"\n]\nmap { x: 1 }\n";
    struct conf_doc *doc;
    struct conf_error err;
    (void)state;
    assert_int_equal(conf_parse_text(slice_cstr(text), "f", NULL, &doc, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct conf_node *n = conf_get(conf_root(doc), rows[i].path);
        assert_non_null(n);
        assert_string_equal(n->file, "f");
        assert_int_equal(n->line, rows[i].line);
        assert_int_equal(n->col, rows[i].col);
    }
    const struct conf_node *one = conf_first(conf_get(conf_root(doc), "list"));
    assert_int_equal(one->line, 6);
    assert_int_equal(one->col, 3);
    assert_int_equal(one->next->line, 7);
    assert_int_equal(one->next->col, 3);
    conf_free(doc);
}

static void limits_hold(void **state)
{
    struct conf_doc *doc;
    struct conf_error err;
    struct buf text = BUF_INIT;
    struct conf_env env = {.depth_max = 10};
    (void)state;
    for (int i = 0; i < 12; i++)
        buf_add_str(&text, "a: {");
    assert_int_equal(conf_parse_text(buf_slice(&text), "f", &env, &doc, &err), E_SYNTAX);
    assert_string_equal(err.text,
                        "Parse error on line 1: 'Maps and arrays are nested too deeply.'");
    buf_clear(&text);
    buf_add_str(&text, "a0: [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 12; i++)
        buf_printf(&text, "a%d: [$a%d,$a%d,$a%d,$a%d]\n", i, i - 1, i - 1, i - 1, i - 1);
    assert_int_equal(conf_parse_text(buf_slice(&text), "f", NULL, &doc, &err), E_TOOBIG);
    env = (struct conf_env){.size_max = 10};
    assert_int_equal(conf_parse_text(SLICE("a: 123456789"), "f", &env, &doc, &err), E_TOOBIG);
    env = (struct conf_env){.total_max = 2000};
    buf_clear(&text);
    for (int i = 0; i < 100; i++)
        buf_printf(&text, "key%d: value\n", i);
    assert_int_equal(conf_parse_text(buf_slice(&text), "f", &env, &doc, &err), E_TOOBIG);
    buf_release(&text);
}

static void the_digest_is_that_of_the_reference(void **state)
{
    static const struct row rows[] = {
        {"port: 4222", "sha256:797533ebd0dfba7d34a0f9337ecf147e442871f48ddfd07ed751575a5737267e"},
        {"tls { timeout: 9399814940939981494.0 }",
         "sha256:b276d7125a8dc51a7ceaca297c4c6adeec88ec13e141b94fe7cb6b0f0b89ed19"},
        {"port: 4222kbb2\nserver_name: (\nx\n)", NULL},
    };
    struct conf_doc *doc;
    struct conf_error err;
    char got[72];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(conf_parse_text(slice_cstr(rows[i].text), "f", NULL, &doc, &err), 0);
        conf_digest(doc, got);
        if (rows[i].want)
            assert_string_equal(got, rows[i].want);
        conf_free(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_examples_read_as_in_the_reference),
        cmocka_unit_test(sizes_and_numbers_keep_their_edges),
        cmocka_unit_test(shapes_comments_and_braces),
        cmocka_unit_test(variables_see_what_was_read_before_and_then_the_environment),
        cmocka_unit_test_setup_teardown(includes_are_looked_up_beside_the_including_file, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(an_include_that_fails_says_which_file, make_dir,
                                        remove_dir),
        cmocka_unit_test(missing_files_and_directories_are_told_as_go_does),
        cmocka_unit_test(positions_are_counted_as_the_reference_does),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(the_digest_is_that_of_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
