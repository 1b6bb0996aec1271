/* SPDX-License-Identifier: Apache-2.0 */
/* Docker Engine API, "Attach to a container", stream format. */
#include <string.h>

#include "base/num.h"
#include "exec/driver_engine_priv.h"

enum {
	HEADER_BYTES = 8, /* {stream, 0, 0, 0, length in network order} */
	STREAM_STDIN = 0, /* "is written on stdout" */
	STREAM_SYSTEM = 3, /* the engine's own words */
};

static int header_check(struct engine_frames *frames, struct driver_error *error)
{
	const unsigned char *h = frames->header;
	if (h[0] > STREAM_SYSTEM || h[1] || h[2] || h[3])
		return driver_fail(error, DRIVER_ENGINE, NULL,
				   "%s: the engine's stream is garbled: a frame begins with %02x%02x%02x%02x",
				   frames->what, h[0], h[1], h[2], h[3]);
	frames->left = (uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
	return 0;
}

static int failure_say(struct engine_frames *frames, struct driver_error *error)
{
	return driver_fail(error, DRIVER_ENGINE, buf_str(&frames->failure), "%s: the engine says: %s",
			   frames->what, buf_str(&frames->failure));
}

/* Some of a frame's bytes. */
static int pass(struct engine_frames *frames, bool first, const char *bytes, size_t n,
		struct driver_error *error)
{
	int stream = frames->header[0];
	if (stream != STREAM_SYSTEM)
		return frames->bytes(frames->data, stream == DRIVER_STDERR ? DRIVER_STDERR : DRIVER_STDOUT,
				     first, bytes, n, error);
	size_t room = frames->failure.max - frames->failure.len;
	int r = buf_append(&frames->failure, bytes, (size_t)u64_min(n, room));
	if (r < 0)
		return driver_fail_set(error, r, "%s", frames->what);
	return n >= room || frames->left == 0 ? failure_say(frames, error) : 0;
}

int engine_frames_piece(void *data, const char *bytes, size_t n, struct driver_error *error)
{
	struct engine_frames *frames = data;
	while (n > 0) {
		if (frames->have < HEADER_BYTES) {
			frames->header[frames->have++] = (unsigned char)*bytes++;
			n--;
			int r = frames->have == HEADER_BYTES ? header_check(frames, error) : 0;
			if (r < 0)
				return r;
			if (frames->have == HEADER_BYTES && frames->left == 0)
				frames->have = 0;
			frames->first = true;
			continue;
		}
		size_t len = (size_t)u64_min(n, frames->left);
		frames->left -= (uint32_t)len;
		int r = pass(frames, frames->first, bytes, len, error);
		if (r != 0)
			return r;
		frames->first = false;
		if (frames->left == 0)
			frames->have = 0;
		bytes += len;
		n -= len;
	}
	return 0;
}

int engine_frames_end(struct engine_frames *frames, struct driver_error *error)
{
	if (frames->failure.len > 0)
		return failure_say(frames, error);
	if (frames->have > 0)
		return driver_fail(error, DRIVER_ENGINE, NULL,
				   "%s: the engine's stream ends within a frame", frames->what);
	return 0;
}
