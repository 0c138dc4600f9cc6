/* read.h: the functions that read one value each in the server's binary format. */
#ifndef READ_H
#define READ_H

#include "values.h"

bool read_u8(struct reader *r, uint8_t *out);
bool read_u16(struct reader *r, uint16_t *out);
bool read_u32(struct reader *r, uint32_t *out);
bool read_u64(struct reader *r, uint64_t *out);
bool read_bytes(struct reader *r, size_t n, const uint8_t **out);
/* n elements of size bytes, which take at least one byte of input each. NULL: too many. */
void *read_room(struct reader *r, size_t n, size_t size);
bool read_bad(struct reader *r, const char *why); /* false */
/* A view of the text that was put together, copied into the arena. */
struct wcp_str read_keep(struct reader *r, struct wcp_buf *b); /* frees b */
bool read_civil(struct reader *r, int64_t days, struct postgres_types_date *out);

read_fn read_bool, read_int2, read_int4, read_int8, read_lsn, read_oid, read_float4, read_float8,
    read_text, read_jsonb, read_bytea, read_char1, read_chars, read_varchar, read_bits,
    read_varbits, read_uuid, read_mac6, read_mac8, read_point, read_two_points, read_box, read_line,
    read_circle, read_path, read_polygon;
read_fn read_date, read_time, read_timetz, read_timestamp, read_timestamptz, read_interval,
    read_daterange;
read_fn read_numeric, read_money, read_inet, read_cidr, read_snapshot, read_int2vector,
    read_tsvector, read_tsquery, read_hstore;

#endif
