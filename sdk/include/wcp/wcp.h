/* wcp.h: what a provider's author includes. */
#ifndef WCP_H
#define WCP_H

#include <wcp/base.h>
#include <wcp/call.h>
#include <wcp/invoke.h>
#include <wcp/link.h>
#include <wcp/log.h>
#include <wcp/map.h>
#include <wcp/provider.h>
#include <wcp/stream.h>
#include <wcp/trace.h>
#include <wcp/type.h>
#include <wcp/work.h>

#endif
