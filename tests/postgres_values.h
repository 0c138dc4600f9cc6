/* postgres_values.h: the code of sqldb-postgres that reads and writes values, for a test's one
 * file.
 */
#ifndef POSTGRES_VALUES_H
#define POSTGRES_VALUES_H

#include "../providers/sqldb-postgres/read.c"
#include "../providers/sqldb-postgres/read_more.c"
#include "../providers/sqldb-postgres/read_time.c"
#include "../providers/sqldb-postgres/types.c"
#undef CASE
#include "../providers/sqldb-postgres/write.c"

#endif
