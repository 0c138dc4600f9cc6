/* read_time.c: dates and times in the server's binary format. Its epoch is 2000-01-01. */
#include "read.h"
#include <inttypes.h>

#define DAY_US INT64_C(86400000000)

/* The civil date of a day after the epoch, by counting in eras of 400 years from a 1 March. */
bool read_civil(struct reader *r, int64_t days, struct postgres_types_date *out)
{
    int64_t z = days + 730425; /* from 0000-03-01 */
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 3 : mp - 9;
    int64_t year = yoe + era * 400 + (month <= 2);
    out->tag = POSTGRES_TYPES_DATE_YMD;
    out->ymd.f0 = (int32_t)year; /* of days in 32 bits: fits */
    out->ymd.f1 = (uint32_t)month;
    out->ymd.f2 = (uint32_t)(doy - (153 * mp + 2) / 5 + 1);
    return true;
}

bool read_date(struct reader *r, void *out)
{
    uint32_t v;
    if (!read_u32(r, &v))
        return false;
    struct postgres_types_date *d = out;
    int32_t days = (int32_t)v;
    if (days == INT32_MAX)
        d->tag = POSTGRES_TYPES_DATE_POSITIVE_INFINITY;
    else if (days == INT32_MIN)
        d->tag = POSTGRES_TYPES_DATE_NEGATIVE_INFINITY;
    else
        return read_civil(r, days, d);
    return true;
}

static struct postgres_types_time time_of(int64_t us)
{
    return (struct postgres_types_time){
        .hour = (uint32_t)(us / INT64_C(3600000000)),
        .min = (uint32_t)(us / 60000000 % 60),
        .sec = (uint32_t)(us / 1000000 % 60),
        .micro = (uint32_t)(us % 1000000),
    };
}

bool read_time(struct reader *r, void *out)
{
    uint64_t us;
    if (!read_u64(r, &us))
        return false;
    if (us > DAY_US) /* 24:00:00 is a time */
        return read_bad(r, "is no time of a day");
    *(struct postgres_types_time *)out = time_of((int64_t)us);
    return true;
}

/* The zone comes in seconds west of UTC. */
bool read_timetz(struct reader *r, void *out)
{
    struct postgres_types_time_tz *t = out;
    uint32_t zone;
    if (!read_time(r, &t->time) || !read_u32(r, &zone))
        return false;
    int64_t east = -(int64_t)(int32_t)zone;
    int64_t s = east < 0 ? -east : east;
    t->timezone = s % 60 ? wcp_fmt(r->arena, "%c%02" PRId64 ":%02" PRId64 ":%02" PRId64,
                                   east < 0 ? '-' : '+', s / 3600, s / 60 % 60, s % 60)
                         : wcp_fmt(r->arena, "%c%02" PRId64 ":%02" PRId64, east < 0 ? '-' : '+',
                                   s / 3600, s / 60 % 60);
    return true;
}

bool read_timestamp(struct reader *r, void *out)
{
    struct postgres_types_timestamp *t = out;
    uint64_t v;
    if (!read_u64(r, &v))
        return false;
    *t = (struct postgres_types_timestamp){0};
    int64_t us = (int64_t)v;
    if (us == INT64_MAX || us == INT64_MIN) {
        t->date.tag =
            us > 0 ? POSTGRES_TYPES_DATE_POSITIVE_INFINITY : POSTGRES_TYPES_DATE_NEGATIVE_INFINITY;
        return true;
    }
    int64_t day = us / DAY_US, rest = us % DAY_US;
    if (rest < 0) {
        rest += DAY_US;
        day--;
    }
    t->time = time_of(rest);
    return read_civil(r, day, &t->date);
}

/* The server keeps UTC. */
bool read_timestamptz(struct reader *r, void *out)
{
    struct postgres_types_timestamp_tz *t = out;
    t->offset = postgres_types_offset_western_hemisphere_secs(0);
    return read_timestamp(r, &t->timestamp);
}

/* As ISO 8601 has it: P1Y2M3DT4H5M6.7S, each part with its own sign. */
bool read_interval(struct reader *r, void *out)
{
    uint64_t v;
    uint32_t d, m;
    if (!read_u64(r, &v) || !read_u32(r, &d) || !read_u32(r, &m))
        return false;
    int64_t us = (int64_t)v;
    int32_t days = (int32_t)d, months = (int32_t)m;
    struct wcp_buf b = {0};
    if (us == INT64_MAX && days == INT32_MAX && months == INT32_MAX) { /* since PostgreSQL 17 */
        wcp_buf_fmt(&b, "infinity");
    } else if (us == INT64_MIN && days == INT32_MIN && months == INT32_MIN) {
        wcp_buf_fmt(&b, "-infinity");
    } else {
        wcp_buf_fmt(&b, "P");
        if (months / 12)
            wcp_buf_fmt(&b, "%" PRId32 "Y", months / 12);
        if (months % 12)
            wcp_buf_fmt(&b, "%" PRId32 "M", months % 12);
        if (days)
            wcp_buf_fmt(&b, "%" PRId32 "D", days);
        if (us || (!months && !days))
            wcp_buf_fmt(&b, "T");
        if (us / INT64_C(3600000000))
            wcp_buf_fmt(&b, "%" PRId64 "H", us / INT64_C(3600000000));
        if (us / 60000000 % 60)
            wcp_buf_fmt(&b, "%" PRId64 "M", us / 60000000 % 60);
        int64_t rest = us % 60000000;
        if (rest % 1000000)
            wcp_buf_fmt(&b, "%s%" PRId64 ".%06" PRId64 "S", rest < 0 ? "-" : "",
                        (rest < 0 ? -rest : rest) / 1000000, (rest < 0 ? -rest : rest) % 1000000);
        else if (rest || (!us && !months && !days))
            wcp_buf_fmt(&b, "%" PRId64 "S", rest / 1000000);
    }
    *(struct wcp_str *)out = read_keep(r, &b);
    return true;
}

static bool read_bound(struct reader *r, bool infinite, bool positive,
                       struct postgres_types_date *out)
{
    if (infinite) {
        out->tag = positive ? POSTGRES_TYPES_DATE_POSITIVE_INFINITY
                            : POSTGRES_TYPES_DATE_NEGATIVE_INFINITY;
        return true;
    }
    uint32_t size;
    if (!read_u32(r, &size))
        return false;
    return size == 4 ? read_date(r, out) : read_bad(r, "is no range of dates");
}

/* A side without a bound is infinite and not inclusive. */
bool read_daterange(struct reader *r, void *out)
{
    enum { EMPTY = 1, LOWER_INC = 2, UPPER_INC = 4, LOWER_INF = 8, UPPER_INF = 16 };
    struct postgres_types_interval *v = out;
    uint8_t flags;
    if (!read_u8(r, &flags))
        return false;
    if (flags & EMPTY)
        return read_bad(r, "is an empty range");
    v->start_inclusive = flags & LOWER_INC;
    v->end_inclusive = flags & UPPER_INC;
    return read_bound(r, flags & LOWER_INF, false, &v->start) &&
           read_bound(r, flags & UPPER_INF, true, &v->end);
}
