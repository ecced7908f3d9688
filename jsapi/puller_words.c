/* jsapi/puller_words.c -- the words between a puller and its origin; see puller.h
 *
 * Pure: text in, text out. Facts: reference/leafnode-protocol.md 7.2 - 7.5, delta-2.15.md 2.1, 2.2.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/digest.h"
#include "base/domain.h"
#include "base/uid.h"
#include "jsapi/puller.h"

#define HASH_LEN 8

void puller_write_names(const struct source_config *cfg, struct buf *head, struct buf *tail)
{
    char hash[HASH_LEN + 1];
    buf_add_slice(head, cfg->name);
    if (cfg->external && cfg->external->api.n) {
        short_hash(cfg->external->api, HASH_LEN, hash);
        buf_printf(head, ":%s", hash);
    }
    if (cfg->consumer) {
        short_hash(cfg->consumer->name, HASH_LEN, hash);
        buf_printf(head, ":C=%s", hash);
    }
    struct buf dests = BUF_INIT;
    buf_add_char(tail, ' ');
    if (cfg->transforms.n == 0) {
        buf_add_slice(tail, cfg->filter_subject.n ? cfg->filter_subject : SLICE(">"));
        buf_add_char(&dests, '>');
    }
    for (size_t i = 0; i < cfg->transforms.n; i++) {
        const struct subject_pair *t = source_transform(cfg, i);
        if (i) {
            buf_add_char(tail, '\f');
            buf_add_char(&dests, '\f');
        }
        buf_add_slice(tail, t->src.n ? t->src : SLICE(">"));
        buf_add_slice(&dests, t->dest.n ? t->dest : SLICE(">"));
    }
    buf_add_char(tail, ' ');
    buf_add_slice(tail, buf_slice(&dests));
    buf_release(&dests);
}

void puller_write_consumer_name(const struct puller *p, struct buf *out)
{
    const struct jsapi_account *a = p->stream->acc;
    struct buf text = BUF_INIT;
    char hash[HASH_LEN + 1];
    buf_printf(&text, "%.*s %.*s", SLICE_FMT(p->stream->name), SLICE_FMT(a->name));
    if (a->js->host.domain.n)
        buf_printf(&text, " %.*s", SLICE_FMT(a->js->host.domain));
    short_hash(buf_slice(&text), HASH_LEN, hash);
    if (!p->mirror) { /* several sources may share an origin: their index names differ */
        buf_clear(&text);
        buf_printf(&text, "%s %.*s", hash, SLICE_FMT(p->index_name));
        short_hash(buf_slice(&text), HASH_LEN, hash);
    }
    buf_printf(out, "%s_%s", p->mirror ? "JS_MIRROR" : "JS_SRC", hash);
    if (p->level == 0) {
        uid_short(hash, HASH_LEN);
        buf_printf(out, "_%s", hash);
    }
    buf_release(&text);
}

static void write_start(const struct puller *p, struct json_out *j)
{
    if (p->seq) {
        json_cstr(j, "deliver_policy", "by_start_sequence");
        json_u64(j, "opt_start_seq", p->seq + 1);
    } else if (p->cfg.opt_start_seq) {
        json_cstr(j, "deliver_policy", "by_start_sequence");
        json_u64(j, "opt_start_seq", p->cfg.opt_start_seq);
    } else if (p->cfg.opt_start_time.set) {
        json_cstr(j, "deliver_policy", "by_start_time");
        json_time(j, "opt_start_time", p->cfg.opt_start_time.ns);
    } else {
        json_cstr(j, "deliver_policy", "all");
    }
}

static void write_filters(const struct puller *p, struct json_out *j)
{
    if (p->cfg.transforms.n > 1) {
        json_arr(j, "filter_subjects");
        for (size_t i = 0; i < p->cfg.transforms.n; i++)
            json_str(j, NULL, source_transform(&p->cfg, i)->src);
        json_end(j);
    } else if (p->cfg.transforms.n == 1) {
        json_str(j, "filter_subject", source_transform(&p->cfg, 0)->src);
    } else if (p->cfg.filter_subject.n) {
        json_str(j, "filter_subject", p->cfg.filter_subject);
    }
}

static struct slice single_filter(const struct puller *p)
{
    if (p->cfg.transforms.n == 1)
        return source_transform(&p->cfg, 0)->src;
    return p->cfg.transforms.n ? (struct slice){0} : p->cfg.filter_subject;
}

static void write_metadata(const struct puller *p, struct json_out *j)
{
    const struct jsapi_account *a = p->stream->acc;
    json_obj(j, "metadata");
    json_str(j, p->mirror ? "_nats.mirror.acc" : "_nats.src.acc", a->name);
    if (a->js->host.domain.n)
        json_str(j, p->mirror ? "_nats.mirror.domain" : "_nats.src.domain", a->js->host.domain);
    json_str(j, p->mirror ? "_nats.mirror.stream" : "_nats.src.stream", p->stream->name);
    json_end(j);
}

static void write_create(const struct puller *p, struct slice name, struct buf *body)
{
    struct json_out j;
    json_begin(&j, body);
    json_obj(&j, NULL);
    json_str(&j, "stream_name", p->cfg.name);
    json_obj(&j, "config");
    json_str(&j, "name", name);
    write_start(p, &j);
    json_cstr(&j, "ack_policy", "none");
    json_i64(&j, "ack_wait", INT64_C(22) * 3600 * NS_PER_S);
    json_i64(&j, "max_deliver", 1);
    write_filters(p, &j);
    json_cstr(&j, "replay_policy", "instant");
    json_bool(&j, "flow_control", true);
    json_cstr(&j, "deliver_subject", p->deliver_subject);
    json_i64(&j, "idle_heartbeat", NS_PER_S);
    json_i64(&j, "inactive_threshold", 10 * NS_PER_S);
    json_i64(&j, "num_replicas", 0);
    json_bool(&j, "direct", true);
    if (p->level)
        json_bool(&j, "sourcing", true);
    write_metadata(p, &j);
    json_end(&j);
    json_cstr(&j, "action", "");
    json_end(&j);
}

static void write_level_header(const struct puller *p, struct buf *hdr)
{
    if (!p->level)
        return;
    buf_printf(hdr, "NATS/1.0\r\nNats-Required-Api-Level: %d\r\n", p->level);
    if (p->level >= 5)
        buf_printf(hdr, "Nats-Stream-Identity: %s\r\n", p->identity);
    buf_add_str(hdr, "\r\n");
}

void puller_write_request(const struct puller *p, struct buf *subject, struct buf *hdr,
                          struct buf *body)
{
    struct buf plain = BUF_INIT, name = BUF_INIT;
    write_level_header(p, hdr);
    if (p->cfg.consumer) {
        buf_printf(&plain, "$JS.API.CONSUMER.RESET.%.*s.%.*s", SLICE_FMT(p->cfg.name),
                   SLICE_FMT(p->cfg.consumer->name));
    } else {
        struct slice filter = single_filter(p);
        puller_write_consumer_name(p, &name);
        buf_printf(&plain, "$JS.API.CONSUMER.CREATE.%.*s", SLICE_FMT(p->cfg.name));
        if (filter.n)
            buf_printf(&plain, ".%.*s.%.*s", SLICE_FMT(buf_slice(&name)), SLICE_FMT(filter));
        write_create(p, buf_slice(&name), body);
    }
    if (p->api.n)
        domain_external(p->api, buf_slice(&plain), subject);
    else
        buf_add_slice(subject, buf_slice(&plain));
    buf_release(&plain);
    buf_release(&name);
}

bool ack_reply_parse(struct slice reply, struct ack_reply *out)
{
    struct slice tok[12];
    size_t n = 0;
    while (n < 12) {
        size_t dot = slice_find(reply, '.');
        tok[n++] = slice_head(reply, dot);
        if (dot == reply.n)
            break;
        reply = slice_skip(reply, dot + 1);
    }
    if (n < 9 || n == 10 || !slice_is(tok[0], "$JS") || !slice_is(tok[1], "ACK"))
        return false;
    const struct slice *t =
        n == 9 ? &tok[2] : &tok[4]; /* v2 has domain and account before the stream */
    uint64_t ts;
    out->consumer = t[1];
    if (slice_u64(t[2], &out->delivered) || slice_u64(t[3], &out->sseq) ||
        slice_u64(t[4], &out->cseq) || slice_u64(t[5], &ts) || slice_u64(t[6], &out->pending))
        return false;
    out->ts = (int64_t)ts;
    return true;
}

static bool drop_from_source(struct slice name, void *arg)
{
    (void)arg;
    return slice_starts(name, SLICE("Nats-Expected-")) ||
           slice_starts(name, SLICE("Nats-Batch-")) || slice_is(name, "Nats-Stream-Source");
}

static bool drop_from_mirror(struct slice name, void *arg)
{
    (void)arg;
    return slice_starts(name, SLICE("Nats-Expected-")) || slice_starts(name, SLICE("Nats-Batch-"));
}

void puller_write_header(const struct puller *p, struct slice hdr, uint64_t seq,
                         struct slice subject, struct buf *out)
{
    if (p->mirror) {
        if (slice_search(hdr, SLICE("Nats-Expected-")) < hdr.n ||
            slice_search(hdr, SLICE("Nats-Batch-")) < hdr.n)
            hdr_rewrite(out, hdr, drop_from_mirror, NULL, (struct slice){0});
        else
            buf_add_slice(out, hdr);
        return;
    }
    struct buf line = BUF_INIT;
    buf_add_str(&line, "Nats-Stream-Source: ");
    buf_add_slice(&line, p->header_head);
    buf_add_char(&line, ' ');
    buf_add_u64(&line, seq);
    buf_add_slice(&line, p->header_tail);
    buf_add_char(&line, ' ');
    buf_add_slice(&line, subject);
    if (p->identity[0]) {
        buf_add_char(&line, ' ');
        buf_add_str(&line, p->identity);
    }
    buf_add_str(&line, "\r\n");
    hdr_rewrite(out, hdr, drop_from_source, NULL, buf_slice(&line));
    buf_release(&line);
}
